"""The picture by operation, a ladder: parameters | forward tape, down | backward tape, up | parameter gradients.

A dotted rung joins each operation to its backward and says what was saved for it.
"""

from __future__ import annotations

from itertools import pairwise

import graphviz

from viz import wording
from viz.cards import detail_of, glyph, histogram_blocks, together
from viz.diagram import Card, Diagram, Link
from viz.images import CIVIDIS, NOT_FINITE, PUOR
from viz.judging import update_text
from viz.legend import heading, legend
from viz.lines import gradient_line, gradient_words
from viz.markup import cell, fixed, label, lines, plain, table, text, width_of
from viz.palette import Theme, ink_on
from viz.style import Drawing, Style, new_graph
from viz.trace import Crop, Parameter

FORWARD, BACKWARD, LEFT, RIGHT = 240, 360, 175, 195  # widths of the columns' cards, in points
MOST_LISTED = 4  # parameters in a card, one by one
Sides = tuple[str, str, str, str]
SIDES: dict[str, Sides] = {  # ports along the tape, in and out, and across it, towards and away from the backward tape
    "TB": ("n:n", "s:s", "card:e", "card:w"),
    "LR": ("card:w", "card:e", "card:s", "card:n"),
}


def draw(diagram: Diagram, style: Style, facts: str, banner: str) -> Drawing:
    """The DOT graph of a diagram of operations."""
    drawing = Drawing(new_graph(diagram, style))
    graph, theme = drawing.graph, style.theme
    full = diagram.trace.backward == "full" and "grads" in style.show
    grads_drawn: set[int] = set()
    with graph.subgraph(name="cluster_page") as page:
        page.attr(
            label=label(heading(diagram, "operation", facts, banner, theme)), peripheries="0", margin="0", labeljust="c"
        )
        for card in diagram.cards:
            _rung(page, diagram, card, style, full, grads_drawn)
        for link in diagram.links:
            _links(page, diagram, link, style, full)
        _tapes(page, diagram, full)
    graph.attr(label=label(legend(diagram, style.scale, style.show, theme)), labelloc="b", labeljust="c")
    return drawing


# ---- one rung --------------------------------------------------------------------------------------------------


def _rung(
    page: graphviz.Digraph, diagram: Diagram, card: Card, style: Style, full: bool, grads_drawn: set[int]
) -> None:
    theme = style.theme
    forward, backward = f"f{card.id}", f"b{card.id}"
    with page.subgraph() as same:
        same.attr(rank="same")
        same.node(
            forward, label=label(_forward(diagram, card, style)), id=forward, tooltip=plain(_tip(card)), group="f"
        )
        if card.parameters:
            same.node(f"p{card.id}", label=label(_parameters(card, theme)), id=f"p{card.id}")
        if full and _has_backward(diagram, card):
            same.node(backward, label=label(_backward(diagram, card, style)), id=backward, group="b")
        with_grads = [p for p in card.parameters if p.grad is not None and p.id not in grads_drawn]
        if with_grads:
            same.node(f"g{card.id}", label=label(_parameter_gradients(with_grads, theme)), id=f"g{card.id}")
            grads_drawn.update(p.id for p in with_grads)
    _, _, near, far = SIDES[style.direction]
    if card.parameters:
        page.edge(f"p{card.id}", f"{forward}:{far}", color=theme.forward, penwidth="1.2", arrowsize="0.6", weight="5")
    if full and _has_backward(diagram, card):
        if card.kind != "input":
            page.edge(
                f"{forward}:{near}",
                f"{backward}:{far}",
                style="dotted",
                color=theme.rung,
                penwidth="1.2",
                arrowsize="0.5",
                arrowhead="vee",
                weight="3",
                tooltip=plain(_saved(card)),
            )
        if with_grads:
            line = _parameter_line(diagram, card, style)
            page.edge(f"{backward}:{near}", f"g{card.id}:{far[-1]}", weight="5", **line)


def _has_backward(diagram: Diagram, card: Card) -> bool:
    return card.out is not None


def _parameter_line(diagram: Diagram, card: Card, style: Style) -> dict[str, str]:
    """The line to the parameters' gradients looks like the gradient that it is made from."""
    link = Link(card.id, card.id, card.last, card.out, decades=card.decades)
    line = gradient_line(diagram, link, style)
    return {**line, "arrowhead": line.pop("arrowtail"), "dir": "forward"}


