// Small helpers for the document.

export const byId = (id) => document.getElementById(id);

/** Make an element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Show a list of items as children of a container, one each, in order. Children of unchanged items are reused, so that
 * they keep the keyboard focus.
 *
 * @param create makes the child of an item
 * @param update updates the child of an item
 */
export function keyed(container, items, key, create, update) {
  const old = new Map([...container.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const name = String(key(item));
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    if (container.children[place] !== child) container.insertBefore(child, container.children[place] ?? null);
    update(child, item);
  });
  for (const child of old.values()) child.remove();
}

/** Draw pixels on a canvas and set its size; without pixels, clear it. */
export function paint(canvas, pixels) {
  if (!pixels) {
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    canvas.width = pixels.width;
    canvas.height = pixels.height;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
