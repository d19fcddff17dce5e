// What is shown, what can be undone, and what a slider previews.

import * as slots from "./slots.js";

export class Editor {
  /** @param draw brings the page up to date, and returns a promise */
  constructor(draw) {
    this.draw = draw;
  }

  /** Begin with a state, see slots.js. */
  open(state) {
    this.past = []; // states before, the latest last
    this.mixing = null; // {from, after}: the states before and after the last mixture
    return this.turnTo(state);
  }

  /** Show a state without keeping it, as while a slider is moved. */
  preview(state) {
    this.state = state;
    return this.draw();
  }

  /** Show the last state that was kept. */
  settle() {
    return this.preview(this.settled);
  }

  /** Change what is chosen, which cannot be undone. */
  turnTo(state) {
    this.settled = state;
    this.share = 0; // of the partner in the chosen slot
    return this.settle();
  }

  /** Keep a state; it can be undone. */
  commit(state) {
    this.past.push(this.settled);
    return this.turnTo(state);
  }

  /** Change the chosen slot by a function of the state and the slot's id. */
  edit(change) {
    return this.commit(change(this.settled, this.settled.chosen));
  }

  /** Take back the last edit. */
  undo() {
    return this.past.length ? this.turnTo(this.past.pop()) : undefined;
  }

  /** Mix the chosen slot with its partner; while nothing else is done, always from what it was at first. */
  mix(share, final) {
    const from = this.mixing?.after === this.settled ? this.mixing.from : this.settled;
    const mixed = slots.mix(from, from.chosen, from.partner, share);
    if (!final) {
      this.share = share;
      return this.preview(mixed);
    }
    this.mixing = { from, after: mixed };
    const drawn = this.commit(mixed);
    this.share = share;
    return drawn;
  }

  /** The chosen slot as last kept, and where it is; see `find`. */
  get chosen() {
    return slots.find(this.settled, this.settled.chosen);
  }
}
