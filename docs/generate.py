"""Write docs/ops.md, the table of all operations, from the registry: `make docs`."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import operations
from tinygrad_cnn.core.operators import Operators

DOCS = Path(__file__).parent

HEAD = """# Operations

Every record of the registry, by file. Written by `make docs`; `tc.ops()` holds the same.

*Inputs* in brackets may be left out; those in italics have no gradient. An option without a value must be given.
*Called* names the public functions and methods of that name; a record without one is what others are made of. The last
column is the derivative where mathematics leaves a choice; [conventions](conventions.md) has the whole list.
"""
COLUMNS = ("operation", "what it computes", "inputs", "options", "called", "chosen derivatives")


def page() -> str:
    """The whole page."""
    chosen = dict(_chosen_derivatives())
    parts = [HEAD]
    for family in operations.__all__:
        module = importlib.import_module(f"{operations.__name__}.{family}")
        rows = [_row(op, chosen) for op in tc.ops().values() if op.module == module.__name__]
        if rows:
            summary = (module.__doc__ or "").partition("\n")[0]
            parts += [f"\n## {family}\n\n{summary}\n\n", _line(COLUMNS), _line(["---"] * len(COLUMNS)), *rows]
    return "".join(parts)


def _row(op: tc.Op, chosen: dict[str, list[str]]) -> str:
    options = (o if default is inspect.Parameter.empty else f"{o}={default!r}" for o, default in op.options.items())
    return _line([
        f"`{op.name}`",
        (op.__doc__ or "").replace("*", "\\*"),
        ", ".join(_inputs(op)),
        ", ".join(f"`{o}`" for o in options),
        ", ".join(f"`{name}`" for name in _public(op.name)),
        "; ".join(chosen.get(op.name, [])),
    ])  # fmt: skip


def _inputs(op: tc.Op) -> Iterator[str]:
    joint = any(rule.position is None for rule in op.rules)
    differentiable = {rule.position for rule in op.rules}
    for position, name in enumerate(op.inputs):
        shown = f"\\*{name}" if op.variadic else name
        shown = shown if joint or position in differentiable else f"*{shown}*"
        yield f"[{shown}]" if name in op.signature.optional else shown


def _public(name: str) -> Iterator[str]:
    for place, names in (("tc", tc.__all__), ("F", F.__all__), ("Tensor", vars(Operators))):
        if name in names:
            yield f"{place}.{name}"


def _chosen_derivatives() -> Iterator[tuple[str, list[str]]]:
    """The rows of the table in conventions.md, by operation."""
    found: dict[str, list[str]] = {}
    text = (DOCS / "conventions.md").read_text(encoding="utf-8")
    table = text.partition("## Where no derivative exists")[2].partition("\n## ")[0]
    for names, at, derivative in re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", table, re.MULTILINE):
        listed = re.findall(r"`(\w+)(?:\(axis\))?`", names)
        listed += [f"max_pool{d}d" for d in (1, 2, 3)] if "max-pooling" in names else []
        for name in listed:
            found.setdefault(name, []).append(f"at {at}: {derivative}")
    yield from found.items()


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |\n"


if __name__ == "__main__":
    (DOCS / "ops.md").write_text(page(), encoding="utf-8")
