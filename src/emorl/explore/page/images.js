// From image files to the model's input: floats in [0, 1], [3 * size * size].

/** A user error, described in one sentence. */
export class Mistake extends Error {}

/**
 * Read the user's image: its centered square, resized.
 *
 * @param files a FileList with one image
 */
export async function readFiles(files, size) {
  if (files.length === 0) throw new Mistake("Only image files can be opened: drop a PNG, JPEG or WebP file.");
  if (files.length > 1) throw new Mistake(`A scene takes one image, but you gave ${files.length} files: drop one.`);
  const [file] = files;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Mistake(`“${file.name}” is not an image that this browser can read: choose a PNG, JPEG or WebP file.`);
  }
  const { width, height } = bitmap;
  const side = Math.min(width, height);
  const cut = width === height ? "" : `, the central ${side} × ${side} of ${width} × ${height} pixels`;
  const resized = side === size ? "" : `, resized to ${size} × ${size}`;
  return fit(bitmap, size, `${file.name}${cut}${resized}`);
}

/** Crop a bitmap to its centered square, resize it, and return {image, pixels, source}. */
export function fit(bitmap, size, source) {
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const side = Math.min(bitmap.width, bitmap.height);
  context.fillStyle = "white"; // where the image is transparent
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, size, size);
  const image = context.getImageData(0, 0, size, size);
  const area = size * size;
  const pixels = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) pixels[c * area + i] = image.data[4 * i + c] / 255;
  return { image, pixels, source };
}
