"""Reductions over axes. `axis` is a tuple of axes counted from the front, made by the Tensor's methods."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.checks import number
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.kernels.layout import stretched
from tinygrad_cnn.operations.elementwise import exp, isnan, where
from tinygrad_cnn.operations.indexing import put_along_axis
from tinygrad_cnn.operations.shape import broadcast_to, flip, reshape, transpose


def _kept(shape: tuple[int, ...], axis: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction with keepdims."""
    return tuple(1 if i in axis else n for i, n in enumerate(shape))


def _count(shape: tuple[int, ...], axis: tuple[int, ...]) -> int:
    return math.prod([shape[i] for i in axis])


def _aligned(t: Tensor, shape: tuple[int, ...], axis: tuple[int, ...]) -> Tensor:
    """A reduced Tensor (or gradient) with its axes of length 1 back, so that it broadcasts against the input."""
    kept = _kept(shape, axis)
    return t if t.shape == kept else reshape(t, shape=kept)


def _sum_rule(g: Tensor, x_shape: Any, axis: Any) -> Tensor:
    return broadcast_to(_aligned(g, x_shape, axis), shape=x_shape)


def _mean_rule(g: Tensor, x_shape: Any, axis: Any) -> Tensor:
    # Scaled before it is stretched: the stretched gradient stays a view of stride 0.
    return broadcast_to(_aligned(g, x_shape, axis) * (1 / max(_count(x_shape, axis), 1)), shape=x_shape)


def _sum_rule_on_arrays(g: np.ndarray, x_shape: tuple[int, ...], axis: tuple[int, ...]) -> np.ndarray:
    return stretched(g.reshape(_kept(x_shape, axis)), x_shape)


def _mean_rule_on_arrays(g: np.ndarray, x_shape: tuple[int, ...], axis: tuple[int, ...]) -> np.ndarray:
    return stretched(g.reshape(_kept(x_shape, axis)) * (1 / max(_count(x_shape, axis), 1)), x_shape)


def _mean(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    count = _count(np.shape(x), axis)
    if count == 0:
        return np.full(np.sum(x, axis=axis, keepdims=keepdims).shape, np.nan, np.result_type(x, np.float16))
    return np.mean(x, axis=axis, keepdims=keepdims)


sum_ = op("sum", lambda x, *, axis, keepdims=False: np.add.reduce(x, axis=axis, keepdims=keepdims), _sum_rule,
          fast=_sum_rule_on_arrays, doc="The sum over axes.")  # fmt: skip
mean = op("mean", lambda x, *, axis, keepdims=False: _mean(x, axis, keepdims), _mean_rule,
          fast=_mean_rule_on_arrays, doc="The mean over axes; of nothing it is NaN.")  # fmt: skip
sum_to = op("sum_to", lambda x, *, shape: _sum_to(x, shape), lambda g, x_shape: broadcast_to(g, shape=x_shape),
            doc="The sum over the axes that broadcasting stretched: the adjoint of broadcast_to.")  # fmt: skip


def _sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from_front = x.ndim - len(shape)
    stretched = (i for i in range(from_front, x.ndim) if shape[i - from_front] == 1 != x.shape[i])
    return np.reshape(np.sum(x, axis=(*range(from_front), *stretched), keepdims=True), shape)


# ---- spread ----------------------------------------------------------------------------------------------------


def _var(x: np.ndarray, axis: tuple[int, ...], correction: float, keepdims: bool) -> np.ndarray:
    centred = x - _mean(x, axis, True)
    free = _count(x.shape, axis) - number("var", "correction", correction)
    return np.sum(centred * centred, axis=axis, keepdims=keepdims) / max(free, 0)


def _var_rule(g: Tensor, x: Tensor, axis: Any, correction: float) -> Tensor:
    """g 2 (x - mean) / (n - correction)."""
    free = _count(x.shape, axis) - correction
    return _aligned(g, x.shape, axis) * ((x - x.mean(axis, keepdims=True)) * (2 / free if free > 0 else np.nan))


def _std_rule(g: Tensor, x: Tensor, y: Tensor, axis: Any, correction: float) -> Tensor:
    """g (x - mean) / ((n - correction) y), and 0 where y is 0."""
    flat = y == 0  # no spread, no direction: 0
    return _var_rule(where(flat, 0.0, g / (2 * where(flat, 1.0, y))), x, axis, correction)


var = op("var", lambda x, *, axis, correction=0, keepdims=False: _var(x, axis, correction, keepdims), _var_rule,
         doc="The sum of squared deviations over n - correction.")  # fmt: skip
std = op("std", lambda x, *, axis, correction=0, keepdims=False: np.sqrt(_var(x, axis, correction, keepdims)),
         _std_rule, doc="The root of the variance; its derivative at 0 is 0.")  # fmt: skip


def _norm_rule(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    """g x / y, and 0 where y is 0."""
    y = _aligned(y, x.shape, axis)
    zero = y == 0
    return _aligned(g, x.shape, axis) * where(zero, 0.0, x / where(zero, 1.0, y))


norm = op("norm", lambda x, *, axis, keepdims=False: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)), _norm_rule,
          doc="The Euclidean norm; its derivative at 0 is 0.")  # fmt: skip

# ---- extremes --------------------------------------------------------------------------------------------------


