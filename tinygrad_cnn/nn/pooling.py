"""Layers that make images smaller or larger; none has parameters."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.operations.geometry import per_axis


class _Pool(Module):
    """What maximum and average pools share: a window and the options of how it moves."""

    _dimensions: int
    _shown: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def _set_up(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> None:
        per_axis(type(self).__name__, "kernel_size", kernel_size, self._dimensions)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        per_axis(type(self).__name__, "stride", self.stride, self._dimensions)
        self.padding = padding
        self.ceil_mode = ceil_mode

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
        self._set_up(kernel_size, stride, padding, ceil_mode)
        per_axis(type(self).__name__, "dilation", dilation, self._dimensions)
        self.dilation = dilation
        self.return_indices = return_indices

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
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._set_up(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Tensor:
        pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self._dimensions - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool1d(_AvgPool):
    """`F.avg_pool1d`: (N, C, L) -> (N, C, L')."""

    _dimensions = 1


class AvgPool2d(_AvgPool):
    """`F.avg_pool2d`: the mean of each window, by default moved by its own size. Lectures C3, C5."""

    _dimensions = 2


class AvgPool3d(_AvgPool):
    """`F.avg_pool3d`: (N, C, D, H, W) -> (N, C, D', H', W')."""

    _dimensions = 3


class _Adaptive(Module):
    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(_Adaptive):
    """`F.adaptive_avg_pool2d`: means over windows chosen so that the output has output_size.

    >>> import numpy as np
    >>> AdaptiveAvgPool2d((1, 1))(np.zeros((2, 64, 8, 8))).shape
    (2, 64, 1, 1)
    """

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool2d(_Adaptive):
    """`F.adaptive_max_pool2d`: maxima over windows chosen so that the output has output_size."""

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_max_pool2d(x, self.output_size)


class GlobalAvgPool2d(Module):
    """`F.global_avg_pool`: the mean of each map, (N, C, H, W) -> (N, C). Lectures C4."""

    def forward(self, x: Any) -> Tensor:
        return F.global_avg_pool(x)


class GlobalMaxPool2d(Module):
    """`F.global_max_pool`: the maximum of each map, (N, C, H, W) -> (N, C). Lectures C4."""

    def forward(self, x: Any) -> Tensor:
        return F.global_max_pool(x)


class Upsample(Module):
    """`F.interpolate`: images resampled to a size, or by a factor; mode "nearest" or "bilinear"."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Upsample: give either size or scale_factor, got {size!r} and {scale_factor!r}")
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Any) -> Tensor:
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        extent = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{extent}, mode={self.mode!r}"
