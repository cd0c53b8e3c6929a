"""Standardising over a set of axes, in few passes: y = (x - mean) / sqrt(var + eps) * weight + bias.

Axes (0, 2, 3) make it batch normalisation, the trailing axes layer normalisation. Everything is arithmetic,
so that a complex step goes through.
"""

from __future__ import annotations

import math

import numpy as np

from .layout import Array, channel_sum


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    """Standardise x over axes; returns (y, mean, var), the statistics with x's dimensions, var biased.

    weight and bias have the statistics' shape (None: 1 and 0); y has x's shape, dtype and memory order. The
    variance is the corrected two-pass one, from the residues of a rough mean, so that a large mean cancels
    nothing.
    """
    mean = _mean(x, axes)
    y = x - mean
    residue = _mean(y, axes)
    var = _mean(y * y, axes) - residue * residue
    scale = 1 / np.sqrt(var + eps) if weight is None else weight / np.sqrt(var + eps)
    shift = -residue * scale
    y *= scale
    y += shift if bias is None else shift + bias
    return y.astype(x.dtype, copy=False), mean + residue, var


def batch_norm_gradient(
    g: Array, x: Array, weight: Array | None, mean: Array, var: Array, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    """Gradients of batch_norm's y in (x, weight, bias), given its statistics.

    With s = 1 / sqrt(var + eps) and z = (x - mean) * s, means over axes:
    dx = weight * s * (g - mean(g) - z * mean(g * z)), dweight = sum(g * z), dbias = sum(g).
    """
    inv_std = 1 / np.sqrt(var + eps)
    scale = inv_std if weight is None else weight * inv_std
    g = _in_order_of(x, g)
    dx = x - mean
    product = g * dx
    count = math.prod(x.shape[axis] for axis in axes)
    mean_gz, mean_g = _mean(product, axes) * inv_std, _mean(g, axes)
    dx *= -scale * inv_std * mean_gz
    dx += np.multiply(g, scale, out=product)
    dx -= scale * mean_g
    return dx.astype(x.dtype, copy=False), mean_gz * count, mean_g * count


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Mean over axes, kept as size 1, at least in float32; that of nothing is 0."""
    count = max(1, math.prod(x.shape[axis] for axis in axes))
    if axes == (0, *range(2, x.ndim)):
        total = channel_sum(x).reshape(1, -1, *[1] * (x.ndim - 2))
    else:
        total = x.sum(axes, np.result_type(x, np.float32), keepdims=True)
    return total / count


def _in_order_of(x: Array, g: Array) -> Array:
    """g in x's memory order: arithmetic on mixed orders costs several times more than this copy."""
    if g.strides == x.strides:
        return g
    ordered = np.empty_like(x, g.dtype)
    np.copyto(ordered, g)
    return ordered
