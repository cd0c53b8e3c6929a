"""Normalisation: batch, layer, group and instance. All standardise over some axes; they differ in which."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, flag, integer, number, refuse_mixed_dtypes
from tinygrad_cnn.core import tape
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import normalization as kernels
from tinygrad_cnn.kernels.layout import Array

# ---- records ---------------------------------------------------------------------------------------------------


def _standardized(
    g: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, var: Tensor, axes: tuple[int, ...], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in x, weight and bias of (x - mean) / sqrt(var + eps) * weight + bias."""
    inv_std = (var + eps) ** -0.5
    z = (x - mean) * inv_std
    scale = inv_std if weight is None else weight.reshape(mean.shape) * inv_std
    dx = scale * (g - g.mean(axes, keepdims=True) - z * (g * z).mean(axes, keepdims=True))
    return dx, (g * z).sum(axes), g.sum(axes)


def _batch_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    return kernels.batch_norm(x, _kept(weight, x, axes), _kept(bias, x, axes), axes, eps)


def _batch_norm_fast(
    g: Array, x: Array, weight: Array | None, mean: Array, var: Array, axes: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array]:
    dx, dweight, dbias = kernels.batch_norm_gradient(g, x, _kept(weight, x, axes), mean, var, axes, eps)
    return dx, dweight.squeeze(axes), dbias.squeeze(axes)


def _kept(parameter: Array | None, x: Array, axes: tuple[int, ...]) -> Array | None:
    """A parameter with the axes of the statistics' shape back."""
    if parameter is None:
        return None
    return parameter.reshape([1 if axis in axes else n for axis, n in enumerate(x.shape)])


batch_norm_op = op(
    "batch_norm",
    _batch_norm,
    _standardized,
    aux={
        "mean": lambda x, axes: x.mean(axes, keepdims=True),
        "var": lambda x, axes: x.var(axes, keepdims=True),
    },
    fast=_batch_norm_fast,
    doc="(x - mean) / sqrt(var + eps) * weight + bias, over all axes but the channel's; var is biased.",
)
standardize = op(
    "standardize",
    lambda x, *, axes, eps: kernels.batch_norm(x, None, None, axes, eps),
    lambda g, x, mean, var, axes, eps: _standardized(g, x, None, mean, var, axes, eps)[0],
    aux=dict(batch_norm_op.aux),
    fast=lambda g, x, mean, var, axes, eps: kernels.batch_norm_gradient(g, x, None, mean, var, axes, eps)[0],
    doc="(x - mean) / sqrt(var + eps) over axes; var is biased.",
)

# ---- batch normalisation ---------------------------------------------------------------------------------------


