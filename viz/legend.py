"""The heading and the legend: every picture says what its colours, widths and glyphs mean."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from viz.diagram import Diagram
from viz.images import CIVIDIS, PUOR
from viz.judging import KINDS
from viz.markup import cell, fixed, table, text
from viz.measure import HISTOGRAM
from viz.palette import Theme, flow_colour, flow_width

WIDTH = 500
_STEPS = range(-3, 4)
_MEANING = {
    "nan": "not a number",
    "inf": "overflow",
    "exploding": "gain above 10× the usual, or 2 decades above the output",
    "shrinks": "gain below a tenth of the usual: the culprit",
    "vanishing": "2 decades below the output behind a culprit, 6 without",
    "dead": "most channels never active",
    "no-grad": "no gradient came",
    "unused": "the loss does not depend on it",
    "frozen": "requires_grad is False",
}
_WORD = {
    "nan": "NaN",
    "inf": "Inf",
    "exploding": "▲ EXPLODING",
    "shrinks": "SHRINKS",
    "vanishing": "▼ VANISHING",
    "dead": "DEAD",
    "no-grad": "NO GRAD",
    "unused": "UNUSED",
    "frozen": "FROZEN",
}


def heading(diagram: Diagram, level: str, facts: str, banner: str, theme: Theme) -> str:
    """Title, the facts of the step, and what the reader must know first."""
    title = f"{diagram.trace.title or 'computation'}, gradient flow by {level}"
    rows = [cell(text(title, theme.ink, 16, bold=True, room=560))]
    if facts:
        rows.append(cell(text(facts, theme.muted, 10)))
    if banner:
        background, ink = theme.badges["nan"]
        words = cell(text(banner, ink, 10, bold=True), BGCOLOR=background, STYLE="ROUNDED", CELLPADDING=4)
        rows.append(cell(table([words])))
    if diagram.note:
        rows.append(cell(text(diagram.note, theme.muted, 9)))
    return table(rows, CELLSPACING=2, CELLPADDING=1)


def legend(diagram: Diagram, scale: str, show: Collection[str], theme: Theme) -> str:
    """What the lanes, the ramp, the maps, the glyphs and the marks of this picture mean."""
    marks = {mark.kind for card in diagram.cards for mark in card.marks}
    rows = [_lanes(scale, theme), _ramp(scale, theme), *_keys(diagram, show, theme), *_marks(marks, theme)]
    return table((cell(row) for row in rows), CELLSPACING=3)


def fixed_row(*parts: tuple[str, float]) -> str:
    """Cells of given widths, the last as wide as is left: rows of one width, or Graphviz would stretch their cells."""
    left = WIDTH - sum(width for _, width in parts[:-1])
    cells = [fixed(content, width, 14, ALIGN="LEFT") for content, width in parts[:-1]]
    return table([[*cells, fixed(parts[-1][0], left, 14, ALIGN="LEFT")]])


def _lanes(scale: str, theme: Theme) -> str:
    size = "root mean square" if scale == "rms" else "norm per sample ‖∂L‖"
    gain = ", × gain of the layer just left" if scale == "flow" else ""
    forward = text("▼ forward", theme.forward, 9, bold=True) + text(" activations", theme.muted, 9)
    backward = text("▲ backward", theme.backward, 9, bold=True) + text(f" gradient: {size}{gain}", theme.muted, 9)
    return fixed_row((forward, 140), (backward, 0))


def _ramp(scale: str, theme: Theme) -> str:
    """Each colour as thick as the line it stands for."""
    what = "update/weight 10^-3" if scale == "update" else "the model's output"
    words = text(f"width and colour: decades from {what}", theme.muted, 8)
    swatches = [cell(_swatch(f, theme), WIDTH=30, HEIGHT=10) for f in _STEPS]
    numbers = [fixed(text(f"{f:+d}".replace("-", "−").replace("+0", "0"), theme.muted, 8), 30, 11) for f in _STEPS]
    note = text("dashed below −2", theme.muted, 8)
    bar = table([swatches, numbers])
    left = WIDTH - 220 - 30 * len(_STEPS) - 10
    return table(
        [[fixed(words, 220, 22, ALIGN="LEFT"), cell(bar), fixed("", 10, 22), fixed(note, left, 22, ALIGN="LEFT")]]
    )


def _swatch(f: float, theme: Theme) -> str:
    return table([fixed("", 30, max(1, round(flow_width(f))), BGCOLOR=flow_colour(f, theme))])


def _keys(diagram: Diagram, show: Collection[str], theme: Theme) -> list[str]:
    rows: list[str] = []
    if "thumbs" in show and any(card.nodes and card.last.thumbs for card in diagram.cards):
        zero, most, least, top, note = (
            text(w, theme.muted, 8)
            for w in ("maps:   0", "max", "−max", "+max", "the scale of a strip stands beside it")
        )
        gap = ("", 6.0)
        ranged = ((zero, 44), gap, (_bar(CIVIDIS), 66), gap, (most, 40))
        signed = ((least, 28), gap, (_bar(PUOR), 66), gap, (top, 46))
        rows.append(fixed_row(*ranged, *signed, (note, 0)))
    if "stats" in show and any(card.parameters for card in diagram.cards):
        low, high = HISTOGRAM[0] + 1, HISTOGRAM[1] - 1
        keys = ("●", theme.good, "10^-4 to 10^-2"), ("▲", theme.bad, "above"), ("▼", theme.bad, "below")
        line = text("update/weight  ", theme.muted, 8)
        for glyph, colour, meaning in keys:
            line += text(glyph, colour, 8) + text(f" {meaning}   ", theme.muted, 8)
        line += text("    ▁▃█▃", theme.backward, 8, mono=True)
        line += text(f" log10|∂W| from {low} to {high}".replace("-", "−"), theme.muted, 8)
        rows.append(fixed_row((line, 0)))
    return rows


def _bar(colours: np.ndarray) -> str:
    """A colour map as a row of cells."""
    steps = 11
    cells = []
    for i in range(steps):
        r, g, b = colours[round(i * (len(colours) - 1) / (steps - 1))]
        cells.append(fixed("", 6, 8, BGCOLOR=f"#{r:02X}{g:02X}{b:02X}"))
    return table([cells])


def _marks(kinds: Collection[str], theme: Theme) -> list[str]:
    """A line for each mark in the picture: its badge and what it says."""
    rows = []
    for kind in (k for k in KINDS if k in kinds):
        background, ink = theme.badges[kind]
        badge = fixed(text(_WORD[kind], ink, 8, bold=True), 88, 14, BGCOLOR=background, STYLE="ROUNDED")
        meaning = fixed(text(_MEANING[kind], theme.muted, 8), WIDTH - 98, 14, ALIGN="LEFT")
        rows.append(table([[badge, fixed("", 10, 14), meaning]]))
    return rows
