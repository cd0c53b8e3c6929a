"""ReLU, and selection by a mask, in the few passes over memory that NumPy can do them in.

`np.where` and masked copies branch at every element: on a random mask they cost ten times an addition. A product of
the bit patterns with 0 or 1 selects as exactly, infinities and NaN included, without a branch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .layout import Array, flat, in_order_of
from .threads import pieces, share
from .workspace import scratch

_SMALL = 1 << 14  # elements: below, one call of NumPy's costs least
_STRETCH = 1 << 16  # elements: three arrays of so many fit into a core's second-level cache
_NANOSECONDS = 0.3  # an element


def relu(x: Array) -> Array:
    """max(x, 0); a NaN stays one."""
    x = np.asarray(x)
    if x.size < _SMALL or x.dtype.kind != "f":
        return np.maximum(x, 0)
    y = np.empty_like(x)
    source, target = flat(x), flat(y)
    if source is None or target is None:
        return np.maximum(x, 0, out=y)

    def work(some: Iterator[slice]) -> None:
        for at in some:  # between two bounds NumPy clips three times faster than it takes the maximum with a scalar
            np.clip(source[at], 0, np.inf, out=target[at])

    share(work, pieces(x.size, _STRETCH, _NANOSECONDS * x.size), _NANOSECONDS * x.size)
    return y


def relu_gradient(g: Array, y: Array) -> Array:
    """g where not y <= 0, so that a NaN passes; 0 elsewhere."""
    if g.size < _SMALL:
        return np.where(y <= 0, g.dtype.type(0), g)
    g = in_order_of(y, g)
    arrays = g, y, dx = g, y, np.empty_like(g)
    source, output, target = map(flat, arrays)
    if source is None or output is None or target is None:
        return select(g, ~(y <= 0), dx)

    def work(some: Iterator[slice]) -> None:
        for at in some:
            keep = np.less_equal(output[at], 0, out=scratch("mask", (at.stop - at.start,), bool))
            select(source[at], np.logical_not(keep, out=keep), target[at])

    share(work, pieces(g.size, _STRETCH, _NANOSECONDS * g.size), _NANOSECONDS * g.size)
    return dx


def select(x: Array, keep: Array, out: Array | None = None) -> Array:
    """x where keep, else 0. Never a product of numbers: inf * 0 is NaN."""
    out = np.empty_like(x) if out is None else out
    if x.dtype.kind == "f" and x.dtype == out.dtype and x.itemsize <= 8:
        bits = np.dtype(f"i{x.itemsize}")
        np.multiply(x.view(bits), keep, out=out.view(bits))
    elif x.dtype.kind in "fc":
        np.copyto(out, np.where(keep, x, out.dtype.type(0)))
    else:
        np.multiply(x, keep, out=out)
    return out
