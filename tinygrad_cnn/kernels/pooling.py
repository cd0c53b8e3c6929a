"""Max and sum pooling in any number of dimensions, and their adjoints, as a few passes over shifted slices.

A window's winner is kept as the row-major code of its tap, one byte for windows up to 256 pixels: an eighth
of an int64 index. `scatter_winners` and `gather_winners` are the linear maps that the codes stand for, each
the adjoint of the other. Padding is never read, so it has no value that could win or count. Arguments are
taken as valid; operations check them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from .layout import Array, Index, Pairs, channels_first, channels_last, taps


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
    pixels = channels_last(x)
    output = window.output_shape(x.shape[2:])
    y = np.full((x.shape[0], *output, x.shape[1]), _lowest(x.dtype), x.dtype)
    winners = np.empty(y.shape, _code_dtype(window))
    winners[...] = _first_codes(window, output)[..., np.newaxis]
    for code, read, outputs in _taps(x.shape[2:], output, window):
        value, best, winner = pixels[read], y[outputs], winners[outputs]
        wins = ~(value <= best)  # true for a NaN too
        wins &= best == best  # but nothing beats the first NaN
        np.maximum(best, value, out=best)
        # codes rise, so the last tap to win has the largest
        np.maximum(winner, wins * winners.dtype.type(code), out=winner)
    return channels_first(y), channels_first(winners)


def scatter_winners(g: Array, winners: Array, x_shape: Sequence[int], window: Window) -> Array:
    """Add each entry of g (N, C, *output) to its window's winner, in zeros of x_shape."""
    dx, g, winners = _zeros(x_shape, g.dtype), channels_last(g), channels_last(winners)
    zero = g.dtype.type(0)
    for code, pixels, outputs in _taps(x_shape[2:], g.shape[1:-1], window):
        dx[pixels] += np.where(winners[outputs] == code, g[outputs], zero)  # not a product: inf * 0 is NaN
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
    pixels, output = channels_last(x), window.output_shape(x.shape[2:])
    y = _zeros((*x.shape[:2], *output), x.dtype)
    for _, read, outputs in _taps(x.shape[2:], output, window):
        y[outputs] += pixels[read]
    return channels_first(y)


def sum_pool_gradient(g: Array, x_shape: Sequence[int], window: Window) -> Array:
    """Add each entry of g (N, C, *output) to every pixel of its window: the adjoint of sum_pool."""
    dx, g = _zeros(x_shape, g.dtype), channels_last(g)
    for _, pixels, outputs in _taps(x_shape[2:], g.shape[1:-1], window):
        dx[pixels] += g[outputs]
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
