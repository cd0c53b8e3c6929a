"""Modules that only move what comes in: flatten it, unflatten it, pad it, or hand it on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import as_tensor, integer, number
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.operations.geometry import check_image


class Identity(Module):
    """Hands on what it is given; a place to put another module later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes and ignores any arguments."""

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """The axes from start_dim to end_dim made one: (N, C, H, W) -> (N, C * H * W) as it stands.

    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 3, 4, 4))).shape
    (2, 48)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = integer("Flatten", "start_dim", start_dim)
        self.end_dim = integer("Flatten", "end_dim", end_dim)

    def forward(self, x: Any) -> Tensor:
        return as_tensor("Flatten", x).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis dim made several, of lengths unflattened_size: what `Flatten` did, undone; one length may be -1.

    >>> import numpy as np
    >>> Unflatten(1, (3, 4, 4))(np.zeros((2, 48))).shape
    (2, 3, 4, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        if not isinstance(unflattened_size, list | tuple) or not unflattened_size:
            raise TypeError(f"Unflatten: unflattened_size must be a tuple of lengths, got {unflattened_size!r}")
        self.dim = integer("Unflatten", "dim", dim)
        self.unflattened_size = tuple(integer("Unflatten", "unflattened_size", n, least=-1) for n in unflattened_size)

    def forward(self, x: Any) -> Tensor:
        x, sizes = as_tensor("Unflatten", x), self.unflattened_size
        if not -x.ndim <= self.dim < x.ndim:
            raise ShapeError(f"Unflatten: dim {self.dim} is out of range for the {x.ndim} axes of x.shape = {x.shape}")
        axis = self.dim % x.ndim
        known = math.prod(n for n in sizes if n != -1)
        length = x.shape[axis]
        if sizes.count(-1) > 1 or (length != known if -1 not in sizes else not known or length % known):
            raise ShapeError(f"Unflatten: {sizes} does not multiply to {length}, axis {axis} of x.shape = {x.shape}")
        return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


# ---- padding ---------------------------------------------------------------------------------------------------


class _Pad(Module):
    """`F.pad` of the spatial axes, by one amount everywhere or in PyTorch's order: the last axis first."""

    _dimensions: int
    _mode: str

    def __init__(self, padding: int | Sequence[int]) -> None:
        name, amounts = type(self).__name__, 2 * self._dimensions
        given = padding if isinstance(padding, list | tuple) else (padding,) * amounts
        if len(given) != amounts:
            raise ValueError(
                f"{name}: padding must be an integer or {amounts} of them, before and after each axis, the last axis "
                f"first, got {padding!r}"
            )
        self.padding = tuple(integer(name, "padding", n) for n in given)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(type(self).__name__, x)
        check_image(type(self).__name__, x, self._dimensions)
        return F.pad(x, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Pad):
    """Sequences surrounded by zeros: padding is an int, or (left, right); negative amounts crop."""

    _dimensions, _mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Images surrounded by zeros: padding is an int, or (left, right, top, bottom); negative amounts crop.

    >>> import numpy as np
    >>> ZeroPad2d((1, 1, 2, 0))(np.zeros((1, 1, 4, 4))).shape
    (1, 1, 6, 6)
    """

    _dimensions, _mode = 2, "constant"


class ReflectionPad2d(_Pad):
    """Images surrounded by their mirror image; padding is an int, or (left, right, top, bottom). Lectures A4."""

    _dimensions, _mode = 2, "reflect"


class ReplicationPad2d(_Pad):
    """Images surrounded by their nearest edge pixel; padding is an int, or (left, right, top, bottom). Lectures A4."""

    _dimensions, _mode = 2, "replicate"


class CircularPad2d(_Pad):
    """Images surrounded by what lies at their other side; padding is an int, or (left, right, top, bottom)."""

    _dimensions, _mode = 2, "circular"


class ConstantPad2d(_Pad):
    """Images surrounded by a value; padding is an int, or (left, right, top, bottom)."""

    _dimensions, _mode = 2, "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = number("ConstantPad2d", "value", value, nan=True)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor("ConstantPad2d", x)
        check_image("ConstantPad2d", x, 2)
        return F.pad(x, self.padding, value=self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"
