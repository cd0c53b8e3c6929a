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
_RUN = 64  # elements: from that length on, times the stride less one, runs of the windows alone are worth it
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
    values = np.ascontiguousarray(pad(x, ((0, 0), *padding, (0, 0)), -np.inf))
    codes: Any = None  # of the winners among the axes so far
    step = 1
    for axis in reversed(range(1, x.ndim - 1)):
        way = _Axis.of(values.shape, axis, y.shape, window)
        (best, *others), behind = way.taps(values), None if codes is None else way.taps(codes)
        values, target = way.room(f"best{axis}", x.dtype)
        codes, winning = way.room(f"codes{axis}", winners.dtype)
        winner = None if behind is None else behind[0]
        for tap, value in enumerate(others, 1):
            wins = np.greater(value, best, out=scratch("wins", best.shape, bool)).view(np.uint8)
            best = np.maximum(value, best, out=target)
            code: Any = winners.dtype.type(tap * step)
            if behind is not None:
                code = np.add(behind[tap], code, out=scratch("code", best.shape, winners.dtype))
            # codes rise from tap to tap, so the last one that wins has the largest
            if winner is None:
                winner = np.multiply(wins, code, out=winning)
            else:
                code = np.multiply(wins, code, out=scratch("code", best.shape, winners.dtype))
                winner = np.maximum(winner, code, out=winning)
        if not others:
            target[...], winning[...] = best, 0 if winner is None else winner
        step *= window.kernel[axis - 1]
    y[...], winners[...] = _starts(values, y.shape, window), _starts(codes, y.shape, window)
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
    values = np.ascontiguousarray(pad(x, ((0, 0), *_overhang(x.shape[1:-1], y.shape[1:-1], window), (0, 0))))
    for axis in reversed(range(1, x.ndim - 1)):
        way = _Axis.of(values.shape, axis, y.shape, window)
        total, *others = way.taps(values)
        values, target = way.room(f"best{axis}", x.dtype)
        for value in others:
            total = np.add(value, total, out=target)
        if not others:
            target[...] = total
    y[...] = _starts(values, y.shape, window)
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


class _Axis(NamedTuple):
    """How contiguous memory is pooled along one axis.

    Where that leaves long runs, of the windows alone. Else of every element, also between the windows and across the
    ends of rows: whole arrays shifted against each other are what NumPy is fastest with.
    """

    shape: tuple[int, ...]  # of the result; dense: as before, with the axis's last elements left open
    window: tuple[int, int, int]  # kernel, stride, dilation
    run: int  # elements behind an index of the axis
    size: int  # indices of the axis
    outputs: int | None  # windows along it; None: dense

    @staticmethod
    def of(shape: Sequence[int], axis: int, output: Sequence[int], window: Window) -> _Axis:
        stride, run = window.stride[axis - 1], math.prod(shape[axis + 1 :])
        sparse = run * (stride - 1) >= _RUN
        result = (*shape[:axis], output[axis] if sparse else shape[axis], *shape[axis + 1 :])
        per_axis = window.kernel[axis - 1], stride, window.dilation[axis - 1]
        return _Axis(result, per_axis, run, shape[axis], output[axis] if sparse else None)

    def taps(self, values: Array) -> list[Array]:
        """What each tap reads."""
        kernel, stride, dilation = self.window
        if self.outputs is None:
            flat, reach = values.reshape(-1), (kernel - 1) * dilation * self.run
            starts = [tap * dilation * self.run for tap in range(kernel)]
            return [flat[start : start + flat.size - reach] for start in starts]
        rows, end = values.reshape(-1, self.size, self.run), (self.outputs - 1) * stride + 1
        return [rows[:, tap * dilation : tap * dilation + end : stride] for tap in range(kernel)]

    def room(self, name: str, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Memory for the result, and the part of it that is as large as a tap."""
        whole = scratch(name, self.shape, dtype)
        if self.outputs is None:
            kernel, _, dilation = self.window
            return whole, whole.reshape(-1)[: whole.size - (kernel - 1) * dilation * self.run]
        return whole, whole.reshape(-1, self.outputs, self.run)


def _starts(values: Array, output: Sequence[int], window: Window) -> Array:
    """Of an array that is dense along some axes, what stands where windows start: shape output."""
    at = [
        slice(None) if n == m else slice(0, (m - 1) * stride + 1, stride)
        for n, m, stride in zip(values.shape[1:-1], output[1:-1], window.stride, strict=True)
    ]
    return values[(slice(None), *at)]


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
