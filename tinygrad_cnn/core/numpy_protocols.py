"""NumPy's functions on Tensors: `np.exp(x)`, `np.sum(x, axis=1)` stay on the tape, or say what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_cnn.core import memory
from tinygrad_cnn.core.dtypes import as_dtype
from tinygrad_cnn.core.operators import FUNCTIONS, OPS, Operators
from tinygrad_cnn.errors import ShapeError

# Ufuncs whose operation bears another name.
_RENAMED = {
    "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "negative": "neg", "power": "pow",
    "absolute": "abs", "fabs": "abs", "arctan": "atan", "rint": "round",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne",
}  # fmt: skip
_LOGICAL = {"logical_and": "bitwise_and", "logical_or": "bitwise_or", "logical_xor": "bitwise_xor"}
_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin"}


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Tensor.__array_ufunc__`: record the operation of the same meaning, or say what to write instead."""
    out = kwargs.pop("out", None)
    if out is not None and out[0] is not None:
        return _into(out[0], ufunc, method, inputs, kwargs)
    kwargs = _said(kwargs)
    if method == "__call__" and not kwargs:
        name = _RENAMED.get(ufunc.__name__, ufunc.__name__)
        if name in OPS:
            return OPS[name](*inputs)
        if name in _LOGICAL:
            return OPS[_LOGICAL[name]](*(_as_tensor(i) != 0 for i in inputs))
        if name == "logical_not":
            return inputs[0] == 0
        if name == "positive":
            return inputs[0]
    if method == "reduce" and ufunc.__name__ in _REDUCTIONS and kwargs.keys() <= {"axis", "keepdims"}:
        return getattr(inputs[0], _REDUCTIONS[ufunc.__name__])(**{"axis": 0, **kwargs})
    call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    raise _no_counterpart(f"np.{call}", kwargs, _FOR_METHODS.get(method, ""))


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Tensor.__array_function__`: the same, for NumPy's other functions."""
    name = f"np{function.__module__.removeprefix('numpy')}.{function.__name__}"
    handler = _FUNCTIONS.get(function)
    if handler is None:
        raise _no_counterpart(name, {}, _FOR_FUNCTIONS.get(function, ""))
    kwargs = _said(kwargs)
    try:
        return handler(*args, **kwargs)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise _no_counterpart(name, {k: v for k, v in kwargs.items() if k in str(error)}) from None
        raise


# What NumPy passes on that says nothing.
_SILENT = {
    "out": (None,), "dtype": (None,), "where": (True,), "initial": (None,), "order": (None, "K", "C"),
    "casting": ("same_kind",), "subok": (True, False), "stable": (None,), "kind": (None,), "keepdims": (False,),
}  # fmt: skip
_FOR_OPTIONS = {
    "dtype": "write x.astype(dtype) first", "out": "write out[...] = the result",
    "where": "write tc.where(mask, x, value)", "initial": "combine it with the result", "order": "transpose first",
}  # fmt: skip
_FOR_METHODS = {
    "at": "write x[index] = x[index] + y", "outer": "write x.expand_dims(-1) and broadcast",
    "accumulate": "of sums there is x.cumsum(axis)", "reduceat": "sum slices of x",
}  # fmt: skip
_FOR_FUNCTIONS: dict[Any, str] = {
    np.outer: "write x.expand_dims(-1) * y", np.tensordot: "use tc.einsum", np.inner: "use tc.einsum",
    np.trace: "use tc.einsum('ii', x)", np.diag: "use tc.einsum('ii->i', x)", np.repeat: "use x[indices]",
    np.nonzero: "use np.nonzero(x.numpy())", np.diff: "write x[1:] - x[:-1]", np.convolve: "use F.conv1d",
    np.vdot: "write (x * y).sum()", np.kron: "use tc.einsum", np.average: "write (x * w).sum() / w.sum()",
    np.nan_to_num: "use tc.where(x.isnan(), 0, x)", np.cumprod: "use x.log().cumsum(axis).exp()",
}  # fmt: skip


def _said(kwargs: dict[str, Any]) -> dict[str, Any]:
    def says_nothing(option: str, value: Any) -> bool:
        return value is np._NoValue or any(value is silent for silent in _SILENT.get(option, ()))

    return {k: v for k, v in kwargs.items() if not says_nothing(k, v)}


def _no_counterpart(name: str, options: dict[str, Any], instead: str = "") -> TypeError:
    asked = f" with {', '.join(f'{o}=' for o in options)}" if options else ""
    ways = [_FOR_OPTIONS[o] for o in options if o in _FOR_OPTIONS] or ([instead] if instead else [])
    ways += ["use x.numpy() to leave the tape", "or define it with tc.op"]
    return TypeError(f"{name}{asked} has no counterpart on the tape; {', '.join(ways)}")


def _into(target: Any, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`array -= tensor`, the everyday update: the array is the user's own, and nothing is recorded."""
    if isinstance(target, Operators):
        raise TypeError(f"np.{ufunc.__name__}: out= can not be a Tensor; write out += x, or out[...] = value")
    arrays = [i._data if isinstance(i, Operators) else i for i in inputs]
    result = getattr(ufunc, method)(*arrays, out=target, **kwargs)
    memory.written(target, f"np.{ufunc.__name__} with out=")  # it may be some Tensor's own
    return result


def _as_tensor(x: Any) -> Any:
    return x if isinstance(x, Operators) else OPS["clone"](x)


def _method(name: str) -> Callable[..., Any]:
    """A NumPy function whose counterpart is the method of the same meaning."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(_as_tensor(x), name)(*args, **kwargs)

    return call


def _on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A question about values or memory, whose answer is no Tensor."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*(a._data if isinstance(a, Operators) else a for a in args), **kwargs)

    return call


def _spread(name: str) -> Callable[..., Any]:
    """Variance and deviation, whose NumPy spelling of `correction` is `ddof`."""

    def call(x: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False, correction: Any = None) -> Any:
        return getattr(_as_tensor(x), name)(axis, ddof if correction is None else correction, keepdims)

    return call


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return OPS["clip"](x, min if a_min is None else a_min, max if a_max is None else a_max)


def _concatenate(tensors: Any, axis: int | None = 0) -> Any:
    if axis is None:
        return FUNCTIONS["cat"]([_as_tensor(t).flatten() for t in tensors])
    return FUNCTIONS["cat"](tensors, axis)


def _dot(a: Any, b: Any) -> Any:
    """np.dot's meaning is `*` with a number and `@` up to two axes; beyond, it pairs other axes than `@` does."""
    if not (np.ndim(a) and np.ndim(b)):
        return OPS["mul"](a, b)
    if np.ndim(b) > 2:
        raise ShapeError(f"np.dot: of {np.ndim(b)} axes it is not `@`, which you may mean; else use tc.einsum")
    return OPS["matmul"](a, b)


def _where(condition: Any, *choices: Any) -> Any:
    if len(choices) != 2:
        raise TypeError("np.where: on the tape it needs (condition, a, b); for the places use np.nonzero(x.numpy())")
    return OPS["where"](condition, *choices)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = _as_tensor(x)
    flat = axis is None or isinstance(axis, int) or ord is None
    if ord not in (None, 2, "fro") or not flat or (ord == 2 and axis is None and x.ndim > 1):
        raise TypeError(f"np.linalg.norm: ord={ord!r} over axis {axis} has no counterpart on the tape; only the 2-norm")
    return x.norm(axis, keepdims)


def _split(x: Any, sections: Any, axis: int = 0) -> list[Any]:
    length = x.shape[axis]
    if isinstance(sections, int):
        if length % sections:
            raise ValueError(f"np.split: {sections} equal pieces of an axis of length {length} do not exist")
        return list(x.split([length // sections] * sections, axis))
    ends = [0, *sections, length]
    return list(x.split([b - a for a, b in pairwise(ends)], axis))


def _pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0) -> Any:
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    spelling = {"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    return x.pad([(int(a), int(b)) for a, b in pairs], spelling, constant_values)


def _round(x: Any, decimals: int = 0) -> Any:
    if decimals:
        raise TypeError("np.round: decimals= has no counterpart on the tape; write (x * 10**n).round() / 10**n")
    return x.round()


def _moveaxis(x: Any, source: int, destination: int) -> Any:
    order = list(range(x.ndim))
    order.insert(x._axis("np.moveaxis", destination), order.pop(x._axis("np.moveaxis", source)))
    return x.transpose(*order)


def _take(x: Any, indices: Any, axis: int | None = None) -> Any:
    x = _as_tensor(x)
    return x.flatten()[indices] if axis is None else x[(slice(None),) * x._axis("np.take", axis) + (indices,)]


def _filled(value: Any) -> Callable[..., Any]:
    def call(x: Any, *given: Any, dtype: Any = None) -> Any:
        constant = OPS["zeros_like"](x) + (value if value is not None else given[0])
        return constant.astype(as_dtype("np.full_like", dtype) if dtype is not None else x.dtype).detach()

    return call


def _copied_into(target: Any, source: Any, **kwargs: Any) -> None:
    if isinstance(target, Operators):
        raise TypeError("np.copyto: the target can not be a Tensor; write x[...] = y")
    np.copyto(target, source._data, **kwargs)
    memory.written(target, "np.copyto")


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): _method(name) for name in (
        "sum", "mean", "prod", "cumsum", "argmax", "argmin", "amax", "amin", "all", "any",
        "transpose", "swapaxes", "squeeze", "expand_dims", "broadcast_to", "flip", "tile", "take_along_axis",
    )},
    **{getattr(np, name): _on_arrays(getattr(np, name)) for name in (
        "shares_memory", "may_share_memory", "array_equal", "allclose", "isclose", "result_type", "can_cast",
        "iscomplexobj", "isrealobj", "count_nonzero", "array2string",
    )},
    np.max: _method("amax"),
    np.min: _method("amin"),
    np.var: _spread("var"),
    np.std: _spread("std"),
    np.linalg.norm: _norm,
    np.linalg.matmul: lambda a, b: OPS["matmul"](a, b),
    np.reshape: lambda x, shape: _as_tensor(x).reshape(shape),
    np.ravel: lambda x: _as_tensor(x).flatten(),
    np.clip: _clip,
    np.roll: lambda x, shift, axis=None: _as_tensor(x).roll(shift, axis),
    np.round: _round,
    np.around: _round,
    np.sort: lambda x, axis=-1: (x.flatten() if axis is None else x).sort(-1 if axis is None else axis)[0],
    np.argsort: lambda x, axis=-1: (x.flatten() if axis is None else x).sort(-1 if axis is None else axis)[1],
    np.where: _where,
    np.einsum: lambda equation, *operands, optimize=True: FUNCTIONS["einsum"](equation, *operands),
    np.dot: _dot,
    np.concatenate: _concatenate,
    np.stack: lambda tensors, axis=0: FUNCTIONS["stack"](tensors, axis),
    np.hstack: lambda tensors: FUNCTIONS["cat"](tensors, 0 if np.ndim(tensors[0]) == 1 else 1),
    np.vstack: lambda tensors: FUNCTIONS["cat"]([_as_tensor(t).reshape(-1, *np.shape(t)[1:]) if np.ndim(t) > 1
                                                 else _as_tensor(t).reshape(1, -1) for t in tensors], 0),
    np.split: _split,
    np.pad: _pad,
    np.moveaxis: _moveaxis,
    np.matrix_transpose: lambda x: x.mT,
    np.take: _take,
    np.copy: lambda x: OPS["clone"](x),
    np.copyto: _copied_into,
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.zeros_like: _filled(0),
    np.ones_like: _filled(1),
    np.full_like: _filled(None),
    np.array_repr: lambda x, *a, **k: repr(x),
    np.array_str: lambda x, *a, **k: str(x),
}  # fmt: skip
