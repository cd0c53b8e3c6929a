"""Max unpooling: maxima put back where a pool found them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.layout import Array, channels_first, channels_last
from tinygrad_cnn.operations.elementwise import where
from tinygrad_cnn.operations.geometry import check_image, paddings, per_axis
from tinygrad_cnn.operations.indexing import take_along_axis
from tinygrad_cnn.operations.shape import in_order, memory_order, reshape


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
    """g at the indices, and 0 for what was overwritten."""
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

    >>> import tinygrad_cnn.functional as F
    >>> y, indices = F.max_pool2d([[[[1.0, 2.0], [4.0, 3.0]]]], 2, return_indices=True)
    >>> max_unpool2d(y, indices, 2)
    tensor([[[[0., 0.],
              [4., 0.]]]])
    """
    name = "max_unpool2d"
    x, indices = as_tensor(name, x), as_tensor(name, indices, "indices")
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
