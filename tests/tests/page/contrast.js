// The text with the least contrast against the ground behind it (WCAG 2.2, relative luminance).
const channels = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = channels(getComputedStyle(e).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
let worst = { ratio: 21 };
for (const element of document.querySelectorAll("body *:not(svg *):not(noscript):not(script)")) {
  const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!hasText || !element.checkVisibility()) continue;
  const text = luminance(channels(getComputedStyle(element).color));
  const behind = luminance(ground(element));
  const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
  if (ratio < worst.ratio) worst = { ratio, text: element.textContent.slice(0, 40), class: element.className };
}
return worst;
