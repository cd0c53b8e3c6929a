"""Parameter: a Tensor that a module trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.checks import floating_dtype
from tinygrad_cnn.core.tensor import Tensor, get_default_dtype


class Parameter(Tensor):
    """A leaf that requires grad; as an attribute of a module it is found by `parameters()`.

    `data` is kept as it is, not copied; Python floats get the default dtype.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def empty_parameter(layer: str, shape: tuple[int, ...], dtype: Any) -> Parameter:
    """A parameter for an initialiser to fill, in the default dtype unless another is given."""
    return Parameter(np.empty(shape, get_default_dtype() if dtype is None else floating_dtype(layer, dtype)))
