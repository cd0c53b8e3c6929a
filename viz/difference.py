"""The picture of a comparison: the layers of both figures in one column, what changed in words, lines and colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import graphviz

from viz import wording
from viz.lanes import WIDTH
from viz.legend import fixed_row
from viz.markup import FONT, cell, fixed, label, plain, table, text, width_of
from viz.palette import Theme, mix
from viz.style import Drawing

if TYPE_CHECKING:
    from viz.comparing import Difference, Row

LARGEST = 3.0  # decades, where colour and width end


def draw(difference: Difference, theme: Theme) -> Drawing:
    """The DOT graph of a comparison."""
    graph = graphviz.Digraph(name=plain(difference.title))
    graph.attr("graph", fontname=FONT, bgcolor=theme.page, pad="0.25", nodesep="0.4", ranksep="0.55",
               outputorder="edgesfirst")  # fmt: skip
    graph.attr("node", shape="plain", fontname=FONT, fontsize="10")
    with graph.subgraph(name="cluster_page") as page:
        page.attr(label=label(_heading(difference, theme)), peripheries="0", margin="0", labeljust="c")
        for number, row in enumerate(difference.rows):
            page.node(f"n{number}", label=label(_card(row, theme)), id=f"n{number}", tooltip=plain(_tip(row)))
        _links(page, difference, theme)
    graph.attr(label=label(_legend(theme)), labelloc="b", labeljust="c")
    return Drawing(graph)


def _heading(difference: Difference, theme: Theme) -> str:
    rows = [cell(text("what changed", theme.ink, 16, bold=True))]
    for letter, name, figure in zip("AB", difference.names, (difference.before, difference.after), strict=True):
        words = text(f"{letter}  ", theme.muted, 10, bold=True) + text(name, theme.ink, 10, bold=True, room=300)
        rows.append(cell(words + text(f"     {figure.facts()}", theme.muted, 10)))
    changes = difference.changes()
    count = f"{len(changes)} changes" if changes else "nothing has changed"
    rows.append(cell(text(count, theme.muted, 9)))
    return table(rows, CELLSPACING=2, CELLPADDING=1)


# ---- cards -----------------------------------------------------------------------------------------------------


def _card(row: Row, theme: Theme) -> str:
    card, width = row.card, WIDTH - 14
    badges = _badges(row, theme)
    room = width - sum(wide + 4 for _, wide in badges)
    name = text(card.path or card.name, theme.families[card.family], 12, bold=True, room=room * 0.5)
    left = room - min(width_of(card.path or card.name, 12, bold=True), room * 0.5) - 20
    detail = row.details[1] or card.type
    title = [fixed(name + text("   ", theme.muted) + text(detail, theme.muted, 9, room=left), room, 17, ALIGN="LEFT")]
    for badge, _ in badges:
        title += [fixed("", 4, 17), badge]
    rows = [cell(table([title]), ALIGN="LEFT")]
    if row.details[0] != row.details[1]:
        rows.append(cell(text(f"was {row.details[0] or 'plain'}", theme.bad, 9, room=width), ALIGN="LEFT"))
    rows += [cell(line, ALIGN="LEFT") for line in _numbers(row, theme, width)]
    edge = {"": theme.card_edge, "A": theme.stopped, "B": theme.good}[row.only]
    look = "ROUNDED,DASHED" if row.only == "A" else "ROUNDED"
    body = table(rows, BORDER=2 if badges else 1, COLOR=edge, STYLE=look, BGCOLOR=theme.card, CELLSPACING=2,
                 CELLPADDING=2, WIDTH=WIDTH)  # fmt: skip
    half = WIDTH / 2
    above = [fixed("", half, 1, PORT="fi"), fixed("", half, 1, PORT="go")]
    below = [fixed("", half, 1, PORT="fo"), fixed("", half, 1, PORT="gi")]
    return table([above, cell(body, COLSPAN=2), below])


def _badges(row: Row, theme: Theme) -> list[tuple[str, int]]:
    new, gone = row.marks
    words = [(f"ONLY IN {row.only}", theme.good if row.only == "B" else theme.stopped, theme.page)] if row.only else []
    kinds = {mark.badge: mark.kind for card in (row.before, row.after) if card is not None for mark in card.marks}
    words += [(f"NEW  {badge}", *theme.badges[kinds[badge]]) for badge in new[:1]]
    words += [(f"GONE  {badge}", theme.good, theme.page) for badge in gone[:1]]
    cells = []
    for content, background, ink in words[:2]:
        wide = round(min(width_of(content, 8, bold=True) + 10, WIDTH * 0.4))
        shown = text(content, ink, 8, bold=True, room=wide - 8)
        cells.append((fixed(shown, wide, 15, BGCOLOR=background, STYLE="ROUNDED"), wide))
    return cells


def _numbers(row: Row, theme: Theme, width: float) -> list[str]:
    """Numbers two in a line: before → after and the factor, in colour where it is more than two."""
    pieces = []
    for name, a, b in row.numbers():
        ratio = b / a if a and b is not None else None
        notable = ratio is not None and (ratio <= 0 or not -0.31 < math.log10(ratio) < 0.31)
        values = f"{wording.number(a)} → {wording.number(b)}" if not row.only else wording.number(b if a is None else a)
        words = text(f"{name}  ", theme.muted, 9) + text(values, theme.ink, 9)
        words += text(f"   {wording.factor(ratio)}", theme.bad if notable else theme.muted, 9, bold=notable)
        pieces.append(fixed(words, width / 2 - 2, 13, ALIGN="LEFT"))
    pairs = [pieces[i : i + 2] for i in range(0, len(pieces), 2)]
    return [table([[*pair, *([fixed("", width / 2 - 2, 13)] if len(pair) == 1 else [])]]) for pair in pairs]


def _tip(row: Row) -> str:
    words = [f"{name} {wording.number(a)} → {wording.number(b)}" for name, a, b in row.numbers()]
    return "; ".join([row.card.path or row.card.name, *words])


# ---- links -----------------------------------------------------------------------------------------------------


def _links(page: graphviz.Digraph, difference: Difference, theme: Theme) -> None:
    """Forward links of either figure, and beside those of both how the gradient has changed."""
    places: list[dict[str, int]] = [{}, {}]  # card id -> row, of A and of B
    for number, row in enumerate(difference.rows):
        for place, card in zip(places, (row.before, row.after), strict=True):
            if card is not None:
                place[card.id] = number
    found: dict[tuple[int, int], set[str]] = {}
    for letter, place, figure in zip("AB", places, (difference.before, difference.after), strict=True):
        for link in figure.diagram.links:
            found.setdefault((place[link.source], place[link.target]), set()).add(letter)
    for (start, end), letters in found.items():
        source = difference.rows[start]
        weight = "8" if end == start + 1 else "1"
        colour = theme.forward if len(letters) == 2 else theme.good if "B" in letters else theme.stopped
        line = "dashed" if letters == {"A"} else "solid"
        page.edge(f"n{start}:fo:s", f"n{end}:fi:n", color=colour, style=line, penwidth="1.3", arrowsize="0.6",
                  weight=weight)  # fmt: skip
        if len(letters) == 2 and source.shift is not None:
            page.edge(f"n{start}:gi:s", f"n{end}:go:n", dir="back", weight=weight, **_line(source.shift, theme))


def _line(shift: float, theme: Theme) -> dict[str, str]:
    """Grey where nothing changed; blue and dashed for less gradient, dark red for more; wide where it is much."""
    size = min(abs(shift), LARGEST) / LARGEST if not math.isnan(shift) else 1.0
    words = wording.factor(10**shift) if math.isfinite(shift) else wording.number(shift)
    return {
        "color": change_colour(shift, theme),
        "penwidth": f"{1.3 + 3.7 * size:.2f}",
        "style": "dashed" if shift < -0.3 else "solid",
        "arrowtail": "normal",
        "arrowsize": f"{0.55 + 0.4 * size:.2f}",
        "tooltip": f"share of the gradient at the model's output: {words}",
    }


def change_colour(shift: float, theme: Theme) -> str:
    """The colour of a change by so many decades."""
    end = theme.badges["vanishing" if shift < 0 else "exploding"][0]
    return mix(theme.rung, end, min(abs(shift), LARGEST) / LARGEST if not math.isnan(shift) else 1.0)


def _legend(theme: Theme) -> str:
    forward = text("▼ activations", theme.forward, 8) + text("   in both    ", theme.muted, 8)
    forward += text("only in A (dashed)    ", theme.stopped, 8) + text("only in B", theme.good, 8)
    words = text("▲ gradient: its share of that at the model's output, against A", theme.muted, 8)
    steps = (-3, -2, -1, 0, 1, 2, 3)
    swatches = [
        fixed(table([fixed("", 30, round(1.3 + 2 * abs(s)), BGCOLOR=change_colour(s, theme))]), 32, 11) for s in steps
    ]
    names = [fixed(text(f"×10^{s}".replace("-", "−") if s else "same", theme.muted, 7), 32, 11) for s in steps]
    rest = fixed("", WIDTH - 32 * len(steps), 1)
    return table([
        cell(fixed_row((forward, 0))),
        cell(fixed_row((words, 0))),
        cell(table([[*swatches, rest], [*names, rest]])),
    ], CELLSPACING=3)  # fmt: skip
