// The chosen slot: its images, its actions, and its values.

import { colorImage, component, cssColor, maskImage, picture } from "./compose.js";
import { byId, element, keyed, paint } from "./dom.js";
import { find, MOST } from "./slots.js";

const nameOf = (state, id) => {
  const { slot, scene } = find(state, id);
  return `Slot ${slot.number} of scene ${"AB"[scene]}`;
};

export class ToolsView {
  /**
   * @param actions callbacks of the page: undo, reset, hide, remove, duplicate, carry, swap, and onPartner(id),
   *   onMix(share, final)
   */
  constructor(actions) {
    this.actions = actions;
    for (const name of ["undo", "reset", "hide", "remove", "duplicate", "carry", "swap"]) byId(name).onclick = actions[name];
    const slider = byId("mix");
    slider.oninput = () => actions.onMix(slider.value / 100, false);
    slider.onchange = () => actions.onMix(slider.value / 100, true);
  }

  /**
   * Show the chosen slot of a state.
   *
   * @param drawings of scenes A and B
   * @param canUndo whether there is an edit to undo
   * @param share fraction of the partner in the slot
   */
  show(state, drawings, canUndo, share) {
    const found = find(state, state.chosen);
    const partner = find(state, state.partner);
    byId("undo").disabled = !canUndo;
    byId("reset").disabled = state.scenes.every((scene) => scene.slots === scene.original);
    byId("tools-title").querySelector(".name").textContent = found ? nameOf(state, state.chosen) : "No slot is left";
    byId("tools-title").style.setProperty("--slot", found ? cssColor(found.slot.number) : "transparent");
    for (const id of ["hide", "remove"]) byId(id).disabled = !found;
    byId("hide").textContent = found?.slot.hidden ? "Show" : "Hide";
    this.copies(state, found);
    this.views(state, drawings, found);
    this.partners(state, drawings);
    byId("mix").disabled = !partner;
    byId("mix").value = 100 * share;
    document.querySelector("output[for=mix]").value = `${Math.round(100 * share)} %`;
    byId("swap").disabled = !partner;
  }

  /** Enable copies where a scene has fewer than the maximum number of slots. */
  copies(state, found) {
    const full = (scene) => state.scenes[scene].slots.length >= MOST;
    byId("duplicate").disabled = !found || full(found.scene);
    byId("carry").disabled = !found || full(1 - found.scene);
    byId("carry").textContent = `Copy to ${found?.scene === 1 ? "A" : "B"}`;
  }

  views(state, drawings, found) {
    const drawing = found && drawings[found.scene];
    paint(byId("view-component"), found && component(drawing, found.place));
    paint(byId("view-mask"), found && maskImage(drawing, found.place));
    paint(byId("view-color"), found && colorImage(drawing, found.place));
    const hidden = found && state.scenes[found.scene].slots.map((slot) => slot.hidden);
    paint(byId("view-picture"), found && picture(drawing, hidden));
  }

  /** Show all other slots, to mix or swap with. */
  partners(state, drawings) {
    const items = state.scenes.flatMap(({ slots }, scene) => slots.map((slot, place) => ({ slot, scene, place })));
    const others = items.filter(({ slot }) => slot.id !== state.chosen);
    const create = ({ slot, scene }) => {
      const input = element("input", { type: "radio", name: "partner" });
      input.onchange = () => this.actions.onPartner(slot.id);
      input.setAttribute("aria-label", `Slot ${slot.number} of scene ${"AB"[scene]}`);
      const chip = element("label", { className: "chip" }, input, element("canvas"), `${"AB"[scene]}${slot.number}`);
      chip.style.setProperty("--slot", cssColor(slot.number));
      return chip;
    };
    const update = (chip, { slot, scene, place }) => {
      chip.querySelector("input").checked = slot.id === state.partner;
      paint(chip.querySelector("canvas"), component(drawings[scene], place));
    };
    keyed(byId("partners"), others, ({ slot }) => slot.id, create, update);
  }
}
