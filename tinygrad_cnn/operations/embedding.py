"""Integers as vectors: rows of a table, or unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, integer
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.elementwise import where
from tinygrad_cnn.operations.indexing import scatter


def _embedding_rule(g: Tensor, weight_shape: Any, indices: np.ndarray, padding_idx: int | None) -> Tensor:
    """Each row the sum of g over the places that picked it; the row padding_idx 0."""
    if padding_idx is not None:
        g = where(np.expand_dims(indices == padding_idx, -1), 0.0, g)
    return scatter(g, index=indices, shape=weight_shape)


_embedding = op(
    "embedding",
    lambda weight, *, indices, padding_idx=None: weight[indices],
    _embedding_rule,
    doc="The row of a table at each index; rows picked twice collect both gradients, the row padding_idx none.",
)
_one_hot = op(
    "one_hot",
    lambda labels, *, num_classes: (np.expand_dims(labels, -1) == np.arange(num_classes)).astype(np.int64),
    None,
    doc="1 at each label, 0 elsewhere, along a new last axis.",
)


def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Tensor:
    """Look up integers `input` (...) in a table `weight` (rows, features) -> (..., features).

    The gradient of a row is the sum over the places that picked it; the row `padding_idx` gets none.

    Raises ShapeError unless the table has two axes, TypeError for indices that are not integers, ValueError naming the
    first one out of range.

    >>> embedding([2, 0], Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    tensor([[5., 6.],
            [1., 2.]])
    """
    indices, weight = as_tensor("embedding", input, "input").data, as_tensor("embedding", weight, "weight")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight must have shape (rows, features), got {weight.shape}")
    rows = weight.shape[0]
    _check_integers("embedding", "input", indices, rows, f"the table has {rows} rows (weight.shape = {weight.shape})")
    if padding_idx is not None:
        padding_idx = integer("embedding", "padding_idx", padding_idx, least=-rows, most=rows - 1) % rows
    return _embedding(weight, indices=indices.copy(), padding_idx=padding_idx)


def one_hot(labels: Any, num_classes: int = -1) -> Tensor:
    """Unit vectors of integer labels (...) -> (..., num_classes), int64; by default as many as the largest label asks.

    Raises TypeError for labels that are not integers, ValueError naming the first one out of range.

    >>> one_hot([1, 0], 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    labels = as_tensor("one_hot", labels, "labels")
    integer("one_hot", "num_classes", num_classes)
    if num_classes == -1:
        if labels.size == 0:
            raise ValueError(f"one_hot: num_classes must be given for no labels (labels.shape = {labels.shape})")
        num_classes = int(labels.data.max()) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be positive, got {num_classes}")
    _check_integers("one_hot", "labels", labels.data, num_classes, f"there are {num_classes} classes")
    return _one_hot(labels, num_classes=num_classes)


def _check_integers(name: str, what: str, indices: np.ndarray, count: int, reason: str) -> None:
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{name}: {what} must be integers, got {indices.dtype} of shape {indices.shape}")
    bad = (indices < 0) | (indices >= count)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}: {what}{list(at) or ''} is {indices[at]}, but {reason}, 0 to {count - 1}")
