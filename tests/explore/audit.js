// Returns what makes the page hard to read or to use, one line each, as it is now shown.
(smallestTarget) => {
  const CONTRAST = 4.5; // WCAG 2, level AA
  const SMALLEST_FONT = 12; // pixels
  const found = new Set();
  const width = document.documentElement.clientWidth;
  const named = (element, text) => `${element.tagName.toLowerCase()}.${element.className} “${text.trim().slice(0, 30)}”`;

  if (document.documentElement.scrollWidth > width) found.add("the page scrolls sideways");

  const rgba = (css) => [...css.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (top, below) => [0, 1, 2].map((c) => top[c] * top[3] + below[c] * (1 - top[3]));
  const ancestors = (element) => (element ? [...ancestors(element.parentElement), element] : []);
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element) => {
    const styles = ancestors(element).map((each) => getComputedStyle(each));
    const back = styles.reduce((below, style) => over(rgba(style.backgroundColor), below), [255, 255, 255]);
    const ink = rgba(getComputedStyle(element).color);
    ink[3] *= styles.reduce((product, style) => product * style.opacity, 1);
    const [dark, light] = [luminance(over(ink, back)), luminance(back)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };

  const visible = (element) => {
    const { left, right } = element.getBoundingClientRect();
    const inside = right > 0 && left < width; // a closed menu is not
    return inside && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  };

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { textContent: text, parentElement: element } = texts.currentNode;
    if (!text.trim() || !visible(element)) continue;
    const ratio = contrast(element);
    if (ratio < CONTRAST) found.add(`contrast ${ratio.toFixed(1)}: ${named(element, text)}`);
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (size < SMALLEST_FONT) found.add(`${size} px: ${named(element, text)}`);
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    const [inner, outer] = [range, element.closest("button, label, figcaption, .name") ?? element].map((e) => e.getBoundingClientRect());
    if (inner.left < outer.left - 1 || inner.right > outer.right + 1) found.add(`wider than its place: ${named(element, text)}`);
  }

  for (const control of document.querySelectorAll("button, input[type=range], .chip")) {
    const { width: across, height: down } = control.getBoundingClientRect();
    const shown = control.checkVisibility() && Math.min(across, down) < smallestTarget;
    if (shown) found.add(`${across.toFixed(0)} x ${down.toFixed(0)}: ${named(control, control.innerText)}`);
  }
  return [...found];
}
