"""Max, average, global and adaptive pooling; unpooling. The default stride is the kernel size (lectures C5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import pooling as kernels
from tinygrad_cnn.kernels.layout import Array, channels_first, channels_last
from tinygrad_cnn.kernels.pooling import Window
from tinygrad_cnn.operations.elementwise import where
from tinygrad_cnn.operations.geometry import as_tensor, check_fits, check_image, extents, paddings, per_axis
from tinygrad_cnn.operations.indexing import take_along_axis
from tinygrad_cnn.operations.shape import cat, in_order, memory_order, reshape

# ---- records: option window is a `Window`, size the spatial lengths of the image --------------------------------


def _max_pool(d: int) -> Op:
    return op(
        f"max_pool{d}d",
        lambda x, *, window: kernels.max_pool(x, window),
        lambda g, winners, x_shape, window: scatter_winners(g, winners, size=x_shape[2:], window=window),
        aux={"winners": None},
        doc="The maximum of each window; winners are row-major codes of the winning taps.",
    )


def _avg_pool(d: int) -> Op:
    """Average pooling and its adjoint, each the other's rule."""
    pool: Op = op(
        f"avg_pool{d}d",
        lambda x, *, window, include_pad: (
            kernels.sum_pool(x, window) / _divisor(x.shape[2:], window, include_pad, x.dtype)
        ),
        lambda g, x_shape, window, include_pad: spread(g, size=x_shape[2:], window=window, include_pad=include_pad),
        doc="The mean of each window.",
    )
    spread: Op = op(
        f"avg_pool{d}d_gradient",
        lambda x, *, size, window, include_pad: kernels.sum_pool_gradient(
            x / _divisor(size, window, include_pad, x.dtype), (*x.shape[:2], *size), window
        ),
        lambda g, window, include_pad: pool(g, window=window, include_pad=include_pad),
        doc=f"Each element shared by the pixels of its window: the adjoint of avg_pool{d}d.",
    )
    return pool


def _divisor(size: Sequence[int], window: Window, include_pad: bool, dtype: np.dtype[Any]) -> Any:
    if not window.ceil_mode and not any(map(any, window.padding)):
        return math.prod(window.kernel)
    counts = kernels.counts(size, window, include_pad)
    return counts.astype(dtype) if dtype.kind == "f" else counts


scatter_winners: Op = op(
    "scatter_winners",
    lambda x, winners, *, size, window: kernels.scatter_winners(x, winners, (*x.shape[:2], *size), window),
    {"x": lambda g, winners, window: gather_winners(g, winners, window=window)},
    doc="Each element added to its window's winner, in zeros: the gradient of max pooling.",
)
gather_winners: Op = op(
    "gather_winners",
    lambda x, winners, *, window: kernels.gather_winners(x, winners, window),
    {"x": lambda g, winners, x_shape, window: scatter_winners(g, winners, size=x_shape[2:], window=window)},
    doc="The pixel that won each window: the adjoint of scatter_winners.",
)

_MAX_POOLS = {d: _max_pool(d) for d in (1, 2, 3)}
_AVG_POOLS = {d: _avg_pool(d) for d in (1, 2, 3)}

# ---- max pooling -----------------------------------------------------------------------------------------------


