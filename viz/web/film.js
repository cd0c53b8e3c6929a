// The film: a frame is the numbers of one recorded step; showing it changes lines, words, images and badges in place.

const DECADES = [-3, -1.5, 0, 1, 2, 3]; // where the colours of the ramp stand
const SPEEDS = [1, 2, 4, 0.5];

class Film {
  constructor(picture, film) {
    this.picture = picture;
    this.film = film;
    this.last = film.steps.length - 1;
    this.frame = -1;
    this.time = 0; // in frames, with fractions while it plays
    this.playing = false;
    this.speed = 1;
    this.lines = picture.links.map((link, i) => this.lineOf(link, film.links[i]));
    this.cards = picture.level.cards.map((card, i) => new FilmCard(this, picture.cards.get(card.id), film.cards[i]));
    this.placeWords();
    this.slider = one("#time");
    Object.assign(this.slider, { min: film.steps[0], max: film.steps[this.last], step: 1 });
    this.curve = new Curve(one("#curve"), one("#flags"), film, (event) => this.visit(event));
    this.listen();
    this.seek(0);
  }

  // ---- what is drawn ----

  lineOf(link, column) {
    const group = link.elements.find((element) => element.id.endsWith("-g"));
    const moving = group && column.flow.some((flow) => flow !== null);
    return moving ? { path: one("path", group), heads: all("polygon", group), words: null, column } : null;
  }

  /** The words beside the lines stand first in the card that they arrive at, one for each line. */
  placeWords() {
    const arriving = new Map();
    this.picture.links.forEach((link, i) => arriving.set(link.target, [...(arriving.get(link.target) || []), i]));
    for (const [id, indices] of arriving) {
      const texts = all("text", this.picture.main(id));
      indices.forEach((index, place) => {
        const tail = / to .*$/.exec(texts[place].textContent.replaceAll("\u00a0", " "))?.[0] || "";
        if (this.lines[index]) Object.assign(this.lines[index], { words: texts[place], tail });
      });
    }
    const facts = all(".cluster text", this.picture.svg).find((text) => plainText(text) === squeezed(this.film.facts));
    if (!facts) return;
    facts.setAttribute("x", Number(facts.getAttribute("x")) + facts.getBBox().width / 2);
    facts.setAttribute("text-anchor", "middle");
    this.facts = facts;
  }

  /** Lines between two frames are between their sizes; words and marks are those of the earlier one. */
  seek(time) {
    this.time = Math.min(this.last, Math.max(0, time));
    const frame = Math.floor(this.time + 1e-6);
    const part = this.time - frame;
    const next = Math.min(this.last, frame + 1);
    this.lines.forEach((line) => line && this.drawLine(line, frame, next, part));
    if (frame !== this.frame) this.showFrame(frame);
    const step = this.film.steps[frame] + part * (this.film.steps[next] - this.film.steps[frame]);
    this.slider.value = step;
    this.curve.move(step);
  }

  drawLine(line, frame, next, part) {
    const { flow } = line.column;
    const [a, b] = [this.decades(flow[frame], frame), this.decades(flow[next], next)];
    const tints = data.themes[isDark() ? "dark" : "light"];
    if (typeof flow[frame] === "string") return paint(line, tints.ink, 3, true);
    if (a === null) return paint(line, tints.stopped, 1, true);
    const size = b === null || a === -Infinity || b === -Infinity || typeof flow[next] === "string" ? a : a + part * (b - a);
    return paint(line, rampColour(tints.ramp, size), lineWidth(size), size < -2);
  }

  /** log10 of a flow over that at the model's output. */
  decades(flow, frame) {
    const reference = this.film.reference[frame];
    if (typeof flow !== "number" || typeof reference !== "number" || reference <= 0) return null;
    return flow > 0 ? Math.log10(flow / reference) : -Infinity;
  }

