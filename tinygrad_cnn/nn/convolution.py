"""Convolution layers: one implementation in any number of dimensions, and thin faces in one, two and three."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import choice, flag, integer
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.nn.parameter import empty_parameter
from tinygrad_cnn.operations.geometry import paddings, per_axis
from tinygrad_cnn.operations.padding import MODES


class _Kernel(Module):
    """What convolutions and transposed convolutions share: weight, bias, and how they start."""

    _dimensions: int

    def _set_up(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, dilation: Any, groups: int
    ) -> None:
        name, d = type(self).__name__, self._dimensions
        self.groups = integer(name, "groups", groups, least=1)
        self.in_channels = integer(name, "in_channels", in_channels, least=1)
        self.out_channels = integer(name, "out_channels", out_channels, least=1)
        for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}: groups = {groups} must divide {what} = {channels}")
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, d)
        self.stride = per_axis(name, "stride", stride, d)
        self.dilation = per_axis(name, "dilation", dilation, d)

    def _set_padding(self, padding: Any) -> None:
        """Keep a word, one int per axis, or one (before, after) pair per axis."""
        ones = (1,) * self._dimensions
        pairs = paddings(type(self).__name__, padding, ones, self.kernel_size, ones, ones)
        symmetric = all(before == after for before, after in pairs)
        self.padding: Any = padding
        if not isinstance(padding, str):
            self.padding = tuple(before for before, _ in pairs) if symmetric else pairs

    def _make_parameters(self, shape: tuple[int, ...], bias: bool, dtype: Any) -> None:
        name = type(self).__name__
        self.weight = empty_parameter(name, shape, dtype)
        self.bias = empty_parameter(name, (self.out_channels,), dtype) if flag(name, "bias", bias) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.layer_(self.weight, self.bias)

    def extra_repr(self) -> str:
        ones = (1,) * self._dimensions
        zeros = (0,) * self._dimensions
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        shown = {"padding": zeros, "dilation": ones, "output_padding": zeros, "groups": 1, "padding_mode": "zeros"}
        for option, default in shown.items():
            if (value := getattr(self, option, default)) != default:
                parts.append(f"{option}={value}")
        return ", ".join(parts if self.bias is not None else [*parts, "bias=False"])


class _Conv(_Kernel):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
    ) -> None:
        self._set_up(in_channels, out_channels, kernel_size, stride, dilation, groups)
        self._set_padding(padding)
        self.padding_mode = choice(type(self).__name__, "padding_mode", padding_mode, MODES)
        self._make_parameters((out_channels, in_channels // groups, *self.kernel_size), bias, dtype)

    def forward(self, x: Any) -> Tensor:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self._dimensions - 1]
        return convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, self.padding_mode
        )


class Conv1d(_Conv):
    """`F.conv1d` with a weight (out, in / groups, k) and a bias (out,) of its own: (N, in, L) -> (N, out, L')."""

    _dimensions = 1


class Conv2d(_Conv):
    """`F.conv2d` with a weight (out, in / groups, kh, kw) and a bias (out,) of its own. Lectures A7, A15.

    (N, in_channels, H, W) -> (N, out_channels, H', W'); stride, padding, dilation and padding_mode as there.
    Weight and bias start uniform within ±1 / sqrt(in / groups * kh * kw).

    Raises ValueError for sizes that are not positive, or groups that do not divide the channels.

    >>> import numpy as np
    >>> layer = Conv2d(3, 6, 5)  # six filters of 5 x 5 x 3
    >>> layer(np.zeros((1, 3, 32, 32), np.float32)).shape
    (1, 6, 28, 28)
    >>> layer
    Conv2d(3, 6, kernel_size=(5, 5), stride=(1, 1))
    """

    _dimensions = 2


class Conv3d(_Conv):
    """`F.conv3d` with a weight (out, in / groups, kd, kh, kw) and a bias (out,) of its own."""

    _dimensions = 3


class _ConvTranspose(_Kernel):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        choice(name, "padding_mode", padding_mode, ("zeros",))
        if isinstance(padding, str):
            raise ValueError(f"{name}: padding crops here, and has no word {padding!r}; give numbers")
        self._set_up(in_channels, out_channels, kernel_size, stride, dilation, groups)
        self._set_padding(padding)
        self.output_padding = per_axis(name, "output_padding", output_padding, self._dimensions, least=0)
        self._make_parameters((in_channels, out_channels // groups, *self.kernel_size), bias, dtype)

    def forward(self, x: Any) -> Tensor:
        spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self._dimensions - 1]
        return spread(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTranspose):
    """`F.conv_transpose1d` with a weight (in, out / groups, k) and a bias (out,) of its own."""

    _dimensions = 1


class ConvTranspose2d(_ConvTranspose):
    """`F.conv_transpose2d` with a weight (in, out / groups, kh, kw) and a bias (out,) of its own.

    (N, in_channels, H, W) -> (N, out_channels, H', W'), H' = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + 1 +
    output_padding. Weight and bias start uniform within ±1 / sqrt(out / groups * kh * kw), as PyTorch's.

    >>> import numpy as np
    >>> ConvTranspose2d(4, 2, 2, stride=2)(np.zeros((1, 4, 8, 8), np.float32)).shape
    (1, 2, 16, 16)
    """

    _dimensions = 2


class ConvTranspose3d(_ConvTranspose):
    """`F.conv_transpose3d` with a weight (in, out / groups, kd, kh, kw) and a bias (out,) of its own."""

    _dimensions = 3
