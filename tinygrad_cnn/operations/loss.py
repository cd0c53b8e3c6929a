"""Softmax, and the losses of classification: cross-entropy and the negative log-likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, choice, integer, number, refuse_mixed_dtypes
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.spelling import in_numpys_words
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.elementwise import select
from tinygrad_cnn.operations.elementwise import exp, where
from tinygrad_cnn.operations.indexing import put_along_axis

# ---- softmax ---------------------------------------------------------------------------------------------------


def _shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """x less the largest of each row, so that exp can not overflow; a row whose largest is infinite becomes NaN."""
    return x - x.max(axis=axis, keepdims=True) if x.shape[axis] else x


def _numbers(name: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "b":
        raise TypeError(f"{name}: x must be numbers, got booleans; use x.astype('float32')")
    return x


def _softmax_forward(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(_shifted(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


def _log_softmax_forward(x: np.ndarray, axis: int) -> np.ndarray:
    x = _shifted(x, axis)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


_softmax = op(
    "softmax",
    lambda x, *, axis: _softmax_forward(_numbers("softmax", x), axis),
    lambda g, y, axis: y * (g - (g * y).sum(axis, keepdims=True)),
    fast=lambda g, y, axis: y * (g - (g * y).sum(axis, keepdims=True)),
    doc="exp(x) over its sum along an axis.",
)
_log_softmax = op(
    "log_softmax",
    lambda x, *, axis: _log_softmax_forward(_numbers("log_softmax", x), axis),
    lambda g, y, axis: g - exp(y) * g.sum(axis, keepdims=True),
    fast=lambda g, y, axis: g - np.exp(y) * g.sum(axis, keepdims=True),
    doc="x less the log of the sum of exponentials along an axis.",
)


@in_numpys_words
def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis, without overflow; dx = y (g - sum(g y)).

    >>> softmax(Tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """
    return as_tensor("softmax", x).softmax(axis)


