"""Indexing and its adjoints: linear in the values, whatever the index repeats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations import embedding
from tinygrad_cnn.testing.catalog.common import refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.laws import LawEnv
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(int(np.prod(shape))).reshape(shape)


def _getitem_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1, max_dims=4)
    return OpCase((d.ints(shape), d.index(shape)), {}, d.seed)


def _getitem(x: np.ndarray, index: Any) -> np.ndarray:
    return np.ravel(x)[_numbered(x.shape)[index]]


register_op(
    Tensor.__getitem__,
    name="getitem",
    case=_getitem_case,
    kind="multilinear",
    ref=_getitem,
    errors=lambda: [ErrorCase((np.ones((2, 3)), 2), {}, IndexError, "index 2 is out of bounds for axis 0 with size 2")],
)


def _scatter_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1)
    index = d.index(shape)
    return OpCase((d.ints(_numbered(shape)[index].shape),), {"index": index, "shape": shape}, d.seed)


def _scatter(x: np.ndarray, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(int(np.prod(shape)))
    for place, value in zip(np.ravel(_numbered(shape)[index]), np.ravel(x), strict=True):
        y[place] += value
    return y.reshape(shape)


register_op(
    "scatter",
    case=_scatter_case,
    kind="multilinear",
    ref=_scatter,
    errors=refuses_objects("scatter", index=0, shape=(2,)),
)


def _setitem_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1)
    index = d.index(shape)
    places = _numbered(shape)[index]
    if len(np.unique(places)) < places.size:  # which of several writes stays is NumPy's affair
        index = slice(None)
    picked = _numbered(shape)[index].shape
    value = picked[d.integer(0, len(picked)) :]
    return OpCase((d.ints(shape), d.ints(value)), {"index": index}, d.seed)


def _setitem(x: np.ndarray, value: np.ndarray, index: Any) -> np.ndarray:
    places = _numbered(x.shape)[index]
    y = np.ravel(x).copy()
    for place, v in zip(np.ravel(places), np.ravel(np.broadcast_to(value, places.shape)), strict=True):
        y[place] = v
    return y.reshape(x.shape)


register_op(
    "setitem",
    case=_setitem_case,
    kind="multilinear",
    ref=_setitem,
    errors=refuses_objects("setitem", 2, index=0),
)


def _take_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1)
    axis = d.integer(0, len(shape) - 1)
    picks = tuple(d.integer(0, 4) if i == axis else n for i, n in enumerate(shape))
    return OpCase((d.ints(shape), d.labels(picks, shape[axis]), axis), {}, d.seed)


def _take(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    y = np.zeros(indices.shape)
    for i in np.ndindex(*indices.shape):
        y[i] = x[(*i[:axis], indices[i], *i[axis + 1 :])]
    return y


register_op(
    Tensor.take_along_axis,
    name="take_along_axis",
    case=_take_case,
    kind="multilinear",
    ref=_take,
    errors=lambda: [ErrorCase((np.ones((2, 3)), np.zeros((2, 1), int), 2), {}, ValueError, "take_along_axis: axis 2")],
)


def _put_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1, min_side=0)
    axis, length = d.integer(0, len(shape) - 1), d.integer(1, 4)
    kwargs = {"indices": d.labels(shape, length), "axis": axis, "length": length}
    return OpCase((d.ints(shape),), kwargs, d.seed)


def _put(x: np.ndarray, indices: np.ndarray, axis: int, length: int) -> np.ndarray:
    y = np.zeros((*x.shape[:axis], length, *x.shape[axis + 1 :]))
    for i in np.ndindex(*x.shape):
        y[(*i[:axis], indices[i], *i[axis + 1 :])] += x[i]
    return y


register_op(
    "put_along_axis",
    case=_put_case,
    kind="multilinear",
    ref=_put,
    errors=refuses_objects("put_along_axis", indices=np.zeros(2, int), axis=0, length=2),
)


# ---- integers as vectors -------------------------------------------------------------------------------------------


def _embedding_case(d: Draw) -> OpCase:
    rows = d.integer(1, 4)
    weight = d.ints((rows, d.integer(0, 3)))
    return OpCase((d.labels(d.shape(max_dims=2, min_side=0), rows), weight), {}, d.seed)


def _embedding(input: np.ndarray, weight: np.ndarray) -> np.ndarray:
    y = np.zeros((*input.shape, weight.shape[1]))
    for i in np.ndindex(*input.shape):
        y[i] = weight[input[i]]
    return y


def padding(env: LawEnv) -> None:
    """The row padding_idx gets no gradient, the others what they get without it."""
    indices, weight = env.inputs
    g = env.upstream()
    expected = np.array(env.subject.grads(env.inputs, g)[1])
    row = int(indices.flat[0]) if indices.size else 0
    expected[row] = 0
    leaf = Tensor(weight, requires_grad=True)
    embedding.embedding(indices, leaf, padding_idx=row).backward(g)
    env.compare("padding", f"another gradient with padding_idx={row}", 1, leaf.grad, expected)


def _embedding_errors() -> Iterable[ErrorCase]:
    table = np.ones((3, 2))
    yield ErrorCase((np.array([0, 3]), table), {}, ValueError, r"embedding: input\[1\] is 3, but the table has 3 rows")
    yield ErrorCase(
        (np.array([0]), np.ones(3)), {}, ShapeError, r"embedding: weight must have shape \(rows, features\)"
    )
    yield ErrorCase((np.array([0.0]), table), {}, TypeError, "embedding: input must be integers")
    yield ErrorCase((np.array([0]), table), {"padding_idx": 3}, ValueError, "embedding: padding_idx must be an integer")


register_op(
    embedding.embedding,
    name="embedding",
    case=_embedding_case,
    kind="multilinear",
    ref=_embedding,
    laws=(padding,),
    errors=_embedding_errors,
)


def _one_hot_case(d: Draw) -> OpCase:
    classes = d.integer(1, 4)
    return OpCase((d.labels(d.shape(max_dims=2, min_side=0), classes), classes), {}, d.seed)


def _one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    y = np.zeros((*labels.shape, num_classes))
    for i in np.ndindex(*labels.shape):
        y[(*i, labels[i])] = 1
    return y


register_op(
    embedding.one_hot,
    name="one_hot",
    case=_one_hot_case,
    ref=_one_hot,
    nondiff=(0,),
    errors=lambda: [
        ErrorCase((np.array([0, 2]), 2), {}, ValueError, r"one_hot: labels\[1\] is 2, but there are 2 classes"),
        ErrorCase((np.array([0.0]), 2), {}, TypeError, "one_hot: labels must be integers"),
    ],
)
