// Pan and zoom: a window on the picture, moved with the mouse, with fingers, or with keys.

const MOST = 8; // pixels per unit of the picture
const START = 1.35; // the same, at first, where the picture is narrow enough

class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.svg = one("svg", canvas);
    this.svg.classList.add("picture");
    this.svg.setAttribute("preserveAspectRatio", "xMinYMin meet");
    const { x, y, width, height } = this.svg.viewBox.baseVal;
    this.home = { x, y, width, height };
    this.pointers = new Map();
    this.moved = 0;
    this.started = false;
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  get size() {
    return { width: this.canvas.clientWidth || 1, height: this.canvas.clientHeight || 1 };
  }

  /** Once the canvas has a size: the whole width, its top. */
  resize() {
    if (!this.canvas.clientWidth) return;
    if (!this.started) this.start();
    else this.apply();
  }

  start() {
    this.started = true;
    this.scale = Math.min(START, this.size.width / this.home.width);
    this.x = this.home.x + this.home.width / 2 - this.size.width / this.scale / 2;
    this.y = this.home.y;
    this.apply();
  }

  limited(scale) {
    const { width, height } = this.size;
    return Math.min(MOST, Math.max(0.5 * Math.min(width / this.home.width, height / this.home.height), scale));
  }

  /** All of the picture. */
  fit() {
    this.scale = Math.min(this.size.width / this.home.width, this.size.height / this.home.height);
    this.x = this.home.x + this.home.width / 2 - this.size.width / this.scale / 2;
    this.y = this.home.y + this.home.height / 2 - this.size.height / this.scale / 2;
    this.apply();
  }

  apply() {
    const { width, height } = this.size;
    this.scale = this.limited(this.scale);
    const [w, h] = [width / this.scale, height / this.scale];
    const hold = (at, from, length, seen) => {
      const edge = 0.4 * Math.min(seen, length); // so much of it stays in sight
      return Math.min(from + length - edge, Math.max(from - seen + edge, at));
    };
    this.x = hold(this.x, this.home.x, this.home.width, w);
    this.y = hold(this.y, this.home.y, this.home.height, h);
    this.svg.setAttribute("viewBox", `${this.x} ${this.y} ${w} ${h}`);
  }

  /** Zoom about a point of the screen; without one, about the middle. */
  zoom(by, clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const px = clientX === undefined ? box.width / 2 : clientX - box.left;
    const py = clientY === undefined ? box.height / 2 : clientY - box.top;
    const [x, y] = [this.x + px / this.scale, this.y + py / this.scale];
    this.scale = this.limited(this.scale * by);
    this.x = x - px / this.scale;
    this.y = y - py / this.scale;
    this.apply();
  }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
    this.apply();
  }

  /** Bring an element into sight: to the middle along each axis on which it is not seen whole. */
  show(element) {
    const box = element.getBoundingClientRect();
    const frame = this.canvas.getBoundingClientRect();
    const off = (from, to, low, high) => (from >= low && to <= high ? 0 : (from + to - low - high) / 2);
    const dx = off(box.left, box.right, frame.left, frame.right);
    const dy = off(box.top, box.bottom, frame.top, frame.bottom);
    if (dx || dy) this.glide(this.x + dx / this.scale, this.y + dy / this.scale);
  }

  glide(x, y) {
    const from = { x: this.x, y: this.y };
    const begin = performance.now();
    const glide = {};
    this.gliding = glide; // a later one ends this one
    const move = (now) => {
      if (this.gliding !== glide) return;
      const t = calm.matches ? 1 : Math.min(1, Math.max(0, now - begin) / 220);
      const eased = t * (2 - t);
      this.x = from.x + (x - from.x) * eased;
      this.y = from.y + (y - from.y) * eased;
      this.apply();
      if (t < 1) requestAnimationFrame(move);
    };
    move(begin);
  }

  listen() {
    const { canvas, pointers } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.gliding = null;
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), event.clientX, event.clientY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      pointers.set(event.pointerId, event);
      if (pointers.size === 1) this.moved = 0;
      this.gliding = null;
    });
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => {
        pointers.delete(event.pointerId);
        canvas.classList.toggle("moving", pointers.size > 0 && this.moved > 4);
      });
    }
    canvas.addEventListener("dblclick", (event) => {
      if (!event.target.closest(".opens")) this.zoom(1.7, event.clientX, event.clientY);
    });
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers.values()].filter((other) => other.pointerId !== event.pointerId);
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    this.moved += Math.hypot(dx, dy);
    this.pointers.set(event.pointerId, event);
    if (this.moved <= 4) return;
    if (!this.canvas.hasPointerCapture(event.pointerId)) this.canvas.setPointerCapture(event.pointerId);
    this.canvas.classList.add("moving");
    if (others.length) {
      const other = others[0];
      const gap = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
      const middle = [(event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2];
      this.pan(dx / 2, dy / 2);
      this.zoom(gap(event) / gap(before), ...middle);
    } else {
      this.pan(dx, dy);
    }
  }
}
