"""The picture as text: a line for each card, with bars. Needs nothing but a terminal."""

from __future__ import annotations

from viz import wording
from viz.cards import detail_of
from viz.diagram import Card, Diagram
from viz.judging import update_glyph, update_text

BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def table_of(diagram: Diagram, facts: str, banner: str) -> str:
    """A table of the cards in forward order; the bar is the gradient at the card's output, on a log scale."""
    rows = [_row(diagram, card) for card in diagram.cards]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(rows[0]) - 1)] if rows else []
    lines = [diagram.trace.title + (f"   {facts}" if facts else "")]
    lines += [f"[{banner}]"] if banner else []
    lines += [f"({diagram.note})"] if diagram.note else []
    for row in rows:
        cells = [value.ljust(width) for value, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def _row(diagram: Diagram, card: Card) -> tuple[str, ...]:
    name = card.path or card.name
    if card.kind == "op" and card.path:
        name = f"{card.path}.{card.name}"
    if card.call:
        name += f" ({card.call + 1})"
    shape = wording.shape_of(card.last.shape) if card.nodes else ""
    flow = f"‖∂‖ {wording.number(card.out.flow)}" if card.out is not None and card.kind != "loss" else ""
    lead = next((p for p in card.parameters if len(p.shape) >= 2), next(iter(card.parameters), None))
    update = ""
    if lead is not None and lead.grad is not None:
        update = f"upd/w {update_text(lead.update)} {update_glyph(lead.update)[0]}".rstrip()
    marks = "  ".join(mark.badge for mark in card.marks[:2])
    marks += f"  and {len(card.marks) - 2} more" if len(card.marks) > 2 else ""
    gain = wording.factor(card.gain) if card.kind != "loss" else ""
    return (_line(name, 40), _line(detail_of(diagram, card), 48), shape, flow, bar(card), gain, update, marks)


def bar(card: Card) -> str:
    """Eight cells for the reference; each decade below it takes two away, each above adds a plus sign."""
    f = card.decades
    if f is None or card.kind == "loss":
        return ""
    eighths = round(8 * max(BAR + 2 * min(f, 0.0), 0.0))
    if eighths == 0 and card.out is not None and card.out.flow > 0:
        eighths = 1
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip() + "+" * round(max(f, 0.0))


def _line(text: str, limit: int) -> str:
    """One printable line of limited length."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= limit else shown[: limit // 2] + "…" + shown[-(limit - limit // 2 - 1) :]