def _forward(diagram: Diagram, card: Card, style: Style) -> str:
    theme = style.theme
    name = text(card.name, theme.families[card.family], 11, bold=True, room=FORWARD * 0.55)
    room = FORWARD - 24 - min(width_of(card.name, 11, bold=True), FORWARD * 0.55)
    path = card.path if card.kind == "op" else detail_of(diagram, card)
    rows = [name + text("   ", theme.muted) + text(path, theme.muted, 9, room=room)]
    detail = detail_of(diagram, card) if card.kind == "op" else ""
    if detail:
        rows.append(text(detail, theme.muted, 9, room=FORWARD - 14))
    if "shapes" in style.show and card.nodes:
        value = f"   = {wording.number(card.last.value, 4)}" if card.last.value is not None else ""
        shape = f"→ {wording.shape_of(card.last.shape)}{value}"
        saves = text(f"    {_saved(card)}", theme.muted, 9, room=FORWARD - 10 - width_of(shape, 9))
        rows.append(text(shape, theme.ink, 9) + saves)
    if "thumbs" in style.show and len(card.nodes) == 1:
        rows += _crops(card.last.crops.get("forward", []), theme, FORWARD - 16)
    return _framed(rows, FORWARD, theme.card_edge, theme.card, card, theme)


def _backward(diagram: Diagram, card: Card, style: Style) -> str:
    theme = style.theme
    links = [link for link in diagram.links if link.target == card.id]
    if card.kind == "input":
        name = f"∂L/∂{card.name}"
        rows = [
            text(name, theme.backward, 11, bold=True)
            + text(f"   ‖∂L‖ {wording.number(card.out.flow if card.out else None)}", theme.muted, 9)
        ]
        return _framed(
            rows,
            BACKWARD,
            theme.backward_edge,
            theme.backward_card,
            card,
            theme,
            above="",
            below=_below(diagram, card, style),
        )
    title = text(f"{card.name}.backward", theme.backward, 11, bold=True, room=BACKWARD - 100)
    if card.gain is not None and card.judged:
        title += text(f"   ‖·‖ {wording.factor(card.gain)}", theme.backward_text, 9, bold=True)
    rows = [title]
    single = len(card.nodes) == 1
    rule = wording.rule_of(card.last.op) if single else f"the backward of {len(card.nodes)} operations"
    if rule:
        rows.append(text(rule, theme.ink, 9, room=BACKWARD - 14))
    if "thumbs" in style.show and len(card.nodes) == 1:
        rows += _crops(card.last.crops.get("backward", []), theme, BACKWARD - 16)
    named = links if len(links) == 1 else [link for link in links if link.grad and _fans_out(diagram, link)]
    above = "   ".join(dict.fromkeys(_arriving(diagram, link, style) for link in named[:2]))
    return _framed(
        rows,
        BACKWARD,
        theme.backward_edge,
        theme.backward_card,
        card,
        theme,
        above=above,
        below=_below(diagram, card, style),
    )


def _below(diagram: Diagram, card: Card, style: Style) -> str:
    """Where the output fans out, the gradients that come back are added up: beginners miss that."""
    links = [link for link in diagram.links if link.source == card.id and link.grad is not None]
    if len(links) > 1 and card.out is not None:
        return f"Σ of {len(links)}: ‖∂L‖ {wording.number(card.out.flow)}"
    joined = links and sum(1 for link in diagram.links if link.target == links[0].target) > 1
    return _arriving(diagram, links[0], style) if joined and not _fans_out(diagram, links[0]) else ""


def _fans_out(diagram: Diagram, link: Link) -> bool:
    return sum(1 for other in diagram.links if other.source == link.source) > 1


def _arriving(diagram: Diagram, link: Link, style: Style) -> str:
    words = gradient_words(diagram, link, style, gain=False)
    return words + (
        f"   rms {wording.number(link.grad.rms)}" if style.scale == "flow" and link.grad is not None else ""
    )


def _saved(card: Card) -> str:
    if len(card.nodes) != 1:
        return ""
    names = [name for name in card.last.saved if not name.endswith(("_shape", "_shapes"))]
    return f"saves {', '.join(names)}" if names else ""


