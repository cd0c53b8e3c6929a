"""Matrix products."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.einsum import einsum
from tinygrad_cnn.operations.linalg import linear
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _matmul_case(d: Draw) -> OpCase:
    rows, inner, columns = (d.integer(0, 4) for _ in range(3))
    lead_a, lead_b = d.broadcastable(2, max_dims=2)
    a = (inner,) if d.integer(0, 3) == 3 else (*lead_a, rows, inner)
    b = (inner,) if d.integer(0, 3) == 3 else (*lead_b, inner, columns)
    return OpCase((d.ints(a), d.ints(b)), {}, d.seed)


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    left, right = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    terms = left[..., :, :, None] * right[..., None, :, :]
    y = np.zeros(terms.shape[:-2] + terms.shape[-1:])
    for k in range(left.shape[-1]):
        y = y + terms[..., k, :]
    if b.ndim == 1:
        y = y[..., 0]
    return y if a.ndim > 1 else y[..., 0, :] if b.ndim > 1 else y[0]


def _matmul_errors() -> Iterable[ErrorCase]:
    yield ErrorCase(
        (np.ones((2, 3)), np.ones((4, 2))), {}, ShapeError, r"matmul: shapes \(2, 3\) and \(4, 2\) do not fit"
    )
    yield ErrorCase((np.ones(()), np.ones(2)), {}, ShapeError, "matmul: .*at least one axis")
    yield ErrorCase((np.ones((2, 2, 3)), np.ones((3, 3, 2))), {}, ShapeError, "matmul: the batch axes")


register_op("matmul", case=_matmul_case, kind="multilinear", ref=_matmul, errors=_matmul_errors)


def _linear_case(d: Draw) -> OpCase:
    inputs, outputs = d.integer(1, 4), d.integer(1, 4)
    x = (*d.shape(max_dims=2, min_side=0), inputs)
    bias = (d.ints((outputs,)),) if d.boolean() else ()
    return OpCase((d.ints(x), d.ints((outputs, inputs)), *bias), {}, d.seed)


def _linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    y = (x[..., None, :] * weight).sum(-1)
    return y if bias is None else y + bias


def _linear_errors() -> Iterable[ErrorCase]:
    yield ErrorCase(
        (np.ones((2, 3)), np.ones((4, 2))), {}, ShapeError, "linear: weight expects 2 input features .* x has 3"
    )
    yield ErrorCase((np.ones((2, 3)), np.ones(3)), {}, ShapeError, r"linear: weight must have shape \(out, in\)")
    yield ErrorCase(
        (np.ones((2, 3)), np.ones((4, 3)), np.ones(3)), {}, ShapeError, r"linear: bias must have shape \(4,\)"
    )
    mixed = (np.ones((2, 3)), np.ones((4, 3), np.float32))
    yield ErrorCase(mixed, {}, TypeError, "linear: x is float64, weight is float32")


register_op(
    linear, name="linear", case=_linear_case, kind="piecewise_linear", ref=_linear, errors=_linear_errors
)  # affine in x and weight; exact on the grid


_EQUATIONS = (
    "ij,jk->ik",
    "i,i",
    "ii->i",
    "ij->ji",
    "bij,bjk->bik",
    "...i,...i->...",
    "ij,ij,j->i",
    "ijk->",
    "ij,k->kij",
)


def _einsum_case(d: Draw) -> OpCase:
    equation = d.choice(_EQUATIONS)
    lengths = {letter: d.integer(1, 3) for letter in "bijk"}
    if d.integer(0, 3) == 3:
        lengths = dict.fromkeys(lengths, 2)  # an operand taken for another then keeps the shape
    terms = equation.partition("->")[0].split(",")
    shapes = [tuple(lengths[c] for c in term.replace("...", "b")) for term in terms]
    return OpCase((equation, *(d.ints(shape) for shape in shapes)), {}, d.seed)


def _einsum_errors() -> Iterable[ErrorCase]:
    a, b = np.ones((2, 3)), np.ones((4, 2))
    yield ErrorCase(("ij,jk->ik", a, b), {}, ShapeError, "einsum: ")
    yield ErrorCase(("ij,jk->ik", a), {}, ValueError, "einsum: 'ij,jk->ik' has 2 terms for 1 operands")
    yield ErrorCase(("i?", a), {}, ValueError, "einsum: 'i\\?' may hold letters")


register_op(einsum, name="einsum", case=_einsum_case, kind="multilinear", ref=np.einsum, errors=_einsum_errors)
