// One picture and the numbers behind it: which element is which card, what is pointed at, where its gradient goes.

class Picture {
  constructor(canvas, level) {
    this.canvas = canvas;
    this.level = level;
    this.view = new View(canvas);
    this.svg = this.view.svg;
    this.prefix = this.svg.id;
    this.cards = new Map(level.cards.map((card) => [card.id, { data: card, elements: [] }]));
    this.links = level.links.map((link) => ({ ...link, elements: [] }));
    this.chosen = null;
    this.svg.setAttribute("role", "group");
    for (const title of all("title", this.svg)) if (title.parentNode !== this.svg) title.remove();
    for (const anchor of all("a", this.svg)) anchor.removeAttribute("xlink:title");
    this.findCards();
    this.findLinks();
    followPixels(this);
  }

  /** By module a card is one element; by operation up to four: parameters, forward, backward, gradients. */
  findCards() {
    for (const element of all(".node", this.svg)) {
      const [, part, id] = /-([fbpg]?)(n\d+)$/.exec(element.id) || [];
      const card = this.cards.get(id);
      if (!card) continue;
      element.dataset.card = id;
      element.dataset.part = part;
      card.elements.push(element);
      const box = element.getBBox();
      element.append(draw("rect", { class: "frame", x: box.x, y: box.y, width: box.width, height: box.height, rx: 12 }));
      element.classList.toggle("opens", Boolean(card.data.opens));
      if (part && part !== "f") continue;
      element.setAttribute("tabindex", "0");
      element.setAttribute("role", "button");
      element.setAttribute("aria-pressed", "false");
      element.setAttribute("aria-label", spoken(card.data));
    }
  }

  findLinks() {
    const edges = new Map();
    for (const element of all(".edge", this.svg)) {
      const id = element.id.slice(this.prefix.length + 1);
      edges.set(id, [...(edges.get(id) || []), element]);
    }
    for (const link of this.links) {
      for (const kind of ["f", "g"]) {
        for (const element of edges.get(`${link.source}-${link.target}-${kind}`) || []) {
          if (element.dataset.link) continue;
          element.dataset.link = this.links.indexOf(link);
          element.classList.add("known");
          link.elements.push(element);
          const line = one("path", element);
          if (line) element.append(draw("path", { class: "reach", d: line.getAttribute("d") }));
        }
      }
    }
  }

  cardAt(element) {
    const node = element.closest?.(".node");
    return node ? this.cards.get(node.dataset.card) : undefined;
  }

  linkAt(element) {
    const edge = element.closest?.(".edge.known");
    return edge ? this.links[edge.dataset.link] : undefined;
  }

  /** Light the way of the gradient: from the loss to this card, and on to the inputs. */
  choose(id) {
    this.release();
    const card = this.cards.get(id);
    if (!card) return;
    this.chosen = id;
    this.svg.classList.add("lighting");
    const down = this.reached(id, "source", "target");
    const up = this.reached(id, "target", "source");
    for (const name of new Set([...down.cards, ...up.cards])) {
      for (const element of this.cards.get(name).elements) element.classList.add("lit");
    }
    for (const link of [...down.links, ...up.links]) {
      for (const element of link.elements) {
        element.classList.add("lit");
        if (element.id.endsWith("-g") && link.gradient) this.pulse(element);
      }
    }
    for (const element of card.elements) {
      element.classList.add("chosen");
      if (element.hasAttribute("aria-pressed")) element.setAttribute("aria-pressed", "true");
    }
  }

  release() {
    this.chosen = null;
    this.svg.classList.remove("lighting");
    for (const element of all(".lit, .chosen", this.svg)) element.classList.remove("lit", "chosen");
    for (const element of all('[aria-pressed="true"]', this.svg)) element.setAttribute("aria-pressed", "false");
    for (const element of all(".pulse", this.svg)) element.remove();
  }

  /** The cards and links on any way from a card, in one direction. */
  reached(id, from, to) {
    const cards = new Set([id]);
    const links = [];
    for (const name of cards) { // a set that grows while it is read
      for (const link of this.links) {
        if (link[from] !== name) continue;
        links.push(link);
        cards.add(link[to]);
      }
    }
    return { cards, links };
  }

  /** Bright dashes that run along a line the way the gradient goes: its path is drawn the other way round. */
  pulse(element) {
    const line = one("path", element);
    const width = Math.max(1, 0.5 * Number(line.getAttribute("stroke-width") || 1));
    element.append(draw("path", { class: "pulse", d: line.getAttribute("d"), "stroke-width": width }));
  }

  /** The element that stands for a card: where the focus goes, and what is brought into sight. */
  main(id) {
    const elements = this.cards.get(id)?.elements || [];
    return elements.find((element) => element.hasAttribute("tabindex")) || elements[0];
  }
}

/** A card in words, for those who hear the page. */
function spoken(card) {
  const parts = [card.name, card.detail, card.shape && `output ${card.shape}`];
  if (card.gradient) parts.push(card.gradient.bad ? `gradient ${card.gradient.bad}` : `gradient ${number(card.gradient.flow)}`);
  if (card.gain !== null && card.gain !== undefined) parts.push(`gain ${number(card.gain)}`);
  return [...parts, ...card.marks.map((mark) => mark.message)].filter(Boolean).join(", ");
}