  showFrame(frame) {
    this.frame = frame;
    const { film } = this;
    for (const line of this.lines) {
      if (!line?.words) continue;
      const [flow, gain] = [line.column.flow[frame], line.column.gain[frame]];
      const words = flow === null ? "no gradient came" : typeof flow === "string" ? flow : `‖∂L‖ ${number(flow)}  ${factor(gain)}`;
      setText(line.words, (line.tail ? words.replace("‖∂L‖ ", "") : words).trimEnd() + line.tail);
    }
    for (const card of this.cards) card.show(frame);
    this.showMaps(frame);
    const facts = [`step ${film.steps[frame]}`];
    if (film.loss[frame] !== null) facts.push(`loss ${number(film.loss[frame], 3)}`);
    if (film.lr[frame] !== null) facts.push(`lr ${number(film.lr[frame], 3)}`);
    if (film.batch[frame] !== null) facts.push(`batch ${film.batch[frame]}`);
    if (this.facts) setText(this.facts, facts.join("     "));
    const loss = film.loss[frame] !== null ? ` · loss ${number(film.loss[frame], 3)}` : "";
    one("#now").value = `step ${film.steps[frame]} of ${film.losses.length - 1}${loss}`;
    this.slider.setAttribute("aria-valuetext", facts.join(", "));
    this.showEvent(frame);
    if (!this.playing) this.settle();
  }

  /** Thumbnails of the newest step that kept some. */
  showMaps(frame) {
    const maps = this.film.maps.filter((each) => each.frame <= frame).at(-1);
    if (!maps || maps === this.maps) return;
    this.maps = maps;
    for (const card of this.cards) card.showMaps(maps.cards[card.data.id] || {});
  }

  /** The newest event; of several in one frame the first, and how many more. */
  showEvent(frame) {
    const past = this.film.events.filter((event) => event.frame <= frame);
    const now = past.filter((event) => event.frame === past.at(-1).frame);
    const more = now.length > 1 ? ` and ${now.length - 1} more` : "";
    const content = now.length ? [badge(now[0]), ` step ${now[0].step}: ${now[0].where}: ${now[0].message}${more}`] : [];
    one("#event").replaceChildren(...content);
  }

  /** What need not keep up while it plays: the table, and what is read aloud. */
  settle() {
    for (const card of this.cards) card.settle();
    refreshAbout();
  }

  // ---- time ----

  play() {
    if (this.time >= this.last) this.seek(0);
    this.playing = true;
    this.then = performance.now();
    this.showPlay();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    this.playing = false;
    this.showPlay();
    this.seek(this.frame);
    this.settle();
  }

  showPlay() {
    const button = one("#play");
    button.textContent = this.playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    button.setAttribute("aria-pressed", this.playing);
  }

  /** All of it in 6 to 30 seconds; without motion, from one recorded step to the next. */
  tick(now) {
    if (!this.playing) return;
    const seconds = Math.min(30, Math.max(6, this.last / 10));
    const time = this.time + ((now - this.then) / 1000) * this.speed * (this.last / seconds);
    this.then = now;
    this.exact = (this.exact ?? this.time) + (time - this.time);
    this.time = this.exact;
    this.seek(calm.matches ? Math.floor(this.exact) : this.exact);
    if (this.exact >= this.last) {
      this.exact = undefined;
      this.seek(this.last);
      this.pause();
    } else {
      requestAnimationFrame((then) => this.tick(then));
    }
  }

  go(frame) {
    this.exact = undefined;
    this.seek(Math.min(this.last, Math.max(0, frame)));
    if (!this.playing) this.settle();
  }

  visit(event) {
    this.pause();
    this.go(event.frame);
    pin(event.card);
  }

  /** The frame whose step is nearest. */
  nearest(step) {
    let best = 0;
    this.film.steps.forEach((each, i) => { if (Math.abs(each - step) < Math.abs(this.film.steps[best] - step)) best = i; });
    return best;
  }

  listen() {
    one("#play").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    one("#speed").addEventListener("click", (event) => {
      this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
      event.target.textContent = `${this.speed}×`.replace("0.5", "½");
    });
    this.slider.addEventListener("input", () => {
      if (this.playing) this.pause();
      this.go(this.nearest(Number(this.slider.value)));
    });
    document.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("theme", () => this.go(this.frame));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.go(this.frame));
  }

  onKey(event) {
    const to = { ArrowLeft: this.frame - 1, ArrowRight: this.frame + 1, Home: 0, End: this.last }[event.key];
    const typing = event.target.matches("input:not([type=range]), textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (to !== undefined) {
      if (this.playing) this.pause();
      this.go(to);
    } else if (event.key === " " && !event.target.closest("button, a, .node")) {
      if (this.playing) this.pause();
      else this.play();
    } else {
      return;
    }
    event.preventDefault();
  }
}

