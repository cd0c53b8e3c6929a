"""Max, average and global pooling. The default stride is the kernel size (lectures C5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, flag, integer
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import pooling as kernels
from tinygrad_cnn.kernels.pooling import Window
from tinygrad_cnn.operations.geometry import check_fits, check_half, check_image, paddings, per_axis

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
        lambda x, *, window, include_pad, divisor=None: (
            kernels.sum_pool(x, window) / (divisor or _divisor(x.shape[2:], window, include_pad, x.dtype))
        ),
        lambda g, x_shape, **options: spread(g, size=x_shape[2:], **options),
        doc="The mean of each window.",
    )
    spread: Op = op(
        f"avg_pool{d}d_gradient",
        lambda x, *, size, window, include_pad, divisor=None: kernels.sum_pool_gradient(
            x / (divisor or _divisor(size, window, include_pad, x.dtype)), (*x.shape[:2], *size), window
        ),
        lambda g, window, include_pad, divisor: pool(g, window=window, include_pad=include_pad, divisor=divisor),
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
    name = f"max_pool{d}d"
    x = as_tensor(name, x)
    window = _window(name, d, x, kernel_size, stride, padding, dilation, ceil_mode)
    if not flag(name, "return_indices", return_indices):
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
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window of images x (N, C, H, W) -> (N, C, H', W'); options as `max_pool2d`'s.

    Padding is 0 and counts in the divisor, unless count_include_pad is False; what a window of ceil_mode
    reads beyond the padding never counts; divisor_override is the divisor of every window. The gradient is
    shared evenly: g / divisor to each pixel. Lectures C3.

    Raises ShapeError where the window does not fit, ValueError for options out of range.

    >>> x = Tensor([[[[1.0, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]]]])
    >>> avg_pool2d(x, 2)
    tensor([[[[3.75, 1.25],
              [3.75, 2.  ]]]])
    """
    return _average(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window of volumes x (N, C, D, H, W): `avg_pool2d` in three dimensions.

    >>> avg_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 2).item()
    3.5
    """
    return _average(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _average(
    d: int,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:
    name = f"avg_pool{d}d"
    x = as_tensor(name, x)
    if x.dtype.kind == "b":
        raise TypeError(f"{name}: booleans have no mean; use x.astype('float32')")
    include_pad = flag(name, "count_include_pad", count_include_pad)
    divisor = None if divisor_override is None else integer(name, "divisor_override", divisor_override, least=1)
    window = _window(name, d, x, kernel_size, stride, padding, 1, ceil_mode)
    return _AVG_POOLS[d](x, window=window, include_pad=include_pad, divisor=divisor)


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
    check_half(name, kernel, dilations, padding)
    window = Window(kernel, strides, pads, dilations, flag(name, "ceil_mode", ceil_mode))
    if not ceil_mode or min(window.output_shape(size)) < 1:
        check_fits(name, size, kernel, dilations, pads)
    if max(dilations) > 1 and not kernels.counts(size, window, False).all():
        raise ShapeError(
            f"{name}: a window with dilation {dilations} and padding {pads} holds only padding (x.shape = {x.shape})"
        )
    return window


# ---- global pooling ---------------------------------------------------------------------------------------------


def global_avg_pool(x: Any, keepdims: bool = False) -> Tensor:
    """Mean over all spatial axes: x (N, C, ...) -> (N, C), or (N, C, 1, ...) with keepdims. Lectures C4.

    The gradient is g / pixels for each. Raises ShapeError if x has no pixels.

    >>> global_avg_pool([[[[1.0, 2.0], [3.0, 6.0]]]])
    tensor([[3.]])
    """
    x = _pixels("global_avg_pool", x)
    return x.mean(tuple(range(2, x.ndim)), keepdims=keepdims)


def global_max_pool(x: Any, keepdims: bool = False) -> Tensor:
    """Maximum over all spatial axes: x (N, C, ...) -> (N, C), or (N, C, 1, ...) with keepdims. Lectures C4.

    The gradient goes to the first maximum in row-major order. Raises ShapeError if x has no pixels.

    >>> global_max_pool([[[[1.0, 2.0], [3.0, 6.0]]]])
    tensor([[6.]])
    """
    x = _pixels("global_max_pool", x)
    y, _ = x.reshape(*x.shape[:2], math.prod(x.shape[2:])).max(axis=2)
    return y.reshape(*y.shape, *[1] * (x.ndim - 2)) if keepdims else y


def _pixels(name: str, x: Any) -> Tensor:
    x = as_tensor(name, x)
    if x.ndim < 3 or 0 in x.shape[2:]:
        raise ShapeError(f"{name}: x must have axes (N, C, ...) with at least one pixel, x.shape = {x.shape}")
    return x
