// From drawings to pixels. A drawing is the result of decode; no function here changes the document.

const COLORS = [
  // the colors of emorl.viz
  [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167], [0, 0, 255],
  [204, 238, 153], [51, 34, 170], [119, 51, 17], [102, 119, 255], [119, 0, 102], [238, 17, 85], [85, 221, 170],
];

/** The color of a slot by its number, which counts from 1. */
export const colorOf = (number) => COLORS[(number - 1) % COLORS.length];
export const cssColor = (number) => `rgb(${colorOf(number).join(" ")})`;

/** The reconstruction: sum of masks times colors. Hidden slots leave holes, with their masks as transparency. */
export function picture(drawing, hidden = []) {
  const { count, size, rgb, masks } = drawing;
  const area = size * size;
  const made = new ImageData(size, size); // rounds and clamps its values
  const shown = [...Array(count).keys()].filter((k) => !hidden[k]);
  const whole = count > 0 && shown.length === count;
  for (let i = 0; i < area; i++) {
    let seen = 0;
    const sum = [0, 0, 0];
    for (const k of shown) {
      const m = masks[k * area + i];
      seen += m;
      for (let c = 0; c < 3; c++) sum[c] += m * rgb[(3 * k + c) * area + i];
    }
    const scale = 255 / (whole ? 1 : Math.max(seen, 1e-6));
    for (let c = 0; c < 3; c++) made.data[4 * i + c] = scale * sum[c];
    made.data[4 * i + 3] = whole ? 255 : 255 * seen;
  }
  return made;
}

/** Make an image of a slot: red, green, blue and alpha from functions of its first pixels in rgb and masks. */
function ofSlot(drawing, k, fill) {
  const area = drawing.size ** 2;
  const made = new ImageData(drawing.size, drawing.size);
  const colors = drawing.rgb.subarray(3 * k * area, 3 * (k + 1) * area);
  const mask = drawing.masks.subarray(k * area, (k + 1) * area);
  for (let i = 0; i < area; i++) fill(made.data, 4 * i, [colors[i], colors[area + i], colors[2 * area + i]], mask[i]);
  return made;
}

/** A slot's component: its colors, with the mask as opacity. */
export const component = remembered((drawing, k) =>
  ofSlot(drawing, k, (data, at, color, mask) => {
    for (let c = 0; c < 3; c++) data[at + c] = 255 * color[c];
    data[at + 3] = 255 * mask;
  }),
);

/** A slot's mask, from black (0) to white (1). */
export const maskImage = (drawing, k) =>
  ofSlot(drawing, k, (data, at, color, mask) => {
    for (let c = 0; c < 3; c++) data[at + c] = 255 * mask;
    data[at + 3] = 255;
  });

/** A slot's colors at every pixel, regardless of its mask. */
export const colorImage = (drawing, k) =>
  ofSlot(drawing, k, (data, at, color) => {
    for (let c = 0; c < 3; c++) data[at + c] = 255 * color[c];
    data[at + 3] = 255;
  });

/** Cache a function's result for a drawing and a slot, which is shown several times, as long as the drawing exists. */
function remembered(make) {
  const known = new WeakMap();
  return (drawing, k) => {
    if (!known.has(drawing)) known.set(drawing, []);
    return (known.get(drawing)[k] ??= make(drawing, k));
  };
}

/** The index of the slot with the largest mask, for every pixel. */
export function winners({ count, size, masks }) {
  const area = size * size;
  const found = new Uint8Array(area);
  for (let k = 1; k < count; k++) {
    for (let i = 0; i < area; i++) if (masks[k * area + i] > masks[found[i] * area + i]) found[i] = k;
  }
  return found;
}

/** Every pixel in the color of the slot with the largest mask, without hidden slots. */
export function segmentation(drawing, slots) {
  const made = new ImageData(drawing.size, drawing.size);
  const paints = slots.map((slot) => [...colorOf(slot.number), slot.hidden ? 0 : 255]);
  if (slots.length) winners(drawing).forEach((k, i) => made.data.set(paints[k], 4 * i));
  return made;
}

const SPECK = 6; // pixels; smaller patches of a slot's area have no outline

/** The lines [x1, y1, x2, y2] around the area in which a slot has the largest mask, without specks. */
export function border(drawing, place) {
  const { size } = drawing;
  const inside = withoutSpecks(winners(drawing).map((k) => (k === place ? 1 : 0)), size);
  const at = (x, y) => x >= 0 && y >= 0 && x < size && y < size && inside[y * size + x];
  const lines = [];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (!at(x, y)) continue;
      if (!at(x - 1, y)) lines.push([x, y, x, y + 1]);
      if (!at(x + 1, y)) lines.push([x + 1, y, x + 1, y + 1]);
      if (!at(x, y - 1)) lines.push([x, y, x + 1, y]);
      if (!at(x, y + 1)) lines.push([x, y + 1, x + 1, y + 1]);
    }
  }
  return lines;
}

/** Remove small connected patches of ones from a map of zeros and ones. */
function withoutSpecks(map, size) {
  const seen = new Uint8Array(map.length);
  for (let start = 0; start < map.length; start++) {
    if (!map[start] || seen[start]) continue;
    const patch = [start];
    seen[start] = 1;
    for (const i of patch) { // grows during the loop
      const x = i % size;
      for (const next of [x > 0 && i - 1, x < size - 1 && i + 1, i >= size && i - size, i + size]) {
        if (next === false || !map[next] || seen[next]) continue;
        seen[next] = 1;
        patch.push(next);
      }
    }
    if (patch.length < SPECK) for (const i of patch) map[i] = 0;
  }
  return map;
}

/** The fraction of pixels on which each slot has the largest mask. */
export function shares(drawing) {
  const counts = new Array(drawing.count).fill(0);
  for (const k of winners(drawing)) if (drawing.count) counts[k] += 1;
  return counts.map((count) => count / drawing.size ** 2);
}

/**
 * Some slots of a drawing, without the others: masks are a softmax over slots, so the masks of a subset are
 * the same numbers, divided by their sum.
 */
export function among(drawing, places) {
  const area = drawing.size ** 2;
  const part = { count: places.length, size: drawing.size };
  part.rgb = new Float32Array(3 * area * places.length);
  part.masks = new Float32Array(area * places.length);
  places.forEach((k, place) => {
    part.rgb.set(drawing.rgb.subarray(3 * k * area, 3 * (k + 1) * area), 3 * place * area);
    part.masks.set(drawing.masks.subarray(k * area, (k + 1) * area), place * area);
  });
  for (let i = 0; i < area; i++) {
    let sum = 0;
    for (let k = 0; k < places.length; k++) sum += part.masks[k * area + i];
    for (let k = 0; k < places.length; k++) part.masks[k * area + i] /= sum || 1;
  }
  return part;
}
