// The page: loads the models, and connects the user's actions with the display.

import { shares } from "./compose.js";
import { Dimensions } from "./dimensions.js";
import { byId, element } from "./dom.js";
import { Editor } from "./editor.js";
import { fit, Mistake, readFiles } from "./images.js";
import { fetched, loadModel } from "./runtime.js";
import { savePicture, saveSlots } from "./save.js";
import { SceneView } from "./scene_view.js";
import * as slots from "./slots.js";
import { ToolsView } from "./tools_view.js";

const BACKGROUND = 0.4; // a slot that covers a larger fraction of the image is the background

const main = document.querySelector("main");
const editor = new Editor(draw);
let about; // the model's entry in meta.json
let model; // see loadModel

/** The model, and what is shown; for tests. */
export const current = () => ({ about, model, state: editor.state });

// Actions

const say = (text) => (byId("status").textContent = text);

/** An edit of the chosen slot, and its status message. */
const edit = (change, told = () => "") => () => {
  const found = editor.chosen;
  editor.edit(change);
  say(told(found));
};

const carried = (state, id) => slots.copy(state, id, 1 - slots.find(state, id).scene);
const duplicated = (state, id) => slots.copy(state, id, slots.find(state, id).scene);

function swap() {
  const { scene } = slots.find(editor.settled, editor.settled.partner);
  const same = scene === editor.chosen.scene;
  editor.edit((state, id) => slots.swap(state, id, state.partner));
  say(same ? "Swapped: the order of a scene's slots does not matter, so the image does not change." : "Swapped.");
}

const tools = new ToolsView({
  undo: () => {
    editor.undo();
    say("Undone.");
  },
  reset: edit(slots.reset, () => "All changes are reverted."),
  hide: edit(slots.toggleHidden, ({ slot }) => (slot.hidden ? "" : "Hidden: the slot's mask is a hole in the image.")),
  remove: edit(slots.remove, () => "Removed: the other slots fill its pixels."),
  duplicate: edit(duplicated, () => "Duplicated: the copy covers the original until you change its values."),
  carry: edit(carried, ({ scene }) => `Copied: this is the new slot in scene ${"BA"[scene]}.`),
  swap,
  onPartner: (id) => editor.turnTo(slots.choosePartner(editor.settled, id)),
  onMix: (share, final) => editor.mix(share, final),
});

const dimensions = new Dimensions({
  onPreview: (index, value) => editor.preview(slots.setNumber(editor.settled, editor.settled.chosen, index, value)),
  onSet: (index, value) => edit((state, id) => slots.setNumber(state, id, index, value))(),
  onEnd: () => editor.settle(),
  isKept: (slot) => editor.chosen?.slot === slot,
  decode: (values) => model.decode(values),
});

const views = [0, 1].map((number) => new SceneView(number, {
  onScene: (index) => guarded(() => place(number, sceneOf(index))),
  onFiles: (files) => guarded(() => place(number, readFiles(files, about.image_size))),
  onChoose: (id) => editor.turnTo(slots.choose(editor.settled, id)),
  onSavePicture: (canvas) => savePicture(canvas, `scene_${"ab"[number]}.png`),
  onSaveSlots: () => saveSlots(about, editor.settled.scenes[number], `scene_${"ab"[number]}.json`),
}));

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z") {
    event.preventDefault();
    byId("undo").click();
  }
});

// Messages remain until the next action.
main.addEventListener("click", () => {
  byId("message").hidden = true;
  say("");
}, true);

// A file dropped outside of the scenes goes to scene A; by default the browser would open it instead of the page.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!event.defaultPrevented) guarded(() => place(0, readFiles([...event.dataTransfer.files], about.image_size)));
  event.preventDefault();
});

// Scenes and models

/** A scene that comes with the model. */
function sceneOf(index) {
  return { ...fit(model.scenes[index], about.image_size, `${about.data}, scene ${index + 1}`), index };
}

/** Encode an image, as a scene. */
async function encoded(image) {
  const { pixels, ...scene } = { index: null, ...(await image) };
  const found = slots.numbered(await model.encode(pixels));
  return { ...scene, original: found, slots: found };
}

const latest = [null, null]; // the image asked for last, of each scene

