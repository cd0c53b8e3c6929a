"""Max and sum pooling in any number of dimensions, and their adjoints, as a few passes over shifted slices.

Pools are separable: maxima along one axis, then along the next the maxima of those, which is a pass per tap of an axis
instead of one per tap of the window. A few images at a time stay in the cache; threads share them.

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
from .threads import pieces, share
from .workspace import scratch

_STRETCH = 1 << 18  # elements of the image at a time
_DENSE = 4  # the largest stride at which what is computed between the windows costs less than leaving it out
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
    """Max pooling along one axis after the other; False where `_max_by_taps` has to decide.

    The last axis comes first: then of equal maxima the first row wins, and in it the first column.
    """
    padding = _overhang(x.shape[1:-1], y.shape[1:-1], window)
    if max(window.stride) > _DENSE or (x.dtype.kind != "f" and any(map(any, padding))):
        return False
    x = np.ascontiguousarray(pad(x, ((0, 0), *padding, (0, 0)), -np.inf))
    best, codes, step = x.reshape(-1), scratch("codes", (x.size,), winners.dtype), 1
    codes.fill(0)
    for axis, reaches in _reaches(x.shape, window):
        values, taken = best, codes
        for tap, reach in enumerate(reaches[1:], 1):
            length = len(values) - reach
            wins = np.greater(values[reach:], best[:length], out=scratch("wins", (length,), bool))
            best = np.maximum(values[reach:], best[:length], out=scratch(f"best{axis}", (length,), x.dtype))
            code = np.add(taken[reach:], winners.dtype.type(tap * step), out=scratch("code", (length,), codes.dtype))
            code *= wins.view(np.uint8)
            # codes rise from tap to tap, so the last one that wins has the largest
            codes = np.maximum(codes[:length], code, out=scratch(f"codes{axis}", (length,), codes.dtype))
        step *= window.kernel[axis - 1]
    y[...], winners[...] = _windows_of(best, x.shape, y.shape, window), _windows_of(codes, x.shape, y.shape, window)
    # A NaN is larger than any number, and padding is no pixel even to a window of -inf.
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
            if not _sum_by_axes(pixels[images], y[images], window):
                y[images] = 0
                for _, read, outputs in _taps(x.shape[2:], output, window):
                    y[images][outputs] += pixels[images][read]

    _share_images(work, x)
    return channels_first(y)


def _sum_by_axes(x: Array, y: Array, window: Window) -> bool:
    if max(window.stride) > _DENSE:
        return False
    x = np.ascontiguousarray(pad(x, ((0, 0), *_overhang(x.shape[1:-1], y.shape[1:-1], window), (0, 0))))
    total = x.reshape(-1)
    for axis, reaches in _reaches(x.shape, window):
        values = total
        for reach in reaches[1:]:
            length = len(values) - reach
            total = np.add(values[reach:], total[:length], out=scratch(f"best{axis}", (length,), x.dtype))
    y[...] = _windows_of(total, x.shape, y.shape, window)
    return True


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
    if not x.size:
        return
    nanoseconds = _NANOSECONDS * x.size
    share(work, pieces(len(x), _STRETCH * len(x) // x.size, nanoseconds), nanoseconds)


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


def _reaches(shape: Sequence[int], window: Window) -> Iterator[tuple[int, list[int]]]:
    """For each spatial axis of channels-last memory, the last first: how far from a window's start its taps lie.

    Taken of every element, also between the windows and across the ends of rows, one axis is a few operations on
    whole arrays shifted against each other, the fastest that NumPy does; rows by themselves cost it three times more.
    """
    for axis in reversed(range(1, len(shape) - 1)):
        step = window.dilation[axis - 1] * math.prod(shape[axis + 1 :])
        yield axis, [tap * step for tap in range(window.kernel[axis - 1])]


def _windows_of(values: Array, shape: Sequence[int], output: Sequence[int], window: Window) -> Array:
    """View what was taken of every element of channels-last memory of that shape where windows start: shape output."""
    steps = [values.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    strides = [step * s for step, s in zip(steps, (1, *window.stride, 1), strict=True)]
    return np.ndarray(output, values.dtype, values, 0, strides)


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
