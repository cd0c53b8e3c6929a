// What all parts of the page share: its data, short names, and numbers in words as the picture writes them.

const data = JSON.parse(document.getElementById("data").textContent);
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** A new element with attributes, and children that are elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A new SVG element with attributes. */
function draw(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** 0.027, 7.5e-3, 4200; words such as NaN stay words. */
function number(value, digits = 2) {
  if (value === null || value === undefined) return "n/a";
  if (typeof value === "string" || value === 0) return String(value);
  const size = Math.abs(value);
  if (size >= 0.01 && size < 10000) return String(Number(value.toPrecision(digits)));
  const [mantissa, exponent] = value.toExponential(1).split("e");
  return `${mantissa}e${Number(exponent)}`;
}

/** A gain: ×1.33, ×2.8e-3. */
function factor(value) {
  if (value === null || value === undefined) return "";
  return `×${value >= 0.095 && value < 100 ? value.toFixed(2) : number(value)}`;
}

/** The size of an update against its weight: 10^-2.5 with its glyph. */
function updateWords(ratio) {
  if (ratio === null || ratio === undefined) return "n/a";
  if (typeof ratio === "string") return ratio;
  const decade = Math.log10(ratio);
  const glyph = decade > -2 ? "▲" : decade < -4 ? "▼" : "●";
  return ratio > 0 ? `10^${decade.toFixed(1)} ${glyph}` : "0 ▼";
}
