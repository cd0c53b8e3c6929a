// The page: which picture is shown, what is pointed at and chosen, keys, theme.

const pictures = new Map(all(".canvas:not([data-frame])").map((canvas) => {
  const level = data.levels.find((each) => each.level === canvas.dataset.level);
  return [level.level, new Picture(canvas, level)];
}));
const opened = new Map(); // pictures in which a closed card is open, by its number; made when first shown
const about = new About();
let shown = data.shown;
let frame = ""; // which card is open
const current = () => (frame ? opened.get(frame) : pictures.get(shown));
const search = new Search(one("#search"), one("#found"), current);

// ---- levels ------------------------------------------------------------------------------------------------------

function showLevel(name) {
  unpin();
  shown = name;
  frame = "";
  for (const canvas of all(".canvas")) canvas.hidden = canvas.dataset.level !== name || "frame" in canvas.dataset;
  for (const twin of all("table[data-level]")) twin.hidden = twin.dataset.level !== name;
  for (const button of all("[data-show]")) {
    const is = button.dataset.show === name;
    button.setAttribute("aria-checked", is);
    button.tabIndex = is ? 0 : -1;
  }
  current().view.resize();
  search.find();
}

for (const button of all("[data-show]")) {
  button.addEventListener("click", () => showLevel(button.dataset.show));
  button.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.stopPropagation();
    const other = all("[data-show]").find((each) => each !== button);
    other?.focus();
    other?.click();
  });
}

// ---- modules that open ---------------------------------------------------------------------------------------------

/** Show what is inside a closed card, in its place; without a number, close again. */
function open(number) {
  unpin();
  const before = current();
  const card = before.main(number.split("/").at(-1)) || before.canvas;
  const place = card.getBoundingClientRect();
  before.canvas.hidden = true;
  frame = number;
  const entry = data.opened.find((each) => each.frame === number);
  const canvas = number ? one(`.canvas[data-frame="${number}"]`) : pictures.get(shown).canvas;
  canvas.hidden = false;
  if (number && !opened.has(number)) {
    for (const image of all("image[data-image]", canvas)) image.setAttribute("href", data.images[image.dataset.image]);
    opened.set(number, connected(new Picture(canvas, entry)));
  }
  const { view } = current();
  view.resize();
  view.scale = before.view.scale;
  view.apply();
  if (!number) return;
  const inside = current().main(entry.first);
  const now = inside.getBoundingClientRect();
  view.pan(place.left + place.width / 2 - now.left - now.width / 2, place.top - now.top);
  inside.focus({ preventScroll: true });
}

for (const button of all(".shut")) button.addEventListener("click", () => open(button.dataset.to));

// ---- pointing and choosing ---------------------------------------------------------------------------------------

let lastCells = null;

function pointAt(target) {
  const picture = current();
  if (lastCells) darkCells(lastCells);
  lastCells = null;
  const card = picture.cardAt(target);
  if (card && target.dataset?.cell && card.cells) {
    lastCells = card;
    const words = lightCells(card, target);
    if (about.pinned) one("#cell-words").textContent = words;
    else about.show([make("p", { id: "cell-words" }, words)], target.closest(".node"), false, true);
    return;
  }
  if (about.pinned) return;
  const link = picture.linkAt(target);
  if (card) about.show(aboutCard(card.data), target.closest(".node"), false);
  else if (link) about.show(aboutLink(link, (id) => picture.cards.get(id).data.name), target.closest(".edge"), false);
  else about.hide();
}

function pin(id) {
  const picture = current();
  picture.choose(id);
  const element = picture.main(id);
  picture.view.show(element);
  const content = [...aboutCard(picture.cards.get(id).data), make("p", { id: "cell-words", class: "says" })];
  const inside = picture.cards.get(id).data.opens;
  if (inside) {
    const button = make("button", { type: "button", class: "unfold" }, "Open");
    button.addEventListener("click", () => open(inside));
    content.splice(2, 0, button);
  }
  about.show(content, element, true);
  const table = one(`table[data-level="${shown}"]`);
  for (const row of all("tbody tr", table)) row.classList.toggle("current", row.dataset.card === id);
}

function unpin() {
  const picture = current();
  const element = picture.chosen && picture.main(picture.chosen);
  const inside = one("#about").contains(document.activeElement);
  picture.release();
  about.hide();
  for (const row of all("tbody tr.current")) row.classList.remove("current");
  if (inside && element) element.focus();
}

