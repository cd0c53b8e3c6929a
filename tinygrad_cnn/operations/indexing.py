"""Indexing and its adjoint: a gather's rule is the scatter, and the scatter's rule is the gather."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.operations.shape import in_order, memory_order


def _getitem(x: np.ndarray, index: Any) -> tuple[np.ndarray, Any]:
    try:
        return np.asarray(x[index]), memory_order(x)
    except IndexError as error:
        raise IndexError(f"getitem: {error}; the Tensor has shape {x.shape}") from None


def _is_basic(index: Any) -> bool:
    """Whether an index picks each element at most once, as slices and integers do."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, slice | int | np.integer) for p in parts)


def _scatter(g: np.ndarray, index: Any, shape: tuple[int, ...], order: Any) -> np.ndarray:
    out = in_order(np.zeros(shape, g.dtype), order)
    if _is_basic(index):
        out[index] = g
    else:
        np.add.at(out, index, g)  # an element picked twice gets both gradients
    return out


getitem = op(
    "getitem",
    lambda x, *, index: _getitem(x, index),
    lambda g, x_shape, index, layout: scatter(g, index=index, shape=x_shape, order=layout),
    aux={"layout": None},
    doc="x[index], with everything that NumPy indexes with.",
)
scatter: Op = op(
    "scatter",
    lambda x, *, index, shape, order=None: _scatter(x, index, shape, order),
    lambda g, index: getitem(g, index=index),
    doc="Zeros with x added at an index: the adjoint of getitem.",
)


def _assigned(x: np.ndarray, value: Any, index: Any) -> np.ndarray:
    out = np.copy(x)
    out[index] = value
    return out


def _cleared(g: Tensor, index: Any) -> Tensor:
    return setitem(g, 0.0, index=index)


def _value_rule(g: Tensor, value_shape: Any, index: Any) -> Tensor:
    """g at the index."""
    picked = getitem(g, index=index)
    extra = len(value_shape) - picked.ndim  # NumPy lets a value have leading axes of length 1 too many
    return picked.reshape((1,) * extra + picked.shape) if extra > 0 else picked


setitem = op(
    "setitem",
    lambda x, value, *, index: _assigned(x, value, index),
    {"x": _cleared, "value": _value_rule},
    broadcasts=True,
    doc="A copy of x with the value written at an index; what is overwritten gets gradient 0.",
)

take_along_axis = op(
    "take_along_axis",
    lambda x, *, indices, axis: _take_along_axis(x, indices, axis),
    lambda g, x_shape, indices, axis: put_along_axis(g, indices=indices, axis=axis, length=x_shape[axis]),
    broadcasts=True,
    doc="One element per index along an axis.",
)


def _take_along_axis(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    try:
        return np.take_along_axis(x, indices, axis)
    except (IndexError, ValueError) as error:
        raise IndexError(
            f"take_along_axis: {error}; the Tensor has shape {x.shape}, the indices {indices.shape}, the axis is {axis}"
        ) from None


def _put_along_axis(x: np.ndarray, indices: np.ndarray, axis: int, length: int) -> np.ndarray:
    shape = tuple(length if i == axis else n for i, n in enumerate(x.shape))
    out = in_order(np.zeros(shape, x.dtype), memory_order(x))
    places = np.ix_(*(np.arange(n) for n in x.shape))
    np.add.at(out, tuple(indices if i == axis else p for i, p in enumerate(places)), x)
    return out


put_along_axis: Op = op(
    "put_along_axis",
    lambda x, *, indices, axis, length: _put_along_axis(x, indices, axis, length),
    lambda g, indices, axis: take_along_axis(g, indices=indices, axis=axis),
    doc="Zeros with x added at indices along an axis: the adjoint of take_along_axis.",
)
