"""The table twin of a picture: the same cards as rows, for those who would rather read, sort, or hear."""

from __future__ import annotations

import html
import math
from typing import Any, NamedTuple

from viz import wording
from viz.judging import update_text
from viz.page_data import Data, badge_of


class Column(NamedTuple):
    """A heading, and whether what stands under it is numbers."""

    name: str
    numeric: bool = True


COLUMNS = (
    Column("layer", False),
    Column("kind", False),
    Column("output", False),
    Column("‖∂L‖"),
    Column("of the output's"),
    Column("gain"),
    Column("∇rms"),
    Column("update/weight"),
    Column("parameters"),
    Column("findings", False),
)


def table_of(level: Data, caption: str) -> str:
    """The cards of a level as an HTML table; a cell's `data-value` is what it is sorted by."""
    heads = "".join(
        f'<th scope="col"{_class(c.numeric)}><button type="button">{_esc(c.name)}</button></th>' for c in COLUMNS
    )
    rows = "\n".join(_row(card, order) for order, card in enumerate(level["cards"]))
    return (
        f'<table data-level="{level["level"]}">\n<caption>{_esc(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _row(card: Data, order: int) -> str:
    gradient: Data = card["gradient"] or {}
    lead = next((p for p in card["parameters"] if p["shape"].count("×")), next(iter(card["parameters"]), None))
    grad: Data = (lead or {}).get("gradient") or {}
    update = lead["update"] if lead else None
    counted = sum(
        math.prod(map(int, p["shape"].split("×"))) if p["shape"] != "scalar" else 1 for p in card["parameters"]
    )
    cells = [
        _cell("kind", _esc(card["detail"] or card["kind"])),
        _cell("output", _esc(card["shape"])),
        _number("flow", gradient.get("bad") or _shown(gradient.get("flow")), gradient.get("flow")),
        _number("share", _bar(card["decades"]), card["decades"]),
        _number("gain", _factor(card["gain"]), card["gain"]),
        _number("rms", grad.get("bad") or _shown(grad.get("rms")), grad.get("rms")),
        _number("update", update_text(update) if isinstance(update, float) else "", update),
        _number("parameters", f"{counted:,}" if counted else "", counted or None),
        _cell("findings", " ".join(badge_of(mark["kind"], mark["badge"]) for mark in card["marks"])),
    ]
    name = f'<th scope="row">{_esc(card["name"])}</th>'
    return f'<tr data-card="{card["id"]}" data-order="{order}">{name}{"".join(cells)}</tr>'


def _cell(name: str, content: str) -> str:
    return f'<td class="{name}">{content}</td>'


def _number(name: str, content: str, value: Any) -> str:
    words = {"inf": "1e999", "−inf": "-1e999", "NaN": "1e999"}
    key = "" if value is None else words.get(value, value) if isinstance(value, str) else repr(value)
    return f'<td class="number {name}" data-value="{key}">{content}</td>'


def _bar(decades: Any) -> str:
    """Decades from the model's output, as words and as a line that is 48 pixels long at the output."""
    if decades is None:
        return ""
    if not isinstance(decades, float):
        return _esc(decades)
    width = round(min(max(48 + 12 * decades, 1), 84))
    return f'<span class="line" style="width:{width}px"></span> {_factor(10**decades)}'


def _shown(value: Any) -> str:
    return "" if value is None else _esc(value) if isinstance(value, str) else wording.number(value)


def _factor(value: Any) -> str:
    return "" if value is None else _esc(value) if isinstance(value, str) else wording.factor(value)


def _class(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _esc(words: object) -> str:
    return html.escape(str(words), quote=True)