// ---- one card ----------------------------------------------------------------------------------------------------

/** The parts of a card that change: numbers in its words, its images, its badge. */
class FilmCard {
  constructor(film, card, column) {
    this.film = film;
    this.data = card.data;
    this.column = column;
    this.element = film.picture.main(card.data.id);
    this.texts = this.element ? all("text", this.element) : [];
    this.images = this.element ? all("image", this.element) : [];
    this.body = this.element && all("path", this.element)[0];
    this.row = one(`table[data-level="${film.picture.level.level}"] tr[data-card="${card.data.id}"]`);
    this.rms = this.texts.findIndex((text) => plainText(text).includes("∇rms"));
    this.update = this.texts.findIndex((text, i) => i > this.rms && this.rms >= 0 && /^(10\^[-−]?[\d.]+|0|n\/a)$/.test(plainText(text)));
    this.scales = this.texts.map((_, i) => i).filter((i) => this.isScale(i));
    this.blocks = this.texts.findIndex((text) => /^[▁-█]+$/.test(plainText(text)));
    this.passing = this.texts.findIndex((text) => plainText(text).includes("of units pass"));
    this.value = this.texts.findIndex((text) => plainText(text).startsWith("L = "));
    this.tail = this.texts[this.value]?.textContent;
    this.shown = "";
    for (const i of this.scales) alignRight(this.texts[i]);
  }

  show(frame) {
    const { column, data: card } = this;
    const lead = card.parameters.find((parameter) => parameter.shape.includes("×")) || card.parameters[0];
    const rms = column.rms[frame];
    if (lead?.gradient && rms !== null) {
      lead.update = column.update[frame];
      lead.gradient = typeof rms === "string" ? { bad: rms } : { rms };
    }
    if (this.rms >= 0) this.showUpdate(rms, column.update[frame]);
    if (this.passing >= 0 && column.active[frame]) this.showPassing(column.active[frame]);
    if (this.value >= 0 && this.film.film.loss[frame] !== null) {
      const tail = this.tail.replace(/^L = \S+/, "");
      setText(this.texts[this.value], `L = ${number(this.film.film.loss[frame], 4)}${tail}`);
    }
    const flow = column.flow[frame];
    card.gradient = flow === null ? null : typeof flow === "string" ? { bad: flow } : { flow };
    card.gain = column.gain[frame];
    card.decades = this.film.decades(flow, frame);
    if (column.active[frame]) [card.active] = column.active[frame];
    if (card.value !== null && card.kind === "loss") card.value = this.film.film.loss[frame];
    const marks = column.marks.filter(([since]) => since <= frame).at(-1)?.[1] || [];
    card.marks = marks.map(([kind, words, message]) => ({ kind, badge: words, message }));
    const key = JSON.stringify(marks) + isDark();
    if (key !== this.shown) this.showMark(card.marks);
    this.shown = key;
  }

  showUpdate(rms, update) {
    const words = this.texts[this.rms].textContent;
    setText(this.texts[this.rms], words.replace(/∇rms[\s\u00a0]\S+?(?=[\s\u00a0]|$)/, `∇rms ${number(rms)}`));
    if (this.update < 0) return;
    const [size, glyph] = updateWords(update).split(" ");
    const colours = data.themes[isDark() ? "dark" : "light"];
    setText(this.texts[this.update], `${size} `);
    const sign = this.texts[this.update + 1];
    if (!sign || !"●▲▼".includes(plainText(sign))) return;
    setText(sign, glyph || "");
    sign.style.fill = glyph === "●" ? colours.good : colours.bad;
  }

  showPassing([share, silent, of]) {
    const percent = share > 0 && share < 0.01 ? "<1%" : share > 0.99 && share < 1 ? ">99%" : `${Math.round(100 * share)}%`;
    const dead = silent ? `${silent} of ${of} channels never active again` : "no dead channel";
    setText(this.texts[this.passing], `${percent} of units pass the gradient   ${dead}`);
  }

  /** Whether a run of text is the scale of a strip of maps: it follows the strip's name, or holds it. */
  isScale(i) {
    const words = plainText(this.texts[i]);
    const names = data.film.strips;
    return names.some((name) => words.startsWith(`${name} `)) || (i > 0 && names.includes(plainText(this.texts[i - 1])));
  }