def max_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of sequences x (N, C, L): `max_pool2d` in one dimension.

    >>> max_pool1d([[[1.0, 3.0, 2.0, 0.0]]], 2)
    tensor([[[3., 2.]]])
    """
    return _maximum(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of images x (N, C, H, W) -> (N, C, H', W'), H' as for `conv2d`.

    kernel_size, stride (default: the kernel size), dilation: an int, or one per axis. padding: as `conv2d`'s,
    at most half the kernel on each side; it acts as -inf and never wins. ceil_mode also counts a last window
    that overhangs the padded image, if it starts inside it. With return_indices also the winners' row-major
    indices in the H x W plane, int64.

    The gradient goes to the winner alone, which is the first maximum in row-major order; NaN counts as
    largest. Lectures C1, C2.

    Raises ShapeError where the window does not fit, ValueError for options out of range.

    >>> x = Tensor([[[[1.0, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]]]])
    >>> max_pool2d(x, 2)
    tensor([[[[9., 2.],
              [6., 3.]]]])
    >>> max_pool2d(x, 2, return_indices=True)[1]
    tensor([[[[ 5,  2],
              [13, 11]]]])
    """
    return _maximum(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of volumes x (N, C, D, H, W): `max_pool2d` in three dimensions.

    >>> max_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 2).item()
    7.0
    """
    return _maximum(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _maximum(
    d: int,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x = as_tensor(x)
    window = _window(f"max_pool{d}d", d, x, kernel_size, stride, padding, dilation, ceil_mode)
    if not return_indices:
        return _MAX_POOLS[d](x, window=window)
    y, winners = _MAX_POOLS[d].with_aux(x, window=window)
    return y, Tensor(kernels.flat_indices(winners, x.shape, window))


# ---- average pooling -------------------------------------------------------------------------------------------


def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of sequences x (N, C, L): `avg_pool2d` in one dimension.

    >>> avg_pool1d([[[1.0, 3.0, 2.0, 0.0]]], 2)
    tensor([[[2., 1.]]])
    """
    return _average(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of images x (N, C, H, W) -> (N, C, H', W'); options as `max_pool2d`'s.

    Padding is 0 and counts in the divisor, unless count_include_pad is False; what a window of ceil_mode
    reads beyond the padding never counts. The gradient is shared evenly: g / divisor to each pixel. Lectures
    C3.

    Raises ShapeError where the window does not fit, ValueError for options out of range.

    >>> x = Tensor([[[[1.0, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]]]])
    >>> avg_pool2d(x, 2)
    tensor([[[[3.75, 1.25],
              [3.75, 2.  ]]]])
    """
    return _average(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of volumes x (N, C, D, H, W): `avg_pool2d` in three dimensions.

    >>> avg_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 2).item()
    3.5
    """
    return _average(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _average(
    d: int, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> Tensor:
    x = as_tensor(x)
    if x.dtype.kind == "b":
        raise TypeError(f"avg_pool{d}d: booleans have no mean; use x.astype('float32')")
    window = _window(f"avg_pool{d}d", d, x, kernel_size, stride, padding, 1, ceil_mode)
    return _AVG_POOLS[d](x, window=window, include_pad=bool(count_include_pad))


def _window(
    name: str, d: int, x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Window:
    """Check the options of a pool and make them uniform."""
    check_image(name, x, d)
    size = x.shape[2:]
    if 0 in size:
        raise ShapeError(f"{name}: x has no pixels to pool (x.shape = {x.shape})")
    kernel = per_axis(name, "kernel_size", kernel_size, d)
    strides = kernel if stride is None else per_axis(name, "stride", stride, d)
    dilations = per_axis(name, "dilation", dilation, d)
    pads = paddings(name, padding, size, kernel, strides, dilations, full=False)
    for extent, pair in zip(extents(kernel, dilations), pads, strict=True):
        if max(pair) > extent // 2:
            raise ValueError(
                f"{name}: padding must be at most half the kernel, {extent // 2} of {extent} pixels, got {padding!r}"
            )
    window = Window(kernel, strides, pads, dilations, bool(ceil_mode))
    if not ceil_mode or min(window.output_shape(size)) < 1:
        check_fits(name, size, kernel, dilations, pads)
    if max(dilations) > 1 and not kernels.counts(size, window, False).all():
        raise ShapeError(
            f"{name}: a window with dilation {dilations} and padding {pads} holds only padding (x.shape = {x.shape})"
        )
    return window


# ---- global and adaptive pooling -------------------------------------------------------------------------------


def global_avg_pool(x: Any, keepdims: bool = False) -> Tensor:
    """Mean over all spatial axes: x (N, C, ...) -> (N, C), or (N, C, 1, ...) with keepdims. Lectures C4.

    The gradient is g / pixels for each. Raises ShapeError if x has no pixels.

    >>> global_avg_pool([[[[1.0, 2.0], [3.0, 6.0]]]])
    tensor([[3.]])
    """
    x = _pixels("global_avg_pool", as_tensor(x))
    return x.mean(tuple(range(2, x.ndim)), keepdims=keepdims)


def global_max_pool(x: Any, keepdims: bool = False) -> Tensor:
    """Maximum over all spatial axes: x (N, C, ...) -> (N, C), or (N, C, 1, ...) with keepdims. Lectures C4.

    The gradient goes to the first maximum in row-major order. Raises ShapeError if x has no pixels.

    >>> global_max_pool([[[[1.0, 2.0], [3.0, 6.0]]]])
    tensor([[6.]])
    """
    x = _pixels("global_max_pool", as_tensor(x))
    y, _ = x.reshape(*x.shape[:2], math.prod(x.shape[2:])).max(axis=2)
    return y.reshape(*y.shape, *[1] * (x.ndim - 2)) if keepdims else y


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    """Mean over output_size windows that cover images x (N, C, H, W) -> (N, C, H', W').

    Window i spans rows floor(i H / H') to ceil((i + 1) H / H'), and columns alike. output_size: an int, or
    (H', W') where None keeps the length.

    Raises ShapeError unless x is a batch of images, ValueError for another output_size.

    >>> adaptive_avg_pool2d([[[[1.0, 2.0, 3.0]]]], (1, 2))
    tensor([[[[1.5, 2.5]]]])
    """
    x, output = _adaptive("adaptive_avg_pool2d", x, output_size)
    kernel = _divided(x.shape[2:], output)
    if kernel is not None:
        return avg_pool2d(x, kernel)
    return _binned(x, output, lambda part, axis: part.mean(axis, keepdims=True))


def adaptive_max_pool2d(x: Any, output_size: Any) -> Tensor:
    """Maximum over output_size windows that cover images x (N, C, H, W); windows as `adaptive_avg_pool2d`'s.

    The gradient goes to the first maximum in row-major order.

    Raises ShapeError unless x is a batch of images, ValueError for another output_size.

    >>> adaptive_max_pool2d([[[[1.0, 4.0, 3.0]]]], (1, 2))
    tensor([[[[4., 4.]]]])
    """
    x, output = _adaptive("adaptive_max_pool2d", x, output_size)
    kernel = _divided(x.shape[2:], output)
    if kernel is not None:
        return max_pool2d(x, kernel)
    # Along W first: of equal maxima the first row then wins, and in it the first column.
    return _binned(x, output, lambda part, axis: part.max(axis, keepdims=True)[0])


def _pixels(name: str, x: Tensor) -> Tensor:
    if x.ndim < 3 or 0 in x.shape[2:]:
        raise ShapeError(f"{name}: x must have axes (N, C, ...) with at least one pixel, x.shape = {x.shape}")
    return x


def _adaptive(name: str, x: Any, output_size: Any) -> tuple[Tensor, tuple[int, ...]]:
    x = as_tensor(x)
    check_image(name, x, 2)
    if isinstance(output_size, list | tuple) and len(output_size) == 2:
        output_size = tuple(n if wanted is None else wanted for n, wanted in zip(x.shape[2:], output_size, strict=True))
    return _pixels(name, x), per_axis(name, "output_size", output_size, 2)


def _divided(size: Sequence[int], output: Sequence[int]) -> tuple[int, ...] | None:
    """The kernel that tiles the image, if one does."""
    if any(n % m for n, m in zip(size, output, strict=True)):
        return None
    return tuple(n // m for n, m in zip(size, output, strict=True))


def _binned(x: Tensor, output: Sequence[int], reduce: Any) -> Tensor:
    """Reduce uneven bins, one axis after the other."""
    for axis, m in ((3, output[1]), (2, output[0])):
        n, lead = x.shape[axis], (slice(None),) * axis
        x = cat([reduce(x[(*lead, slice(i * n // m, -(-(i + 1) * n // m)))], axis) for i in range(m)], axis)
    return x


# ---- unpooling -------------------------------------------------------------------------------------------------


def _unpool(x: Array, indices: Array, size: tuple[int, ...]) -> tuple[Array, Array, Any]:
    # Contiguous, for NumPy writes in memory order: which of two writes to one pixel stays must not depend on it.
    flat = np.ascontiguousarray(indices.reshape(*x.shape[:2], math.prod(x.shape[2:])))
    plane = np.zeros((*x.shape[:2], math.prod(size)), x.dtype)
    np.put_along_axis(plane, flat, np.ascontiguousarray(x.reshape(flat.shape)), 2)
    writer = np.zeros(plane.shape, np.int64)
    np.put_along_axis(writer, flat, np.broadcast_to(np.arange(flat.shape[2]), flat.shape), 2)
    last = np.take_along_axis(writer, flat, 2) == np.arange(flat.shape[2])  # of writers to one pixel the last stays
    layout = memory_order(x)
    return (
        channels_first(channels_last(plane.reshape(*x.shape[:2], *size))),
        in_order(last.reshape(x.shape), layout),
        layout,
    )


def _unpool_rule(g: Tensor, indices: Tensor, last: Tensor, layout: Any) -> Tensor:
    flat = g.reshape(*g.shape[:2], math.prod(g.shape[2:]))
    places = indices.data.reshape(*g.shape[:2], math.prod(indices.shape[2:]))
    picked = take_along_axis(flat, indices=places, axis=2)
    return where(last, reshape(picked, shape=indices.shape, order=layout), 0.0)


_max_unpool2d = op(
    "max_unpool2d",
    lambda x, indices, *, size: _unpool(x, indices, size),
    {"x": _unpool_rule},
    aux={"last": None, "layout": None},
    doc="Each element at its row-major index in planes of zeros.",
)


def max_unpool2d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima x (N, C, H, W) back where `max_pool2d(..., return_indices=True)` found them, in planes of zeros.

    The planes are output_size, or the smallest that the pool maps to (H, W): (H - 1) * stride - before -
    after + kernel. Where windows overlapped and one pixel is written twice, the last write stays. dx = g at
    the indices.

    Raises ShapeError if the shapes differ, ValueError with the first index outside the plane.

    >>> y, indices = max_pool2d([[[[1.0, 2.0], [4.0, 3.0]]]], 2, return_indices=True)
    >>> max_unpool2d(y, indices, 2)
    tensor([[[[0., 0.],
              [4., 0.]]]])
    """
    name = "max_unpool2d"
    x, indices = as_tensor(x), as_tensor(indices)
    check_image(name, x, 2)
    if indices.shape != x.shape or indices.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: indices must be integers of x's shape {x.shape}, got {indices.dtype} of shape {indices.shape}"
        )
    kernel = per_axis(name, "kernel_size", kernel_size, 2)
    strides = kernel if stride is None else per_axis(name, "stride", stride, 2)
    if output_size is None:
        pads = paddings(name, padding, x.shape[2:], kernel, strides, (1, 1), full=False)
        per = zip(x.shape[2:], strides, kernel, pads, strict=True)
        size = tuple((n - 1) * s + k - sum(pair) for n, s, k, pair in per)
    else:
        size = per_axis(name, "output_size", tuple(output_size)[-2:] if np.iterable(output_size) else output_size, 2)
    if min(size) < 1:
        raise ShapeError(f"{name}: the planes would be {size} (x.shape = {x.shape}, padding {padding!r})")
    outside = (indices.data < 0) | (indices.data >= math.prod(size))
    if outside.any():
        at = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{name}: indices{list(at)} = {indices.data[at]} lies outside planes of {size}")
    return _max_unpool2d(x, indices, size=size)
