// The current state, the undo history, and previews of sliders.

import * as slots from "./slots.js";

export class Editor {
  /** @param draw updates the page, and returns a promise */
  constructor(draw) {
    this.draw = draw;
  }

  /** Begin with a state, see slots.js. */
  open(state) {
    this.past = []; // earlier states, the latest last
    this.mixing = null; // {from, after}: the states before and after the last mixture
    return this.turnTo(state);
  }

  /** Show a state without storing it, such as while a slider is moved. */
  preview(state) {
    this.state = state;
    return this.draw();
  }

  /** Show the last stored state. */
  settle() {
    return this.preview(this.settled);
  }

  /** Change the chosen slot or its partner, which cannot be undone. */
  turnTo(state) {
    this.settled = state;
    this.share = 0; // fraction of the partner in the chosen slot
    return this.settle();
  }

  /** Store a state, so that it can be undone. */
  commit(state) {
    this.past.push(this.settled);
    return this.turnTo(state);
  }

  /** Change the chosen slot by a function of the state and the slot's id. */
  edit(change) {
    return this.commit(change(this.settled, this.settled.chosen));
  }

  /** Undo the last edit. */
  undo() {
    return this.past.length ? this.turnTo(this.past.pop()) : undefined;
  }

  /** Mix the chosen slot with its partner; consecutive mixtures start from the same slot. */
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

  /** The chosen slot as last stored, and its position; see `find`. */
  get chosen() {
    return slots.find(this.settled, this.settled.chosen);
  }
}
