"""What stands in a module's card: its title and badges, its maps, its parameters, and a line on what it does."""

from __future__ import annotations

import math

from viz import wording
from viz.diagram import Card, Diagram
from viz.folding import counted
from viz.judging import update_glyph, update_text
from viz.markup import fixed, lines, table, text, width_of
from viz.palette import Theme
from viz.pictures import Album, strip_cells
from viz.style import Style
from viz.trace import Node, Parameter, Thumb

Pair = tuple[tuple[str, Thumb | None], tuple[str, Thumb | None]]  # captions and strips, forward and backward
BLOCKS = " ▁▂▃▄▅▆▇█"


def title_rows(diagram: Diagram, card: Card, style: Style, width: float) -> list[str]:
    """Name, type and hyper-parameters in one row, badges flush right; on a narrow card in a row each."""
    if style.direction != "LR":
        return [_title(diagram, card, style.theme, width)]
    theme = style.theme
    name = text(_called(card), theme.families[card.family], 12, bold=True, room=width)
    rows = [name, text(detail_of(diagram, card), theme.muted, 9, room=width)]
    for badge, wide in _badges(card, theme, width):
        rows.append(table([[badge, fixed("", max(width - wide, 1), 15)]]))
    return [row for row in rows if row]


def _called(card: Card) -> str:
    return card.name + (f" (call {card.call + 1})" if card.call else "")


def _title(diagram: Diagram, card: Card, theme: Theme, width: float) -> str:
    badges = _badges(card, theme, 0.62 * width)
    room = width - sum(wide + 4 for _, wide in badges)
    name = _called(card)
    detail = detail_of(diagram, card)
    name_room = room - min(width_of(detail, 9), room * 0.45) - 16
    words = text(name, theme.families[card.family], 12, bold=True, room=name_room)
    if detail:
        left = room - min(width_of(name, 12, bold=True), name_room) - 16
        words += text("   ", theme.muted) + text(detail, theme.muted, 9, room=left)
    cells = [fixed(words, room, 17, ALIGN="LEFT")]
    for badge, _ in badges:
        cells += [fixed("", 4, 17), badge]
    return table([cells])


def _badges(card: Card, theme: Theme, room: float) -> list[tuple[str, int]]:
    """As many of the first two marks as fit, as cells and their widths; the last says how many more there are."""
    for count in (2, 1):
        shown = card.marks[:count]
        words = [mark.badge for mark in shown]
        if len(card.marks) > len(shown):
            words[-1] += f" +{len(card.marks) - len(shown)}"
        widths = [round(min(width_of(w, 8, bold=True) + 10, room)) for w in words]
        if sum(widths) <= room:
            break
    cells = []
    for mark, badge, wide in zip(shown, words, widths, strict=True):
        background, ink = theme.badges[mark.kind]
        content = text(badge, ink, 8, bold=True, room=wide - 8)
        cells.append((fixed(content, wide, 15, BGCOLOR=background, STYLE="ROUNDED"), wide))
    return cells


def detail_of(diagram: Diagram, card: Card) -> str:
    """Conv2d 1→8 · 3×3 · pad 1."""
    if card.kind == "input":
        batch = diagram.trace.steps[0].batch if diagram.trace.steps else None
        shape = wording.shape_of(card.last.shape)
        return f"batch of {batch}" if batch and card.last.batched else shape
    if card.kind == "unused":
        return card.type or "parameters that the loss does not use"
    if card.kind in ("loss", "fold"):
        return card.type or counted(card.nodes)
    weight = weight_shape(card)
    if card.kind == "op" or card.family != "group":
        main = card.nodes[0] if len(card.nodes) == 1 else wording.main_of(card.nodes)
        words = wording.hyper_parameters(main, weight, diagram.trace)
        kind = card.type or ("" if card.kind == "op" else main.op)
        others = [node for node in card.nodes if node is not main]
        more = f" · with {counted(others)}" if others else ""
        return " ".join(part for part in (kind, words) if part) + more
    return f"{card.type} · {counted(card.nodes)}" if card.type else counted(card.nodes)


def weight_shape(card: Card) -> list[int] | None:
    """The shape of what the card's operation reads as its weight."""
    matrices = [p for p in [*card.parameters, *card.shared] if len(p.shape) >= 2]
    named = [p for p in matrices if any(name == "weight" for _, name in p.uses)]
    return next((p.shape for p in named or matrices), None)


def card_rows(diagram: Diagram, card: Card, style: Style, album: Album, width: float) -> list[str]:
    """The rows under the title."""
    theme, show = style.theme, style.show
    rows: list[str] = []
    if "thumbs" in show:
        rows += _maps(diagram, card, style, album, width)
    if "stats" in show:
        rows += [row for p in _shown_parameters(card) for row in _parameter_rows(p, theme, style.direction == "LR")]
        remarks = [_remark(diagram, card)]
        if card.shared and not card.parameters:
            remarks.append(f"the same weights again: {', '.join(p.name for p in card.shared[:3])}")
        if len(card.parameters) > 1 and card.family == "group":
            remarks.append(together(card.parameters))
        rows += [lines(remark, theme.muted, 9, room=width) for remark in remarks if remark]
        if any(m.kind in ("vanishing", "unused", "no-grad") for m in card.marks):
            rows.append(lines(card.marks[0].message, theme.ink, 8.5, room=width))
    return rows


