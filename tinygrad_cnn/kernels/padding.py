"""Padding by a constant or by the array's own border, and the adjoint of each; memory order is kept.

`pads` has one (before, after) pair for every axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .layout import Array, Index, Pairs

_NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Array, pads: Pairs, value: float = 0) -> Array:
    """Surround x with a value; negative amounts crop, so that padding by -pads with 0 is the adjoint."""
    if not any(before or after for before, after in pads):
        return x
    out = np.empty_like(x, shape=_padded(x.shape, pads))
    out[...] = value
    out[_core(out.shape, pads)] = x[_core(x.shape, tuple((-before, -after) for before, after in pads))]
    return out


def extend(x: Array, pads: Pairs, mode: str) -> Array:
    """Surround x with its own pixels: mode "reflect", "replicate" or "circular", no amount negative."""
    out = np.empty_like(x, shape=_padded(x.shape, pads))
    out[_core(out.shape, pads)] = x
    for axis, (n, amounts) in enumerate(zip(x.shape, pads, strict=True)):
        lines = np.moveaxis(out, axis, 0)
        for border, source in _borders(n, amounts, mode):
            lines[border] = lines[source]
    return out


def extend_gradient(g: Array, pads: Pairs, mode: str) -> Array:
    """Adjoint of extend: add what lies in the border to the pixels that it was copied from, and crop."""
    g = g.copy("K")
    shape = _padded(g.shape, tuple((-before, -after) for before, after in pads))
    for axis in reversed(range(g.ndim)):
        lines = np.moveaxis(g, axis, 0)
        for border, source in _borders(shape[axis], pads[axis], mode):
            lines[source] += lines[border]
    return g[_core(g.shape, pads)].copy("K")


def _padded(shape: Sequence[int], pads: Pairs) -> tuple[int, ...]:
    return tuple(n + before + after for n, (before, after) in zip(shape, pads, strict=True))


def _core(shape: Sequence[int], pads: Pairs) -> Index:
    """Where the array lies in a padded shape; what crops is no padding."""
    return tuple(slice(max(0, before), n - max(0, after)) for n, (before, after) in zip(shape, pads, strict=True))


def _borders(n: int, amounts: tuple[int, int], mode: str) -> Iterator[tuple[int, int]]:
    """Each line of the border of an axis, and the line of its core that it repeats."""
    before, after = amounts
    if before or after:
        source = np.pad(np.arange(n), amounts, mode=_NUMPY[mode])  # type: ignore[call-overload]  # a literal
        for line in (*range(before), *range(before + n, before + n + after)):
            yield line, before + int(source[line])
