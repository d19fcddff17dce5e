// The sliders of the chosen slot: one for each latent dimension, with thumbnails of the slot at both ends.

import { among, component } from "./compose.js";
import { byId, element, keyed, paint } from "./dom.js";

const FIRST = 8; // sliders that are shown by default; the others differ less between objects
const FRAMES = 40; // frames of a sweep
const AT_ONCE = 4; // sliders whose thumbnails are computed together; more would delay the page

export class Dimensions {
  /**
   * @param actions callbacks of the page: onPreview(number, value), onSet(number, value), onEnd() of a preview,
   *   isKept(slot), decode(slots)
   */
  constructor(actions) {
    this.actions = actions;
    this.all = false;
    this.held = null; // the slider that is being moved
    this.more = byId("more");
    this.more.onclick = () => {
      this.all = !this.all;
      this.show(this.about, this.slot);
      this.drawEnds(this.neighbors);
    };
  }

  /** Show the sliders of a slot. */
  show(about, slot) {
    this.about = about;
    this.slot = slot;
    const shown = slot ? about.dimensions.slice(0, this.all ? undefined : FIRST) : [];
    keyed(byId("dimensions"), shown, (dimension) => `${about.folder} ${dimension.number}`, (d) => this.row(d), (row, d) => this.update(row, d));
    this.more.hidden = !slot || about.dimensions.length <= FIRST;
    this.more.textContent = this.all ? `Show the first ${FIRST} only` : `Show all ${about.dimensions.length}`;
    this.more.setAttribute("aria-expanded", String(this.all));
  }

  row(dimension) {
    const { number } = dimension;
    const slider = element("input", { type: "range" });
    slider.setAttribute("aria-label", `Dimension ${number}`);
    slider.step = "any"; // so that the slider can show the slot's exact value
    slider.oninput = () => {
      this.held = number;
      this.actions.onPreview(number, Number(slider.value));
    };
    slider.onchange = () => {
      this.held = null;
      this.actions.onSet(number, Number(slider.value));
    };
    const sweep = element("button", { className: "sweep", title: "Sweep this dimension", textContent: "▶" });
    sweep.setAttribute("aria-label", `Sweep dimension ${number}`);
    sweep.onclick = () => this.sweep(dimension);
    const end = () => element("canvas", { className: "end" });
    return element("div", { className: "row" }, element("span", { className: "index", textContent: number }), end(), slider, end(), sweep);
  }

  update(row, { number, low, high }) {
    if (this.held === number) return; // its value is newer than the state
    const value = this.slot.values[number];
    const slider = row.querySelector("input");
    slider.min = Math.min(low, value);
    slider.max = Math.max(high, value);
    slider.value = value;
  }

  /** Sweep a dimension over its range, from its value and back, unless the slot is edited meanwhile. */
  async sweep({ number, low, high }) {
    const { slot } = this;
    const middle = (low + high) / 2;
    const start = slot.values[number] - middle;
    const reach = Math.max((high - low) / 2, Math.abs(start)) || 1;
    const sweep = (this.sweeping = {}); // a later one ends this one
    for (let frame = 1; frame < FRAMES && this.sweeping === sweep && this.actions.isKept(slot); frame++) {
      const angle = Math.asin(start / reach) + (2 * Math.PI * frame) / FRAMES;
      await this.actions.onPreview(number, middle + reach * Math.sin(angle));
      await new Promise(requestAnimationFrame);
    }
    if (this.sweeping === sweep) await this.actions.onEnd();
  }

  /**
   * Draw the slot at both ends of each slider.
   *
   * @param neighbors values of the other slots of its scene
   */
  async drawEnds(neighbors) {
    this.neighbors = neighbors;
    const turn = (this.turn = {}); // a later call ends this one
    const { slot } = this;
    const rows = [...byId("dimensions").children];
    for (let from = 0; slot && from < rows.length; from += AT_ONCE) {
      const group = this.about.dimensions.slice(from, Math.min(from + AT_ONCE, rows.length));
      const variants = group.flatMap(({ number, low, high }) => [low, high].map((value) => {
        const changed = slot.values.slice();
        changed[number] = value;
        return changed;
      }));
      const drawing = await this.actions.decode([...neighbors, ...variants]);
      if (this.turn !== turn) return;
      const others = neighbors.map((_, place) => place);
      variants.forEach((_, v) => {
        const own = among(drawing, [...others, neighbors.length + v]);
        paint(rows[from + (v >> 1)].querySelectorAll(".end")[v & 1], component(own, neighbors.length));
      });
      await new Promise((go) => setTimeout(go)); // let the page respond in between
    }
  }
}
