"""`diff`: two figures side by side: which layers are new or gone, and where the gradient has changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property

from viz import difference
from viz.cards import detail_of
from viz.diagram import Card, Diagram
from viz.figure import Figure
from viz.judging import where
from viz.palette import THEMES
from viz.picture import Picture
from viz.style import Drawing
from viz.wording import factor, number

NOTABLE = math.log10(2)  # decades; gains change by less from one batch to the next


@dataclass
class Row:
    """A layer in both figures, or in one of them."""

    before: Card | None
    after: Card | None
    details: tuple[str, str] = ("", "")

    @property
    def card(self) -> Card:
        """The newer of the two."""
        card = self.after or self.before
        assert card is not None
        return card

    @property
    def only(self) -> str:
        """A or B where the layer is in one figure only, else empty."""
        return "" if self.before and self.after else "A" if self.before else "B"

    @property
    def shift(self) -> float | None:
        """Decades by which the gradient at the layer's output has changed against that at the model's output."""
        old, new = (c.decades if c is not None and c.kind != "loss" else None for c in (self.before, self.after))
        if old is None or new is None or old == new:
            return 0.0 if old is not None and old == new else None
        return new - old

    @property
    def marks(self) -> tuple[list[str], list[str]]:
        """The badges that are new, and those that are gone."""
        old = {mark.kind: mark.badge for mark in (self.before.marks if self.before else [])}
        new = {mark.kind: mark.badge for mark in (self.after.marks if self.after else [])}
        return [new[k] for k in new if k not in old], [old[k] for k in old if k not in new]

    def numbers(self) -> Iterator[tuple[str, float | None, float | None]]:
        """What is compared: a name, the value in A and the value in B; only what at least one figure has."""
        a, b = (_numbers(card) for card in (self.before, self.after))
        for name in {**a, **b}:
            yield name, a.get(name), b.get(name)


def _numbers(card: Card | None) -> dict[str, float]:
    if card is None:
        return {}
    weight = next((p for p in card.parameters if len(p.shape) > 1), next(iter(card.parameters), None))
    found = {
        "‖∂L‖": card.out.flow if card.out and card.kind != "loss" else None,
        "value": card.last.value if card.kind == "loss" and card.nodes else None,
        "gain": card.gain if card.kind != "loss" else None,
        "output rms": card.last.out.rms if card.kind != "loss" and card.nodes and card.last.out else None,
        "units that pass": card.last.active if card.nodes else None,
        "weight rms": weight.weight.rms if weight and weight.weight else None,
        "∂W rms": weight.grad.rms if weight and weight.grad else None,
        "update/weight": weight.update if weight else None,
    }
    return {name: value for name, value in found.items() if value is not None}


class Difference(Picture):
    """Two figures compared: `changes()` in sentences, `rows`, and a picture in every format."""

    def __init__(self, before: Figure, after: Figure, names: tuple[str, str]) -> None:
        self.before, self.after, self.names = before, after, names
        self.title = f"{names[0]} → {names[1]}"
        self.theme, self.timeout = after.theme, after.timeout

    @cached_property
    def rows(self) -> list[Row]:
        """The layers of both figures, in forward order; what was replaced stands before what replaced it."""
        old, new = self.before.diagram, self.after.diagram
        found: list[Row] = []
        matcher = SequenceMatcher(None, [_key(c) for c in old.cards], [_key(c) for c in new.cards], autojunk=False)
        for tag, i, i_end, j, j_end in matcher.get_opcodes():
            if tag == "equal":
                found += [_row(old, a, new, b) for a, b in zip(old.cards[i:i_end], new.cards[j:j_end], strict=True)]
            else:
                found += [_row(old, a, new, None) for a in old.cards[i:i_end]]
                found += [_row(old, None, new, b) for b in new.cards[j:j_end]]
        return found

    def changes(self) -> list[str]:
        """What is different, in sentences: layers, findings, gains that have at least doubled or halved."""
        return [*self._structure(), *self._findings(), *self._gains()]

    @property
    def same(self) -> bool:
        """Whether nothing worth a sentence has changed."""
        return not self.changes()

    def text(self) -> str:
        """The changes, then a line for each layer."""
        sides = zip("AB", self.names, (self.before, self.after), strict=True)
        lines = [f"{letter}: {name}   {figure.facts()}".rstrip() for letter, name, figure in sides]
        lines += [f"  {change}" for change in self.changes()] or ["  nothing has changed"]
        rows = [_line(row) for row in self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
        lines += ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(lines)

    def json(self) -> str:
        """Names, changes, and the numbers of each layer."""
        rows = [
            {
                "layer": where(row.card),
                "only": row.only,
                "numbers": {n: [_plain(a), _plain(b)] for n, a, b in row.numbers()},
            }
            for row in self.rows
        ]
        return json.dumps({"names": self.names, "changes": self.changes(), "rows": rows}, ensure_ascii=False, indent=1)

    def description(self) -> str:
        """How much has changed."""
        changes = self.changes()
        return f"{self.title}: " + (f"{len(changes)} changes. {changes[0]}" if changes else "nothing has changed.")

    def __repr__(self) -> str:
        return f"<Difference {self.title!r}: {len(self.rows)} layers, {len(self.changes())} changes>"

    @cached_property
    def _drawing(self) -> Drawing:
        return difference.draw(self, THEMES[self.theme])

    def _structure(self) -> list[str]:
        found = []
        for row in self.rows:
            if row.only:
                found.append(f"{where(row.card)} is only in {row.only}.")
            elif row.details[0] != row.details[1]:
                found.append(f"{where(row.card)} was {row.details[0] or 'plain'}, is {row.details[1] or 'plain'}.")
        return found

    def _findings(self) -> list[str]:
        old, new = ({(f.kind, f.where): f for f in figure.report()} for figure in (self.before, self.after))
        return [
            *(f"New: {finding.sentence}" for key, finding in new.items() if key not in old),
            *(f"Gone: {finding.where} ({finding.kind})." for key, finding in old.items() if key not in new),
        ]

    def _gains(self) -> list[str]:
        """The layers where the gradient changes, not all those that it reaches changed."""
        found: list[tuple[float, str]] = []
        for row in self.rows:
            old, new = (card.gain if card is not None and card.judged else None for card in (row.before, row.after))
            if old and new is not None:
                size = abs(math.log10(new / old)) if new > 0 else math.inf
                sentence = (
                    f"{where(row.card)}: the gradient leaves it {factor(new)} as large as it came, was {factor(old)}."
                )
                found += [(size, sentence)] if size >= NOTABLE else []
        return [sentence for _, sentence in sorted(found, key=lambda pair: -pair[0])]


def diff(fig_a: Figure, fig_b: Figure, *, names: tuple[str, str] | None = None) -> Difference:
    """Compare two figures: before and after training, sick and healthy, one architecture and the next.

    Layers are matched by module path and order. Both figures are drawn as `fig_b` is (level, depth, theme). Gradients
    are compared by their share of the gradient at the model's output, so another batch size or loss scale is no
    difference. names: what to call the two; by default their titles.

    Raises TypeError for anything but figures.

    >>> import tinygrad_cnn as tc
    >>> w = tc.tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> from viz import graph
    >>> diff(graph((w * w).sum()), graph((w * w).sum())).same
    True
    """
    for figure in (fig_a, fig_b):
        if not isinstance(figure, Figure):
            raise TypeError(f"viz.diff: compares two figures, such as viz.graph makes; got {type(figure).__name__}")
    options = replace(fig_b.options, level=fig_b.level)
    titles = (fig_a.title, fig_b.title) if fig_a.title != fig_b.title else ("before", "after")
    return Difference(Figure(fig_a.trace, options), Figure(fig_b.trace, options), names or titles)


def _key(card: Card) -> tuple[str, str, str, int]:
    name = card.name if card.kind != "input" else ""
    return (card.kind, card.path, name, card.call)


def _row(old: Diagram, before: Card | None, new: Diagram, after: Card | None) -> Row:
    details = ("", "")
    if before is not None and after is not None and before.kind not in ("input", "loss"):
        details = (detail_of(old, before), detail_of(new, after))
    return Row(before, after, details)


def _line(row: Row) -> tuple[str, ...]:
    sides = [c if c is not None and c.kind != "loss" else None for c in (row.before, row.after)]
    flows = [number(c.out.flow) if c is not None and c.out is not None else "" for c in sides]
    share = factor(10**row.shift) if row.shift is not None and math.isfinite(row.shift) else ""
    new, gone = row.marks
    words = [f"only in {row.only}"] if row.only else []
    words += [f"new: {badge}" for badge in new] + [f"gone: {badge}" for badge in gone]
    sign = {"": " ", "A": "-", "B": "+"}[row.only]
    return (f"{sign} {where(row.card)}", f"‖∂‖ {flows[0]} → {flows[1]}" if any(flows) else "", share, "  ".join(words))


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
