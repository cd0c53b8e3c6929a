"""Dropout layers: random in training, the identity in evaluation."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import flag, number
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn.module import Module


class Dropout(Module):
    """In training each element is 0 with probability p, the others scaled by 1 / (1 - p). Lectures D4.

    The draws come from the thread's generator: `tc.manual_seed` repeats them. Raises ValueError for p outside [0, 1].

    >>> import numpy as np
    >>> Dropout(0.5).eval()(np.ones(3, np.float32))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        self.p = number(type(self).__name__, "p", p, least=0, most=1)
        self.inplace = flag(type(self).__name__, "inplace", inplace)  # for PyTorch's sake; it changes nothing

    def forward(self, x: Any) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """`Dropout` of whole channels of (N, C, H, W)."""

    def forward(self, x: Any) -> Tensor:
        return F.dropout2d(x, self.p, self.training)
