"""Activations as modules, for `Sequential` and for the picture: each calls the function of its name."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import choice, flag, integer, number
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn.init import constant_
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.nn.parameter import empty_parameter


class _InPlace(Module):
    """`inplace` is accepted for PyTorch's sake; memory is the engine's business, so it changes nothing."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = flag(type(self).__name__, "inplace", inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return F.relu(x)


class ReLU6(_InPlace):
    """min(max(x, 0), 6)."""

    def forward(self, x: Any) -> Tensor:
        return F.relu6(x)


class SiLU(_InPlace):
    """x * sigmoid(x), also called swish."""

    def forward(self, x: Any) -> Tensor:
        return F.silu(x)


class SELU(_InPlace):
    """1.0507 * elu(x, alpha=1.6733)."""

    def forward(self, x: Any) -> Tensor:
        return F.selu(x)


class Mish(_InPlace):
    """x * tanh(log(1 + exp(x)))."""

    def forward(self, x: Any) -> Tensor:
        return F.mish(x)


class Hardswish(_InPlace):
    """x * relu6(x + 3) / 6."""

    def forward(self, x: Any) -> Tensor:
        return F.hardswish(x)

    def extra_repr(self) -> str:
        return ""


class LeakyReLU(_InPlace):
    """x above 0, negative_slope * x below."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Any) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(_InPlace):
    """x above 0, alpha * (exp(x) - 1) below."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, x: Any) -> Tensor:
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Hardtanh(_InPlace):
    """x limited to [min_val, max_val]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.max_val = number("Hardtanh", "max_val", max_val)
        self.min_val = number("Hardtanh", "min_val", min_val, below=self.max_val)

    def forward(self, x: Any) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """x times the standard normal distribution function, or nearly so with approximate="tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x: Any) -> Tensor:
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = number("Softplus", "beta", beta, above=0)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, x: Any) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class PReLU(Module):
    """`F.prelu`: x above 0, weight * x below, with one weight for all or one for each of num_parameters channels.

    >>> PReLU()(Tensor([[-4.0, 4.0]])).tolist()
    [[-1.0, 4.0]]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = None) -> None:
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters, least=1)
        self.weight = empty_parameter("PReLU", (num_parameters,), dtype)
        constant_(self.weight, number("PReLU", "init", init))

    def forward(self, x: Any) -> Tensor:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow."""

    def forward(self, x: Any) -> Tensor:
        return F.logsigmoid(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        return F.tanh(x)


class Softmax(Module):
    """Exponentials that sum to one along an axis, by default the last."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = integer("Softmax", "dim", dim)

    def forward(self, x: Any) -> Tensor:
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of `Softmax`, without overflow."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = integer("LogSoftmax", "dim", dim)

    def forward(self, x: Any) -> Tensor:
        return F.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
