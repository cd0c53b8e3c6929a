"""Explanation: the picture of one operation alone, with its numbers in coloured cells."""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import Any, NamedTuple

import graphviz
import numpy as np

from viz.images import CIVIDIS, NOT_FINITE, PUOR
from viz.markup import FONT, cell, fixed, label, plain, table, text, width_of
from viz.palette import THEMES, Theme, ink_on
from viz.picture import Picture
from viz.style import Drawing
from viz.wording import family_of
from viz.worked import Call, Grid, Panel, Part, described

MOST = 12  # rows and columns that are drawn of a matrix
SIZE = 9.0  # of a number, in points


class Explanation(Picture):
    """One operation, forward and backward, with real numbers: `values` holds y and the gradients, by input name."""

    def __init__(self, call: Call, panels: list[Panel], theme: str, timeout: float) -> None:
        self.op, self.panels = call.op, panels
        self.values = {"y": call.y, **call.grads}
        self.title, self.theme, self.timeout = f"{call.op}, one operation alone", theme, timeout
        self.subtitle = described(call)

    def description(self) -> str:
        """The formulas of the panels."""
        return f"{self.subtitle}. " + ". ".join(f"{panel.title}: {panel.formula}" for panel in self.panels) + "."

    def text(self) -> str:
        """The panels as tables of numbers; ringed ones in brackets, zeros that were put in as dots."""
        lines = [f"{self.title}   {self.subtitle}"]
        for panel in self.panels:
            lines += ["", f"{panel.title}   {panel.formula}".rstrip()]
            for part in panel.parts:
                for grid in part if isinstance(part, list) else [part]:
                    lines += [f"  {grid}"] if isinstance(grid, str) else _as_text(grid)
            lines += [f"  {panel.note}"] if panel.note else []
        return "\n".join(lines)

    def json(self) -> str:
        """The values as lists; what is not finite as words."""
        values = {name: np.asarray(v).tolist() for name, v in self.values.items()}
        return json.dumps({"op": self.op, "description": self.description(), "values": _finite(values)}, indent=1)

    def __repr__(self) -> str:
        return f"<Explanation of {self.op}: {self.subtitle}>"

    @cached_property
    def _drawing(self) -> Drawing:
        theme = THEMES[self.theme]
        graph = graphviz.Digraph(name=plain(self.title))
        graph.attr("graph", fontname=FONT, bgcolor=theme.page, pad="0.25")
        graph.attr("node", shape="plain", fontname=FONT, fontsize="10")
        head = text(self.op, theme.families[family_of(self.op)], 16, bold=True) + text(
            "   one operation alone", theme.muted, 11
        )
        cards = [_card(panel, theme) for panel in self.panels]
        rows = [cell(head), cell(text(self.subtitle, theme.muted, 9, room=640))]
        rows += [cell(card, ALIGN="LEFT") for card in cards]
        rows.append(cell(_legend(self.panels, theme)))
        graph.node("explanation", label=label(table(rows, CELLSPACING=5)), id="explanation", tooltip=plain(self.title))
        return Drawing(graph)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value if math.isfinite(value) else str(value)


# ---- cards -----------------------------------------------------------------------------------------------------


class Box(NamedTuple):
    """A piece of markup and the room it takes: tables of fixed size, or Graphviz would stretch their cells."""

    markup: str
    width: float
    height: float


def _card(panel: Panel, theme: Theme) -> str:
    backward = panel.title.startswith("backward")
    colour = theme.backward if backward else theme.forward
    title = text(("▲ " if backward else "▼ ") + panel.title, colour, 11, bold=True)
    rows = [cell(title + text(f"   {panel.formula}", theme.ink, 9.5), ALIGN="LEFT")]
    rows.append(cell(_in_a_row([_part(part, theme) for part in panel.parts], 4).markup, ALIGN="LEFT"))
    if panel.note:
        rows.append(cell(text(panel.note, theme.muted, 9), ALIGN="LEFT"))
    edge, background = (theme.backward_edge, theme.backward_card) if backward else (theme.card_edge, theme.card)
    return table(rows, BORDER=1, COLOR=edge, STYLE="ROUNDED", BGCOLOR=background, CELLSPACING=3, CELLPADDING=3)


def _part(part: Part, theme: Theme) -> Box:
    if isinstance(part, str):
        return Box(text(part, theme.ink, 11), width_of(part, 11) + 10, 16)
    boxes = [_labelled(grid, theme) for grid in (part if isinstance(part, list) else [part])]
    return boxes[0] if len(boxes) == 1 else _stacked(boxes, 8)


def _labelled(grid: Grid, theme: Theme) -> Box:
    """A grid under its label, cut where it is large."""
    tall, wide = grid.values.shape
    cut = f"  {min(tall, MOST)}×{min(wide, MOST)} of {tall}×{wide}" if max(tall, wide) > MOST else ""
    words = text(grid.label, theme.ink, 9, bold=True) + text(cut, theme.muted, 8)
    room = width_of(grid.label, 9, bold=True) + width_of(cut, 8) + 4
    return _stacked([Box(words, room, 13), _cells(grid, theme)], 2)


