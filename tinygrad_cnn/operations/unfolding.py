"""Windows as columns and back: unfold ("im2col") and fold ("col2im"), each the other's adjoint."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_cnn.checks import as_tensor
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import unfolding as kernels
from tinygrad_cnn.kernels.convolution import Geometry
from tinygrad_cnn.operations.geometry import check_fits, check_image, paddings, per_axis

_unfold: Op = op(
    "unfold",
    lambda x, *, kernel, geometry: kernels.unfold(x, kernel, geometry),
    lambda g, x_shape, kernel, geometry: _fold(g, size=x_shape[2:], kernel=kernel, geometry=geometry),
    doc="The windows of images as columns.",
)
_fold: Op = op(
    "fold",
    lambda x, *, size, kernel, geometry: kernels.fold(x, size, kernel, geometry),
    lambda g, kernel, geometry: _unfold(g, kernel=kernel, geometry=geometry),
    doc="Columns added up at their windows: the adjoint of unfold.",
)


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Copy the windows of images x (N, C, H, W) into columns (N, C * kh * kw, windows).

    A convolution is then a matrix product: `conv2d(x, w)` is `w.reshape(O, -1) @ unfold(x, ...)`, reshaped.
    Options as `conv2d`'s; the gradient is `fold`.

    Raises ShapeError where shapes do not fit, ValueError for options out of range.

    >>> unfold([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], 2)
    tensor([[[1., 2.],
             [2., 3.],
             [4., 5.],
             [5., 6.]]])
    """
    x = as_tensor("unfold", x)
    check_image("unfold", x, 2)
    kernel, geometry = _geometry("unfold", x.shape[2:], kernel_size, dilation, padding, stride)
    return _unfold(x, kernel=kernel, geometry=geometry)


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Add columns x (N, C * kh * kw, windows) at their windows of images (N, C, *output_size); overlaps add up.

    Options as `unfold`'s, which is the gradient.

    Raises ShapeError where shapes do not fit, ValueError for options out of range.

    >>> fold([[[1.0, 2.0], [2.0, 3.0], [4.0, 5.0], [5.0, 6.0]]], (2, 3), 2)
    tensor([[[[ 1.,  4.,  3.],
              [ 4., 10.,  6.]]]])
    """
    x = as_tensor("fold", x)
    size = per_axis("fold", "output_size", output_size, 2)
    kernel, geometry = _geometry("fold", size, kernel_size, dilation, padding, stride)
    count, area = math.prod(geometry.output_shape(size, kernel)), math.prod(kernel)
    if x.ndim != 3 or x.shape[1] % area or x.shape[2] != count:
        raise ShapeError(
            f"fold: x must have shape (N, C * {area}, {count}) for {count} windows of {kernel} in {size}, got {x.shape}"
        )
    return _fold(x, size=size, kernel=kernel, geometry=geometry)


def _geometry(
    name: str, size: tuple[int, ...], kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[tuple[int, ...], Geometry]:
    kernel = per_axis(name, "kernel_size", kernel_size, 2)
    strides, dilations = per_axis(name, "stride", stride, 2), per_axis(name, "dilation", dilation, 2)
    pads = paddings(name, padding, size, kernel, strides, dilations)
    check_fits(name, size, kernel, dilations, pads)
    return kernel, Geometry(strides, pads, dilations, 1)
