// The exported model in onnxruntime-web: from an image to slots, and from slots to a drawing.

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // several threads would need headers that static hosts do not send
ort.env.logLevel = "error";

const loaded = new Map(); // promises of models, by their entries in meta.json

/**
 * Load a model, unless it is already loaded.
 *
 * @param about its entry in meta.json
 * @returns {encode, decode, scenes}:
 *   encode(pixels): [3 * H * W] floats in [0, 1] to an array of K slots, each a Float32Array of D numbers;
 *   decode(slots): any number of slots to {count, size, rgb, masks}, floats of shape [K, 3, H, W] and [K, H, W],
 *   whose masks sum to one at every pixel;
 *   scenes: bitmaps
 */
export function loadModel(about) {
  if (!loaded.has(about)) loaded.set(about, create(about));
  loaded.get(about).catch(() => loaded.delete(about)); // so that loading can be retried
  return loaded.get(about);
}

/** Fetch a file of the page. */
export async function fetched(url) {
  const answer = await fetch(url).catch(() => {
    throw new Error(`${url} was not loaded, because the server does not respond.`);
  });
  if (!answer.ok) throw new Error(`${url} is missing on the server.`);
  return answer;
}

/** Prepare a graph to run. */
async function session(graph) {
  return ort.InferenceSession.create(graph).catch(() => {
    throw new Error("the model did not start, because WebAssembly or part of a file is missing.");
  });
}

async function create(about) {
  const graph = async (name) => new Uint8Array(await (await fetched(`${about.folder}/${name}.onnx`)).arrayBuffer());
  const scene = async (name) => createImageBitmap(await (await fetched(`${about.folder}/scenes/${name}`)).blob());
  const graphs = [graph("encode"), graph("decode")];
  const [encoding, decoding, ...scenes] = await Promise.all([...graphs, ...about.scenes.map(scene)]);
  const encoder = await session(encoding);
  const decoder = await session(decoding);
  const { image_size: size, slot_dim: dim } = about;

  async function encode(pixels) {
    const images = new ort.Tensor("float32", pixels, [1, 3, size, size]);
    const { slots } = await inTurn(() => encoder.run({ images }, ["slots"]));
    return Array.from({ length: slots.dims[1] }, (_, k) => slots.data.slice(k * dim, (k + 1) * dim));
  }

  async function decode(slots) {
    const count = slots.length;
    if (count === 0) return { count, size, rgb: new Float32Array(), masks: new Float32Array() };
    const flat = new Float32Array(count * dim);
    slots.forEach((values, k) => flat.set(values, k * dim));
    const input = new ort.Tensor("float32", flat, [1, count, dim]);
    const { rgb, masks } = await inTurn(() => decoder.run({ slots: input }, ["rgb", "masks"]));
    return { count, size, rgb: rgb.data, masks: masks.data };
  }

  return { encode, decode, scenes };
}

let last = Promise.resolve();

/** Run one computation at a time, in the order of the calls, because the runtime does not allow concurrent ones. */
function inTurn(compute) {
  const result = last.then(compute);
  last = result.catch(() => {});
  return result;
}
