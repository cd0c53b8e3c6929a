"""Initialisers: fill a parameter in place with PyTorch's distributions, drawn from the thread's generator.

A weight has shape (out, in / groups, *kernel). One output sums fan_in = in / groups * prod(kernel) products; one
input reaches fan_out = out * prod(kernel). Variances are chosen so that activations (by fan_in) or gradients (by
fan_out) keep their size from layer to layer. `tc.manual_seed` makes the draws repeatable, in every dtype alike.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.random_state import generator

T = TypeVar("T", bound=Tensor)

_GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
          "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which to widen weights before a nonlinearity; `param` is leaky_relu's slope (0.01).

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"calculate_gain: nonlinearity {nonlinearity!r} is unknown; it may be {', '.join(_GAINS)}, leaky_relu"
        )
    return _GAINS[nonlinearity]


# ---- plain distributions ---------------------------------------------------------------------------------------


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Draw from the uniform distribution on [a, b)."""
    return _fill(tensor, generator().uniform(a, b, tensor.shape))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Draw from the normal distribution."""
    return _fill(tensor, generator().normal(mean, std, tensor.shape))


def trunc_normal_(tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> T:
    """Draw from the normal distribution, again where a value falls outside [a, b]."""
    if not (a < b and mean - 8 * std < b and mean + 8 * std > a):
        raise ValueError(f"trunc_normal_: a normal({mean}, {std}) does not reach [{a}, {b}]")
    values = generator().normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator().normal(mean, std, int(outside.sum()))
    return _fill(tensor, values)


def constant_(tensor: T, val: float) -> T:
    """Fill with one value."""
    return _fill(tensor, val)


def zeros_(tensor: T) -> T:
    """Fill with zeros."""
    return _fill(tensor, 0)


def ones_(tensor: T) -> T:
    """Fill with ones."""
    return _fill(tensor, 1)


def eye_(tensor: T) -> T:
    """The identity matrix: a linear layer that passes its input on."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: needs a matrix, got shape {tensor.shape}")
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: T, groups: int = 1) -> T:
    """A convolution that passes its channels on: 1 at the central pixel of each filter's own channel."""
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: needs a weight (out, in / groups, *kernel) for {groups} groups, got {tensor.shape}")
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    for out in range(tensor.shape[0]):
        if (channel := out % per_group) < tensor.shape[1]:
            values[(out, channel, *(k // 2 for k in tensor.shape[2:]))] = 1
    return _fill(tensor, values)


# ---- distributions that keep the scale -------------------------------------------------------------------------


def kaiming_uniform_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """U(-bound, bound) with bound = gain * sqrt(3 / fan); `a` is leaky_relu's slope. He et al. 2015.

    With a = sqrt(5), as layers start, the bound is 1 / sqrt(fan_in).
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """N(0, gain² / fan). He et al. 2015."""
    return normal_(tensor, 0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """U(-bound, bound) with bound = gain * sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    bound = gain * math.sqrt(6 / max(1, sum(fans(tensor))))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """N(0, gain² * 2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return normal_(tensor, 0, gain * math.sqrt(2 / max(1, sum(fans(tensor)))))


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """A random matrix (rows: the first axis) with orthonormal rows or columns, times gain. Saxe et al. 2013."""
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: needs at least 2 axes, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(generator().normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1, 1)  # else the signs would follow the algorithm
    return _fill(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: shape[1] and shape[0] times the kernel's size.

    Of a transposed convolution's weight (in, out / groups, *kernel) this is, as in PyTorch, the other way round.

    >>> fans(Tensor([[[0.0] * 5] * 3] * 8))  # 8 filters of 3 channels and 5 taps
    (15, 40)
    """
    if tensor.ndim < 2:
        raise ShapeError(f"fans: needs a weight of at least 2 axes, (out, in, *kernel), got shape {tensor.shape}")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def layer_(weight: Tensor, bias: Tensor | None) -> None:
    """How layers start, as PyTorch's: weight and bias both from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(max(1, fans(weight)[0]))
        uniform_(bias, -bound, bound)


# ---- helpers ---------------------------------------------------------------------------------------------------


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: the mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return max(1, fans(tensor)[mode == "fan_out"])


def _fill(tensor: T, values: Any) -> T:
    tensor.data[...] = values
    tape.written(tensor.data)
    return tensor