@in_numpys_words
def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) along an axis, without overflow; dx = g - softmax(x) sum(g)."""
    return as_tensor("log_softmax", x).log_softmax(axis)


# ---- cross-entropy ---------------------------------------------------------------------------------------------


def _cross_entropy_forward(
    logits: np.ndarray, target: np.ndarray, reduction: str, divisor: float
) -> tuple[np.ndarray, np.ndarray]:
    shifted = _shifted(logits, 1)
    p = np.exp(shifted)
    total = p.sum(axis=1, keepdims=True)
    log_p = shifted - np.log(total)
    p /= total
    # A class without weight counts nothing, not even 0 * -inf.
    losses = 0 - select(target * log_p, target != 0).sum(axis=1)  # 0, not -0, where nothing counts
    return (losses if reduction == "none" else losses.sum() / divisor), p


def _upstream(g: Any, reduction: str, divisor: float) -> Any:
    return g.reshape((g.shape[0], 1, *g.shape[1:])) if reduction == "none" else g / divisor


def _logits_rule(g: Tensor, p: Tensor, target: Tensor, reduction: str, divisor: float) -> Tensor:
    """g (softmax(logits) sum(target) - target) / divisor, and 0 where no target counts."""
    total = target.sum(1, keepdims=True)  # 1 for a plain label: dz = (p - onehot) / N; 0 for one that does not count
    return where(total == 0, 0.0, _upstream(g, reduction, divisor) * (p * total - target))


def _logits_rule_on_arrays(g: Any, p: Any, target: Any, reduction: str, divisor: float) -> Any:
    total = target.sum(axis=1, keepdims=True)
    dz = p * total
    dz -= target
    dz = np.multiply(dz, _upstream(g, reduction, divisor), out=dz)
    return dz if total.all() else np.where(total == 0, dz.dtype.type(0), dz)


def _target_rule(g: Tensor, logits: Tensor, reduction: str, divisor: float) -> Tensor:
    return -_upstream(g, reduction, divisor) * log_softmax(logits, 1)


def _target_rule_on_arrays(g: Any, logits: Any, reduction: str, divisor: float) -> Any:
    return -_upstream(g, reduction, divisor) * _log_softmax_forward(logits, 1)


_cross_entropy = op(
    "cross_entropy",
    lambda logits, target, *, reduction, divisor: _cross_entropy_forward(logits, target, reduction, divisor),
    {"logits": _logits_rule, "target": _target_rule},
    aux={"p": lambda logits: softmax(logits, 1)},
    fast={"logits": _logits_rule_on_arrays, "target": _target_rule_on_arrays},
    doc="-sum(target * log_softmax(logits)) over classes; target is a weight per class.",
)


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Softmax cross-entropy: minus the log-probability that softmax(logits) gives to the target.

    logits (N, C, ...) or (C,); target integer classes (N, ...) or (), or probabilities of the logits' shape.
    `weight` (C,) scales each class; targets equal to `ignore_index` do not count; `label_smoothing` mixes the target
    with the uniform distribution. "mean" divides by the weight that counts (by N for probabilities); with nothing to
    count the loss is 0 and so is its gradient, where PyTorch gives NaN.

    dlogits = (softmax - onehot) / N for plain labels. Lectures D1.

    Raises ValueError naming the first bad index and value for labels out of range, and for other wrong targets.

    >>> cross_entropy(Tensor([[0.0, 0.0]]), [1])
    tensor(0.6931472)
    """
    name = "cross_entropy"
    logits, target = as_tensor(name, logits, "logits"), as_tensor(name, target, "target")
    check_reduction(name, reduction)
    number(name, "label_smoothing", label_smoothing, least=0, most=1)
    integer(name, "ignore_index", ignore_index)
    _check_classes(name, "logits", logits)
    single = logits.ndim == 1
    if single:
        logits, target = logits.expand_dims(0), target.expand_dims(0)
    classes = logits.shape[1]
    class_weight = _class_weight(name, "logits", weight, logits)
    if target.dtype.kind in "fc" and target.shape == logits.shape:
        refuse_mixed_dtypes(name, logits=logits, target=target)
        check_probabilities(name, target, single)
        share: Any = target
        divisor = logits.size / classes
    else:
        labels = _checked_labels(name, "logits", target, logits, ignore_index, single)
        counts = labels != ignore_index
        share = np.zeros_like(logits.data)  # in its memory order
        picked = np.where(counts, labels, 0)
        np.put_along_axis(share, np.expand_dims(picked, 1), np.expand_dims(counts, 1).astype(share.dtype), 1)
        divisor = float((class_weight[picked] * counts).sum())
    if label_smoothing:
        counted = 1.0 if share is target else np.expand_dims(counts, 1).astype(logits.dtype)
        share = share * (1 - label_smoothing) + counted * (label_smoothing / classes)
    if weight is not None:
        share = share * class_weight.reshape(1, classes, *[1] * (logits.ndim - 2))
    loss = _cross_entropy(logits, share, reduction=reduction, divisor=(divisor or 1.0) if reduction == "mean" else 1.0)
    return loss[0] if single and reduction == "none" else loss


# ---- negative log-likelihood -----------------------------------------------------------------------------------


def _nll_forward(x: np.ndarray, labels: np.ndarray, weight: np.ndarray, reduction: str, divisor: float) -> Any:
    picked = np.take_along_axis(x, np.expand_dims(labels, 1), 1).squeeze(1)
    losses = np.where(weight == 0, 0, -weight * picked)  # what does not count adds 0, not 0 * inf
    return losses if reduction == "none" else losses.sum() / divisor


def _nll_rule(g: Tensor, x_shape: Any, labels: Any, weight: Any, reduction: str, divisor: float) -> Tensor:
    """-g weight / divisor at the labels, 0 elsewhere."""
    share = where(weight == 0, 0.0, -(g if reduction == "none" else g / divisor) * weight)
    return put_along_axis(share.expand_dims(1), indices=np.expand_dims(labels, 1), axis=1, length=x_shape[1])


_nll_loss = op(
    "nll_loss",
    lambda x, *, labels, weight, reduction, divisor: _nll_forward(x, labels, weight, reduction, divisor),
    _nll_rule,
    doc="Minus the entry at each label, times the label's weight.",
)


