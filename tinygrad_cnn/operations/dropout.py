"""Dropout: units are silenced at random in training, the rest scaled so that the mean stays (inverted scaling)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, flag, number
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.operations.elementwise import where
from tinygrad_cnn.operations.geometry import check_image
from tinygrad_cnn.random_state import generator

# The mask is drawn outside, so that the record is a function; it selects, since inf * 0 is NaN.
_dropout = op(
    "dropout",
    lambda x, *, mask, scale: np.where(mask, x * scale, x.dtype.type(0)),
    lambda g, mask, scale: where(mask, g * scale, 0.0),
    fast=lambda g, mask, scale: np.where(mask, g * scale, g.dtype.type(0)),
    doc="x * scale where the mask is true, 0 elsewhere.",
)


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Set each element to 0 with probability p and scale the others by 1 / (1 - p); the identity if not training.

    The gradient passes through the same mask with the same scale. Lectures D4; Srivastava et al. 2014.

    Raises ValueError for p outside [0, 1].

    >>> import tinygrad_cnn as tc
    >>> tc.manual_seed(1)
    >>> dropout(tc.ones(6), p=0.5)
    tensor([2., 2., 0., 2., 0., 0.])
    """
    return _dropped("dropout", x, p, training, lambda shape: shape)


def dropout2d(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Dropout of whole channels: x (N, C, H, W). Tompson et al. 2015."""
    x = as_tensor("dropout2d", x)
    check_image("dropout2d", x, 2)
    return _dropped("dropout2d", x, p, training, lambda shape: (*shape[:2], 1, 1))


def _dropped(name: str, x: Any, p: float, training: bool, mask_shape: Any) -> Tensor:
    x = as_tensor(name, x)
    number(name, "p", p, least=0, most=1)
    if not flag(name, "training", training) or p == 0:
        return x
    mask = generator().random(mask_shape(x.shape)) >= p
    return _dropout(x, mask=mask, scale=1 / (1 - p) if p < 1 else 0.0)