def _framed(
    rows: list[str],
    width: int,
    edge: str,
    background: str,
    card: Card,
    theme: Theme,
    *,
    above: str | None = None,
    below: str = "",
) -> str:
    """A rounded card with ports at the middle of its top and bottom; on the backward side with lanes and marks."""
    backward = above is not None
    marks = card.marks[:2] if backward else []
    cells = [cell(row, ALIGN="LEFT") for row in rows]
    for mark in marks:
        back, ink = theme.badges[mark.kind]
        shown = text(mark.badge, ink, 8, bold=True, room=width - 20)
        wide = min(width_of(mark.badge, 8, bold=True) + 10, width - 14)
        badge = fixed(shown, wide, 15, BGCOLOR=back, STYLE="ROUNDED")
        cells.append(cell(table([[badge, fixed("", width - 14 - wide, 1)]]), ALIGN="LEFT"))
    body = table(
        cells,
        BORDER=2 if marks else 1,
        COLOR=theme.badges[marks[0].kind][0] if marks else edge,
        STYLE="ROUNDED",
        BGCOLOR=background,
        CELLSPACING=1,
        CELLPADDING=3,
        WIDTH=width,
    )
    ports = [fixed("", width, 1, PORT="n"), cell(body, PORT="card"), fixed("", width, 1, PORT="s")]
    if not backward:
        return table(ports)
    # As much room below as above: the middle of the card is the middle of the node, and the rungs are level.
    return table([_lane(above or "", width, theme), *ports, _lane(below, width, theme)])


def _lane(words: str, width: int, theme: Theme) -> str:
    """Words to the right of the line through the middle of a card."""
    half = width / 2 - 8
    return cell(
        table(
            [[fixed("", half + 16, 13), fixed(text(words, theme.backward_text, 9, room=half), half, 13, ALIGN="LEFT")]]
        )
    )


def _tip(card: Card) -> str:
    return f"{card.path + ': ' if card.path else ''}{card.name}"


# ---- parameters ------------------------------------------------------------------------------------------------


def _parameters(card: Card, theme: Theme) -> str:
    rows = []
    for p in _listed(card.parameters):
        line = text(_short(p), theme.ink, 10, bold=True, room=60)
        line += text(f"   {wording.shape_of(p.shape)}{'' if p.requires_grad else '   frozen'}", theme.muted, 9)
        known = p.name == _short(p) or p.name.rpartition(".")[0] == card.path  # stands in the card beside it
        rows.append(line if known else line + text(f"   {p.name}", theme.muted, 8, room=80))
        rows += [_numbers(p.values, theme)] if p.values is not None else []
    rows += _rest(card.parameters, theme, LEFT, gradients=False)
    return _column(rows, LEFT, theme.card_edge, theme.parameter_card)


def _parameter_gradients(parameters: list[Parameter], theme: Theme) -> str:
    rows = []
    for p in _listed(parameters):
        assert p.grad is not None
        line = text(f"∂{_short(p)}", theme.backward, 10, bold=True, room=60)
        if p.grad.nan or p.grad.inf:
            rows.append(line + text(f"  {wording.not_finite(p.grad)}", theme.ink, 9, bold=True))
            continue
        uses = f"   Σ of {len(p.uses)} uses" if len(p.uses) > 1 else ""
        line += text(f"  rms {wording.number(p.grad.rms)}{uses}", theme.muted, 9)
        rows.append(line + text(f"   upd/w {update_text(p.update)} ", theme.ink, 9) + glyph(p.update, theme, 9))
        if p.gradients is not None:
            rows.append(_numbers(p.gradients, theme))
        elif len(p.shape) > 1 and (blocks := histogram_blocks(p.histogram)):
            rows.append(text(blocks, theme.backward, 9, mono=True))
    rows += _rest(parameters, theme, RIGHT)
    return _column(rows, RIGHT, theme.backward_edge, theme.backward_card)


def _column(rows: list[str], width: int, edge: str, background: str) -> str:
    look = {"BORDER": 1, "COLOR": edge, "STYLE": "ROUNDED", "BGCOLOR": background, "WIDTH": width}
    return table((cell(row, ALIGN="LEFT") for row in rows), CELLSPACING=1, CELLPADDING=3, **look)


def _listed(parameters: list[Parameter]) -> list[Parameter]:
    """Those of one operation each; many are those of many operations, and counted."""
    return parameters if len(parameters) <= MOST_LISTED else []


def _rest(parameters: list[Parameter], theme: Theme, width: int, *, gradients: bool = True) -> list[str]:
    if _listed(parameters):
        return []
    return [lines(together(parameters, gradients=gradients), theme.muted, 9, room=width - 14)]