def _stacked(boxes: list[Box], gap: int) -> Box:
    width, height = max(b.width for b in boxes), sum(b.height + gap for b in boxes) + gap
    return _sized([[fixed(b.markup, width, b.height)] for b in boxes], width + 2 * gap, height, CELLSPACING=gap)


def _in_a_row(boxes: list[Box], gap: int) -> Box:
    width, height = sum(b.width + gap for b in boxes) + gap, max(b.height for b in boxes)
    return _sized([[fixed(b.markup, b.width, height) for b in boxes]], width, height + 2 * gap, CELLSPACING=gap)


def _sized(rows: list[list[str]], width: float, height: float, **attributes: object) -> Box:
    size = {"FIXEDSIZE": "TRUE", "WIDTH": round(width) + 1, "HEIGHT": round(height) + 1}
    return Box(table(rows, **size, **attributes), round(width) + 1, round(height) + 1)


def _cells(grid: Grid, theme: Theme) -> Box:
    shown = grid.values[:MOST, :MOST]
    words = [[_word(v) for v in row] for row in shown]
    wide, high = max(20, round(max(width_of(w, SIZE) for row in words for w in row)) + 6), 18
    scale = float(np.abs(np.where(np.isfinite(grid.values), grid.values, 0)).max(initial=0.0))
    rings = set(grid.rings)
    rows = []
    for r, line in enumerate(shown):
        cells = []
        for c, value in enumerate(line):
            put_in = grid.put_in is not None and bool(grid.put_in[r, c])
            background = theme.clusters[2] if put_in else _colour(float(value), scale, grid.kind)
            ink = theme.muted if put_in else ink_on(background)
            ring = {"BORDER": 2, "COLOR": theme.bad} if (r, c) in rings else {"BORDER": 0}
            cells.append(fixed(text(words[r][c], ink, SIZE), wide, high, BGCOLOR=background, **ring))
        rows.append(cells)
    width, height = shown.shape[1] * (wide + 1), shown.shape[0] * (high + 1)
    return _sized(rows, width, height, CELLSPACING=1, BGCOLOR=theme.grid)


def _word(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    short = f"{value:.3g}"
    short = short.replace("e-0", "e-").replace("e+0", "e") if "e" in short else short
    return "0" if float(short) == 0 else short.replace("-", "−")


def _colour(value: float, scale: float, kind: str) -> str:
    if not math.isfinite(value):
        shown: Any = NOT_FINITE
    elif kind == "signed":
        shown = PUOR[round(127 + 105 * (value / scale if scale else 0.0))]  # not to the ends: numbers are read on it
    else:
        shown = CIVIDIS[round(255 * max(value / scale if scale else 0.0, 0.0))]
    return "#{:02X}{:02X}{:02X}".format(*map(int, shown))


def _legend(panels: list[Panel], theme: Theme) -> str:
    """What a ring, a pale cell and the colours mean, as far as they occur."""
    parts = [part for panel in panels for part in panel.parts if not isinstance(part, str)]
    grids = [grid for part in parts for grid in (part if isinstance(part, list) else [part])]
    boxes = []
    for kind in (k for k in ("signed", "range") if any(g.kind == k for g in grids)):
        low = -1.0 if kind == "signed" else 0.0
        steps = [fixed("", 8, 10, BGCOLOR=_colour(low + (1 - low) * t / 8, 1.0, kind)) for t in range(9)]
        ends = ("−max", "+max") if kind == "signed" else ("0", "max")
        boxes += [_small(ends[0], theme), _sized([steps], 71, 9), _small(ends[1], theme), Box("", 8, 1)]
    if any(g.rings for g in grids):
        boxes += [_sized([[fixed("", 14, 12, BORDER=2, COLOR=theme.bad)]], 13, 11), _small("belong together", theme)]
    if any(g.put_in is not None and g.put_in.any() for g in grids):
        swatch = fixed(text("0", theme.muted, 8), 18, 12, BGCOLOR=theme.clusters[2])
        boxes += [_sized([[swatch]], 17, 11), _small("put in: padding, or between entries", theme)]
    return _in_a_row(boxes, 3).markup


def _small(words: str, theme: Theme) -> Box:
    return Box(text(words, theme.muted, 8), width_of(words, 8) + 2, 13)


# ---- text ------------------------------------------------------------------------------------------------------


def _as_text(grid: Grid) -> list[str]:
    shown = grid.values[:MOST, :MOST]
    rings = set(grid.rings)

    def word(r: int, c: int) -> str:
        inner = "·" if grid.put_in is not None and grid.put_in[r, c] else _word(float(shown[r, c]))
        return f"[{inner}]" if (r, c) in rings else f" {inner} "

    words = [[word(r, c) for c in range(shown.shape[1])] for r in range(shown.shape[0])]
    wide = max(len(w) for row in words for w in row)
    body = ["    " + " ".join(w.rjust(wide) for w in row) for row in words]
    return [f"  {grid.label}", *body]
