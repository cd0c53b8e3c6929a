"""Convolution in any number of dimensions, as products of matrices.

One trilinear form, <conv(x, w), g>, has three derivatives, and they are the three kernels of this file:

    conv(x, w)                  y[n, o, p] = sum_ct x[n, c, stride * p + dilation * t - before] * w[o, c, t]
    conv_input_gradient(g, w)   the adjoint in x: the transposed convolution
    conv_weight_gradient(x, g)  the adjoint in w

It is cross-correlation: the kernel is not turned. Each is computed a block of images at a time, small enough for the
cache, by one of the paths that `paths.py` lists; threads share the blocks. Arguments are taken as valid: operations
check them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .columns import Path, by_group
from .geometry import Block, Geometry, blocks, output_size
from .layout import Array, Index, channels_first, channels_last, taps
from .paths import choose, cost_of_shifts
from .products import product
from .threads import pieces, share, single_threaded_blas
from .winograd import NotFinite
from .workspace import scratch

__all__ = ["Geometry", "conv", "conv_input_gradient", "conv_weight_gradient", "output_size"]

_BLOCK = 2 << 20  # bytes of columns: two second-level caches, as fewer calls are worth more than nearer memory


def _kernel(function: Callable[..., Array]) -> Callable[..., Array]:
    """What all three kernels do: keep BLAS to one thread, and compute on float16 in float32.

    Products of halves are slow, and sums of them lose digits.
    """

    @functools.wraps(function)
    def kernel(a: Array, b: Array, *args: Any, **options: Any) -> Array:
        with single_threaded_blas:
            if np.result_type(a, b) != np.float16:
                return function(a, b, *args, **options)
            return function(a.astype(np.float32), b.astype(np.float32), *args, **options).astype(np.float16)

    return kernel


@_kernel
def conv(x: Array, w: Array, geometry: Geometry, bias: Array | None = None, path: str | None = None) -> Array:
    """Correlate x (N, C, *S) with w (O, C / groups, *K), plus bias (O,): (N, O, *output), channels-last in memory.

    path: the name of a way to compute it, one of `paths.PATHS`, instead of the cheapest.
    """
    output, dtype = geometry.output_shape(x.shape[2:], w.shape[2:]), np.result_type(x, w)
    way, cost = choose(w.shape, geometry, output, dtype, path)
    if bias is not None and np.result_type(dtype, bias) != dtype:
        return np.asarray(_correlate(x, w, way, output, cost) + bias.reshape(-1, *[1] * len(output)))
    return _correlate(x, w, way, output, cost, bias)


@_kernel
def conv_input_gradient(
    g: Array, w: Array, x_shape: Sequence[int], geometry: Geometry, path: str | None = None
) -> Array:
    """Adjoint of conv in x, g (N, O, *output) -> (N, C, *S) = x_shape; pixels that no window reads get 0.

    At stride 1 it is a correlation of g with the turned kernel, by any path; path "shifts" does without, at any stride.
    A correlation multiplies the zeros around g too, which a weight that is not finite would turn into NaN.
    """
    by_shifts = cost_of_shifts(w.shape, geometry, g.shape[2:])
    if path == "shifts" or any(s != 1 for s in geometry.stride) or (path is None and not _is_finite(w)):
        return _add_shifted(g, w, x_shape, geometry, by_shifts)
    turned, size = _turned(w, geometry.groups), tuple(x_shape[2:])
    adjoint = geometry._replace(padding=_complement(geometry, w.shape[2:], size, g.shape[2:]))
    way, cost = choose(turned.shape, adjoint, size, np.result_type(g, w), path)
    if path is None and by_shifts < cost:
        return _add_shifted(g, w, x_shape, geometry, by_shifts)
    return _correlate(g, turned, way, size, cost)


@_kernel
def conv_weight_gradient(
    x: Array, g: Array, w_shape: Sequence[int], geometry: Geometry, path: str | None = None
) -> Array:
    """Adjoint of conv in w, x (N, C, *S) and g (N, O, *output) -> (O, C / groups, *K) = w_shape."""
    output, dtype = g.shape[2:], np.result_type(x, g)
    if not (g.size and math.prod(w_shape)):
        return np.zeros(w_shape, dtype)
    way, cost = choose(w_shape, geometry, output, dtype, path)
    rows, read = channels_last(g).astype(dtype, copy=False), _reader(x, way, output, dtype)

    def work(some: Iterator[Block]) -> Array | None:
        total = None
        for block in some:
            part = way.pair(read(block), rows[block])
            total = part if total is None else np.add(total, part, out=total)
        return total

    try:
        totals = _share(work, way, len(x), output, cost, fixed=True)
    except NotFinite:
        return conv_weight_gradient(x, g, w_shape, geometry, "columns")
    return way.restore(functools.reduce(np.add, totals))


# ---- correlation -----------------------------------------------------------------------------------------------


def _correlate(x: Array, w: Array, way: Path, output: tuple[int, ...], cost: float, bias: Array | None = None) -> Array:
    dtype = np.result_type(x, w)
    y, read = np.empty((len(x), *output, len(w)), dtype), _reader(x, way, output, dtype)
    # Repeated along the row: NumPy then adds a row at a time, not the few numbers of one pixel.
    bias_row = None if bias is None else np.tile(bias, (output[-1], 1))

    def work(some: Iterator[Block]) -> None:
        for block in some:
            out = y[block]
            way.forward(read(block), out)
            if bias_row is not None:
                out += bias_row

    if not w.size:
        y[...] = 0 if bias is None else bias
    elif y.size:
        try:
            way.prepare(w.astype(dtype, copy=False))
            _share(work, way, len(x), output, cost)
        except NotFinite:
            way, cost = choose(w.shape, way.geometry, output, dtype, "columns")
            return _correlate(x, w, way, output, cost, bias)
    return channels_first(y)


def _complement(
    geometry: Geometry, kernel: Sequence[int], size: Sequence[int], output: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """The padding with which the turned kernel gives images of that size again, at stride 1."""
    return tuple(
        (d * (k - 1) - before, n - m + before)
        for k, n, m, d, (before, _) in zip(kernel, size, output, geometry.dilation, geometry.padding, strict=True)
    )


def _is_finite(w: Array) -> bool:
    """Whether there is neither an infinity nor a NaN; it may also say no to numbers whose squares overflow."""
    flat = w.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)))


def _turned(w: Array, groups: int) -> Array:
    """The kernel of the adjoint: turned in every spatial axis, inputs and outputs exchanged within a group."""
    filters, channels, *kernel = w.shape
    w = w.reshape(groups, filters // groups, channels, *kernel).swapaxes(1, 2)
    w = w[(slice(None),) * 3 + (slice(None, None, -1),) * len(kernel)]
    return w.reshape(groups * channels, filters // groups, *kernel)


def _tap_matrices(w: Array, groups: int) -> Array:
    """(O, C / groups, *K) -> contiguous (prod(K), groups, O / groups, C / groups)."""
    filters, channels, *kernel = w.shape
    w = w.reshape(groups, filters // groups, channels, math.prod(kernel))
    return np.ascontiguousarray(w.transpose(3, 0, 1, 2))


def _add_shifted(g: Array, w: Array, x_shape: Sequence[int], geometry: Geometry, cost: float) -> Array:
    """The input gradient as a product of g with the weights of each tap, added to the pixels that the tap had read."""
    batch, channels, *size = x_shape
    output, dtype = g.shape[2:], np.result_type(g, w)
    rows, weights = channels_last(g), _tap_matrices(w, geometry.groups)
    dx = np.empty((batch, *size, channels), dtype)
    places = list(taps(size, output, w.shape[2:], geometry.stride, geometry.padding, geometry.dilation))

    def work(some: Iterator[slice]) -> None:
        for images in some:
            out, upstream = dx[images], rows[images]
            out.fill(0)
            part = scratch("products", (*upstream.shape[:-1], channels), dtype)
            for tap, pixels, outputs in places:
                product(by_group(upstream, geometry.groups), weights[tap], out=by_group(part, geometry.groups))
                out[pixels] += part[outputs]

    if dx.size and g.size and w.size:
        per_image = math.prod(output) * (channels + len(w)) * dtype.itemsize
        share(work, pieces(batch, _BLOCK // per_image, cost * batch), cost * batch)
    else:
        dx.fill(0)
    return channels_first(dx)


# ---- blocks ----------------------------------------------------------------------------------------------------


def _share(
    work: Callable[[Iterator[Block]], Any],
    way: Path,
    batch: int,
    output: Sequence[int],
    cost: float,
    fixed: bool = False,
) -> list[Any]:
    cut = blocks(batch, output[0], way.bytes_per_row(output), _BLOCK, cost, way.tile)
    return share(work, cut, cost * batch, fixed)


def _reader(x: Array, way: Path, output: Sequence[int], dtype: np.dtype[Any]) -> Callable[[Block], Array]:
    """A function of a block: the pixels that its windows read, contiguous in the path's order, zeros around them."""
    x = x if way.planes else x.transpose(0, *range(2, x.ndim), 1)
    axes = range(2, x.ndim) if way.planes else range(1, x.ndim - 1)

    @functools.cache
    def places(first_row: int, last_row: int) -> tuple[list[int], Index, Index]:
        """The shape of an image with padding, where it takes pixels from, and where they lie in it."""
        rows = last_row - first_row
        firsts, counts = (first_row, *[0] * len(output[1:])), (rows + -rows % way.tile, *output[1:])
        shape, source, inside = list(x.shape[1:]), [slice(None)] * (x.ndim - 1), [slice(None)] * (x.ndim - 1)
        per_axis = zip(axes, firsts, counts, way.kernel, *way.geometry[:3], strict=True)
        for axis, first, count, k, stride, (before, _), dilation in per_axis:
            start, length, n = first * stride - before, (count - 1) * stride + dilation * (k - 1) + 1, x.shape[axis]
            low = min(max(start, 0), n)
            high = max(low, min(start + length, n))
            shape[axis - 1], source[axis - 1] = length, slice(low, high)
            inside[axis - 1] = slice(low - start, high - start)
        return shape, tuple(source), tuple(inside)

    def read(block: Block) -> Array:
        shape, source, inside = places(block.rows.start, block.rows.stop)
        pixels = x[(block.images, *source)]
        shape = [len(pixels), *shape]
        if pixels.shape == tuple(shape) and pixels.flags.c_contiguous and pixels.dtype == dtype:
            return pixels
        image = scratch("image", shape, dtype)
        if pixels.shape != tuple(shape):
            image.fill(0)
        image[(slice(None), *inside)] = pixels
        return image

    return read
