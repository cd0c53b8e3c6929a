"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import flag, integer
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.nn.parameter import empty_parameter


class Linear(Module):
    """The fully connected layer y = x Wᵀ + b: (..., in_features) -> (..., out_features). Lectures A8.

    weight (out_features, in_features) and bias (out_features,) start uniform within ±1 / sqrt(in_features).

    >>> import numpy as np
    >>> layer = Linear(3, 2)
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = None) -> None:
        self.in_features = integer("Linear", "in_features", in_features, least=1)
        self.out_features = integer("Linear", "out_features", out_features, least=1)
        self.weight = empty_parameter("Linear", (out_features, in_features), dtype)
        self.bias = empty_parameter("Linear", (out_features,), dtype) if flag("Linear", "bias", bias) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.layer_(self.weight, self.bias)

    def forward(self, x: Any) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
