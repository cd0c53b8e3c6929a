"""Sums over all axes but the channel's: gradients of biases, statistics of normalisation.

Channels-last memory is taken as long rows of whole pixels, some hundred elements each: what belongs to a channel
is repeated along the row, and NumPy computes on rows instead of on the few channels of one pixel at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from .layout import Array
from .threads import pieces, share

_ROW = 512  # most elements in a row: a few thousand bytes stay in the first-level cache
_STRETCH = 1 << 17  # elements: three arrays of so many fit into a core's share of the caches


def channel_sum(x: Array) -> Array:
    """Sum of (N, C, *spatial) over all axes but C, at least in float32: (C,)."""
    dtype = np.result_type(x, np.float32) if x.dtype.kind == "f" else x.dtype
    rows = long_rows(x)
    if rows is None:
        return np.asarray(x.sum((0, *range(2, x.ndim)), dtype))
    return channel_sums(rows, x.shape[1], 0.1, lambda at: (rows[at].astype(dtype, copy=False),))[0]


def long_rows(x: Array) -> Array | None:
    """(N, C, *spatial) as rows of whole pixels, (M / r, r * C); None unless it is channels-last in memory."""
    pixels = x.transpose(0, *range(2, x.ndim), 1)
    if not (pixels.flags.c_contiguous and x.size):
        return None
    return pixels.reshape(-1, _repeats(x.size // x.shape[1], x.shape[1]) * x.shape[1])


def along(rows: Array, per_channel: Array) -> Array:
    """One number per channel, repeated along a row."""
    return np.tile(per_channel.ravel(), rows.shape[1] // per_channel.size)


def channel_sums(
    rows: Array, channels: int, nanoseconds: float, terms: Callable[[slice], tuple[Array, ...]]
) -> list[Array]:
    """Sums per channel of each of the arrays that `terms` gives for a stretch of rows, shared among threads.

    nanoseconds: what an element costs.
    """

    def work(some: Iterator[slice]) -> list[Array]:
        totals: list[Array] = []
        for at in some:
            # A product with ones is six times faster than `sum` along the first axis.
            sums = [np.ones(len(term), term.dtype) @ term for term in terms(at)]
            totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
        return totals

    parts = [part for part in share(work, stretches(rows, nanoseconds), nanoseconds * rows.size, fixed=True) if part]
    totals = [functools.reduce(np.add, of_all) for of_all in zip(*parts, strict=True)]
    return [total.reshape(-1, channels).sum(0) for total in totals]


def stretches(rows: Array, nanoseconds: float) -> list[slice]:
    """Slices of rows, each small enough for the cache; nanoseconds: what an element costs."""
    return pieces(len(rows), _STRETCH // rows.shape[1], nanoseconds * rows.size)


@functools.lru_cache(1024)
def _repeats(pixels: int, channels: int) -> int:
    """How many pixels make a row: the largest divisor that leaves it no longer than `_ROW`."""
    return next((r for r in range(max(1, _ROW // channels), 1, -1) if pixels % r == 0), 1)
