"""Graphviz's HTML-like labels, written by hand: text, cells, tables. Whatever came from a user passes through `esc`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

FONT = "Arial"  # engines without fonts know its metrics; a list of families would not be understood by all
MONO = "DejaVu Sans Mono"

LONGEST = 2000  # characters of a tooltip
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


def esc(text: object) -> str:
    """Any text, safe inside an HTML-like label and in SVG: no control characters, no markup."""
    return html.escape(_CONTROL.sub(" ", str(text)), quote=True)


def plain(text: object) -> str:
    """Any text, safe as a quoted DOT attribute: Graphviz expands backslashes, and reads no more than 16384 bytes."""
    return esc(str(text)[:LONGEST]).replace("\\", "\\\\")


def text(
    content: object, colour: str, size: float = 9, *, bold: bool = False, mono: bool = False, room: float | None = None
) -> str:
    """A run of text. `room`: points it may take; more is cut with an ellipsis."""
    shown = esc(cut(str(content), room, size, bold=bold)) if room is not None else esc(content)
    if not shown:
        return ""
    shown = shown.replace("  ", "&#160;&#160;")
    face = f' FACE="{MONO}"' if mono else ""
    run = f'<FONT POINT-SIZE="{size:g}" COLOR="{colour}"{face}>{shown}</FONT>'
    return f"<B>{run}</B>" if bold else run


def lines(content: str, colour: str, size: float, room: float, most: int = 3) -> str:
    """Text broken at spaces into lines that fit the room."""
    rows = [""]
    for word in content.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and width_of(longer, size) > room and len(rows) < most:
            rows.append(word)
        else:
            rows[-1] = longer
    return "".join(text(row, colour, size, room=room) + '<BR ALIGN="LEFT"/>' for row in rows)


def cell(content: str = "", **attributes: object) -> str:
    """A table cell; keyword arguments are its attributes."""
    return f"<TD{_attributes(attributes)}>{content}</TD>"


def table(rows: Iterable[Iterable[str] | str], **attributes: object) -> str:
    """A table of rows of cells, without border or spacing unless asked for."""
    given = {"BORDER": 0, "CELLBORDER": 0, "CELLSPACING": 0, "CELLPADDING": 0, **attributes}
    body = "".join(f"<TR>{row if isinstance(row, str) else ''.join(row)}</TR>" for row in rows)
    return f"<TABLE{_attributes(given)}>{body}</TABLE>"


def fixed(content: str, width: float, height: float, **attributes: object) -> str:
    """A cell of exactly this size."""
    return cell(content, FIXEDSIZE="TRUE", WIDTH=round(width), HEIGHT=round(height), **attributes)


def label(content: str) -> str:
    """Mark a string as an HTML-like label for the graphviz package."""
    return f"<{content}>"


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(f' {name}="{value}"' for name, value in attributes.items() if value is not None)


# ---- how wide text is ------------------------------------------------------------------------------------------

_NARROW = frozenset("ijl.,:;'|!()[] It·f/\\r-")
_WIDE = frozenset("mwMW@%×→←∂∇‖▲▼●─#&OQGD")


def width_of(string: str, size: float, *, bold: bool = False) -> float:
    """About how wide a string is in points, in DejaVu Sans, the widest of the usual faces."""
    em = sum(0.36 if c in _NARROW else 0.86 if c in _WIDE else 0.62 if ord(c) < 0x2E80 else 1.05 for c in string)
    return em * size * (1.12 if bold else 1.0)


def cut(string: str, room: float, size: float, *, bold: bool = False) -> str:
    """A string that fits the room, its middle replaced by an ellipsis if it must be."""
    string = _CONTROL.sub(" ", string)
    if width_of(string, size, bold=bold) <= room:
        return string
    while len(string) > 1 and width_of(string, size, bold=bold) > room - size:
        excess = width_of(string, size, bold=bold) - (room - size)
        drop = max(1, int(excess / (size * 1.2)))
        middle = (len(string) - drop) // 2
        string = string[:middle] + string[middle + drop :]
    middle = len(string) // 2
    return string[:middle] + "…" + string[middle:]
