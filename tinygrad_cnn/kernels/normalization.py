"""Standardising over a set of axes, in few passes: y = (x - mean) / sqrt(var + eps) * weight + bias.

Axes (0, 2, 3) make it batch normalisation, the trailing axes layer normalisation. Everything is arithmetic,
so that a complex step goes through. Batch normalisation of channels-last memory goes a stretch of pixels at a time,
which stays in the cache from one pass to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .layout import Array, in_order_of
from .reduction import along, channel_sum, channel_sums, long_rows, stretches
from .threads import share
from .workspace import keep_freed_memory, scratch

_NANOSECONDS = 0.5  # an element, in three or four passes


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    """Standardise x over axes; returns (y, mean, var), the statistics with x's dimensions, var biased.

    weight and bias have the statistics' shape (None: 1 and 0); y has x's shape, dtype and memory order. The
    variance is the corrected two-pass one, from the residues of a rough mean, so that a large mean cancels
    nothing.
    """
    rows = _rows(x, axes)
    mean = _mean(x, axes)
    if rows is None:
        y = x - mean
        residue, square = _mean(y, axes), _mean(y * y, axes)
    else:
        residue, square = _moments(x, rows, mean)
    var = square - residue * residue
    scale = 1 / np.sqrt(var + eps) if weight is None else weight / np.sqrt(var + eps)
    shift = -residue * scale if bias is None else bias - residue * scale
    if rows is None:
        y *= scale
        y += shift
    else:
        y = _standardised(x, rows, mean, scale, shift)
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
    g = in_order_of(x, g)
    count = math.prod(x.shape[axis] for axis in axes)
    rows, upstream = _rows(x, axes), _rows(g, axes)
    if rows is None or upstream is None:
        dx = x - mean
        product = g * dx
        mean_gz, mean_g = _mean(product, axes) * inv_std, _mean(g, axes)
        dx *= -scale * inv_std * mean_gz
        dx += np.multiply(g, scale, out=product)
        dx -= scale * mean_g
    else:
        mean_gd, mean_g = _means_of_products(x, rows, upstream, mean)
        mean_gz = mean_gd * inv_std
        slope = -scale * inv_std * mean_gz
        dx = _combined(x, rows, upstream, mean, slope, scale, -scale * mean_g)
    return dx.astype(x.dtype, copy=False), mean_gz * count, mean_g * count


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Mean over axes, kept as size 1, at least in float32; that of nothing is 0."""
    count = max(1, math.prod(x.shape[axis] for axis in axes))
    if axes == (0, *range(2, x.ndim)):
        total = channel_sum(x).reshape(1, -1, *[1] * (x.ndim - 2))
    else:
        total = x.sum(axes, np.result_type(x, np.float32), keepdims=True)
    return total / count


# ---- a stretch of channels-last pixels at a time ---------------------------------------------------------------


def _rows(x: Array, axes: tuple[int, ...]) -> Array | None:
    """x as long rows, if the statistics are the channels' and its type holds them."""
    return long_rows(x) if axes == (0, *range(2, x.ndim)) and x.dtype != np.float16 else None


def _moments(x: Array, rows: Array, mean: Array) -> tuple[Array, Array]:
    """Means of (x - mean) and of its square."""
    keep_freed_memory()
    center = along(rows, mean)

    def terms(at: slice) -> tuple[Array, ...]:
        shape = rows[at].shape
        d = np.subtract(rows[at], center, out=scratch("d", shape, rows.dtype))
        return d, np.multiply(d, d, out=scratch("dd", shape, rows.dtype))

    sums = channel_sums(rows, mean.size, _NANOSECONDS, terms)
    return sums[0].reshape(mean.shape) / (x.size // mean.size), sums[1].reshape(mean.shape) / (x.size // mean.size)


def _means_of_products(x: Array, rows: Array, g: Array, mean: Array) -> tuple[Array, Array]:
    """Means of g * (x - mean) and of g."""
    center = along(rows, mean)

    def terms(at: slice) -> tuple[Array, ...]:
        d = np.subtract(rows[at], center, out=scratch("d", g[at].shape, np.result_type(rows, g)))
        return np.multiply(d, g[at], out=d), g[at]

    sums = channel_sums(rows, mean.size, _NANOSECONDS, terms)
    return sums[0].reshape(mean.shape) / (x.size // mean.size), sums[1].reshape(mean.shape) / (x.size // mean.size)


def _standardised(x: Array, rows: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """(x - mean) * scale + shift."""
    y = np.empty_like(x)
    target: Any = long_rows(y)
    center, factor, summand = (along(rows, v) for v in (mean, scale, shift))

    def work(some: Iterator[slice]) -> None:
        for at in some:
            out = np.subtract(rows[at], center, out=target[at])
            out *= factor
            out += summand

    share(work, stretches(rows), _NANOSECONDS * rows.size)
    return y


def _combined(x: Array, rows: Array, g: Array, mean: Array, slope: Array, scale: Array, shift: Array) -> Array:
    """(x - mean) * slope + g * scale + shift."""
    dx = np.empty_like(x, dtype=np.result_type(x, g))
    target: Any = long_rows(dx)
    center, slopes, scales, shifts = (along(rows, v) for v in (mean, slope, scale, shift))

    def work(some: Iterator[slice]) -> None:
        for at in some:
            out = np.subtract(rows[at], center, out=target[at])
            out *= slopes
            out += np.multiply(g[at], scales, out=scratch("d", out.shape, out.dtype))
            out += shifts

    share(work, stretches(rows), _NANOSECONDS * rows.size)
    return dx
