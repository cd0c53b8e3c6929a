"""Adaptive pooling: windows chosen so that the output has a given size, whatever the image's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations import pooling
from tinygrad_cnn.operations.geometry import check_image, per_axis
from tinygrad_cnn.operations.shape import cat

# ---- averages --------------------------------------------------------------------------------------------------


def adaptive_avg_pool1d(x: Any, output_size: Any) -> Tensor:
    """Mean over output_size windows that cover sequences x (N, C, L): `adaptive_avg_pool2d` in one dimension.

    >>> adaptive_avg_pool1d([[[1.0, 2.0, 3.0]]], 2)
    tensor([[[1.5, 2.5]]])
    """
    return _average(1, x, output_size)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    """Mean over output_size windows that cover images x (N, C, H, W) -> (N, C, H', W').

    Window i spans rows floor(i H / H') to ceil((i + 1) H / H'), and columns alike. output_size: an int, or
    (H', W') where None keeps the length.

    Raises ShapeError unless x is a batch of images, ValueError for another output_size.

    >>> adaptive_avg_pool2d([[[[1.0, 2.0, 3.0]]]], (1, 2))
    tensor([[[[1.5, 2.5]]]])
    """
    return _average(2, x, output_size)


def adaptive_avg_pool3d(x: Any, output_size: Any) -> Tensor:
    """Mean over output_size windows that cover volumes x (N, C, D, H, W): `adaptive_avg_pool2d` in three dimensions.

    >>> import numpy as np
    >>> adaptive_avg_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 1).item()
    3.5
    """
    return _average(3, x, output_size)


# ---- maxima ----------------------------------------------------------------------------------------------------


def adaptive_max_pool1d(x: Any, output_size: Any) -> Tensor:
    """Maximum over output_size windows that cover sequences x (N, C, L): `adaptive_max_pool2d` in one dimension.

    >>> adaptive_max_pool1d([[[1.0, 4.0, 3.0]]], 2)
    tensor([[[4., 4.]]])
    """
    return _maximum(1, x, output_size)


def adaptive_max_pool2d(x: Any, output_size: Any) -> Tensor:
    """Maximum over output_size windows that cover images x (N, C, H, W); windows as `adaptive_avg_pool2d`'s.

    The gradient goes to the first maximum in row-major order.

    Raises ShapeError unless x is a batch of images, ValueError for another output_size.

    >>> adaptive_max_pool2d([[[[1.0, 4.0, 3.0]]]], (1, 2))
    tensor([[[[4., 4.]]]])
    """
    return _maximum(2, x, output_size)


def adaptive_max_pool3d(x: Any, output_size: Any) -> Tensor:
    """Maximum over output_size windows that cover volumes x (N, C, D, H, W): `adaptive_max_pool2d` in three dimensions.

    >>> import numpy as np
    >>> adaptive_max_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 1).item()
    7.0
    """
    return _maximum(3, x, output_size)


# ---- windows ---------------------------------------------------------------------------------------------------


def _average(d: int, x: Any, output_size: Any) -> Tensor:
    x, output = _checked(f"adaptive_avg_pool{d}d", d, x, output_size)
    kernel = _tiles(x.shape[2:], output)
    if kernel is not None:
        return (pooling.avg_pool1d, pooling.avg_pool2d, pooling.avg_pool3d)[d - 1](x, kernel)
    return _binned(x, output, lambda part, axis: part.mean(axis, keepdims=True))


def _maximum(d: int, x: Any, output_size: Any) -> Tensor:
    x, output = _checked(f"adaptive_max_pool{d}d", d, x, output_size)
    kernel = _tiles(x.shape[2:], output)
    if kernel is not None:
        return (pooling.max_pool1d, pooling.max_pool2d, pooling.max_pool3d)[d - 1](x, kernel)
    return _binned(x, output, lambda part, axis: part.max(axis, keepdims=True)[0])


def _checked(name: str, d: int, x: Any, output_size: Any) -> tuple[Tensor, tuple[int, ...]]:
    x = as_tensor(name, x)
    check_image(name, x, d)
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: x has no pixels to pool (x.shape = {x.shape})")
    if x.dtype.kind not in "fc":
        raise TypeError(f"{name}: x must be floating, got {x.dtype}; use x.astype('float32')")
    if isinstance(output_size, list | tuple) and len(output_size) == d:
        output_size = tuple(n if wanted is None else wanted for n, wanted in zip(x.shape[2:], output_size, strict=True))
    return x, per_axis(name, "output_size", output_size, d)


def _tiles(size: Sequence[int], output: Sequence[int]) -> tuple[int, ...] | None:
    """The kernel that tiles the image, if one does."""
    if any(n % m for n, m in zip(size, output, strict=True)):
        return None
    return tuple(n // m for n, m in zip(size, output, strict=True))


def _binned(x: Tensor, output: Sequence[int], reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Reduce uneven windows axis by axis, the last first: of equal maxima the first in row-major order wins.

    Along an axis window i spans floor(i n / m) to ceil((i + 1) n / m).
    """
    np.empty((*x.shape[:2], *output), x.dtype)  # raises where there is no memory for as much, before the many slices
    for axis, m in reversed([*enumerate(output, 2)]):
        n, lead = x.shape[axis], (slice(None),) * axis
        if m != n:
            x = cat([reduce(x[(*lead, slice(i * n // m, -(-(i + 1) * n // m)))], axis) for i in range(m)], axis)
    return x