def nll_loss(
    input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood: minus the log-probability of each target class. `cross_entropy` of `log_softmax`.

    input (N, C, ...) or (C,), log-probabilities; target integer classes (N, ...) or (). `weight` (C,) scales each
    class; targets equal to `ignore_index` do not count. "mean" divides by the weight that counts; with nothing to
    count the loss is 0 and so is its gradient. dinput is -weight / divisor at the targets, 0 elsewhere.

    Raises ValueError naming the first bad index and value for labels out of range, and for other wrong targets.

    >>> nll_loss(Tensor([[-0.5, -1.0], [-0.25, -2.0]]), [0, 1])
    tensor(1.25)
    """
    name = "nll_loss"
    log_p, target = as_tensor(name, input, "input"), as_tensor(name, target, "target")
    check_reduction(name, reduction)
    integer(name, "ignore_index", ignore_index)
    _check_classes(name, "input", log_p)
    single = log_p.ndim == 1
    if single:
        log_p, target = log_p.expand_dims(0), target.expand_dims(0)
    labels = _checked_labels(name, "input", target, log_p, ignore_index, single)
    counts = labels != ignore_index
    labels = np.where(counts, labels, 0)
    label_weight = _class_weight(name, "input", weight, log_p)[labels] * counts
    divisor = (float(label_weight.sum()) or 1.0) if reduction == "mean" else 1.0
    loss = _nll_loss(log_p, labels=labels, weight=label_weight, reduction=reduction, divisor=divisor)
    return loss[0] if single and reduction == "none" else loss


# ---- checks ----------------------------------------------------------------------------------------------------


def check_reduction(name: str, reduction: str, *more: str) -> None:
    """Raise ValueError for anything but "mean", "sum", "none" and what else a loss knows."""
    choice(name, "reduction", reduction, ("mean", "sum", *more, "none"))


_ROUNDING = 1e-3  # of a softmax in float16


def check_probabilities(
    name: str, target: Tensor, single: bool = False, what: str = "target", rounding: float = _ROUNDING
) -> None:
    """Raise ValueError naming the first entry outside [0, 1], save for rounding; NaN passes on."""
    p = target.data.real
    bad = (p < -rounding) | (p > 1 + rounding)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}: {what}{list(at[single:]) or ''} is {p[at]:g}, but probabilities lie in [0, 1]")


def _check_classes(name: str, what: str, x: Tensor) -> None:
    if x.ndim == 0 or x.dtype.kind not in "fc" or x.shape[x.ndim > 1] == 0:
        raise ShapeError(
            f"{name}: {what} must be floating, (N, C, ...) or (C,), with at least one class C; got {x.dtype} of shape "
            f"{x.shape}"
        )


def _class_weight(name: str, what: str, weight: Any, x: Tensor) -> np.ndarray:
    """A constant for each class."""
    if weight is None:
        return np.ones(x.shape[1], x.dtype)
    if isinstance(weight, Tensor) and weight.requires_grad:
        raise ValueError(f"{name}: weight is a constant and gets no gradient; pass weight.detach()")
    weight = as_tensor(name, weight, "weight", like=x)
    refuse_mixed_dtypes(name, **{what: x}, weight=weight)
    array = weight.data.astype(x.dtype)
    if array.shape != (x.shape[1],):
        raise ShapeError(f"{name}: weight must have shape ({x.shape[1]},), one per class, got {array.shape}")
    return array


def _checked_labels(name: str, what: str, target: Tensor, x: Tensor, ignore_index: int, single: bool) -> np.ndarray:
    expected, shape = (x.shape[0], *x.shape[2:])[single:], target.shape[single:]
    of = f"{what} of shape {x.shape[single:]}"
    if target.dtype.kind not in "iu":
        probabilities = f", or floating probabilities of the shape of {what}" if name == "cross_entropy" else ""
        raise ValueError(
            f"{name}: target for {of} must be integer classes of shape {expected}{probabilities}; got {target.dtype} "
            f"of shape {shape}"
        )
    if shape != expected:
        raise ShapeError(f"{name}: target for {of} must have shape {expected}, got {shape}")
    labels = target.data.astype(np.int64, copy=False)
    bad = (labels != ignore_index) & ((labels < 0) | (labels >= x.shape[1]))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name}: target{list(at[single:]) or ''} is {labels[at]}, but there are {x.shape[1]} classes, 0 to "
            f"{x.shape[1] - 1} (ignore_index is {ignore_index})"
        )
    return labels
