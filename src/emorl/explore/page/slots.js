// Edits of scenes as pure functions, which return a new state and change nothing in place.
//
// state:  {scenes: [scene A, scene B], chosen: slot id or null, partner: slot id or null}
// scene:  {image, source, original: slots as encoded, slots}
// slot:   {id, number, values: Float32Array, hidden}. The id is unique on the page, the number within the scene.

export const MOST = 16; // maximum number of slots in a scene

let ids = 0;

/** Number the slots of a new scene. */
export const numbered = (values) => values.map((each, k) => ({ id: ++ids, number: k + 1, values: each, hidden: false }));

/** Return {slot, scene, place} of an id, where scene and place are indices, or null. */
export function find(state, id) {
  for (const [scene, { slots }] of state.scenes.entries()) {
    const place = slots.findIndex((slot) => slot.id === id);
    if (place >= 0) return { slot: slots[place], scene, place };
  }
  return null;
}

const withScene = (state, number, change) => ({
  ...state,
  scenes: state.scenes.map((scene, other) => (other === number ? { ...scene, ...change } : scene)),
});

const withSlots = (state, number, slots) => withScene(state, number, { slots });

/** Change a slot's properties. */
export function change(state, id, properties) {
  const { scene } = find(state, id);
  const slots = state.scenes[scene].slots.map((slot) => (slot.id === id ? { ...slot, ...properties } : slot));
  return withSlots(state, scene, slots);
}

/** Show another image in a scene, and choose its first object if the chosen slot was in the replaced scene. */
export function placeScene(state, number, scene) {
  return choosePresent(withScene(state, number, scene), scene);
}

/** Keep the choices of slots that are still there; else choose the first slot of a scene, and no partner. */
function choosePresent(state, scene) {
  const present = (id) => (find(state, id) ? id : null);
  return choose({ ...state, partner: present(state.partner) }, present(state.chosen) ?? scene.slots[0]?.id ?? null);
}

export const choose = (state, id) => ({ ...state, chosen: id, partner: state.partner === id ? null : state.partner });
export const choosePartner = (state, id) => ({ ...state, partner: id });
export const toggleHidden = (state, id) => change(state, id, { hidden: !find(state, id).slot.hidden });

/** Remove a slot from its scene, and choose its neighbor. */
export function remove(state, id) {
  const { scene, place } = find(state, id);
  const slots = state.scenes[scene].slots.filter((slot) => slot.id !== id);
  const chosen = (slots[place] ?? slots.at(-1))?.id ?? state.scenes[1 - scene].slots[0]?.id ?? null;
  return choose(withSlots(state, scene, slots), chosen);
}

/** Add a copy of a slot to a scene, which may be the slot's scene, and choose it. */
export function copy(state, id, scene) {
  const { slots } = state.scenes[scene];
  const number = Math.max(0, ...slots.map((slot) => slot.number)) + 1;
  const made = { ...find(state, id).slot, id: ++ids, number, hidden: false };
  return choose(withSlots(state, scene, [...slots, made]), made.id);
}

/** Exchange the values of two slots. */
export function swap(state, id, other) {
  const [first, second] = [find(state, id).slot, find(state, other).slot];
  return change(change(state, id, { values: second.values }), other, { values: first.values });
}

/** Set one value of a slot. */
export function setNumber(state, id, index, value) {
  const values = find(state, id).slot.values.slice();
  values[index] = value;
  return change(state, id, { values });
}

/** Mix a slot with another one: (1 - t) times its values plus t times the other's. */
export function mix(state, id, other, t) {
  const [own, theirs] = [find(state, id).slot.values, find(state, other).slot.values];
  return change(state, id, { values: own.map((value, index) => (1 - t) * value + t * theirs[index]) });
}

/** Undo all edits of both scenes. */
export function reset(state) {
  const scenes = state.scenes.map((scene) => ({ ...scene, slots: scene.original }));
  return choosePresent({ ...state, scenes }, scenes[0]);
}