  showMaps({ images = [], scales = [], blocks = "" }) {
    if (images.length === this.images.length) {
      this.images.forEach((image, i) => image.setAttributeNS("http://www.w3.org/1999/xlink", "href", images[i]));
    }
    if (scales.length === this.scales.length) this.scales.forEach((i, place) => setText(this.texts[i], scales[place]));
    if (this.blocks >= 0) setText(this.texts[this.blocks], blocks);
  }

  /** A badge at the upper right, and an edge in its colour. */
  showMark(marks) {
    one(".mark", this.element)?.remove();
    if (!marks.length || !this.body) return;
    const box = this.body.getBBox();
    const [back, ink] = data.themes[isDark() ? "dark" : "light"].badges[marks[0].kind];
    const group = draw("g", { class: "mark" });
    const place = { x: box.x, y: box.y, width: box.width, height: box.height };
    group.append(draw("rect", { ...place, rx: 12, fill: "none", stroke: back, "stroke-width": 2.4 }));
    const words = draw("text", { x: box.x + box.width - 16, y: box.y + 14.5, "text-anchor": "end", fill: ink });
    words.textContent = marks[0].badge + (marks.length > 1 ? `  +${marks.length - 1}` : "");
    this.element.append(group);
    group.append(words);
    const room = words.getBBox();
    words.before(draw("rect", { x: room.x - 7, y: box.y + 4, width: room.width + 14, height: 15, rx: 7, fill: back }));
  }

  /** The row of the table, and what a screen reader says. */
  settle() {
    this.element?.setAttribute("aria-label", spoken(this.data));
    if (!this.row) return;
    const { gradient, gain, decades, marks } = this.data;
    const [rms, update] = [this.column.rms[this.film.frame], this.column.update[this.film.frame]];
    const cells = {
      flow: [gradient ? gradient.bad || number(gradient.flow) : "", gradient?.flow],
      share: [typeof decades === "number" ? factor(10 ** decades) : "", decades],
      gain: [factor(gain), gain],
      rms: [rms === null ? "" : number(rms), rms],
      update: [update === null ? "" : updateWords(update), update],
    };
    for (const [name, [words, value]] of Object.entries(cells)) {
      const cell = one(`td.${name}`, this.row);
      cell.textContent = words;
      cell.dataset.value = value ?? "";
    }
    one("td.findings", this.row).replaceChildren(...marks.map(badge));
  }
}

// ---- helpers -----------------------------------------------------------------------------------------------------

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function paint(line, colour, width, dashed) {
  line.path.style.stroke = colour;
  line.path.style.strokeWidth = width.toFixed(2);
  line.path.style.strokeDasharray = dashed ? "5 3" : "none";
  for (const head of line.heads) {
    head.style.stroke = colour;
    head.style.fill = colour;
  }
}

function lineWidth(decades) {
  return Math.min(9, Math.max(0.9, 3.2 + 1.7 * Math.min(3, Math.max(-3, decades))));
}

/** The ramp's colour for so many decades; its ends are clamped. */
function rampColour(ramp, decades) {
  const f = Math.min(3, Math.max(-3, decades));
  const upper = Math.max(1, DECADES.findIndex((place) => f <= place));
  const t = (f - DECADES[upper - 1]) / (DECADES[upper] - DECADES[upper - 1]);
  const [a, b] = [ramp[upper - 1], ramp[upper]].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return `rgb(${a.map((x, i) => Math.round(x + t * (b[i] - x))).join(" ")})`;
}

/** Words in a picture keep their spaces. */
function setText(element, words) {
  const fixed = words.replaceAll("  ", "\u00a0\u00a0");
  if (element.textContent !== fixed) element.textContent = fixed;
}

/** A text that ends where it ended, however long it gets. */
function alignRight(text) {
  text.setAttribute("x", Number(text.getAttribute("x")) + text.getBBox().width);
  text.setAttribute("text-anchor", "end");
}

function squeezed(words) {
  return words.replaceAll(/[\s\u00a0]+/g, " ").trim();
}

function plainText(element) {
  return squeezed(element.textContent);
}

/** What is pinned says the numbers of the frame that is shown. */
function refreshAbout() {
  if (about.pinned && current().chosen) one("#about .body").replaceChildren(...aboutCard(current().cards.get(current().chosen).data));
}

const film = new Film(current(), data.film);
