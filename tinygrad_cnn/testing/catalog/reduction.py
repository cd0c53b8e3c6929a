"""Reductions over axes, through the Tensor's methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.catalog.common import Errors, refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _axes_case(values: Callable[[Draw, tuple[int, ...]], np.ndarray], min_side: int = 0, **options: Any) -> Any:
    """Any axes, keepdims or not."""

    def case(d: Draw) -> OpCase:
        shape = d.shape(min_side=min_side)
        kwargs: dict[str, Any] = {"axis": d.axes(len(shape)), "keepdims": d.boolean()}
        kwargs |= {name: draw(d) for name, draw in options.items()}
        return OpCase((values(d, shape),), kwargs, d.seed)

    return case


def _axis_case(values: Callable[[Draw, tuple[int, ...]], np.ndarray], keepdims: bool = True, min_side: int = 1) -> Any:
    """One axis."""

    def case(d: Draw) -> OpCase:
        shape = d.shape(min_dims=1, min_side=min_side)
        kwargs: dict[str, Any] = {"axis": d.axis(len(shape))}
        return OpCase((values(d, shape),), kwargs | ({"keepdims": d.boolean()} if keepdims else {}), d.seed)

    return case


def _bad_axis(name: str) -> Errors:
    def errors() -> Any:
        yield ErrorCase((np.ones((2, 3)),), {"axis": 2}, ValueError, rf"{name}: axis 2")

    return errors


def _method(name: str) -> Callable[..., Any]:
    return getattr(Tensor, name)


def _loops(reduce: Callable[..., float]) -> Callable[..., np.ndarray]:
    """A reference: visit each output, gather the elements that belong to it, reduce them in Python."""

    def ref(x: np.ndarray, axis: Any = None, keepdims: bool = False, **options: Any) -> np.ndarray:
        axes = range(x.ndim) if axis is None else [a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))]
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        gathered: dict[tuple[int, ...], list[float]] = {i: [] for i in np.ndindex(*kept)}
        for i in np.ndindex(*x.shape):
            gathered[tuple(0 if k in axes else j for k, j in enumerate(i))].append(float(x[i]))
        y = np.array([reduce(values, **options) for values in gathered.values()], dtype=np.float64).reshape(kept)
        return y if keepdims else y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))

    return ref


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _var(values: list[float], correction: int = 0) -> float:
    free = len(values) - correction
    if free <= 0:
        return math.nan
    return math.fsum((v - _mean(values)) ** 2 for v in values) / free


def _position(pick: Callable[[list[float]], float], values: list[float]) -> int:
    return values.index(pick(values))


_SHARED: dict[str, tuple[str, Any, Callable[..., float]]] = {
    "sum": ("multilinear", _axes_case(Draw.ints), math.fsum),
    "mean": ("multilinear", _axes_case(Draw.ints, 1), _mean),
    "amax": ("piecewise_linear", _axes_case(Draw.grid, 1), max),
    "amin": ("piecewise_linear", _axes_case(Draw.grid, 1), min),
    "prod": ("analytic", _axes_case(Draw.ties), math.prod),
    "norm": ("analytic", _axes_case(Draw.smooth), lambda values: math.sqrt(math.fsum(v * v for v in values))),
    "logsumexp": ("analytic", _axes_case(Draw.smooth, 1), lambda values: math.log(math.fsum(map(math.exp, values)))),
}
for _name, (_kind, _case, _reduce) in _SHARED.items():
    register_op(_method(_name), name=_name, case=_case, kind=_kind, ref=_loops(_reduce), errors=_bad_axis(_name))


def _spread_case(d: Draw) -> OpCase:
    """At least two values along the reduced axes, so that a correction of 1 leaves some."""
    shape = d.shape(min_dims=1, min_side=2)
    axis = d.choice((None, d.axis(len(shape))))
    return OpCase((d.smooth(shape),), {"axis": axis, "keepdims": d.boolean(), "correction": d.integer(0, 1)}, d.seed)


register_op(Tensor.var, name="var", case=_spread_case, kind="analytic", ref=_loops(_var), errors=_bad_axis("var"))
register_op(
    Tensor.std,
    name="std",
    case=_spread_case,
    kind="analytic",
    ref=_loops(lambda values, correction: math.sqrt(_var(values, correction))),
    errors=_bad_axis("std"),
)
for _name, _pick in (("max", max), ("min", min)):
    register_op(
        _method(_name), name=_name, case=_axis_case(Draw.grid), kind="piecewise_linear", ref=_loops(_pick),
        errors=_bad_axis(_name),
    )  # fmt: skip
for _name, _pick in (("argmax", max), ("argmin", min)):
    register_op(
        _method(_name),
        name=_name,
        case=_axis_case(Draw.grid),
        ref=_loops(partial(_position, _pick)),
        nondiff=(0,),
        errors=_bad_axis(_name),
    )
for _name, _every in (("all", all), ("any", any)):
    register_op(
        _method(_name),
        name=_name,
        case=_axes_case(Draw.mask),
        ref=_loops(_every),
        nondiff=(0,),
        errors=_bad_axis(_name),
    )


def _cumsum(x: np.ndarray, axis: int) -> np.ndarray:
    y = np.moveaxis(x.copy(), axis, 0)
    for i in range(1, len(y)):
        y[i] += y[i - 1]
    return np.moveaxis(y, 0, axis)


register_op(
    Tensor.cumsum,
    name="cumsum",
    case=_axis_case(Draw.ints, keepdims=False, min_side=0),
    kind="multilinear",
    ref=_cumsum,
    errors=_bad_axis("cumsum"),
)


def _sum_to_case(d: Draw) -> OpCase:
    shape = d.shape(max_dims=4, min_side=0)
    kept = shape[d.integer(0, len(shape)) :]
    small = tuple(1 if n > 1 and d.integer(0, 2) == 2 else n for n in kept)
    return OpCase((d.ints(shape),), {"shape": small}, d.seed)


def _sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(shape)
    for i in np.ndindex(*x.shape):
        tail = i[x.ndim - len(shape) :]
        y[tuple(0 if n == 1 else j for j, n in zip(tail, shape, strict=True))] += x[i]
    return y


register_op("sum_to", case=_sum_to_case, kind="multilinear", ref=_sum_to, errors=refuses_objects("sum_to", shape=(1,)))