def _maps(diagram: Diagram, card: Card, style: Style, album: Album, width: float) -> list[str]:
    """Strips of maps: what went forward on the left and its gradient on the right, or below it on a narrow card."""
    lead = next((p for p in card.parameters if "weight" in p.thumbs), None) if card.family != "group" else None
    pairs: list[Pair] = []
    if lead is not None:
        pairs.append((("filters", lead.thumbs.get("weight")), ("∂W", lead.thumbs.get("grad"))))
    if card.nodes and card.kind != "loss":
        pairs.append((("out", card.last.thumbs.get("out")), ("∂L", card.last.thumbs.get("grad"))))
    pairs = [pair for pair in pairs if any(thumb is not None for _, thumb in pair)]
    shared = _shared_scale(diagram) if style.shared_thumbs else None
    narrow = style.direction == "LR"
    side = width - 46 if narrow else (width - 2 * 48 - 14) / 2

    def strip(caption: str, thumb: Thumb | None) -> list[str]:
        scale = shared if caption == "∂L" else None
        return strip_cells(album, thumb, caption, style.theme, width=side, height=28, scale=scale)

    if narrow:
        stacked = [pair[way] for way in (0, 1) for pair in pairs if pair[way][1] is not None]
        return [table([strip(*entry)], CELLPADDING=1) for entry in stacked]
    gap = fixed("", 10, 1)
    return [table([[*strip(*left), gap, *strip(*right)]], CELLPADDING=1) for left, right in pairs]


def _shared_scale(diagram: Diagram) -> float | None:
    scales = [c.last.thumbs["grad"].scale for c in diagram.cards if c.nodes and "grad" in c.last.thumbs]
    return max(scales, default=None)


def _shown_parameters(card: Card) -> list[Parameter]:
    """The weight of a layer speaks for it; in a container the first few."""
    matrices = [p for p in card.parameters if len(p.shape) >= 2] or card.parameters
    return matrices[:1] if card.family != "group" else []


def together(parameters: list[Parameter], *, gradients: bool = True) -> str:
    """The parameters of a container in one line."""
    total = sum(math.prod(p.shape) for p in parameters)
    words = [f"{len(parameters)} parameters, {total:,} values"]
    grads = [p.grad.rms for p in parameters if p.grad is not None]
    updates = [p.update for p in parameters if p.update]
    if grads and gradients:
        words.append(f"∇rms {wording.number(min(grads))} to {wording.number(max(grads))}")
    if updates and gradients:
        words.append(f"update/weight {update_text(min(updates))} to {update_text(max(updates))}")
    return " · ".join(words)


def _parameter_rows(p: Parameter, theme: Theme, narrow: bool) -> list[str]:
    """Shape, size of the gradient, size of the update and a histogram: in one row, or in two."""
    name = "W" if p.name.rpartition(".")[2] == "weight" else p.name.rpartition(".")[2]
    line = text(f"{name} {wording.shape_of(p.shape)}", theme.ink, 9)
    if p.grad is None:
        return [line + text("    no gradient", theme.muted, 9)]
    if p.grad.nan or p.grad.inf:
        return [line + text(f"    ∇ {wording.not_finite(p.grad)}", theme.ink, 9, bold=True)]
    line += text(f"    ∇rms {wording.number(p.grad.rms)}{_uses(p)}", theme.muted, 9)
    update = text("update/weight  ", theme.muted, 9) + text(update_text(p.update) + "  ", theme.ink, 9)
    update += glyph(p.update, theme, 9)
    blocks = histogram_blocks(p.histogram)
    update += text("    ", theme.muted, 9) + text(blocks, theme.backward, 9, mono=True) if blocks else ""
    return [line, update] if narrow else [line + text("    ", theme.muted, 9) + update]


def _uses(p: Parameter) -> str:
    return f", Σ of {len(p.uses)} uses" if len(p.uses) > 1 else ""


def glyph(update: float | None, theme: Theme, size: float) -> str:
    """● ▲ or ▼ in its colour."""
    sign, kind = update_glyph(update)
    return text(sign, theme.good if kind == "good" else theme.bad, size) if sign else ""


def histogram_blocks(counts: list[int]) -> str:
    """A histogram in block characters, an empty bin as a low line."""
    if not any(counts):
        return ""
    shown = [sum(counts[:3]), *counts[3:-3], sum(counts[-3:])]  # what lies beyond the legend's range, at its ends
    top = max(shown)
    return "".join(BLOCKS[max(1, math.ceil(c / top * 8))] for c in shown)


def _remark(diagram: Diagram, card: Card) -> str:
    """One line on what the layer does to the gradient."""
    if card.kind == "loss":
        return _loss_line(diagram, card)
    if not card.nodes or card.kind == "input":
        return ""
    words = []
    rectifier = next((n for n in reversed(card.nodes) if n.active is not None), None)
    if card.family != "group" and rectifier is not None and rectifier.out is not None and not rectifier.out.nan:
        words.append(rectifier_line(rectifier))
    if card.family != "group":
        words += [line for node in card.nodes if (line := wording.routing(node, diagram.trace))]
    return " · ".join(words[:2])


def rectifier_line(node: Node) -> str:
    """45% of units pass the gradient   no dead channel."""
    words = f"{wording.percent(node.active or 0.0)} of units pass the gradient"
    if node.silent is None:
        return words
    if not node.silent.channels:
        return f"{words} · no dead channel"
    steps = f" of {node.silent.steps} steps" if node.silent.steps > 1 else ""
    return (
        f"{words} · {node.silent.channels} of {node.silent.of} channels silent in {node.silent.samples} samples{steps}"
    )


def _loss_line(diagram: Diagram, card: Card) -> str:
    step = diagram.trace.steps[0] if diagram.trace.steps else None
    value = card.last.value if card.last.value is not None else (step.loss if step else None)
    words = [f"L = {wording.number(value, 4)}"] if value is not None else []
    formula = wording.loss_formula(card.nodes)
    return " · ".join([*words, *([formula] if formula else [])])