def _shared_rule(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    """Equal extremes share the gradient evenly; a NaN is one."""
    y, g = _aligned(y, x.shape, axis), _aligned(g, x.shape, axis)
    ties = ((x == y) | isnan(x)).astype(x.dtype)
    return ties * (g / ties.sum(axis, keepdims=True))


def _refuse_nothing(name: str, x: np.ndarray, axis: tuple[int, ...]) -> None:
    if _count(x.shape, axis) == 0:
        raise ValueError(f"{name}: of no elements there is none to choose; shape {x.shape}, axis {axis}")


def _extreme(name: str, reduce: Any) -> Any:
    def forward(x: np.ndarray, *, axis: tuple[int, ...], keepdims: bool = False) -> np.ndarray:
        _refuse_nothing(name, x, axis)
        return reduce(x, axis=axis, keepdims=keepdims)

    return forward


def _position(name: str, argument: Any) -> Any:
    def forward(x: np.ndarray, *, axis: int | None = None, keepdims: bool = False) -> np.ndarray:
        _refuse_nothing(name, x, tuple(range(x.ndim)) if axis is None else (axis,))
        return argument(x, axis, keepdims=keepdims)

    return forward


amax = op("amax", _extreme("amax", np.max), _shared_rule,
          doc="The largest element; equal ones share the gradient evenly.")  # fmt: skip
amin = op("amin", _extreme("amin", np.min), _shared_rule,
          doc="The smallest element; equal ones share the gradient evenly.")  # fmt: skip


def _first(name: str, argument: Any) -> Any:
    """A forward that gives an extreme along one axis and where it first stood."""

    def forward(x: np.ndarray, *, axis: int, keepdims: bool = False) -> tuple[np.ndarray, np.ndarray]:
        _refuse_nothing(name, x, (axis,))
        indices = argument(x, axis=axis, keepdims=True)
        values = np.take_along_axis(x, indices, axis)
        return (values, indices) if keepdims else (values.squeeze(axis), indices.squeeze(axis))

    return forward


def _first_rule(g: Tensor, indices: Any, x_shape: Any, axis: int, keepdims: bool) -> Tensor:
    """g at the index of the winner, 0 elsewhere."""
    if not keepdims:
        g, indices = g.expand_dims(axis), indices.expand_dims(axis)
    return put_along_axis(g, indices=indices.data, axis=axis, length=x_shape[axis])


max_ = op("max", _first("max", np.argmax), _first_rule, aux={"indices": None},
         doc="The largest along one axis; the first of equals gets the gradient.")  # fmt: skip
min_ = op("min", _first("min", np.argmin), _first_rule, aux={"indices": None},
         doc="The smallest along one axis; the first of equals gets the gradient.")  # fmt: skip
argmax = op("argmax", _position("argmax", np.argmax), None,
            doc="The index of the first largest element.")  # fmt: skip
argmin = op("argmin", _position("argmin", np.argmin), None,
            doc="The index of the first smallest element.")  # fmt: skip
all_ = op("all", lambda x, *, axis, keepdims=False: np.all(x, axis=axis, keepdims=keepdims), None,
         doc="Whether all elements are true.")  # fmt: skip
any_ = op("any", lambda x, *, axis, keepdims=False: np.any(x, axis=axis, keepdims=keepdims), None,
         doc="Whether any element is true.")  # fmt: skip

# ---- products, running sums, logsumexp -------------------------------------------------------------------------


def _prod_rule(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    """Each element's gradient is the product of the others, also where some are 0."""
    g = _aligned(g, x.shape, axis)
    if not (x.data == 0).any():
        return g * (_aligned(y, x.shape, axis) / x)
    rest = tuple(i for i in range(x.ndim) if i not in axis)
    order = (*rest, *axis)
    n = _count(x.shape, axis)
    rows = reshape(transpose(x, axes=order), shape=(*(x.shape[i] for i in rest), n))
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], dtype=np.intp).reshape(n, n - 1)
    products = prod(rows[..., others], axis=(len(rest) + 1,))
    back = tuple(int(i) for i in np.argsort(order))
    return g * transpose(reshape(products, shape=tuple(x.shape[i] for i in order)), axes=back)


prod = op("prod", lambda x, *, axis, keepdims=False: np.prod(x, axis=axis, keepdims=keepdims), _prod_rule,
          doc="The product over axes.")  # fmt: skip
cumsum: Op = op("cumsum", lambda x, *, axis: np.cumsum(x, axis=axis),
            lambda g, axis: flip(cumsum(flip(g, axis=(axis,)), axis=axis), axis=(axis,)),
            doc="The running sum along an axis.")  # fmt: skip


def _logsumexp(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    if _count(x.shape, axis) == 0:
        return np.full(np.sum(x, axis=axis, keepdims=keepdims).shape, -np.inf, x.dtype)
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # inf - inf is NaN
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else total.squeeze(axis)


def _logsumexp_rule(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    """g exp(x - y)."""
    y = _aligned(y, x.shape, axis)
    return _aligned(g, x.shape, axis) * exp(x - where(y == -np.inf, 0.0, y))


logsumexp = op("logsumexp", lambda x, *, axis, keepdims=False: _logsumexp(x, axis, keepdims), _logsumexp_rule,
               doc="log(sum(exp(x))) over axes, without overflow.")  # fmt: skip
