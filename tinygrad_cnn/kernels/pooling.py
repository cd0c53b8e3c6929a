"""Max and sum pooling in any number of dimensions, and their adjoints, as a few passes over shifted slices.

Pools are separable: the maxima along one axis, then those of the maxima along the next, which for a window of 2 x 2
are two passes over the image instead of four. A few images at a time stay in the cache; threads share them.

A window's winner is kept as the row-major code of its tap, one byte for windows up to 256 pixels: an eighth
of an int64 index. `scatter_winners` and `gather_winners` are the linear maps that the codes stand for, each
the adjoint of the other. Padding is never read, so it has no value that could win or count. Arguments are
taken as valid; operations check them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from .elementwise import select
from .layout import Array, Index, Pairs, channels_first, channels_last, taps
from .padding import pad
from .threads import share
from .workspace import keep_freed_memory, scratch

_STRETCH = 1 << 17  # elements of the image at a time
_NANOSECONDS = 0.6  # an element of the image


class Window(NamedTuple):
    """Where the windows of a pool lie; one entry per spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs  # (before, after)
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    def output_shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """Number of windows along each spatial axis."""
        per_axis = zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(pooled_size(n, k, s, before, after, d, self.ceil_mode) for n, k, s, (before, after), d in per_axis)


def pooled_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int, ceil_mode: bool) -> int:
    """Windows inside the padded input; ceil_mode adds one that overhangs, if it starts before the end."""
    room = size + before + after - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    output = -(-room // stride) + 1
    return output - 1 if (output - 1) * stride >= size + before else output


def max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    """Maximum of each window of x (N, C, *S), and the code of the tap it came from, both (N, C, *output).

    Ties go to the first pixel in row-major order; NaN is larger than any number. Padding never wins: a window
    of nothing but -inf has its first real pixel as winner.
    """
    output = window.output_shape(x.shape[2:])
    y = np.empty((x.shape[0], *output, x.shape[1]), x.dtype)
    winners = np.empty(y.shape, _code_dtype(window))
    pixels = x.transpose(0, *range(2, x.ndim), 1)

    def work(some: Iterator[slice]) -> None:
        for images in some:
            into = y[images], winners[images]
            if not _max_by_axes(pixels[images], *into, window):
                _max_by_taps(pixels[images], *into, window)

    _share_images(work, x)
    return channels_first(y), channels_first(winners)


def _max_by_axes(x: Array, y: Array, winners: Array, window: Window) -> bool:
    """Max pooling along one axis after the other; False if there is a NaN, or an infinity that padding could beat.

    The last axis comes first: then of equal maxima the first row wins, and in it the first column.
    """
    padding = _overhang(x.shape[1:-1], y.shape[1:-1], window)
    if x.dtype.kind != "f" and any(map(any, padding)):
        return False
    best, codes = pad(x, ((0, 0), *padding, (0, 0)), -np.inf), None
    step = 1
    for axis in reversed(range(1, x.ndim - 1)):
        shape = (*best.shape[:axis], y.shape[axis], *best.shape[axis + 1 :])
        last = axis == 1
        into = y if last else scratch(f"best{axis}", shape, x.dtype)
        codes_into = winners if last else scratch(f"codes{axis}", shape, winners.dtype)
        shifted = _along(axis, y.shape[axis], window)
        for code, at in enumerate(shifted):
            value, tap = best[at], winners.dtype.type(code * step)
            code_of = tap if codes is None else codes[at] + tap
            if code == 0:
                top, codes_into[...] = value, code_of
                continue
            wins = np.greater(value, top, out=scratch("wins", shape, bool))
            np.maximum(top, value, out=into)
            top = into
            np.maximum(codes_into, wins * code_of, out=codes_into)  # codes rise: the last tap to win has the largest
        if len(shifted) == 1:
            into[...] = top
        best, codes, step = into, codes_into, step * window.kernel[axis - 1]
    return x.dtype.kind != "f" or bool(np.isfinite(np.dot(y.reshape(-1), y.reshape(-1))))


def _max_by_taps(x: Array, y: Array, winners: Array, window: Window) -> None:
    """Max pooling tap by tap, with every rule about NaN, infinities and padding."""
    output = y.shape[1:-1]
    y[...] = _lowest(x.dtype)
    winners[...] = _first_codes(window, output)[..., np.newaxis]
    for code, read, outputs in _taps(x.shape[1:-1], output, window):
        value, best, winner = x[read], y[outputs], winners[outputs]
        wins = ~(value <= best)  # true for a NaN too
        wins &= best == best  # but nothing beats the first NaN
        np.maximum(best, value, out=best)
        np.maximum(winner, wins * winners.dtype.type(code), out=winner)  # codes rise, as above


def scatter_winners(g: Array, winners: Array, x_shape: Sequence[int], window: Window) -> Array:
    """Add each entry of g (N, C, *output) to its window's winner, in zeros of x_shape."""
    g, winners = channels_last(g), channels_last(winners)
    dx = np.empty((x_shape[0], *x_shape[2:], x_shape[1]), g.dtype)
    taps = list(_taps(x_shape[2:], g.shape[1:-1], window))
    tiled = _tiles(x_shape[2:], window)

    def work(some: Iterator[slice]) -> None:
        for images in some:
            out, upstream, codes = dx[images], g[images], winners[images]
            if not tiled:
                out.fill(0)
            for code, pixels, outputs in taps:
                wins = codes[outputs] == code
                if tiled:
                    select(upstream[outputs], wins, out[pixels])
                else:
                    out[pixels] += select(upstream[outputs], wins, scratch("share", wins.shape, g.dtype))

    _share_images(work, dx)
    return channels_first(dx)


def gather_winners(x: Array, winners: Array, window: Window) -> Array:
    """Read x (N, C, *S) at each window's winner: the adjoint of scatter_winners."""
    y, pixels, winners = _zeros(winners.shape, x.dtype), channels_last(x), channels_last(winners)
    for code, read, outputs in _taps(x.shape[2:], y.shape[1:-1], window):
        np.copyto(y[outputs], pixels[read], where=winners[outputs] == code)
    return channels_first(y)


def flat_indices(winners: Array, x_shape: Sequence[int], window: Window) -> Array:
    """Turn winners' codes into row-major indices of x's spatial plane (PyTorch's `return_indices`), int64."""
    flat = np.zeros_like(winners, np.int64)
    rest, step = winners.astype(np.int64), 1
    for axis in reversed(range(len(window.kernel))):
        rest, tap = np.divmod(rest, window.kernel[axis])
        starts = np.arange(winners.shape[2 + axis]) * window.stride[axis] - window.padding[axis][0]
        position = tap * window.dilation[axis] + starts.reshape(-1, *[1] * (winners.ndim - 3 - axis))
        flat += position * step
        step *= x_shape[2 + axis]
    return flat


def sum_pool(x: Array, window: Window) -> Array:
    """Sum of each window of x (N, C, *S); padding adds nothing."""
    output = window.output_shape(x.shape[2:])
    y = np.empty((x.shape[0], *output, x.shape[1]), x.dtype)
    pixels = x.transpose(0, *range(2, x.ndim), 1)

    def work(some: Iterator[slice]) -> None:
        for images in some:
            part = pixels[images]
            part = pad(part, ((0, 0), *_overhang(part.shape[1:-1], output, window), (0, 0)))
            for axis in range(1, x.ndim - 1):
                shape = (*part.shape[:axis], output[axis - 1], *part.shape[axis + 1 :])
                into = y[images] if axis == x.ndim - 2 else scratch(f"sum{axis}", shape, x.dtype)
                first, *rest = _along(axis, output[axis - 1], window)
                if rest:
                    np.add(part[first], part[rest[0]], out=into)
                else:
                    into[...] = part[first]
                for at in rest[1:]:
                    into += part[at]
                part = into

    _share_images(work, x)
    return channels_first(y)


def sum_pool_gradient(g: Array, x_shape: Sequence[int], window: Window) -> Array:
    """Add each entry of g (N, C, *output) to every pixel of its window: the adjoint of sum_pool."""
    g = channels_last(g)
    dx = np.empty((x_shape[0], *x_shape[2:], x_shape[1]), g.dtype)
    taps = list(_taps(x_shape[2:], g.shape[1:-1], window))
    tiled = _tiles(x_shape[2:], window)

    def work(some: Iterator[slice]) -> None:
        for images in some:
            out, upstream = dx[images], g[images]
            if not tiled:
                out.fill(0)
            for _, pixels, outputs in taps:
                if tiled:
                    out[pixels] = upstream[outputs]
                else:
                    out[pixels] += upstream[outputs]

    _share_images(work, dx)
    return channels_first(dx)


def counts(size: Sequence[int], window: Window, include_pad: bool) -> Array:
    """Pixels that an average divides by, per output, as PyTorch counts them: shape output, integer.

    With include_pad the padding counts, but not what a window of ceil_mode reads beyond it.
    """
    per_axis = []
    for axis, (n, output) in enumerate(zip(size, window.output_shape(size), strict=True)):
        before, after = window.padding[axis] if include_pad else (0, 0)
        read = _positions(window, axis, output)
        per_axis.append(((read >= -before) & (read < n + after)).sum(1))
    return reduce(np.multiply.outer, per_axis)


def _share_images(work: Callable[[Iterator[slice]], None], x: Array) -> None:
    """Let threads share the images of x, a few at a time."""
    keep_freed_memory()
    step = max(1, _STRETCH // max(1, x.size // max(1, len(x))))
    share(work, [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)], _NANOSECONDS * x.size)


def _overhang(size: Sequence[int], output: Sequence[int], window: Window) -> Pairs:
    """How far windows reach beyond the image, before and after."""
    return tuple(
        (before, max(0, (m - 1) * s + d * (k - 1) + 1 - before - n))
        for n, m, k, s, (before, _), d in zip(
            size, output, window.kernel, window.stride, window.padding, window.dilation, strict=True
        )
    )


def _tiles(size: Sequence[int], window: Window) -> bool:
    """Whether every pixel lies in exactly one window."""
    whole = all(n % k == 0 for n, k in zip(size, window.kernel, strict=True))
    return (
        whole and window.stride == window.kernel and set(window.dilation) == {1} and not any(map(any, window.padding))
    )


def _along(axis: int, output: int, window: Window) -> list[Index]:
    """For each tap of one axis of a channels-last array, which windows reach exactly over, where they read."""
    k, s, d = (per_axis[axis - 1] for per_axis in (window.kernel, window.stride, window.dilation))
    before = (slice(None),) * axis
    return [(*before, slice(tap * d, tap * d + (output - 1) * s + 1, s)) for tap in range(k)]


def _taps(size: Sequence[int], output: Sequence[int], window: Window) -> Iterator[tuple[int, Index, Index]]:
    return taps(size, output, window.kernel, window.stride, window.padding, window.dilation)


def _positions(window: Window, axis: int, output: int) -> Array:
    """Where tap t of window o reads, along one axis: (output, kernel)."""
    starts = np.arange(output) * window.stride[axis] - window.padding[axis][0]
    return starts[:, np.newaxis] + np.arange(window.kernel[axis]) * window.dilation[axis]


def _first_codes(window: Window, output: Sequence[int]) -> Array:
    """Code of the first tap of each window that is not padding: shape output."""
    codes = np.zeros((), np.intp)
    for axis, n in enumerate(output):
        first = (_positions(window, axis, n) >= 0).argmax(1)
        codes = np.add.outer(codes * window.kernel[axis], first)
    return codes


def _code_dtype(window: Window) -> np.dtype[Any]:
    return np.min_scalar_type(math.prod(window.kernel) - 1)


def _lowest(dtype: np.dtype[Any]) -> Any:
    """The value that no other of its type is below."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    return False if dtype.kind == "b" else -np.inf


def _zeros(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Channels-last zeros for an array of (N, C, *spatial) = shape."""
    return np.zeros((shape[0], *shape[2:], shape[1]), dtype)
