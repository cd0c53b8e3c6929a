// The loss over the steps, under the slider's own scale, and a flag where something went wrong.

class Curve {
  constructor(svg, flags, film, go) {
    this.svg = svg;
    this.flags = flags;
    this.film = film;
    this.go = go;
    this.inset = 8; // half a slider's thumb: where its scale begins
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  /** Where a step stands, in pixels. */
  x(step) {
    const { steps } = this.film;
    const span = Math.max(1, steps.at(-1) - steps[0]);
    return this.inset + ((step - steps[0]) / span) * (this.width - 2 * this.inset);
  }

  draw() {
    this.width = this.svg.clientWidth;
    const height = this.svg.clientHeight;
    if (!this.width) return;
    const { losses, steps } = this.film;
    const seen = losses.slice(0, steps.at(-1) + 1);
    const finite = seen.filter((loss) => typeof loss === "number");
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.svg.replaceChildren(draw("line", { class: "axis", x1: this.inset, x2: this.width - this.inset, y1: height - 3, y2: height - 3 }));
    if (finite.length) this.drawLine(seen, finite, height);
    this.cursor = draw("line", { class: "cursor", y1: 0, y2: height });
    this.svg.append(this.cursor);
    this.drawFlags();
    this.move(this.at ?? steps[0]);
  }

  /** On a log scale where the loss falls far. */
  drawLine(seen, finite, height) {
    const [low, high] = [Math.min(...finite), Math.max(...finite)];
    const log = low > 0 && high / low > 20;
    const scale = (loss) => (log ? Math.log(loss) : loss);
    const span = scale(high) - scale(low) || 1;
    const y = (loss) => 12 + (1 - (scale(loss) - scale(low)) / span) * (height - 20);
    let path = "";
    let pen = "M";
    seen.forEach((loss, step) => {
      if (step < this.film.steps[0]) return;
      if (typeof loss !== "number") {
        pen = "M";
      } else {
        path += `${pen}${this.x(step).toFixed(1)} ${y(loss).toFixed(1)}`;
        pen = "L";
      }
    });
    this.svg.append(draw("path", { class: "loss", d: path }));
    const words = [[`loss ${number(high, 3)}`, 9], [`${number(low, 3)}${log ? "  (log scale)" : ""}`, height - 7]];
    for (const [text, at] of words) {
      const label = draw("text", { x: this.width - this.inset, y: at, "text-anchor": "end" });
      label.textContent = text;
      this.svg.append(label);
    }
  }

  /** One flag for each frame in which something begins; where they would overlap, one for several. */
  drawFlags() {
    const groups = [];
    for (const event of this.film.events) {
      const near = groups.at(-1);
      if (near && this.x(event.step) - this.x(near[0].step) < 46) near.push(event);
      else groups.push([event]);
    }
    this.flags.replaceChildren(...groups.map((events) => {
      const [first] = events;
      const words = events.map((event) => `step ${event.step}: ${event.where}: ${event.message}`).join("\n");
      const button = make("button", { type: "button", class: `badge ${first.kind}`, title: words, "aria-label": words },
        { nan: "NaN", inf: "Inf" }[first.kind] || first.kind, events.length > 1 ? ` +${events.length - 1}` : "");
      button.style.left = `${this.x(first.step) - this.inset}px`;
      button.addEventListener("click", () => this.go(first));
      return button;
    }));
  }

  move(step) {
    this.at = step;
    if (!this.cursor) return;
    this.cursor.setAttribute("x1", this.x(step));
    this.cursor.setAttribute("x2", this.x(step));
  }
}