def _short(p: Parameter) -> str:
    last = p.name.rpartition(".")[2]
    return {"weight": "W", "bias": "b"}.get(last, last)


# ---- links -----------------------------------------------------------------------------------------------------


def _links(page: graphviz.Digraph, diagram: Diagram, link: Link, style: Style, full: bool) -> None:
    theme, name = style.theme, f"{link.source}-{link.target}"
    source, target = diagram.card(link.source), diagram.card(link.target)
    weight = "40" if int(link.target[1:]) == int(link.source[1:]) + 1 else "1"
    into, out, _, _ = SIDES[style.direction]
    page.edge(
        f"f{link.source}:{out}",
        f"f{link.target}:{into}",
        id=f"{name}-f",
        color=theme.forward,
        penwidth="1.4",
        arrowsize="0.6",
        weight=weight,
    )
    if full and _has_backward(diagram, source) and _has_backward(diagram, target):
        page.edge(
            f"b{link.source}:{out}",
            f"b{link.target}:{into}",
            id=f"{name}-g",
            dir="back",
            weight=weight,
            **gradient_line(diagram, link, style),
        )


def _tapes(page: graphviz.Digraph, diagram: Diagram, full: bool) -> None:
    """One rung for each operation, in the order of the tape, also where neighbours do not feed each other."""
    linked = {(link.source, link.target) for link in diagram.links}
    for a, b in pairwise(diagram.cards):
        if (a.id, b.id) not in linked:
            page.edge(f"f{a.id}", f"f{b.id}", style="invis", weight="40")
    for a, b in pairwise([card for card in diagram.cards if full and _has_backward(diagram, card)]):
        if (a.id, b.id) not in linked:
            page.edge(f"b{a.id}", f"b{b.id}", style="invis", weight="40")


# ---- crops -----------------------------------------------------------------------------------------------------


def _crops(crops: list[Crop], theme: Theme, room_in_card: float) -> list[str]:
    """Small grids of coloured cells in a row, each after its label."""
    if not crops:
        return []
    cells: list[str] = []
    used = 0.0
    for crop in crops:
        grid, width = _grid(crop, theme)
        room = width_of(crop.label, 9) + 10
        cells += [cell(text(crop.label, theme.muted, 9), WIDTH=round(room)), grid]
        used += room + width + 4
    return [table([[*cells, fixed("", max(room_in_card - used, 1), 1)]], CELLSPACING=2)]


def _numbers(crop: Crop, theme: Theme) -> str:
    """A grid of its own in a row of a card, kept from being stretched."""
    grid, width = _grid(crop, theme)
    return table([[grid, fixed("", max(LEFT - 16 - width, 1), 1)]])


def _grid(crop: Crop, theme: Theme) -> tuple[str, int]:
    """A cell with a table of coloured cells, and its width; a ringed cell has a frame."""
    tall, across = len(crop.values), len(crop.values[0])
    scale = max((abs(v) for row in crop.values for v in row), default=0.0)
    words = [[wording.short(v) if crop.numbers else "" for v in row] for row in crop.values]
    if crop.numbers:
        wide, high = max(18, round(max(width_of(w, 8) for row in words for w in row)) + 4), 14
    else:
        wide = high = 14 if max(tall, across) <= 2 else 9 if across <= 10 else 8
    rings = {(r, c) for r, c in crop.rings}
    rows = []
    for r, row in enumerate(crop.values):
        cells = []
        for c, value in enumerate(row):
            colour = _colour(value, scale, crop.kind)
            ring = {"BORDER": 2, "COLOR": theme.bad} if (r, c) in rings else {"BORDER": 0}
            cells.append(fixed(text(words[r][c], ink_on(colour), 8), wide, high, BGCOLOR=colour, **ring))
        rows.append(cells)
    width, height = across * (wide + 1) + 1, tall * (high + 1) + 1
    grid = table(rows, CELLSPACING=1, BGCOLOR=theme.grid, FIXEDSIZE="TRUE", WIDTH=width, HEIGHT=height)
    return fixed(grid, width, height), width


def _colour(value: float, scale: float, kind: str) -> str:
    if value != value:
        shown = NOT_FINITE
    elif kind == "signed":
        shown = tuple(PUOR[round(127 + 127 * (value / scale if scale else 0.0))])
    else:
        shown = tuple(CIVIDIS[round(255 * max(value / scale if scale else 0.0, 0.0))])
    return "#{:02X}{:02X}{:02X}".format(*shown)
