"""Source that repeats a check: arrays written out, functions imported or quoted."""

from __future__ import annotations

import builtins
import inspect
import os
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_cnn.core.op import Op, ops

_LISTED = 64  # elements that are written as numbers; more of them as bytes
_SHORT = 200  # bytes that are written without looking for something shorter, in units of eight
_WRITTEN = 1024  # that are written at all


def literal(value: Any) -> str:
    """An input as Python source that needs NumPy only, exact to the bit.

    An array of more than 64 elements is written as bytes, one each for small integers. Of too many elements for that
    only the shape is kept: the values are others, drawn from a seed.
    """
    if type(value) in (tuple, list):
        inside = ", ".join(map(literal, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside},)" if len(value) == 1 else f"({inside})"
    if type(value) is dict:
        return f"{{{', '.join(f'{key!r}: {literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return repr(value)
    dtype = f"np.{value.dtype.name}"
    if value.size <= _LISTED:
        text = repr(value.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
        return f"np.array({text}, dtype={dtype}).reshape({value.shape})"
    if not is_written(value):
        return f"np.random.default_rng(0).standard_normal({value.shape}).astype({dtype})"
    small = _small_integers(value)
    content = (value if small is None else small).tobytes().hex()
    source = f"np.frombuffer(bytes.fromhex({content!r}), {'np.int8' if small is not None else dtype})"
    return f"{source}.astype({dtype}).reshape({value.shape})"


def is_written(value: Any, limit: int = _WRITTEN) -> bool:
    """Whether `literal` gives the very values."""
    if not isinstance(value, np.ndarray) or value.nbytes <= 8 * limit:
        return True
    return value.size <= 8 * limit and _small_integers(value) is not None


def stand_in(value: Any) -> tuple[Any, str] | None:
    """For a large array: one like it, and the short source that draws it; None if it is better written out."""
    if is_written(value, _SHORT) or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        return None
    dtype, rng = f"np.{value.dtype.name}", "np.random.default_rng(0)"
    if (value == np.round(value)).all():
        source = f"{rng}.integers({int(value.min())}, {int(value.max()) + 1}, {value.shape}).astype({dtype})"
    else:
        middle, spread = (float(f"{float(v):.3g}") for v in (value.mean(), value.std()))
        source = f"{rng}.normal({middle}, {spread}, {value.shape}).astype({dtype})"
    return eval(source, {"np": np}), source


def _small_integers(value: np.ndarray) -> np.ndarray | None:
    """The same values in one byte each, if that loses nothing."""
    if value.dtype.kind not in "iuf":
        return None
    with np.errstate(invalid="ignore"):
        small = value.astype(np.int8)
    same = small.astype(value.dtype)
    return small if np.array_equal(same, value) and not (np.signbit(value) & (value == 0)).any() else None


def call(check: str, fn: Any, options: Mapping[str, Any], inputs: str = "inputs") -> str:
    """Source that runs a check again; a function that can be neither imported nor quoted is left to the reader."""
    lines, source = _source(fn)
    given = "".join(f", {name}={literal(value)}" for name, value in options.items())
    return "\n".join([*lines, f"testing.{check}({source}, {inputs}{given})"])


def _source(fn: Any) -> tuple[list[str], str]:
    """Lines that make a function, and the word for it."""
    if isinstance(fn, tuple):
        parts = [_source(f) for f in fn]
        return [line for lines, _ in parts for line in lines], f"({', '.join(word for _, word in parts)})"
    if isinstance(fn, np.ufunc):
        return [], f"np.{fn.__name__}"
    if isinstance(fn, Op):
        return _source_of_op(fn)
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "<unnamed>")
    if module != "__main__" and getattr(sys.modules.get(str(module)), name, None) is fn:
        return [f"from {module} import {name}"], name
    word = name.rpartition(".")[2] if not name.endswith(">") else "fn"
    quoted = _quoted(fn)
    if quoted is not None:
        return [quoted, ""], word
    code = getattr(fn, "__code__", None)
    where = f", {os.path.basename(code.co_filename)} line {code.co_firstlineno}" if code else ""
    return [f"{word} = ...  # {name}{where}"], word


def _source_of_op(op: Op) -> tuple[list[str], str]:
    if ops().get(op.name) is not op:
        return [f"{op.name} = ...  # the op of that name, which is not registered"], op.name
    foreign = op.module and op.module != "__main__" and op.module.partition(".")[0] != "tinygrad_cnn"
    return [f"import {op.module}"] if foreign else [], f"tc.ops()[{op.name!r}]"


def _quoted(fn: Any) -> str | None:
    """The definition of a function that stands on its own."""
    code = getattr(fn, "__code__", None)
    if code is None or code.co_freevars:
        return None
    known = {"np", "tc", "testing", *dir(builtins)}
    free = {name for name in code.co_names if name in getattr(fn, "__globals__", {})} - known
    try:
        source = textwrap.dedent(inspect.getsource(fn)).rstrip()
    except (OSError, TypeError):
        return None
    return source if source.startswith("def ") and not free else None
