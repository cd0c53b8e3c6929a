"""Pooling layers; none has parameters."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import flag, integer
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.operations.geometry import check_half, per_axis


class _Pool(Module):
    """What maximum and average pools share: a window and the options of how it moves."""

    _dimensions: int
    _shown: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def _set_up(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
        name, d = type(self).__name__, self._dimensions
        kernel = per_axis(name, "kernel_size", kernel_size, d)
        check_half(name, kernel, per_axis(name, "dilation", dilation, d), padding)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        per_axis(name, "stride", self.stride, d)
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = flag(name, "ceil_mode", ceil_mode)

    def extra_repr(self) -> str:
        return ", ".join(f"{option}={getattr(self, option)!r}" for option in self._shown)


class _MaxPool(_Pool):
    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._set_up(kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices = flag(type(self).__name__, "return_indices", return_indices)

    def forward(self, x: Any) -> Any:
        pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self._dimensions - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """`F.max_pool1d`: (N, C, L) -> (N, C, L')."""

    _dimensions = 1


class MaxPool2d(_MaxPool):
    """`F.max_pool2d`: the maximum of each window, by default moved by its own size. Lectures C1, C5.

    >>> import numpy as np
    >>> MaxPool2d(2)(np.zeros((1, 6, 28, 28))).shape
    (1, 6, 14, 14)
    """

    _dimensions = 2


class MaxPool3d(_MaxPool):
    """`F.max_pool3d`: (N, C, D, H, W) -> (N, C, D', H', W')."""

    _dimensions = 3


class _AvgPool(_Pool):
    divisor_override: int | None = None

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._set_up(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = flag(type(self).__name__, "count_include_pad", count_include_pad)

    def forward(self, x: Any) -> Tensor:
        options = (x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        if self._dimensions == 1:
            return F.avg_pool1d(*options)
        return (F.avg_pool2d, F.avg_pool3d)[self._dimensions - 2](*options, self.divisor_override)


class _AvgPoolByAnyDivisor(_AvgPool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        if divisor_override is not None:
            self.divisor_override = integer(type(self).__name__, "divisor_override", divisor_override, least=1)


class AvgPool1d(_AvgPool):
    """`F.avg_pool1d`: (N, C, L) -> (N, C, L')."""

    _dimensions = 1


class AvgPool2d(_AvgPoolByAnyDivisor):
    """`F.avg_pool2d`: the mean of each window, by default moved by its own size. Lectures C3, C5."""

    _dimensions = 2


class AvgPool3d(_AvgPoolByAnyDivisor):
    """`F.avg_pool3d`: (N, C, D, H, W) -> (N, C, D', H', W')."""

    _dimensions = 3


class _Adaptive(Module):
    """What adaptive pools share: an output size, an int or one per spatial axis, where None keeps the length."""

    _dimensions: int

    def __init__(self, output_size: Any) -> None:
        given = output_size if isinstance(output_size, list | tuple) else (output_size,)
        lengths = tuple(1 if n is None else n for n in given)
        per_axis(type(self).__name__, "output_size", lengths * self._dimensions if len(lengths) == 1 else lengths,
                 self._dimensions)  # fmt: skip
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_Adaptive):
    def forward(self, x: Any) -> Tensor:
        pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[self._dimensions - 1]
        return pool(x, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """`F.adaptive_avg_pool1d`: (N, C, L) -> (N, C, output_size)."""

    _dimensions = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`F.adaptive_avg_pool2d`: means over windows chosen so that the output has output_size.

    >>> import numpy as np
    >>> AdaptiveAvgPool2d((1, 1))(np.zeros((2, 64, 8, 8))).shape
    (2, 64, 1, 1)
    """

    _dimensions = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`F.adaptive_avg_pool3d`: (N, C, D, H, W) -> (N, C, *output_size)."""

    _dimensions = 3


class _AdaptiveMaxPool(_Adaptive):
    def forward(self, x: Any) -> Tensor:
        pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[self._dimensions - 1]
        return pool(x, self.output_size)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """`F.adaptive_max_pool1d`: (N, C, L) -> (N, C, output_size)."""

    _dimensions = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """`F.adaptive_max_pool2d`: maxima over windows chosen so that the output has output_size."""

    _dimensions = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`F.adaptive_max_pool3d`: (N, C, D, H, W) -> (N, C, *output_size)."""

    _dimensions = 3


class GlobalAvgPool2d(Module):
    """`F.global_avg_pool`: the mean of each map, (N, C, H, W) -> (N, C). Lectures C4."""

    def forward(self, x: Any) -> Tensor:
        return F.global_avg_pool(x)


class GlobalMaxPool2d(Module):
    """`F.global_max_pool`: the maximum of each map, (N, C, H, W) -> (N, C). Lectures C4."""

    def forward(self, x: Any) -> Tensor:
        return F.global_max_pool(x)


class MaxUnpool2d(Module):
    """`F.max_unpool2d`: maxima put back where `MaxPool2d(..., return_indices=True)` found them."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.kernel_size = per_axis("MaxUnpool2d", "kernel_size", kernel_size, 2)
        self.stride = self.kernel_size if stride is None else per_axis("MaxUnpool2d", "stride", stride, 2)
        self.padding = per_axis("MaxUnpool2d", "padding", padding, 2, least=0)

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Tensor:
        return F.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
