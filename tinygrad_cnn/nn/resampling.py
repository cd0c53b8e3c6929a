"""Layers that change the size of images without parameters: up- and downsampling, windows as columns and back."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import choice, flag
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.operations.geometry import per_axis
from tinygrad_cnn.operations.interpolation import MODES


class Upsample(Module):
    """`F.interpolate`: images resampled to a size, or by a factor; mode "nearest" or "bilinear"."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
    ) -> None:
        name = type(self).__name__
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"{name}: give either size or scale_factor, got size={size!r}, scale_factor={scale_factor!r}"
            )
        self.size = size
        self.scale_factor = scale_factor
        self.mode = choice(name, "mode", mode, MODES)
        self.align_corners = None if align_corners is None else flag(name, "align_corners", align_corners)

    def forward(self, x: Any) -> Tensor:
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        extent = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{extent}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` of images, each pixel the nearest one.

    >>> import numpy as np
    >>> UpsamplingNearest2d(scale_factor=2)(np.zeros((1, 3, 4, 5))).shape
    (1, 3, 8, 10)
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of images by means of neighbours, the centres of the corner pixels aligned."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class Unfold(Module):
    """`F.unfold`: the windows of images (N, C, H, W) as columns (N, C * kh * kw, windows)."""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        for option in ("kernel_size", "dilation", "stride"):
            per_axis("Unfold", option, getattr(self, option), 2)

    def forward(self, x: Any) -> Tensor:
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        options = ("kernel_size", "dilation", "padding", "stride")
        return ", ".join(f"{option}={getattr(self, option)}" for option in options)


class Fold(Module):
    """`F.fold`: columns (N, C * kh * kw, windows) added up at their windows of images (N, C, *output_size)."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        for option in ("output_size", "kernel_size", "dilation", "stride"):
            per_axis("Fold", option, getattr(self, option), 2)

    def forward(self, x: Any) -> Tensor:
        return F.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        options = ("output_size", "kernel_size", "dilation", "padding", "stride")
        return ", ".join(f"{option}={getattr(self, option)}" for option in options)