about.onClose = unpin;

/** A picture that answers to mouse, fingers and keys. */
function connected(picture) {
  const { canvas, view } = picture;
  canvas.addEventListener("pointerover", (event) => { if (event.pointerType !== "touch" && !view.pointers.size) pointAt(event.target); });
  canvas.addEventListener("pointerleave", () => { if (!about.pinned) about.hide(); });
  canvas.addEventListener("click", (event) => {
    if (view.moved > 4) return;
    const card = picture.cardAt(event.target);
    if (!card) unpin();
    else if (picture.chosen !== card.data.id) pin(card.data.id);
    else if (card.data.opens) return open(card.data.opens);
    else if (!event.target.dataset.cell) unpin();
    if (card) pointAt(event.target);
    return undefined;
  });
  canvas.addEventListener("focusin", (event) => {
    if (!event.target.matches(":focus-visible") || event.target === canvas) return;
    view.show(event.target);
    pointAt(event.target);
  });
  canvas.addEventListener("keydown", (event) => onCanvasKey(event, picture));
  return picture;
}

for (const picture of pictures.values()) connected(picture);

/** On a card: Enter chooses, up and down go to the next; elsewhere the arrows move the picture. */
function onCanvasKey(event, picture) {
  const card = picture.cardAt(event.target);
  const sideways = { ArrowLeft: 60, ArrowRight: -60 }[event.key];
  if (card && (event.key === "Enter" || event.key === " ")) {
    if (picture.chosen !== card.data.id) pin(card.data.id);
    else if (card.data.opens) open(card.data.opens);
    else unpin();
  } else if (card && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const stops = [...picture.cards.keys()].map((id) => picture.main(id)).filter(Boolean);
    stops[stops.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
  } else if (event.target === picture.canvas && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    picture.view.pan(0, event.key === "ArrowDown" ? -60 : 60);
  } else if (event.target === picture.canvas && sideways && !data.film) {
    picture.view.pan(sideways, 0);
  } else {
    return;
  }
  event.preventDefault();
}

// ---- the bar -----------------------------------------------------------------------------------------------------

const ZOOMS = { in: () => current().view.zoom(1.3), out: () => current().view.zoom(1 / 1.3), fit: () => current().view.fit() };
for (const button of all("[data-zoom]")) button.addEventListener("click", () => ZOOMS[button.dataset.zoom]());

one("#theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  document.dispatchEvent(new Event("theme"));
});

one("#state").addEventListener("click", () => {
  const box = one("#findings");
  box.hidden = !box.hidden;
  one("#state").setAttribute("aria-expanded", !box.hidden);
  measureRoom();
});

for (const button of all("#findings [data-where]")) {
  button.addEventListener("click", () => {
    const { where } = button.dataset;
    const cards = [...current().cards.values()].map((card) => card.data);
    const card = cards.find((each) => each.path === where || each.name === where)
      || cards.find((each) => each.marks.some((mark) => mark.message.startsWith(`${where}:`))); // inside a closed one
    if (card) pin(card.id);
  });
}

// ---- the table ---------------------------------------------------------------------------------------------------

for (const table of all("table[data-level]")) {
  makeSortable(table);
  for (const row of all("tbody tr", table)) {
    row.addEventListener("click", () => {
      if (frame) open("");
      one("header").scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
      pin(row.dataset.card);
    });
  }
}

// ---- keys --------------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape") {
    if (!about.box.hidden) unpin();
    else if (frame) open(frame.split("/").slice(0, -1).join("/"));
  } else if (typing) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    one("#search").focus();
  } else if (event.key === "+" || event.key === "=") {
    ZOOMS.in();
  } else if (event.key === "-") {
    ZOOMS.out();
  } else if (event.key === "0") {
    ZOOMS.fit();
  } else if (event.key === "m" || event.key === "o") {
    const level = { m: "module", o: "op" }[event.key];
    if (pictures.has(level)) showLevel(level);
  }
});

/** The picture takes what the bars leave of the window, and a little less, so that the table shows that it is there. */
function measureRoom() {
  const bars = all("header, .banner, .note, #findings, .film").reduce((sum, bar) => sum + bar.offsetHeight, 0);
  document.documentElement.style.setProperty("--taken", `${bars + 46}px`);
}

addEventListener("resize", measureRoom);
measureRoom();
showLevel(shown);
