"""Write docs/ops.md, the table of all operations, from the registry: `make docs`."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import operations
from tinygrad_cnn.core.operators import Operators

DOCS = Path(__file__).parent

HEAD = """# Operations

Every record of the registry, by file. Written by `make docs`; `tc.ops()` holds the same.

*Inputs* in brackets may be left out; those in italics have no gradient. An option without a value must be given.
*Called* names the public functions and methods of that name; a record without one is what others are made of.
*Gradients* are the record's own rules, from the upstream gradient `g`, the inputs, the options and the output `y`: one
for each input, or one for all together; `x_shape` is the shape of input `x`. Where an input was stretched by
broadcasting its gradient is summed back. *Chosen derivatives* are those where mathematics leaves a choice;
[conventions](conventions.md) has the whole list.

## Cost

In multiply-accumulates (MAC: one multiplication and one addition, 2 FLOP), as `tc.summary` counts them; the gradient in
each input costs as many again. What is not listed makes one or a few passes over its elements.

- `conv1d`, `conv2d`, `conv3d` and their weight gradients: N · O · (output pixels) · C / groups · (kernel pixels)
- `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d`: N · C · (input pixels) · O / groups · (kernel pixels)
- `linear`: rows · in · out
- `matmul`: batch · rows · inner · columns
- `einsum`: at most the product of the lengths of all letters (the summary leaves it out)
"""
COLUMNS = ("operation", "what it computes", "inputs", "options", "gradients", "called", "chosen derivatives")


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
        "; ".join(_gradients(op)),
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


def _gradients(op: tc.Op) -> Iterator[str]:
    """The rules as they are written: d<input> = the expression, or what the function says of itself."""
    for rule in op.rules:
        d = "all" if rule.position is None else f"d{op.inputs[0 if op.variadic else rule.position]}"
        text = _expression(rule.function)
        yield f"`{d} = {text}`" if text else f"`{d}`: {_summary(rule.function)}"


def _expression(function: Callable[..., Any]) -> str:
    """The source of a lambda, or of a function that only returns; else nothing."""
    code = function.__code__
    for node in ast.walk(_parsed(code.co_filename)):
        if not isinstance(node, ast.Lambda | ast.FunctionDef) or node.lineno != code.co_firstlineno:
            continue
        if [a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)] != [*_arguments(code)]:
            continue
        if isinstance(node, ast.Lambda):
            return ast.unparse(node.body)
        body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None:
            return ast.unparse(body[0].value)
    return ""


def _arguments(code: CodeType) -> tuple[str, ...]:
    extra = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + extra]


@functools.cache
def _parsed(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _summary(function: Callable[..., Any]) -> str:
    return ((function.__doc__ or "").partition("\n")[0] or f"see `{function.__name__}`").rstrip(".")


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
