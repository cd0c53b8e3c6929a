"""Where in the user's program something happened: kept as code and instruction, so that no frame stays alive."""

from __future__ import annotations

import linecache
import os
import sys
from typing import Any

Source = tuple[Any, int]  # (code object, offset of the instruction)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def caller() -> Source | None:
    """The innermost frame outside the package."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lasti)


def described(source: Source | None) -> str:
    """`file.py:12: text of the line`, or nothing."""
    if source is None:
        return ""
    code, instruction = source
    positions = list(code.co_positions())
    number = positions[instruction // 2][0] if 0 <= instruction // 2 < len(positions) else None
    number = code.co_firstlineno if number is None else number
    text = linecache.getline(code.co_filename, number).strip()
    return f"{os.path.basename(code.co_filename)}:{number}" + (f": {text}" if text else "")
