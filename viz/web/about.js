// The card beside what is pointed at: formulas, numbers, the histogram of a parameter's gradient.

class About {
  constructor() {
    this.box = one("#about");
    this.body = one(".body", this.box);
    this.pinned = false;
    one(".close", this.box).addEventListener("click", () => this.onClose?.());
  }

  show(content, anchor, pinned, under = false) {
    this.pinned = pinned;
    this.box.classList.toggle("pinned", pinned);
    this.body.replaceChildren(...content);
    this.box.hidden = false;
    this.place(anchor.getBoundingClientRect(), under);
  }

  hide() {
    this.pinned = false;
    this.box.hidden = true;
  }

  /** To the right of its anchor if there is room, else to the left, below or above; else in the corner; `under`: below first. */
  place(anchor, under) {
    const { width, height } = this.box.getBoundingClientRect();
    const gap = 12;
    const [roomX, roomY] = [innerWidth - width - 8, innerHeight - height - 8];
    const top = Math.max(8, Math.min(anchor.top, roomY));
    const left = Math.max(8, Math.min(anchor.left, roomX));
    const sides = [[anchor.right + gap, top], [anchor.left - width - gap, top]];
    const ends = [[left, anchor.bottom + gap], [left, anchor.top - height - gap]];
    const places = under ? [...ends, ...sides] : [...sides, ...ends];
    const [x, y] = places.find(([x, y]) => x >= 8 && x <= roomX && y >= 8 && y <= roomY) || [roomX, roomY];
    this.box.style.left = `${x}px`;
    this.box.style.top = `${y}px`;
  }
}

/** What is said of a card. */
function aboutCard(card) {
  const content = [make("h2", {}, card.name), make("p", { class: "muted" }, card.detail || card.kind), marksOf(card)];
  if (card.forward) content.push(make("div", { class: "formula" }, card.forward));
  if (card.backward) content.push(make("div", { class: "formula back" }, card.backward));
  if (card.routing) content.push(make("p", { class: "says" }, card.routing));
  const rows = [["output", [card.shape, card.dtype].filter(Boolean).join(" ")]];
  if (card.ops.length > 1) rows.push(["operations", card.ops.join(", ")]);
  if (card.value !== null && card.value !== undefined) rows.push(["value", number(card.value, 4)]);
  if (card.output) rows.push(["output rms", size(card.output)]);
  if (card.gradient) rows.push(...gradientRows(card.gradient));
  if (card.gain !== null && card.gain !== undefined) rows.push(["gain", gainWords(card)]);
  if (card.decades !== null && card.decades !== undefined) rows.push(["of the output's", decadeWords(card.decades)]);
  if (card.active !== null && card.active !== undefined) rows.push(["units that pass", `${Math.round(100 * card.active)}%`]);
  if (card.saved.length) rows.push(["saved", card.saved.join(", ")]);
  content.push(list(rows));
  for (const parameter of card.parameters.slice(0, 4)) content.push(...aboutParameter(parameter));
  if (card.parameters.length > 4) content.push(make("p", { class: "muted" }, `and ${card.parameters.length - 4} more parameters`));
  return content.filter(Boolean);
}

/** What is said of a line between two cards. */
function aboutLink(link, nameOf) {
  const rows = [["shape", link.shape]];
  if (link.gradient) rows.push(...gradientRows(link.gradient));
  else rows.push(["gradient", "none"]);
  if (link.gain !== null) rows.push(["gain", `${factor(link.gain)} through ${nameOf(link.target)}`]);
  if (link.decades !== null) rows.push(["of the output's", decadeWords(link.decades)]);
  return [make("h2", {}, `${nameOf(link.source)} → ${nameOf(link.target)}`), list(rows)];
}

function aboutParameter(parameter) {
  const rows = [["weight rms", size(parameter.weight)]];
  if (!parameter.trained) rows.push(["frozen", "requires_grad is False"]);
  if (parameter.gradient) rows.push(["gradient rms", size(parameter.gradient)], ["update/weight", updateWords(parameter.update)]);
  else if (parameter.trained) rows.push(["gradient", "none"]);
  if (parameter.uses > 1) rows.push(["uses", `${parameter.uses}, gradients summed`]);
  const content = [make("h3", {}, `${parameter.name}  ${parameter.shape}`), list(rows)];
  if (parameter.gradient && parameter.histogram.some(Boolean)) content.push(histogram(parameter.histogram));
  return content;
}

/** Bars of log10 |gradient|; `data.histogram` says from which decade to which. */
function histogram(counts) {
  const top = Math.max(...counts);
  const total = counts.reduce((a, b) => a + b);
  const [low, high] = data.histogram;
  const bars = counts.map((count) => make("i", { style: `height:${(100 * count) / top}%` }));
  const words = `histogram of the gradient's magnitude, ${total} values from 10^${low} to 10^${high}`;
  const ticks = [low, (low + high) / 2, high].map((decade) => make("span", {}, `10^${decade}`.replace("-", "−")));
  const box = make("div", { role: "img", "aria-label": words }, make("div", { class: "bars" }, ...bars));
  box.append(make("div", { class: "ticks" }, ticks[0], make("span", {}, "log10 |∂W|"), ticks[2]));
  return box;
}

function marksOf(card) {
  if (!card.marks.length) return null;
  const box = make("div", { class: "says" });
  for (const mark of card.marks) box.append(badge(mark), make("p", {}, mark.message));
  return box;
}

function badge(mark) {
  return make("span", { class: `badge ${mark.kind}` }, mark.badge);
}

function gradientRows(gradient) {
  if (gradient.bad) return [["gradient", gradient.bad]];
  const rows = [["‖∂L‖ per sample", number(gradient.flow, 3)], ["gradient rms", number(gradient.rms, 3)]];
  if (gradient.largest !== null && gradient.largest !== undefined) rows.push(["largest", number(gradient.largest, 3)]);
  return rows;
}

function gainWords(card) {
  return factor(card.gain) + (card.usual !== 1 ? `, ${factor(card.usual)} is usual` : "");
}

function decadeWords(decades) {
  return typeof decades === "number" ? `10^${decades.toFixed(1)} (${factor(10 ** decades)})`.replace("-", "−") : decades;
}

function size(magnitude) {
  return magnitude ? magnitude.bad || number(magnitude.rms, 3) : "n/a";
}

function list(rows) {
  return make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}
