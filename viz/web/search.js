// Search: rings the cards whose name, path, type or operation holds what is typed, and walks through them.

class Search {
  constructor(field, count, current) {
    this.field = field;
    this.count = count;
    this.current = current; // the picture that is shown
    this.found = [];
    this.at = -1;
    field.addEventListener("input", () => this.find());
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") this.clear();
    });
  }

  find() {
    this.unmark();
    const words = this.field.value.trim().toLowerCase();
    const cards = words ? [...this.current().cards.values()] : [];
    this.found = cards.filter(({ data: card }) => textOf(card).includes(words));
    for (const card of this.found) for (const element of card.elements) element.classList.add("found");
    this.at = -1;
    if (this.found.length) this.step(1);
    else this.count.value = words ? "none" : "";
  }

  step(by) {
    if (!this.found.length) return;
    for (const element of this.found[this.at]?.elements || []) element.classList.remove("current");
    this.at = (this.at + by + this.found.length) % this.found.length;
    const card = this.found[this.at];
    for (const element of card.elements) element.classList.add("current");
    this.count.value = `${this.at + 1} of ${this.found.length}`;
    this.current().view.show(this.current().main(card.data.id));
  }

  unmark() {
    for (const card of this.found) for (const element of card.elements) element.classList.remove("found", "current");
    this.found = [];
  }

  clear() {
    this.field.value = "";
    this.find();
    this.field.blur();
  }
}

function textOf(card) {
  return [card.name, card.path, card.detail, ...card.ops, ...card.parameters.map((p) => p.name)].join(" ").toLowerCase();
}
