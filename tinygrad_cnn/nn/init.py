"""Initialisers: fill a parameter in place with PyTorch's distributions, drawn from the thread's generator.

A weight has shape (out, in / groups, *kernel). One output sums fan_in = in / groups * prod(kernel) products; one
input reaches fan_out = out * prod(kernel). Variances are chosen so that activations (by fan_in) or gradients (by
fan_out) keep their size from layer to layer. `tc.manual_seed` makes the draws repeatable, in every dtype alike.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from tinygrad_cnn.checks import choice, integer, number
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
    return _gain("calculate_gain", nonlinearity, param)


# ---- plain distributions ---------------------------------------------------------------------------------------


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Draw from the uniform distribution on [a, b)."""
    _check("uniform_", tensor)
    a = number("uniform_", "a", a, above=-math.inf, below=math.inf)
    return _uniform(tensor, a, number("uniform_", "b", b, least=a, below=math.inf))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Draw from the normal distribution."""
    _check("normal_", tensor)
    return _normal(tensor, number("normal_", "mean", mean), number("normal_", "std", std, least=0))


def trunc_normal_(tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> T:
    """Draw from the normal distribution, again where a value falls outside [a, b]."""
    _check("trunc_normal_", tensor)
    for option, value in (("mean", mean), ("std", std), ("a", a), ("b", b)):
        number("trunc_normal_", option, value)
    if not (std > 0 and a < b and mean - 8 * std < b and mean + 8 * std > a):
        raise ValueError(f"trunc_normal_: a normal({mean}, {std}) does not reach [{a}, {b}]")
    values = generator().normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator().normal(mean, std, int(outside.sum()))
    return _fill(tensor, values)


def constant_(tensor: T, val: float) -> T:
    """Fill with one value."""
    _check("constant_", tensor)
    return _fill(tensor, number("constant_", "val", val, nan=True))


def zeros_(tensor: T) -> T:
    """Fill with zeros."""
    _check("zeros_", tensor)
    return _fill(tensor, 0)


def ones_(tensor: T) -> T:
    """Fill with ones."""
    _check("ones_", tensor)
    return _fill(tensor, 1)


def eye_(tensor: T) -> T:
    """The identity matrix: a linear layer that passes its input on."""
    if _check("eye_", tensor).ndim != 2:
        raise ShapeError(f"eye_: needs a matrix, got shape {tensor.shape}")
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: T, groups: int = 1) -> T:
    """A convolution that passes its channels on: 1 at the central pixel of each filter's own channel."""
    integer("dirac_", "groups", groups, least=1)
    if _check("dirac_", tensor).ndim not in (3, 4, 5) or tensor.shape[0] % groups:
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
    bound = math.sqrt(3) * _kaiming("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return _uniform(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """N(0, gain² / fan). He et al. 2015."""
    return _normal(tensor, 0, _kaiming("kaiming_normal_", tensor, a, mode, nonlinearity))


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """U(-bound, bound) with bound = gain * sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    bound = math.sqrt(3) * _xavier("xavier_uniform_", tensor, gain)
    return _uniform(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """N(0, gain² * 2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return _normal(tensor, 0, _xavier("xavier_normal_", tensor, gain))


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """A random matrix (rows: the first axis) with orthonormal rows or columns, times gain. Saxe et al. 2013."""
    number("orthogonal_", "gain", gain)
    if _check("orthogonal_", tensor).ndim < 2:
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
    return _fans("fans", tensor)


def layer_(weight: Tensor, bias: Tensor | None) -> None:
    """How layers start, as PyTorch's: weight and bias both from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    bound = 1 / math.sqrt(max(1, fans(weight)[0]))
    for tensor in (weight, bias):
        if tensor is not None:
            _uniform(tensor, -bound, bound)


# ---- checked, and drawn ----------------------------------------------------------------------------------------


def _check(name: str, tensor: T) -> T:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: tensor must be a Tensor to fill in place, got {type(tensor).__name__}")
    return tensor


def _gain(name: str, nonlinearity: str, param: float | None) -> float:
    choice(name, "nonlinearity", nonlinearity, (*_GAINS, "leaky_relu"))
    slope = 0.01 if param is None else number(name, "param" if name == "calculate_gain" else "a", param)
    return math.sqrt(2 / (1 + slope**2)) if nonlinearity == "leaky_relu" else _GAINS[nonlinearity]


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    if _check(name, tensor).ndim < 2:
        raise ShapeError(
            f"{name}: tensor must be a weight of at least 2 axes, (out, in, *kernel), its shape is {tensor.shape}; for "
            "a bias use zeros_ or uniform_"
        )
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def _kaiming(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """The standard deviation."""
    choice(name, "mode", mode, ("fan_in", "fan_out"))
    gain = _gain(name, nonlinearity, number(name, "a", a))
    return gain / math.sqrt(max(1, _fans(name, tensor)[mode == "fan_out"]))


def _xavier(name: str, tensor: Tensor, gain: float) -> float:
    """The standard deviation."""
    return number(name, "gain", gain) * math.sqrt(2 / max(1, sum(_fans(name, tensor))))


def _uniform(tensor: T, low: float, high: float) -> T:
    return _fill(tensor, generator().uniform(low, high, tensor.shape))


def _normal(tensor: T, mean: float, std: float) -> T:
    return _fill(tensor, generator().normal(mean, std, tensor.shape))


def _fill(tensor: T, values: Any) -> T:
    tensor.data[...] = values
    tape.written(tensor.data)
    return tensor
