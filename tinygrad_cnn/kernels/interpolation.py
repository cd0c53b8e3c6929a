"""Resampling of images, one axis after the other, and its adjoint.

Along an axis every output reads one pixel (nearest) or the weighted sum of two neighbours (linear): a `Tap` for each.
Pixels of weight 0 are not read, so that an infinity there stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .layout import Array, channels_first, channels_last


class Tap(NamedTuple):
    """What some outputs of an axis read: outputs[i] reads pixels[i], which never fall, times weights[i]."""

    outputs: Array
    pixels: Array
    weights: Array


def nearest(size: int, output: int, step: float, offset: float = 0.0) -> tuple[Tap, ...]:
    """Output i reads the pixel under its left edge: floor(i * step). There is no offset."""
    i = np.arange(output)
    # In float32, as PyTorch does for float32 images: the same pixels are read, and those whatever the dtype.
    position = i.astype(np.float32) * np.float32(step)
    return (Tap(i, np.minimum(position.astype(np.intp), size - 1), np.ones(output)),)


def linear(size: int, output: int, step: float, offset: float) -> tuple[Tap, ...]:
    """Output i reads the two pixels around (i + offset) * step - offset; offset 1/2 counts from the pixels' edges."""
    i = np.arange(output)
    position = np.clip((i + offset) * step - offset, 0, size - 1)
    left = position.astype(np.intp)
    share = position - left
    inner = np.flatnonzero(share)
    return Tap(i, left, 1 - share), Tap(inner, left[inner] + 1, share[inner])


def resample(x: Array, axes: Sequence[tuple[Tap, ...]]) -> Array:
    """Read x (N, C, *S) through the taps of each spatial axis."""
    y = channels_last(x)
    for axis, taps in enumerate(axes, 1):
        y = _along(y, axis, taps)
    return channels_first(y)


def resample_gradient(g: Array, size: Sequence[int], axes: Sequence[tuple[Tap, ...]]) -> Array:
    """Add each entry of g to the pixels it was read from, in zeros of spatial lengths size: the adjoint of resample."""
    dx = channels_last(g)
    for axis, taps in reversed(list(enumerate(axes, 1))):
        dx = _along_adjoint(dx, axis, size[axis - 1], taps)
    return channels_first(dx)


def _along(x: Array, axis: int, taps: tuple[Tap, ...]) -> Array:
    first, *others = taps
    y = _weighted(x.take(first.pixels, axis), axis, first.weights)
    lead: tuple[Any, ...] = (slice(None),) * axis
    for tap in others:
        y[(*lead, tap.outputs)] += _weighted(x.take(tap.pixels, axis), axis, tap.weights)
    return y


def _along_adjoint(g: Array, axis: int, size: int, taps: tuple[Tap, ...]) -> Array:
    dx = np.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :]), g.dtype)
    lead: tuple[Any, ...] = (slice(None),) * axis
    for tap in taps:
        # The outputs that are the first to read their pixel, then the second ones, and so on: no pixel twice in a turn.
        turn = np.arange(tap.pixels.size) - np.searchsorted(tap.pixels, tap.pixels)
        for k in range(turn.max(initial=-1) + 1):
            now = turn == k
            dx[(*lead, tap.pixels[now])] += _weighted(g.take(tap.outputs[now], axis), axis, tap.weights[now])
    return dx


def _weighted(x: Array, axis: int, weights: Array) -> Array:
    """x times one weight per place along an axis; x is overwritten."""
    if (weights != 1).any():
        x *= weights.astype(x.real.dtype).reshape(-1, *[1] * (x.ndim - 1 - axis))
    return x
