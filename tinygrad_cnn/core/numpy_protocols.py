"""NumPy's functions on Tensors: `np.exp(x)`, `np.sum(x, axis=1)`, `array * x` stay on the tape."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_cnn.core.operators import FUNCTIONS, OPS, Operators

# Ufuncs whose operation bears another name.
_RENAMED = {
    "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "negative": "neg", "power": "pow",
    "float_power": "pow", "absolute": "abs", "fabs": "abs", "fmax": "maximum", "fmin": "minimum", "arctan": "atan",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne",
    "logical_and": "bitwise_and", "logical_or": "bitwise_or", "logical_not": "invert",
}  # fmt: skip
_EXCLUDED = {"fmax", "fmin", "float_power", "logical_and", "logical_or", "logical_not"}  # mean something else here


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Tensor.__array_ufunc__`: record the operation of the same meaning, or say what to write instead."""
    out = kwargs.pop("out", None)
    if out is not None:
        target = out[0]
        if isinstance(target, Operators):
            raise TypeError(f"np.{ufunc.__name__}: out= can not be a Tensor; write out += x, or out[...] = value")
        # `array -= tensor`, the everyday update: the array is the user's own, nothing is recorded.
        arrays = [i._data if isinstance(i, Operators) else i for i in inputs]
        return getattr(ufunc, method)(*arrays, out=target, **kwargs)
    name = _RENAMED.get(ufunc.__name__, ufunc.__name__)
    if method == "__call__" and not kwargs and name in OPS and ufunc.__name__ not in _EXCLUDED:
        return OPS[name](*inputs)
    if method == "reduce" and ufunc in (np.add, np.multiply, np.maximum, np.minimum):
        reduction = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin"}[ufunc.__name__]
        axis, keepdims = kwargs.pop("axis", 0), kwargs.pop("keepdims", False)
        if not any(v is not None for k, v in kwargs.items() if k != "where"):
            return getattr(inputs[0], reduction)(axis=axis, keepdims=keepdims)
    call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    options = f" with {', '.join(kwargs)}" if kwargs else ""
    raise TypeError(
        f"np.{call}{options} has no counterpart on the tape; use x.numpy() to leave the tape, or define it with tc.op"
    )


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Tensor.__array_function__`: the same, for NumPy's other functions."""
    handler = _FUNCTIONS.get(function)
    if handler is None:
        raise TypeError(
            f"np.{function.__name__} has no counterpart on the tape; use x.numpy() to leave the tape, or define it "
            "with tc.op"
        )
    return handler(*args, **kwargs)


def _as_tensor(x: Any) -> Any:
    return x if isinstance(x, Operators) else OPS["clone"](x)


def _method(name: str) -> Callable[..., Any]:
    """A NumPy function whose counterpart is the method of the same meaning."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(_as_tensor(x), name)(*args, **kwargs)

    return call


def _spread(name: str) -> Callable[[Any], Any]:
    """Variance and deviation, whose NumPy spelling of `correction` is `ddof`."""

    def call(x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Any:
        return getattr(_as_tensor(x), name)(axis, ddof if correction is None else correction, keepdims)

    return call


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return OPS["clip"](x, min if a_min is None else a_min, max if a_max is None else a_max)


def _roll(x: Any, shift: Any, axis: Any = None) -> Any:
    return _as_tensor(x).roll(shift, axis)


def _concatenate(tensors: Any, axis: int | None = 0) -> Any:
    if axis is None:
        return FUNCTIONS["cat"]([_as_tensor(t).flatten() for t in tensors])
    return FUNCTIONS["cat"](tensors, axis)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): _method(name) for name in (
        "sum", "mean", "prod", "cumsum", "argmax", "argmin", "amax", "amin", "all", "any",
        "reshape", "transpose", "swapaxes", "squeeze", "expand_dims", "broadcast_to", "flip", "tile",
        "take_along_axis",
    )},
    np.max: _method("amax"),
    np.min: _method("amin"),
    np.var: _spread("var"),
    np.std: _spread("std"),
    np.linalg.norm: lambda x, ord=None, axis=None, keepdims=False: _norm(x, ord, axis, keepdims),
    np.ravel: lambda x: _as_tensor(x).flatten(),
    np.clip: _clip,
    np.roll: _roll,
    np.where: lambda condition, *choices: _where(condition, choices),
    np.einsum: lambda equation, *operands, optimize=True: FUNCTIONS["einsum"](equation, *operands),
    np.matmul: lambda a, b: OPS["matmul"](a, b),
    np.dot: lambda a, b: OPS["matmul"](a, b) if np.ndim(a) and np.ndim(b) <= 2 else OPS["mul"](a, b),
    np.concatenate: _concatenate,
    np.stack: lambda tensors, axis=0: FUNCTIONS["stack"](tensors, axis),
    np.split: lambda x, sections, axis=0: _split(x, sections, axis),
    np.pad: lambda x, pad_width, mode="constant", constant_values=0: _pad(x, pad_width, mode, constant_values),
    np.copy: lambda x: OPS["clone"](x),
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.zeros_like: lambda x, dtype=None: OPS["zeros_like"](x) if dtype is None else OPS["zeros_like"](x).astype(dtype),
    np.ones_like: lambda x, dtype=None: _ones_like(x, dtype),
    np.array_equal: lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)),
    np.allclose: lambda a, b, **k: np.allclose(np.asarray(a), np.asarray(b), **k),
    np.isclose: lambda a, b, **k: np.isclose(np.asarray(a), np.asarray(b), **k),
    np.array_repr: lambda x, *a, **k: repr(x),
    np.array_str: lambda x, *a, **k: str(x),
}  # fmt: skip


def _ones_like(x: Any, dtype: Any) -> Any:
    ones = OPS["zeros_like"](x) + 1
    return ones if dtype is None else ones.astype(dtype)


def _where(condition: Any, choices: tuple[Any, ...]) -> Any:
    if len(choices) != 2:
        raise TypeError("np.where: on the tape it needs (condition, a, b); for the places use np.nonzero(x.numpy())")
    return OPS["where"](condition, *choices)


def _norm(x: Any, order: Any, axis: Any, keepdims: bool) -> Any:
    x = _as_tensor(x)
    flat = axis is None or isinstance(axis, int) or order is None
    if order not in (None, 2, "fro") or not flat or (order == 2 and axis is None and x.ndim > 1):
        raise TypeError(
            f"np.linalg.norm: ord={order!r} over axis {axis} has no counterpart on the tape; only the 2-norm"
        )
    return x.norm(axis, keepdims)


def _split(x: Any, sections: Any, axis: int) -> list[Any]:
    length = x.shape[axis]
    if isinstance(sections, int):
        if length % sections:
            raise ValueError(f"np.split: {sections} equal pieces of an axis of length {length} do not exist")
        return list(x.split([length // sections] * sections, axis))
    ends = [0, *sections, length]
    return list(x.split([b - a for a, b in pairwise(ends)], axis))


def _pad(x: Any, pad_width: Any, mode: str, value: float) -> Any:
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    spelling = {"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    return x.pad([(int(a), int(b)) for a, b in pairs], spelling, value)
