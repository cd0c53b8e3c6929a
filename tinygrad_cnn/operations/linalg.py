"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, refuse_mixed_dtypes
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import products
from tinygrad_cnn.kernels.reduction import channel_sum


def _matmul(a: Any, b: Any) -> np.ndarray:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape}: both need at least one axis; use * to scale")
    inner = a.shape[-1], b.shape[-2 if b.ndim > 1 else 0]
    if inner[0] != inner[1]:
        raise ShapeError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: the last axis of a has length {inner[0]}, "
            f"the {'second to last' if b.ndim > 1 else 'only'} axis of b {inner[1]}"
        )
    if a.dtype != b.dtype and a.dtype.kind == b.dtype.kind == "f":
        refuse_mixed_dtypes("matmul", a=a, b=b)
    if a.ndim <= 2 and b.ndim <= 2:
        return products.matmul(a, b)
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"matmul: the batch axes {a.shape[:-2]} and {b.shape[:-2]} of shapes {a.shape} and {b.shape} do not "
            "broadcast"
        ) from None
    return products.matmul(a, b)


def _left_rule(g: Tensor, b: Tensor, a_shape: Any) -> Tensor:
    """g bᵀ, for each matrix of a batch."""
    if b.ndim == 1:
        return g.expand_dims(-1) * b
    if len(a_shape) == 1:
        return matmul(b, g.expand_dims(-1))[..., 0]
    return matmul(g, b.mT)


def _right_rule(g: Tensor, a: Tensor, b_shape: Any) -> Tensor:
    """aᵀ g, for each matrix of a batch."""
    if a.ndim == 1:
        return g.expand_dims(-1 if len(b_shape) == 1 else -2) * (a if len(b_shape) == 1 else a.expand_dims(-1))
    if len(b_shape) == 1:
        return matmul(g.expand_dims(-2), a)[..., 0, :]
    return matmul(a.mT, g)


def _left_rule_on_arrays(g: np.ndarray, b: np.ndarray, a_shape: tuple[int, ...]) -> np.ndarray:
    if b.ndim == 1:
        return g[..., np.newaxis] * b
    if len(a_shape) == 1:
        return products.matmul(b, g[..., np.newaxis])[..., 0]
    return products.matmul(g, b.swapaxes(-1, -2))


def _right_rule_on_arrays(g: np.ndarray, a: np.ndarray, b_shape: tuple[int, ...]) -> np.ndarray:
    if a.ndim == 1:
        return g[..., np.newaxis] * a if len(b_shape) == 1 else g[..., np.newaxis, :] * a[:, np.newaxis]
    if len(b_shape) == 1:
        return products.matmul(g[..., np.newaxis, :], a)[..., 0, :]
    return products.matmul(a.swapaxes(-1, -2), g)


matmul = op("matmul", _matmul, (_left_rule, _right_rule), fast=(_left_rule_on_arrays, _right_rule_on_arrays),
            broadcasts=True, doc="The matrix product a @ b; leading axes are batches and broadcast.")  # fmt: skip


def _linear_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    y = products.matmul(_rows(x), weight.T).reshape(*x.shape[:-1], len(weight))
    return y if bias is None else np.add(y, bias, out=y if np.result_type(y, bias) == y.dtype else None)


_linear = op(
    "linear",
    lambda x, weight, bias=None: _linear_forward(x, weight, bias),
    {
        "x": lambda g, weight: matmul(g, weight),
        "weight": lambda g, x: matmul(_rows(g).T, _rows(x)),
        "bias": lambda g: _rows(g).sum(0),
    },
    fast={
        "x": lambda g, weight: products.matmul(_rows(g), weight).reshape(*g.shape[:-1], weight.shape[1]),
        "weight": lambda g, x: products.matmul(_rows(g).T, _rows(x)),
        "bias": lambda g: channel_sum(_rows(g)),
    },
    doc="x times the transposed weight, plus the bias.",
)


def _rows(t: Any) -> Any:
    return t if t.ndim == 2 else t.reshape(int(np.prod(t.shape[:-1], dtype=np.int64)), t.shape[-1])


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """The fully connected layer y = x Wᵀ + b: x (..., in), weight (out, in), bias (out,) -> (..., out).

    dx = g W, dW = gᵀ x, db = the sum of g over all but the last axis. Lectures A8.

    Raises ShapeError if the lengths differ, TypeError for mixed floating dtypes.

    >>> linear(Tensor([[1.0, 2.0]]), Tensor([[1.0, 1.0], [0.0, -1.0]]), Tensor([0.5, 0.0]))
    tensor([[ 3.5, -2. ]])
    """
    x, weight = as_tensor("linear", x), as_tensor("linear", weight, "weight")
    bias = None if bias is None else as_tensor("linear", bias, "bias")
    if weight.ndim != 2:
        raise ShapeError(f"linear: weight must have shape (out, in), got {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: weight expects {weight.shape[1]} input features (weight.shape[1]), x has "
            f"{x.shape[-1] if x.ndim else 'none'} (x.shape = {x.shape})"
            + (f"; flatten x first, x.flatten(1) has {int(np.prod(x.shape[1:]))} features" if x.ndim > 2 else "")
        )
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ShapeError(f"linear: bias must have shape ({weight.shape[0]},), got {bias.shape}")
    refuse_mixed_dtypes("linear", x=x, weight=weight, **({} if bias is None else {"bias": bias}))
    return _linear(x, weight, bias) if x.ndim > 1 else _linear(x.expand_dims(0), weight, bias)[0]
