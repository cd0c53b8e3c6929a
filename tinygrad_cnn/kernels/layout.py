"""Channels-last memory, and how windows of a kernel or pool are cut out of it.

The API speaks (N, C, *spatial); the kernels compute on contiguous (N, *spatial, C) memory, where one row of a
window is a run of kernel_width * C neighbours. `channels_first` gives such memory back as an (N, C, *spatial)
view, ufuncs keep its order, and the next kernel's `channels_last` then copies nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pairs = tuple[tuple[int, int], ...]  # (before, after) per axis; negative: crop
Index = tuple[slice, ...]  # of the batch and spatial axes of a channels-last array


def channels_last(x: Array) -> Array:
    """Return (N, C, *spatial) as contiguous (N, *spatial, C); no copy if its memory is in that order."""
    return np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1))


def channels_first(y: Array) -> Array:
    """View (N, *spatial, C) memory as (N, C, *spatial)."""
    return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))


def flat(x: Array) -> Array | None:
    """x's elements as one flat view in their order in memory; None if they are not neighbours there."""
    if not x.flags.c_contiguous:
        x = x.transpose(sorted(range(x.ndim), key=lambda axis: -x.strides[axis]))
    return x.reshape(-1) if x.flags.c_contiguous else None


def in_order_of(x: Array, g: Array) -> Array:
    """g in x's memory order: arithmetic on mixed orders costs several times more than this copy."""
    if g.strides == x.strides:
        return g
    ordered = np.empty_like(x, g.dtype)
    np.copyto(ordered, g)
    return ordered


def stretched(x: Array, shape: Sequence[int]) -> Array:
    """x repeated along its axes of length 1, read-only, nothing copied: `np.broadcast_to` at a fifth of its price."""
    if not x.flags.c_contiguous:
        return np.broadcast_to(x, shape)
    strides = [step if m == n else 0 for step, m, n in zip(x.strides, x.shape, shape, strict=True)]
    view = np.ndarray(shape, x.dtype, x, 0, strides)
    view.flags.writeable = False
    return view


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Array:
    """View contiguous (N, *spatial, C) memory as (N, *output, *kernel, C): every window, nothing copied.

    `np.ndarray` checks the view against the buffer, which `as_strided` does not. The strides come from the
    shape: NumPy's own mean nothing on axes of size 1 and on empty arrays.
    """
    batch, *spatial, channels = x.shape
    steps = [x.itemsize * math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
    output = [
        (size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(spatial, kernel, stride, dilation, strict=True)
    ]
    across = [step * s for step, s in zip(steps[1:-1], stride, strict=True)]
    within = [step * d for step, d in zip(steps[1:-1], dilation, strict=True)]
    shape = (batch, *output, *kernel, channels)
    return np.ndarray(shape, x.dtype, x, 0, (steps[0], *across, *within, steps[-1]))


def taps(
    size: Sequence[int],
    output: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
) -> Iterator[tuple[int, Index, Index]]:
    """Yield for each tap, in row-major order: its code, the pixels it reads, the outputs that read them.

    The two indices select equal shapes from (N, *size, C) and (N, *output, C) arrays. Padding is left out, so
    what a window reads outside the image needs no value; taps that read only padding are skipped.
    """
    axes = [
        [_reach(tap * d - before, s, n, m) for tap in range(k)]
        for n, m, k, s, (before, _), d in zip(size, output, kernel, stride, padding, dilation, strict=True)
    ]
    for code, reaches in enumerate(itertools.product(*axes)):
        pixels, outputs = zip(*reaches, strict=True)
        if all(o.start < o.stop for o in outputs):
            yield code, (slice(None), *pixels), (slice(None), *outputs)


def _reach(offset: int, stride: int, size: int, output: int) -> tuple[slice, slice]:
    """Pixels 0 <= o * stride + offset < size of one axis, and the outputs 0 <= o < output that read them."""
    first = max(0, -(offset // stride))  # ceil(-offset / stride)
    last = min(output, (size - 1 - offset) // stride + 1)
    start = first * stride + offset
    return slice(start, start + max(0, last - first) * stride, stride), slice(first, last)
