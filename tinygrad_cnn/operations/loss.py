"""Softmax and the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.elementwise import exp, square, where
from tinygrad_cnn.operations.linalg import refuse_mixed_dtypes

# ---- softmax ---------------------------------------------------------------------------------------------------


def _shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """x less the largest of each row, so that exp can not overflow; a row whose largest is infinite becomes NaN."""
    return x - x.max(axis=axis, keepdims=True) if x.shape[axis] else x


def _softmax_forward(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(_shifted(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


def _log_softmax_forward(x: np.ndarray, axis: int) -> np.ndarray:
    x = _shifted(x, axis)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


_softmax = op(
    "softmax",
    lambda x, *, axis: _softmax_forward(x, axis),
    lambda g, y, axis: y * (g - (g * y).sum(axis, keepdims=True)),
    fast=lambda g, y, axis: y * (g - (g * y).sum(axis, keepdims=True)),
    doc="exp(x) over its sum along an axis.",
)
_log_softmax = op(
    "log_softmax",
    lambda x, *, axis: _log_softmax_forward(x, axis),
    lambda g, y, axis: g - exp(y) * g.sum(axis, keepdims=True),
    fast=lambda g, y, axis: g - np.exp(y) * g.sum(axis, keepdims=True),
    doc="x less the log of the sum of exponentials along an axis.",
)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis, without overflow; dx = y (g - sum(g y)).

    >>> softmax(Tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    return x.softmax(axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) along an axis, without overflow; dx = g - softmax(x) sum(g)."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    return x.log_softmax(axis)


# ---- cross-entropy ---------------------------------------------------------------------------------------------


def _cross_entropy_forward(
    logits: np.ndarray, target: np.ndarray, reduction: str, divisor: float
) -> tuple[np.ndarray, np.ndarray]:
    log_p = _log_softmax_forward(logits, 1)
    # A class without weight counts nothing, not even 0 * -inf.
    losses = -np.where(target == 0, 0, target * log_p).sum(axis=1)
    return (losses if reduction == "none" else losses.sum() / divisor), np.exp(log_p)


def _upstream(g: Any, reduction: str, divisor: float) -> Any:
    return g.reshape((g.shape[0], 1, *g.shape[1:])) if reduction == "none" else g / divisor


def _logits_rule(g: Tensor, p: Tensor, target: Tensor, reduction: str, divisor: float) -> Tensor:
    total = target.sum(1, keepdims=True)  # 1 for a plain label: dz = (p - onehot) / N
    return _upstream(g, reduction, divisor) * (where(total == 0, 0.0, p * total) - target)


def _logits_rule_on_arrays(g: Any, p: Any, target: Any, reduction: str, divisor: float) -> Any:
    total = target.sum(axis=1, keepdims=True)
    return _upstream(g, reduction, divisor) * (np.where(total == 0, g.dtype.type(0), p * total) - target)


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
    logits = logits if isinstance(logits, Tensor) else Tensor(logits)
    _check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in [0, 1], got {label_smoothing}")
    if logits.ndim == 0 or logits.dtype.kind != "f":
        raise ShapeError(
            f"cross_entropy: logits must be floating, (N, C, ...) or (C,); got {logits.dtype} of shape {logits.shape}"
        )
    target = target if isinstance(target, Tensor) else Tensor(target)
    single = logits.ndim == 1
    if single:
        logits, target = logits.expand_dims(0), target.expand_dims(0)
    classes = logits.shape[1]
    class_weight = _class_weight(weight, classes, logits)
    if target.dtype.kind == "f" and target.shape == logits.shape:
        refuse_mixed_dtypes("cross_entropy", logits=logits, target=target)
        share: Any = target
        divisor = logits.size / classes if classes else 0
    else:
        labels = _checked_labels(target, logits, ignore_index, single)
        counts = labels != ignore_index
        picked = np.where(counts, labels, 0)
        share = np.zeros(logits.shape, logits.dtype)
        if classes:
            np.put_along_axis(share, np.expand_dims(picked, 1), np.expand_dims(counts, 1).astype(share.dtype), 1)
        per_label = counts if weight is None else class_weight.reshape(-1)[picked] * counts
        divisor = float(per_label.sum())
    if label_smoothing:
        counted = 1.0 if share is target else np.expand_dims(counts, 1).astype(logits.dtype)
        share = share * (1 - label_smoothing) + counted * (label_smoothing / classes)
    if weight is not None:
        share = share * class_weight
    loss = _cross_entropy(logits, share, reduction=reduction, divisor=(divisor or 1.0) if reduction == "mean" else 1.0)
    return loss[0] if single and reduction == "none" else loss


def _class_weight(weight: Any, classes: int, logits: Tensor) -> np.ndarray:
    if weight is None:
        return np.ones(1)
    array = np.asarray(weight, dtype=logits.dtype)
    if array.shape != (classes,):
        raise ShapeError(f"cross_entropy: weight must have shape ({classes},), one per class, got {array.shape}")
    return array.reshape(1, classes, *(1,) * (logits.ndim - 2))


def _checked_labels(target: Tensor, logits: Tensor, ignore_index: int, single: bool) -> np.ndarray:
    expected = (logits.shape[0], *logits.shape[2:])
    of = f"logits of shape {logits.shape[1:] if single else logits.shape}"
    if target.dtype.kind not in "iu":
        raise ValueError(
            f"cross_entropy: target for {of} must be integer classes of shape {expected[1:] if single else expected}, "
            f"or floating probabilities of the logits' shape; got {target.dtype} of shape "
            f"{target.shape[1:] if single else target.shape}"
        )
    if target.shape != expected:
        raise ShapeError(
            f"cross_entropy: target for {of} must have shape {expected[1:] if single else expected}, got "
            f"{target.shape[1:] if single else target.shape}"
        )
    labels = target.data.astype(np.int64, copy=False)
    bad = (labels != ignore_index) & ((labels < 0) | (labels >= logits.shape[1]))
    if bad.any():
        where_bad = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"cross_entropy: target{list(where_bad[1:] if single else where_bad)} is {labels[where_bad]}, but there "
            f"are {logits.shape[1]} classes, 0 to {logits.shape[1] - 1} (ignore_index is {ignore_index})"
        )
    return labels


# ---- losses that compare two Tensors ---------------------------------------------------------------------------


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Mean of (input - target)²; both of one shape. dinput = 2 (input - target) / n.

    >>> mse_loss(Tensor([1.0, 3.0]), Tensor([1.0, 1.0]))
    tensor(2.)
    """
    a, b = _pair("mse_loss", input, target)
    return _reduced("mse_loss", square(a - b), reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Mean of |input - target|; both of one shape; the derivative at 0 is 0."""
    a, b = _pair("l1_loss", input, target)
    return _reduced("l1_loss", (a - b).abs(), reduction)


def _pair(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a, b = (t if isinstance(t, Tensor) else Tensor(t) for t in (a, b))
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: input has shape {a.shape}, target {b.shape}; they must be equal, for broadcasting one against "
            "the other would compare things that do not belong together"
        )
    refuse_mixed_dtypes(name, input=a, target=b)
    return a, b


def _reduced(name: str, losses: Tensor, reduction: str) -> Tensor:
    _check_reduction(name, reduction)
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def _check_reduction(name: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