def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of x (N, C, ...) over the batch: y = (x - mean) / sqrt(var + eps) * weight + bias.

    In training (or without running statistics) mean and var are the batch's, var biased, and the running
    arrays (C,) are updated in place: r = (1 - momentum) * r + momentum * statistic, with the unbiased
    variance. Otherwise the running statistics are used, and nothing is updated. weight and bias (C,) default
    to 1 and 0.

    With z the normalised x, s = 1 / sqrt(var + eps) and means over all axes but C: dx = weight * s * (g -
    mean(g) - z * mean(g * z)) in training, weight * s * g otherwise; dweight = sum(g * z), dbias = sum(g).
    Lectures D5; Ioffe and Szegedy 2015. An empty batch updates nothing.

    Raises ShapeError where shapes do not fit, ValueError in training with one value per channel or for eps <=
    0, TypeError for mixed floating dtypes.

    >>> batch_norm([[0.0], [2.0]], training=True)
    tensor([[-0.999995],
            [ 0.999995]])
    >>> mean, var = np.zeros(1, np.float32), np.ones(1, np.float32)
    >>> _ = batch_norm([[0.0], [2.0]], mean, var, training=True)
    >>> mean.item(), var.item()
    (0.1..., 1.1...)
    """
    training = flag("batch_norm", "training", training)
    x, weight, bias = _operands("batch_norm", x, weight, bias, eps)
    _check_parameters("batch_norm", (x.shape[1],), weight, bias)
    _check_running("batch_norm", running_mean, running_var, x, momentum, training)
    if not training and running_mean is not None:
        return _by_running_statistics(x, running_mean, running_var, weight, bias, eps)
    axes = (0, *range(2, x.ndim))
    count = math.prod(x.shape[axis] for axis in axes)
    if count == 1 and training:
        raise ValueError(
            f"batch_norm: in training there must be more than one value per channel, x.shape = {x.shape} has one; "
            "use a larger batch, or evaluation mode"
        )
    y, mean, var = batch_norm_op.with_aux(x, weight, bias, axes=axes, eps=eps)
    if training and running_mean is not None and count > 1:
        _update(running_mean, running_var, mean.ravel(), var.ravel(), count, momentum)
    return y


def _by_running_statistics(
    x: Tensor, running_mean: Any, running_var: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """An affine map with constants; the mean is subtracted first, so that a large one cancels exactly."""
    shape = (-1, *[1] * (x.ndim - 2))
    mean = np.asarray(running_mean, x.dtype).reshape(shape)
    with np.errstate(all="ignore"):  # of a negative variance NaN, silently, as in an op
        inv_std = (1 / np.sqrt(np.asarray(running_var, x.dtype) + eps)).astype(x.dtype).reshape(shape)
    y = (x - mean) * (inv_std if weight is None else weight.reshape(shape) * inv_std)
    return y if bias is None else y + bias.reshape(shape)


def _update(running_mean: Any, running_var: Any, mean: Array, var: Array, count: int, momentum: float) -> None:
    """r = (1 - momentum) * r + momentum * statistic, in place, of the mean and the unbiased variance."""
    if tape.STATE.get().replaying:
        return  # a checkpointed function runs again: this batch has been counted
    with np.errstate(all="ignore"):
        for running, statistic in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
            array = running.data if isinstance(running, Tensor) else running
            array *= 1 - momentum
            array += (momentum * statistic).astype(array.dtype)
            tape.written(array, "the running statistics of a normalisation")


# ---- over the axes of one sample -------------------------------------------------------------------------------


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalise each sample over its trailing axes, of lengths normalized_shape; weight and bias have that shape.

    Raises ShapeError where shapes do not fit (Ba et al. 2016).

    >>> layer_norm([[0.0, 2.0]], 2)
    tensor([[-0.999995,  0.999995]])
    """
    given = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    shape = tuple(integer("layer_norm", "normalized_shape", n, least=1) for n in given)
    x, weight, bias = _operands("layer_norm", x, weight, bias, eps, least=len(shape))
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"layer_norm: normalized_shape {shape} is not the end of x.shape = {x.shape}")
    _check_parameters("layer_norm", shape, weight, bias)
    y = standardize(x, axes=tuple(range(x.ndim - len(shape), x.ndim)), eps=eps)
    return _affine(y, weight, bias)


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalise each sample of x (N, C, ...) over groups of channels and all pixels; weight and bias (C,).

    Raises ShapeError where shapes do not fit, or the groups do not divide the channels (Wu and He 2018).

    >>> group_norm([[[0.0], [2.0], [5.0], [5.0]]], 2)
    tensor([[[-0.999995],
             [ 0.999995],
             [ 0.      ],
             [ 0.      ]]])
    """
    x, weight, bias = _operands("group_norm", x, weight, bias, eps)
    channels = x.shape[1]
    integer("group_norm", "num_groups", num_groups, least=1)
    if channels % num_groups:
        raise ShapeError(f"group_norm: {num_groups} groups must divide the {channels} channels of {x.shape}")
    _check_parameters("group_norm", (channels,), weight, bias)
    groups = x.reshape(x.shape[0], num_groups, channels // num_groups, *x.shape[2:])
    y = standardize(groups, axes=tuple(range(2, groups.ndim)), eps=eps).reshape(x.shape)
    return _per_channel(y, weight, bias)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of x (N, C, ...) over its pixels; weight and bias (C,).

    With running statistics (C,): updated in place by the samples' mean statistics, or, with use_input_stats
    False, used instead of them, as `batch_norm` does.

    Raises ShapeError where shapes do not fit, ValueError with one pixel per channel, or without the running
    statistics that are to be used (Ulyanov et al. 2016).

    >>> instance_norm([[[0.0, 2.0]]])
    tensor([[[-0.999995,  0.999995]]])
    """
    use_input_stats = flag("instance_norm", "use_input_stats", use_input_stats)
    x, weight, bias = _operands("instance_norm", x, weight, bias, eps, least=3)
    _check_parameters("instance_norm", (x.shape[1],), weight, bias)
    _check_running("instance_norm", running_mean, running_var, x, momentum, use_input_stats)
    if not use_input_stats:
        if running_mean is None:
            raise ValueError("instance_norm: use_input_stats=False needs running_mean and running_var")
        return _by_running_statistics(x, running_mean, running_var, weight, bias, eps)
    count = math.prod(x.shape[2:])
    if count == 1:
        raise ValueError(f"instance_norm: there must be more than one pixel per channel, x.shape = {x.shape}")
    y, mean, var = standardize.with_aux(x, axes=tuple(range(2, x.ndim)), eps=eps)
    if running_mean is not None and x.size:
        _update(running_mean, running_var, mean.mean(0).ravel(), var.mean(0).ravel(), count, momentum)
    return _per_channel(y, weight, bias)


