"""Standardising over a set of axes, in few passes: y = (x - mean) / sqrt(var + eps) * weight + bias.

Axes (0, 2, 3) make it batch normalisation, the trailing axes layer normalisation. Everything is arithmetic,
so that a complex step goes through. Batch normalisation of channels-last memory goes a stretch of pixels at a time,
which stays in the cache from one pass to the next, and threads share the stretches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .layout import Array, in_order_of
from .reduction import along, channel_sum, channel_sums, long_rows, stretches
from .threads import share
from .workspace import scratch

_NANOSECONDS = 0.5  # an element, in three or four passes
_FEW = 16  # rows that tell about where the mean lies


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    """Standardise x over axes; returns (y, mean, var), the statistics with x's dimensions, var biased.

    weight and bias have the statistics' shape (None: 1 and 0); y has x's shape, dtype and memory order. The
    variance is the corrected two-pass one, from the residues of a rough mean, so that a large mean cancels
    nothing.
    """
    rows = _rows(x, axes)
    if rows is None:
        mean = _mean(x, axes)
        centred = x - mean
        residue = _mean(centred, axes)
        mean, var = mean + residue, _mean(centred * centred, axes) - residue * residue
    else:
        mean, var = _statistics(x, rows)
    scale = 1 / np.sqrt(var + eps) if weight is None else weight / np.sqrt(var + eps)
    shift = np.zeros_like(mean) if bias is None else bias
    y = (x - mean) * scale + shift if rows is None else _affine(rows, None, x, mean, var, scale, None, shift)
    return y.astype(x.dtype, copy=False), mean, var


def batch_norm_gradient(
    g: Array, x: Array, weight: Array | None, mean: Array, var: Array, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    """Gradients of batch_norm's y in (x, weight, bias), given its statistics.

    With s = 1 / sqrt(var + eps) and z = (x - mean) * s, means over axes:
    dx = weight * s * (g - mean(g) - z * mean(g * z)), dweight = sum(g * z), dbias = sum(g).
    """
    inv_std = 1 / np.sqrt(var + eps)
    scale = inv_std if weight is None else weight * inv_std
    g = in_order_of(x, g)
    count = math.prod(x.shape[axis] for axis in axes)
    rows, upstream = _rows(x, axes), _rows(g, axes)
    if rows is None or upstream is None:
        centred = x - mean
        mean_g, mean_gz = _mean(g, axes), _mean(g * centred, axes) * inv_std
        dx = centred * (-scale * inv_std * mean_gz) + g * scale - scale * mean_g
    else:
        mean_g, mean_gd = _products(rows, upstream, mean, var)
        mean_gz = mean_gd * inv_std
        dx = _affine(rows, upstream, x, mean, var, -scale * inv_std * mean_gz, scale, -scale * mean_g)
    return dx.astype(x.dtype, copy=False), mean_gz * count, mean_g * count


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Mean over axes, kept as size 1, at least in float32; that of nothing is 0."""
    count = max(1, math.prod(x.shape[axis] for axis in axes))
    if x.ndim > 1 and axes == (0, *range(2, x.ndim)):
        total = channel_sum(x).reshape(1, -1, *[1] * (x.ndim - 2))
    else:
        total = x.sum(axes, np.result_type(x, np.float32), keepdims=True)
    return total / count


# ---- a stretch of channels-last pixels at a time ---------------------------------------------------------------


def _rows(x: Array, axes: tuple[int, ...]) -> Array | None:
    """x as long rows, if the statistics are the channels' and its type holds them."""
    of_batches = x.ndim > 1 and axes == (0, *range(2, x.ndim))
    return long_rows(x) if of_batches and x.dtype != np.float16 else None


def _near_zero(mean: Array, var: Array) -> bool:
    """Whether zero lies within four standard deviations of the mean: then it need not be subtracted first.

    x * scale - mean * scale then loses two bits at most, and the sum of products less the product of sums no more.
    """
    return bool((mean.real * mean.real <= 16 * var.real).all())


def _statistics(x: Array, rows: Array) -> tuple[Array, Array]:
    """Mean and biased variance of every channel.

    The variance is the mean square less the squared mean, of what is left of x once a center is subtracted that lies
    within a standard deviation of the mean: then no more than a bit cancels. A few rows tell where that may be, and
    if they misled, the mean itself is subtracted.
    """
    few = rows[:: -(-len(rows) // _FEW)].reshape(-1, x.shape[1]).real
    near = few.mean(0)
    center = near if (near * near > few.var(0) / 4).any() else np.zeros_like(near)
    mean, var = _moments(x, rows, center)
    if (mean.real * mean.real > var.real).any():
        center = center + mean.ravel()
        mean, var = _moments(x, rows, center)
    return mean + center.reshape(mean.shape), var


def _moments(x: Array, rows: Array, center: Array) -> tuple[Array, Array]:
    """Mean and variance of x - center of every channel."""
    shape, count = (1, x.shape[1], *[1] * (x.ndim - 2)), x.size // x.shape[1]
    centers = along(rows, center) if center.any() else None

    def powers(at: slice) -> tuple[Array, ...]:
        d = rows[at]
        if centers is not None:
            d = np.subtract(d, centers, out=scratch("deviation", d.shape, d.dtype))
        return d, np.square(d, out=scratch("square", d.shape, d.dtype))

    total, square = (s.reshape(shape) / count for s in channel_sums(rows, x.shape[1], _NANOSECONDS, powers))
    return total, square - total * total


def _products(rows: Array, g: Array, mean: Array, var: Array) -> tuple[Array, Array]:
    """The means of g and of g * (x - mean) of every channel."""
    near, center, count = _near_zero(mean, var), along(rows, mean), rows.size // mean.size

    def products(at: slice) -> tuple[Array, ...]:
        out = scratch("deviation", g[at].shape, np.result_type(rows, g))
        d = rows[at] if near else np.subtract(rows[at], center, out=out)
        return g[at], np.multiply(d, g[at], out=out)

    mean_g, mean_gd = (s.reshape(mean.shape) / count for s in channel_sums(rows, mean.size, _NANOSECONDS, products))
    return mean_g, mean_gd - mean * mean_g if near else mean_gd


def _affine(
    rows: Array,
    others: Array | None,
    like: Array,
    mean: Array,
    var: Array,
    slope: Array,
    factor: Array | None,
    shift: Array,
) -> Array:
    """(rows - mean) * slope + others * factor + shift, in memory like that of `like`."""
    near = _near_zero(mean, var)
    y = np.empty_like(like, dtype=np.result_type(rows, slope))
    target: Any = long_rows(y)
    center, slopes, shifts = (along(rows, v) for v in (mean, slope, shift - mean * slope if near else shift))
    factors = None if factor is None else along(rows, factor)

    def work(some: Iterator[slice]) -> None:
        for at in some:
            out = target[at]
            centred = rows[at] if near else np.subtract(rows[at], center, out=out)
            np.multiply(centred, slopes, out=out)
            if others is not None and factors is not None:
                out += np.multiply(others[at], factors, out=scratch("square", out.shape, out.dtype))
            out += shifts

    share(work, stretches(rows, _NANOSECONDS), _NANOSECONDS * rows.size)
    return y
