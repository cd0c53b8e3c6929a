"""Softmax and cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations import loss
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _softmax_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1, min_side=0)
    return OpCase((d.smooth(shape) + d.choice((0.0, 1000.0)),), {"axis": d.axis(len(shape))}, d.seed)


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    rows = np.moveaxis(np.zeros(x.shape), axis, -1)
    for i in np.ndindex(*rows.shape[:-1]):
        row = np.moveaxis(x, axis, -1)[i].tolist()
        top = max(row, default=0.0)
        total = math.log(math.fsum(math.exp(v - top) for v in row)) if row else 0.0
        rows[i] = [v - top - total for v in row]
    return np.moveaxis(rows, -1, axis)


def _bad_axis(name: str) -> Any:
    return lambda: [ErrorCase((np.ones((2, 3)), 2), {}, ValueError, f"{name}: axis 2")]


register_op(
    loss.softmax,
    name="softmax",
    case=_softmax_case,
    kind="analytic",
    ref=lambda x, axis: np.exp(_log_softmax(x, axis)),
    errors=_bad_axis("softmax"),
)
register_op(
    loss.log_softmax,
    name="log_softmax",
    case=_softmax_case,
    kind="analytic",
    ref=_log_softmax,
    errors=_bad_axis("log_softmax"),
)


def _cross_entropy_case(d: Draw) -> OpCase:
    classes = d.integer(1, 4)
    batch, rest = d.integer(0, 3), d.shape(max_dims=1, max_side=3)
    logits = d.smooth((batch, classes, *rest))
    kwargs: dict[str, Any] = {"reduction": d.choice(("mean", "sum", "none"))}
    if d.boolean():
        kwargs["label_smoothing"] = 0.125
    if d.boolean():
        kwargs["weight"] = d.positive((classes,))
    target: Any = d.labels((batch, *rest), classes)
    how = d.integer(0, 2)
    if how == 1 and target.size:
        target[d.mask(target.shape)] = -100
    if how == 2:
        target = d.positive(logits.shape)
        target = target / target.sum(1, keepdims=True)
    return OpCase((logits, target), kwargs, d.seed)


def _cross_entropy(
    logits: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> np.ndarray:
    """Sum over places; each place a weighted sum of minus log-probabilities."""
    classes = logits.shape[1]
    weight = np.ones(classes) if weight is None else weight
    log_p = _log_softmax(logits, 1)
    losses, divisor = np.zeros((len(logits), *logits.shape[2:])), 0.0
    for n, *at in np.ndindex(*losses.shape):
        if target.dtype.kind == "f":
            share, counts = target[(n, slice(None), *at)], 1.0
        else:
            label = int(target[(n, *at)])
            share, counts = (np.arange(classes) == label) * 1.0, weight[label] if label != -100 else 0.0
        if counts:
            share = share * (1 - label_smoothing) + label_smoothing / classes
            losses[(n, *at)] = -(weight * share * log_p[(n, slice(None), *at)]).sum()
            divisor += counts
    if reduction == "none":
        return losses
    return losses.sum() / ((divisor or 1.0) if reduction == "mean" else 1.0)


def _errors() -> Iterable[ErrorCase]:
    logits = np.zeros((2, 3))
    yield ErrorCase((logits, np.array([0, 3])), {}, ValueError, r"cross_entropy: target\[1\] is 3, but there are 3 classes")
    yield ErrorCase((logits, np.array([0.0, 1.0])), {}, ValueError, "cross_entropy: target .* must be integer classes")
    yield ErrorCase((logits, np.array([0, 1, 2])), {}, ShapeError, r"cross_entropy: target .* shape \(2,\), got \(3,\)")
    yield ErrorCase((logits, np.array([0, 1])), {"reduction": "max"}, ValueError, "cross_entropy: reduction")
    yield ErrorCase((logits, np.array([0, 1])), {"label_smoothing": 2.0}, ValueError, "cross_entropy: label_smoothing")
    yield ErrorCase((logits, np.array([0, 1])), {"weight": np.ones(2)}, ShapeError, "cross_entropy: weight")


register_op(
    loss.cross_entropy,
    name="cross_entropy",
    case=_cross_entropy_case,
    kind="analytic",
    ref=_cross_entropy,
    errors=_errors,
)