/** Show another image in a scene, unless a newer one is requested before it is encoded. */
async function place(number, image) {
  latest[number] = image;
  say("");
  const scene = await encoded(image);
  if (latest[number] === image) await editor.commit(slots.placeScene(editor.settled, number, scene));
}

/** Show two scenes of a model. */
async function start(entry) {
  main.setAttribute("aria-busy", "true");
  main.inert = true;
  byId("about").textContent = `Loading ${entry.title}…`;
  try {
    model = await loadModel(entry);
    about = entry;
    await open();
  } finally {
    main.inert = !editor.state; // if no model was loaded
    main.setAttribute("aria-busy", "false");
  }
}

/** Show the model's sizes, if there is one, instead of what is loaded. */
function describe() {
  const { network, num_slots: count, slot_dim: dim, image_size: size } = about ?? {};
  byId("about").textContent = about ? `${network}: ${count} slots of ${dim} numbers, images of ${size} × ${size} pixels.` : "";
}

async function open() {
  latest.fill(null);
  const scenes = [];
  for (const index of about.start) scenes.push(await encoded(sceneOf(index)));
  const [chosen, partner] = [await largestObject(scenes[0]), await largestObject(scenes[1])];
  views.forEach((view) => view.offer(model.scenes));
  for (const button of byId("models").children) button.setAttribute("aria-pressed", String(button.entry === about));
  describe();
  const order = "Those that differ most between objects come first; the thumbnails show the slot at both ends.";
  byId("numbers-hint").textContent = `A slot has ${about.slot_dim} dimensions. ${order}`;
  say("");
  await editor.open({ scenes, chosen, partner });
}

/** Return the id of the slot that covers the largest part of a scene, except the background. */
async function largestObject(scene) {
  const parts = shares(await drawingOf(scene)).map((part) => (part < BACKGROUND ? part : 0));
  return scene.slots[parts.indexOf(Math.max(...parts))].id;
}

// Drawing

const drawings = new WeakMap(); // by a scene's list of slots, which no edit changes in place
let drawing = null; // the promise of the current drawing
let ends = null; // the slot whose slider thumbnails are drawn

async function drawingOf(scene) {
  if (!drawings.has(scene.slots)) drawings.set(scene.slots, await model.decode(scene.slots.map((slot) => slot.values)));
  return drawings.get(scene.slots);
}

/** Update the page; calls during an update cause one further update, with the latest state. */
function draw() {
  main.setAttribute("aria-busy", "true");
  drawing ??= drawUntilDone();
  return drawing;
}

async function drawUntilDone() {
  try {
    for (let shown = null; shown !== editor.state; ) {
      shown = editor.state;
      await drawOnce(shown);
    }
  } catch (error) {
    report(error);
  }
  drawing = null;
  main.setAttribute("aria-busy", "false");
}

async function drawOnce(shown) {
  const both = [await drawingOf(shown.scenes[0]), await drawingOf(shown.scenes[1])];
  views.forEach((view, number) => view.show(shown.scenes[number], both[number], shown.chosen));
  tools.show(shown, both, editor.past.length > 0, editor.share);
  const found = slots.find(shown, shown.chosen);
  dimensions.show(about, found?.slot ?? null);
  if (shown === editor.settled && found && found.slot !== ends) {
    ends = found.slot;
    const others = shown.scenes[found.scene].slots.filter((slot) => slot !== found.slot);
    dimensions.drawEnds(others.map((slot) => slot.values));
  }
}

// Start

function report(error) {
  byId("message").textContent = error instanceof Mistake ? error.message : `Error: ${error.message}`;
  byId("message").hidden = false;
  describe();
}

/** Run an action, and show a one-sentence message if it fails. */
async function guarded(action) {
  byId("message").hidden = true;
  try {
    await action();
  } catch (error) {
    report(error);
  }
}

await guarded(async () => {
  const meta = await (await fetched("meta.json")).json();
  for (const entry of meta.models) {
    byId("models").append(element("button", { textContent: entry.title, entry, onclick: () => guarded(() => start(entry)) }));
  }
  byId("models").hidden = meta.models.length < 2;
  await start(meta.models[0]);
  for (const entry of meta.models) await loadModel(entry); // from here on no network is needed
});
