"""Convolution, pooling and batch normalisation as nested Python loops: the definitions kernels are held to.

Values in, values out, one output at a time, slow on purpose. Nothing here is shared with the code under test.
Every option is an int for all spatial axes or a tuple with one entry per axis; an entry of padding may be a
(before, after) pair. Arrays are (N, C, *spatial) with any number of spatial axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation of x (N, C, *S) with w (O, C / groups, *K), plus b (O,)."""
    d, size, kernel = x.ndim - 2, x.shape[2:], w.shape[2:]
    strides, pads, dilations = _each(stride, d), as_pairs(padding, d), _each(dilation, d)
    output = [window_count(*axis) for axis in zip(size, kernel, strides, pads, dilations, strict=True)]
    y = np.zeros((len(x), len(w), *output), np.result_type(x, w))
    inputs, outputs = w.shape[1], len(w) // groups  # channels per group
    for n, o in itertools.product(range(len(x)), range(len(w))):
        first_channel = o // outputs * inputs
        for position in np.ndindex(*output):
            total = 0
            for c in range(inputs):
                for tap in np.ndindex(*kernel):
                    pixel = tap_pixel(position, tap, strides, pads, dilations)
                    if is_inside(pixel, size):
                        total = total + x[n, first_channel + c][pixel] * w[o, c][tap]
            y[n, o][position] = total
    return y if b is None else y + b.reshape(-1, *[1] * d)


def conv_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """Transposed convolution of x (N, C, *S) with w (C, O / groups, *K): pixels stamp w, padding crops."""
    d, size, kernel = x.ndim - 2, x.shape[2:], w.shape[2:]
    strides, pads, dilations = _each(stride, d), as_pairs(padding, d), _each(dilation, d)
    output = [
        (n - 1) * s - before - after + step * (k - 1) + 1 + extra
        for n, k, s, (before, after), step, extra in zip(
            size, kernel, strides, pads, dilations, _each(output_padding, d), strict=True
        )
    ]
    outputs, inputs = w.shape[1], len(w) // groups  # channels per group
    y = np.zeros((len(x), outputs * groups, *output), np.result_type(x, w))
    for n, c in itertools.product(range(len(x)), range(len(w))):
        first_channel = c // inputs * outputs
        for o, position, tap in itertools.product(range(outputs), np.ndindex(*size), np.ndindex(*kernel)):
            pixel = tap_pixel(position, tap, strides, pads, dilations)
            if is_inside(pixel, output):
                y[n, first_channel + o][pixel] += x[n, c][position] * w[c, o][tap]
    return y if b is None else y + b.reshape(-1, *[1] * d)


def max_pool(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Largest pixel of each window and its row-major index in the image; first at a tie, NaN above all."""
    size = x.shape[2:]
    outputs = list(pool_windows(x, kernel_size, stride, padding, dilation, ceil_mode))
    output = [1 + max(axis) for axis in zip(*(position for position, *_ in outputs), strict=True)]
    y, indices = np.zeros((*x.shape[:2], *output), x.dtype), np.zeros((*x.shape[:2], *output), np.int64)
    for n, c in np.ndindex(*x.shape[:2]):
        for position, pixels, _ in outputs:
            best = pixels[0]
            for pixel in pixels[1:]:
                value, most = x[n, c][pixel], x[n, c][best]
                if value > most or (value != value and most == most):
                    best = pixel
            y[n, c][position] = x[n, c][best]
            indices[n, c][position] = np.ravel_multi_index(best, size)
    return y, indices


def avg_pool(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Mean of each window; the divisor counts padding if count_include_pad, never what lies beyond it."""
    outputs = list(pool_windows(x, kernel_size, stride, padding, 1, ceil_mode))
    output = [1 + max(axis) for axis in zip(*(position for position, *_ in outputs), strict=True)]
    y = np.zeros((*x.shape[:2], *output), x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for position, pixels, padded in outputs:
            total = x.dtype.type(0)
            for pixel in pixels:
                total = total + x[n, c][pixel]
            y[n, c][position] = total / (padded if count_include_pad else len(pixels))
    return y


def batch_norm(x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5) -> Array:
    """Each channel of x (N, C, ...) minus its mean, over sqrt(biased variance + eps), scaled and shifted."""
    y = np.zeros(x.shape, x.dtype)
    for c in range(x.shape[1]):
        values = x[:, c].ravel().tolist()
        mean = sum(values) / len(values)
        var = sum((value - mean) * (value - mean) for value in values) / len(values)
        scale = (1 if weight is None else weight[c]) / (var + eps) ** 0.5
        for at in np.ndindex(*x[:, c].shape):
            y[:, c][at] = (x[:, c][at] - mean) * scale + (0 if bias is None else bias[c])
    return y


def pool_windows(
    x: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], int]]:
    """Each output position, the pixels of its window inside the image, and their number with padding."""
    d, size = x.ndim - 2, x.shape[2:]
    kernel, strides = _each(kernel_size, d), _each(kernel_size if stride is None else stride, d)
    pads, dilations = as_pairs(padding, d), _each(dilation, d)
    output = []
    for n, k, s, pad, step in zip(size, kernel, strides, pads, dilations, strict=True):
        count = window_count(n, k, s, pad, step)
        reach = (count - 1) * s + step * (k - 1) + 1  # of the padded axis
        if ceil_mode and reach < n + sum(pad) and count * s < n + pad[0]:
            count += 1
        output.append(count)
    end = [n + after for n, (_, after) in zip(size, pads, strict=True)]
    for position in np.ndindex(*output):
        read = [tap_pixel(position, tap, strides, pads, dilations) for tap in np.ndindex(*kernel)]
        padded = sum(all(i < n for i, n in zip(pixel, end, strict=True)) for pixel in read)
        yield position, [pixel for pixel in read if is_inside(pixel, size)], padded


def window_count(size: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int) -> int:
    """Count the windows that lie inside the padded axis."""
    extent = dilation * (kernel - 1) + 1
    return sum(1 for _ in range(0, size + sum(pad) - extent + 1, stride))


def tap_pixel(
    position: tuple[int, ...], tap: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> tuple[int, ...]:
    """The pixel that a tap of the window at an output position reads; outside the image it is padding."""
    axes = zip(position, tap, stride, padding, dilation, strict=True)
    return tuple(o * s + t * d - before for o, t, s, (before, _), d in axes)


def is_inside(pixel: tuple[int, ...], size: Any) -> bool:
    return all(0 <= i < n for i, n in zip(pixel, size, strict=True))


def _each(option: Any, d: int) -> tuple[Any, ...]:
    return tuple(option) if isinstance(option, (tuple, list)) else (option,) * d


def as_pairs(padding: Any, d: int) -> tuple[tuple[int, int], ...]:
    return tuple(p if isinstance(p, tuple) else (p, p) for p in _each(padding, d))
