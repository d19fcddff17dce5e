// Downloads: the picture as PNG, the slots as JSON.

const SIDE = 512; // images are enlarged by an integer factor up to this number of pixels

/** Download a canvas, enlarged without smoothing. */
export async function savePicture(canvas, name) {
  const factor = Math.max(1, Math.ceil(SIDE / canvas.width));
  const large = new OffscreenCanvas(factor * canvas.width, factor * canvas.height);
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, large.width, large.height);
  download(await large.convertToBlob({ type: "image/png" }), name);
}

/** Download a scene's slots. */
export function saveSlots(about, scene, name) {
  const slots = scene.slots.map(({ number, hidden, values }) => ({ number, hidden, values: [...values] }));
  const content = { model: about.title, network: about.network, image_size: about.image_size, scene: scene.source, slots };
  download(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }), name);
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser has read it by then
}
