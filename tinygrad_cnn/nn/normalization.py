"""Normalisation layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import flag, floating_dtype, integer, number
from tinygrad_cnn.core.tape import STATE
from tinygrad_cnn.core.tensor import Tensor, get_default_dtype
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.nn.parameter import Parameter, empty_parameter
from tinygrad_cnn.operations.geometry import AXES


class _Affine(Module):
    """weight and bias that scale and shift what was normalised; they start at 1 and 0."""

    weight: Parameter | None
    bias: Parameter | None

    def _make_parameters(self, shape: tuple[int, ...], eps: float, weight: bool, bias: bool, dtype: Any) -> None:
        name = type(self).__name__
        self.eps = number(name, "eps", eps, above=0, below=math.inf)
        self.weight = empty_parameter(name, shape, dtype) if weight else None
        self.bias = empty_parameter(name, shape, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _BatchNorm(_Affine):
    _axes: tuple[int, ...]  # how many axes an input may have

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.num_features = integer(name, "num_features", num_features, least=1)
        self.momentum = None if momentum is None else number(name, "momentum", momentum, least=0, most=1)
        self.affine = flag(name, "affine", affine)
        self.track_running_stats = flag(name, "track_running_stats", track_running_stats)
        bias = flag(name, "bias", bias)
        self._make_parameters((num_features,), eps, affine, affine and bias, dtype)
        dtype = get_default_dtype() if dtype is None else floating_dtype(name, dtype)
        for buffer, start in (
            ("running_mean", np.zeros(num_features, dtype)),
            ("running_var", np.ones(num_features, dtype)),
            ("num_batches_tracked", np.zeros((), np.int64)),
        ):
            self.register_buffer(buffer, start if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Back to mean 0, variance 1, no batch seen."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def forward(self, x: Any) -> Tensor:
        self._check(x)
        # A checkpointed block runs again in the backward pass: it has been counted already.
        batches = self.num_batches_tracked if self.training and not STATE.get().replaying else None
        momentum = self.momentum
        if momentum is None:
            momentum = 0.0 if batches is None else 1 / (batches.item() + 1)
        y = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, momentum, self.eps
        )
        if batches is not None:
            batches.data += 1
        return y

    def _check(self, x: Any) -> None:
        shape = np.shape(x)
        if len(shape) not in self._axes:
            expected = " or ".join({2: "(N, C)"}.get(n, f"(N, C, {AXES.get(n - 2)})") for n in self._axes)
            raise ShapeError(f"{type(self).__name__}: x must have shape {expected}, x.shape = {shape}")
        if shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expects {self.num_features} channels (num_features), x has {shape[1]} "
                f"(x.shape = {shape})"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features (N, C) or sequences (N, C, L); see `BatchNorm2d`."""

    _axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of (N, C, H, W) over the batch; in evaluation by running statistics. Lectures D5.

    In training y = (x - mean) / sqrt(var + eps) * weight + bias with the batch's mean and biased variance, and
    running = (1 - momentum) * running + momentum * statistic, there with the unbiased variance; momentum None
    takes the mean over all batches. In evaluation nothing changes; before any training step the statistics are
    0 and 1. Ioffe and Szegedy 2015.

    Raises ValueError in training where a channel has a single value.

    >>> layer = BatchNorm2d(3)
    >>> y = layer(np.full((4, 3, 2, 2), 5, np.float32))
    >>> layer.running_mean
    tensor([0.5, 0.5, 0.5])
    >>> sorted(layer.state_dict())
    ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """

    _axes = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes (N, C, D, H, W); see `BatchNorm2d`."""

    _axes = (5,)


class _InstanceNorm(_BatchNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias, dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        self._check(x)
        own = self.training or self.running_mean is None
        momentum = 0.0 if self.momentum is None else self.momentum
        return F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """`F.instance_norm` of sequences (N, C, L): each channel of each sample over its pixels."""

    _axes = (3,)


class InstanceNorm2d(_InstanceNorm):
    """`F.instance_norm` of images (N, C, H, W): each channel of each sample over its pixels."""

    _axes = (4,)


class InstanceNorm3d(_InstanceNorm):
    """`F.instance_norm` of volumes (N, C, D, H, W): each channel of each sample over its pixels."""

    _axes = (5,)


class LayerNorm(_Affine):
    """`F.layer_norm`: each sample normalised over its trailing axes, of lengths normalized_shape."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        given = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
        shape = tuple(integer("LayerNorm", "normalized_shape", n, least=1) for n in given)
        if not shape:
            raise ValueError("LayerNorm: normalized_shape must name at least one length, got ()")
        self.normalized_shape = shape
        self.elementwise_affine = flag("LayerNorm", "elementwise_affine", elementwise_affine)
        bias = flag("LayerNorm", "bias", bias)
        self._make_parameters(shape, eps, elementwise_affine, elementwise_affine and bias, dtype)

    def forward(self, x: Any) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(_Affine):
    """`F.group_norm`: each sample normalised over groups of channels and all pixels; weight and bias (C,)."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, least=1)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups = {num_groups} must divide num_channels = {num_channels}")
        self.affine = flag("GroupNorm", "affine", affine)
        bias = flag("GroupNorm", "bias", bias)
        self._make_parameters((num_channels,), eps, affine, affine and bias, dtype)

    def forward(self, x: Any) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"
