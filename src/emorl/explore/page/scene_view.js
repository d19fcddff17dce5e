// One scene on the page: the selectable images, reconstruction, masks, and a card for each slot.

import { border, component, cssColor, picture, segmentation, shares, winners } from "./compose.js";
import { byId, element, keyed, paint } from "./dom.js";

const OUTLINE = 12; // pixels of the outline canvas per pixel of the image

export class SceneView {
  /**
   * @param number 0 for scene A, 1 for scene B
   * @param actions callbacks of the page: onScene(index), onFiles(files), onChoose(id), onSavePicture(canvas), onSaveSlots()
   */
  constructor(number, actions) {
    this.actions = actions;
    this.root = document.querySelectorAll("section.scene")[number];
    this.root.append(byId("scene-template").content.cloneNode(true));
    this.title = `Scene ${"AB"[number]}`;
    const heading = this.find("h2");
    heading.textContent = this.title;
    heading.id = `scene-${number}`;
    this.find(".gallery").setAttribute("aria-label", `Choose ${this.title}`);
    this.find(".slots").setAttribute("aria-label", `Slots of ${this.title}`);
    this.find(".save-picture").onclick = () => actions.onSavePicture(this.find(".picture"));
    this.find(".save-slots").onclick = () => actions.onSaveSlots();
    this.takeFiles();
    this.find(".stack").onclick = (event) => this.chooseAt(event);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Let the user choose files, or drop them on the scene. */
  takeFiles() {
    const input = this.find("input[type=file]");
    this.find(".own").onclick = () => input.click();
    input.onchange = () => {
      if (input.files.length) this.actions.onFiles([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    };
    const hover = (on) => (event) => {
      event.preventDefault();
      this.root.classList.toggle("hover", on);
    };
    this.root.ondragover = hover(true);
    this.root.ondragleave = hover(false);
    this.root.ondrop = (event) => {
      hover(false)(event);
      this.actions.onFiles([...event.dataTransfer.files]);
    };
  }

  /** Offer the scenes of a model, as bitmaps. */
  offer(scenes) {
    const gallery = this.find(".gallery");
    gallery.querySelectorAll(".thumb").forEach((old) => old.remove());
    scenes.forEach((bitmap, index) => {
      const image = element("canvas", { width: bitmap.width, height: bitmap.height });
      image.getContext("2d").drawImage(bitmap, 0, 0);
      const button = element("button", { className: "thumb", onclick: () => this.actions.onScene(index) }, image);
      button.setAttribute("aria-label", `Scene ${index + 1}`);
      gallery.insertBefore(button, this.find(".own"));
    });
  }

  /** Choose the slot with the largest mask at the pointer. */
  chooseAt(event) {
    const box = this.find(".stack").getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { size } = this.drawing;
    const cell = (at, length) => Math.min(size - 1, Math.max(0, Math.floor((at / length) * size)));
    const slot = this.scene.slots[winners(this.drawing)[cell(y, box.height) * size + cell(x, box.width)]];
    if (slot) this.actions.onChoose(slot.id);
  }

  /** Show a scene and its drawing; chosen is the id of the slot to outline. */
  show(scene, drawing, chosen) {
    const own = scene.slots.some((slot) => slot.id === chosen) ? chosen : null;
    if (this.scene === scene && this.chosen === own) return; // the other scene changed
    [this.scene, this.drawing, this.chosen] = [scene, drawing, own];
    this.find(".source").textContent = scene.source;
    this.find(".gallery").querySelectorAll(".thumb").forEach((thumb, index) => {
      thumb.setAttribute("aria-pressed", String(index === scene.index));
    });
    paint(this.find(".image"), scene.image);
    paint(this.find(".picture"), picture(drawing, scene.slots.map((slot) => slot.hidden)));
    paint(this.find(".segmentation"), segmentation(drawing, scene.slots));
    this.outline(scene.slots.findIndex((slot) => slot.id === own));
    this.cards(own);
  }

  /** Draw the edge of the area in which a slot has the largest mask. */
  outline(place) {
    const { size } = this.drawing;
    const canvas = this.find(".outline");
    canvas.width = canvas.height = size * OUTLINE; // which also clears it
    if (place < 0) return;
    const edges = new Path2D();
    for (const [x1, y1, x2, y2] of border(this.drawing, place)) {
      edges.moveTo(x1 * OUTLINE, y1 * OUTLINE);
      edges.lineTo(x2 * OUTLINE, y2 * OUTLINE);
    }
    const context = canvas.getContext("2d");
    context.lineCap = "square";
    for (const [width, color] of [[5, "white"], [3, cssColor(this.scene.slots[place].number)]]) {
      context.lineWidth = (width * canvas.width) / 560;
      context.strokeStyle = color;
      context.stroke(edges);
    }
  }

  /** Show a card for each slot. */
  cards(chosen) {
    const share = shares(this.drawing);
    const items = this.scene.slots.map((slot, place) => ({ slot, place }));
    const create = ({ slot }) => {
      const card = element("button", { className: "card" }, element("canvas"), element("span", { className: "name" }));
      card.style.setProperty("--slot", cssColor(slot.number));
      card.onclick = () => this.actions.onChoose(slot.id);
      return card;
    };
    const update = (card, { slot, place }) => {
      paint(card.querySelector("canvas"), component(this.drawing, place));
      const percent = slot.hidden ? "hidden" : `${Math.round(100 * share[place])} %`;
      card.querySelector(".name").replaceChildren(`Slot ${slot.number}`, element("small", {}, percent));
      card.classList.toggle("hidden-slot", slot.hidden);
      card.setAttribute("aria-pressed", String(slot.id === chosen));
    };
    keyed(this.find(".slots"), items, ({ slot }) => slot.id, create, update);
  }
}