# ---- shared ----------------------------------------------------------------------------------------------------


def _operands(
    name: str, x: Any, weight: Any, bias: Any, eps: float, least: int = 2
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    x = as_tensor(name, x)
    weight = None if weight is None else as_tensor(name, weight, "weight")
    bias = None if bias is None else as_tensor(name, bias, "bias")
    if x.ndim < least:
        raise ShapeError(f"{name}: x must have at least {least} axes, x.shape = {x.shape}")
    if x.dtype.kind not in "fc":
        raise TypeError(f"{name}: x must be floating, got {x.dtype}; use x.astype('float32')")
    number(name, "eps", eps, above=0, below=math.inf)
    refuse_mixed_dtypes(name, x=x, weight=weight, bias=bias)
    return x, weight, bias


def _check_parameters(name: str, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None) -> None:
    for what, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != shape:
            raise ShapeError(f"{name}: {what} must have shape {shape}, got {parameter.shape}")


def _check_running(name: str, running_mean: Any, running_var: Any, x: Tensor, momentum: float, written: bool) -> None:
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: give both running_mean and running_var, or neither")
    number(name, "momentum", momentum, least=0, most=1)
    if running_mean is None:
        return
    for what, array in (("running_mean", running_mean), ("running_var", running_var)):
        if np.shape(array) != (x.shape[1],):
            raise ShapeError(
                f"{name}: {what} must have shape ({x.shape[1]},), one per channel of x (x.shape = {x.shape}), got "
                f"{np.shape(array)}"
            )
        memory = array.data if isinstance(array, Tensor) else array
        refuse_mixed_dtypes(name, x=x, **{what: memory})
        if written and not (isinstance(memory, np.ndarray) and memory.dtype.kind == "f" and memory.flags.writeable):
            kind = type(memory).__name__
            if isinstance(memory, np.ndarray):
                kind = f"{memory.dtype}" + ("" if memory.flags.writeable else ", read-only")
            raise TypeError(f"{name}: {what} is updated in place, so it must be a writable floating array, got {kind}")


def _per_channel(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1, *[1] * (y.ndim - 2))
    weight, bias = (None if p is None else p.reshape(shape) for p in (weight, bias))
    return _affine(y, weight, bias)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
