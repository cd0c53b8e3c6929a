"""Softmax and cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations import elementwise_loss, loss
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
    batch, rest = d.integer(0, 3), d.shape(max_dims=2, max_side=3)
    logits = d.smooth((batch, classes, *rest))
    kwargs: dict[str, Any] = {"reduction": d.choice(("mean", "none", "sum", "none"))}
    if d.integer(0, 2) == 2:
        kwargs["label_smoothing"] = 0.125
    if d.integer(0, 2) == 2:
        kwargs["weight"] = d.positive((classes,)).tolist()  # in Python, so that it has no dtype of its own
    target: Any = d.labels((batch, *rest), classes)
    how = d.integer(0, 2)
    if how == 1 and target.size:
        target[d.mask(target.shape)] = -100
    if how == 2:
        target = d.smooth(logits.shape, 0.125, 0.875)  # with room for the steps; they need not sum to 1
    return OpCase((logits, target), kwargs, d.seed)


def _cross_entropy(
    logits: np.ndarray,
    target: np.ndarray,
    weight: list[float] | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> np.ndarray:
    """Sum over places; each place a weighted sum of minus log-probabilities."""
    classes = logits.shape[1]
    factors = np.ones(classes) if weight is None else np.array(weight)
    log_p = _log_softmax(logits, 1)
    losses, divisor = np.zeros((len(logits), *logits.shape[2:])), 0.0
    for n, *at in np.ndindex(*losses.shape):
        if target.dtype.kind == "f":
            share, counts = target[(n, slice(None), *at)], 1.0
        else:
            label = int(target[(n, *at)])
            share, counts = (np.arange(classes) == label) * 1.0, factors[label] if label != -100 else 0.0
        if counts:
            share = share * (1 - label_smoothing) + label_smoothing / classes
            losses[(n, *at)] = -(factors * share * log_p[(n, slice(None), *at)]).sum()
            divisor += counts
    if reduction == "none":
        return losses
    return losses.sum() / ((divisor or 1.0) if reduction == "mean" else 1.0)


def _bad_reduction(name: str, a: np.ndarray, b: np.ndarray) -> ErrorCase:
    return ErrorCase((a, b), {"reduction": "max"}, ValueError, f"{name}: reduction must be one of .* got 'max'")


def _errors() -> Iterable[ErrorCase]:
    logits = np.zeros((2, 3))
    yield ErrorCase(
        (logits, np.array([0, 3])), {}, ValueError, r"cross_entropy: target\[1\] is 3, but there are 3 classes"
    )
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


def _nll_case(d: Draw) -> OpCase:
    classes = d.integer(1, 4)
    batch, rest = d.integer(0, 3), d.shape(max_dims=1, max_side=3)
    kwargs: dict[str, Any] = {"reduction": d.choice(("sum", "none", "mean", "none"))}
    if d.boolean():
        kwargs["weight"] = (np.abs(d.ints((classes,))) + 1).tolist()
    target = d.labels((batch, *rest), classes)
    if d.boolean():
        target[d.mask(target.shape)] = -100
    return OpCase((d.ints((batch, classes, *rest)), target), kwargs, d.seed)


def _nll(
    log_p: np.ndarray, target: np.ndarray, weight: list[float] | None = None, reduction: str = "mean"
) -> np.ndarray:
    factors = np.ones(log_p.shape[1]) if weight is None else np.array(weight)
    losses, divisor = np.zeros(target.shape), 0.0
    for n, *at in np.ndindex(*target.shape):
        label = int(target[(n, *at)])
        if label != -100:
            losses[(n, *at)] = -factors[label] * log_p[(n, label, *at)]
            divisor += factors[label]
    if reduction == "none":
        return losses
    return losses.sum() / ((divisor or 1.0) if reduction == "mean" else 1.0)


def _nll_errors() -> Iterable[ErrorCase]:
    log_p = np.zeros((2, 3))
    yield ErrorCase((log_p, np.array([0, 3])), {}, ValueError, r"nll_loss: target\[1\] is 3, but there are 3 classes")
    yield _bad_reduction("nll_loss", log_p, np.array([0, 1]))


register_op(loss.nll_loss, name="nll_loss", case=_nll_case, kind="multilinear", ref=_nll, errors=_nll_errors)

# ---- entry by entry ------------------------------------------------------------------------------------------------


def _reduced(losses: np.ndarray, reduction: str) -> np.ndarray:
    total = math.fsum(np.ravel(losses))
    if reduction == "none":
        return losses
    if reduction == "batchmean":
        return np.asarray(total / max(len(losses), 1))
    return np.asarray(total if reduction == "sum" else total / losses.size if losses.size else math.nan)


def _pair_errors(name: str) -> Any:
    def errors() -> Iterable[ErrorCase]:
        a = np.full((2, 3), 0.5)
        yield ErrorCase((a, a[:1]), {}, ShapeError, rf"{name}: input has shape \(2, 3\), target \(1, 3\)")
        yield ErrorCase((a, a.astype(np.float32)), {}, TypeError, f"{name}: input is float64, target is float32")
        yield _bad_reduction(name, a, a)

    return errors


def _distance_case(d: Draw) -> OpCase:
    shape = d.shape(min_side=1)
    kwargs = {"reduction": d.choice(("mean", "sum", "none"))}
    return OpCase((d.smooth(shape), d.smooth(shape)), kwargs, d.seed)


register_op(
    elementwise_loss.mse_loss,
    name="mse_loss",
    case=_distance_case,
    kind="analytic",
    ref=lambda input, target, reduction: _reduced((input - target) ** 2, reduction),
    errors=_pair_errors("mse_loss"),
)


def _l1_case(d: Draw) -> OpCase:
    shape = d.shape(min_side=1)
    return OpCase((d.ties(shape), d.ties(shape)), {"reduction": d.choice(("sum", "none"))}, d.seed)


register_op(
    elementwise_loss.l1_loss,
    name="l1_loss",
    case=_l1_case,
    kind="piecewise_linear",
    ref=lambda input, target, reduction: _reduced(np.maximum(input, target) - np.minimum(input, target), reduction),
    errors=_pair_errors("l1_loss"),
)


def _huber_case(d: Draw) -> OpCase:
    shape = d.shape(min_side=1)
    draw = d.ties if d.boolean() else d.smooth
    kwargs = {"reduction": d.choice(("mean", "sum", "none")), "delta": d.choice((1.0, 0.5))}
    return OpCase((draw(shape), draw(shape)), kwargs, d.seed)


def _huber(input: np.ndarray, target: np.ndarray, reduction: str, delta: float) -> np.ndarray:
    size = np.abs(input - target)
    return _reduced(np.where(size > delta, delta * size - delta**2 / 2, size**2 / 2), reduction)


register_op(
    elementwise_loss.huber_loss,
    name="huber_loss",
    case=_huber_case,
    kind="piecewise_analytic",
    ref=_huber,
    errors=_pair_errors("huber_loss"),
)


def _probability_case(d: Draw) -> OpCase:
    shape = d.shape()
    weight = d.positive(d.choice((shape, shape[1:]))) if d.boolean() else None
    kwargs = {"reduction": d.choice(("mean", "sum", "none"))}
    return OpCase((d.smooth(shape, 0.2, 0.8), d.smooth(shape, 0.2, 0.8), weight), kwargs, d.seed)


def _probability(input: np.ndarray, target: np.ndarray, weight: Any, reduction: str) -> np.ndarray:
    losses = -target * np.log(input) - (1 - target) * np.log(1 - input)
    return _reduced(losses if weight is None else losses * weight, reduction)


def _probability_errors() -> Iterable[ErrorCase]:
    name = "binary_cross_entropy"
    yield from _pair_errors(name)()
    yield ErrorCase(
        (np.array([0.5, -1.0]), np.zeros(2)), {}, ValueError, rf"{name}: input\[1\] is -1, but probabilities"
    )


register_op(
    elementwise_loss.binary_cross_entropy,
    name="binary_cross_entropy",
    case=_probability_case,
    kind="analytic",
    ref=_probability,
    errors=_probability_errors,
)


def _binary_case(d: Draw) -> OpCase:
    shape = d.shape()
    factors = [d.positive(s) if d.boolean() else None for s in (shape, d.choice((shape, shape[1:])))]
    kwargs = {"reduction": d.choice(("mean", "sum", "none"))}
    return OpCase((d.smooth(shape), d.smooth(shape, 0.2, 0.8), *factors), kwargs, d.seed)


def _binary_cross_entropy(input: Any, target: Any, weight: Any = None, pos_weight: Any = None, **options: Any) -> Any:
    """The public function with all its Tensors as inputs."""
    public = elementwise_loss.binary_cross_entropy_with_logits
    return public(input, target, weight, pos_weight=pos_weight, **options)


def _binary(input: np.ndarray, target: np.ndarray, weight: Any, pos_weight: Any, reduction: str) -> np.ndarray:
    weight, pos_weight = (1.0 if factor is None else factor for factor in (weight, pos_weight))
    p = 1 / (1 + np.exp(-input))
    return _reduced(-weight * (pos_weight * target * np.log(p) + (1 - target) * np.log(1 - p)), reduction)


def _binary_errors() -> Iterable[ErrorCase]:
    name = "binary_cross_entropy_with_logits"
    yield from _pair_errors(name)()
    yield ErrorCase(
        (np.zeros(2), np.array([0.5, 2.0])), {}, ValueError, rf"{name}: target\[1\] is 2, but probabilities"
    )
    yield ErrorCase(
        (np.zeros(2), np.zeros(2), np.ones(3)), {}, ShapeError, f"{name}: weight of shape .* does not broadcast"
    )


register_op(
    _binary_cross_entropy,
    name="binary_cross_entropy_with_logits",
    case=_binary_case,
    kind="analytic",
    ref=_binary,
    errors=_binary_errors,
)


def _kl_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1)
    log_target = d.boolean()
    target = d.smooth(shape, -2.0, -0.2) if log_target else d.smooth(shape, 0.2, 0.8)
    kwargs = {"reduction": d.choice(("mean", "sum", "none", "batchmean")), "log_target": log_target}
    return OpCase((d.smooth(shape), target), kwargs, d.seed)


def _kl(input: np.ndarray, target: np.ndarray, reduction: str, log_target: bool) -> np.ndarray:
    p = np.exp(target) if log_target else target
    return _reduced(p * (np.log(p) - input), reduction)


register_op(
    elementwise_loss.kl_div,
    name="kl_div",
    case=_kl_case,
    kind="analytic",
    ref=_kl,
    errors=_pair_errors("kl_div"),
)
