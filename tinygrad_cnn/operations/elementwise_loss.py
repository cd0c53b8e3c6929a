"""Losses that compare an input with a target entry by entry, and then take the mean, the sum, or neither."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import special
from tinygrad_cnn.operations.elementwise import exp, hardtanh, log, sigmoid, softplus, square
from tinygrad_cnn.operations.geometry import as_tensor
from tinygrad_cnn.operations.linalg import refuse_mixed_dtypes
from tinygrad_cnn.operations.loss import check_probabilities, check_reduction

# ---- distances -------------------------------------------------------------------------------------------------


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Mean of (input - target)²; both of one shape. dinput = 2 (input - target) / n.

    >>> mse_loss(Tensor([1.0, 3.0]), Tensor([1.0, 1.0]))
    tensor(2.)
    """
    a, b = _pair("mse_loss", input, target)
    check_reduction("mse_loss", reduction)
    return _reduced(square(a - b), reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Mean of |input - target|; both of one shape; the derivative at 0 is 0.

    >>> l1_loss(Tensor([1.0, 3.0]), Tensor([1.0, 1.0]))
    tensor(1.)
    """
    a, b = _pair("l1_loss", input, target)
    check_reduction("l1_loss", reduction)
    return _reduced((a - b).abs(), reduction)


def _huber_forward(input: np.ndarray, target: np.ndarray, delta: float) -> np.ndarray:
    d = input - target
    size = np.where(d.real < 0, -d, d)  # |d|, also of a complex step
    return np.where(size <= delta, 0.5 * d * d, delta * (size - 0.5 * delta))


_huber_loss = op(
    "huber_loss",
    lambda input, target, *, delta: _huber_forward(input, target, delta),
    (
        lambda g, input, target, delta: g * hardtanh(input - target, -delta, delta),
        lambda g, input, target, delta: -g * hardtanh(input - target, -delta, delta),
    ),
    doc="With d = |input - target|: d² / 2 up to delta, and from there the tangent delta * (d - delta / 2).",
)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Mean of the Huber loss, a parabola that goes on as a line from |input - target| = delta; both of one shape.

    dinput is input - target, limited to [-delta, delta], over n. Huber 1964.

    Raises ShapeError if the shapes differ, ValueError unless delta > 0.

    >>> huber_loss(Tensor([1.0, 4.0]), Tensor([1.0, 1.0]))
    tensor(1.25)
    """
    a, b = _pair("huber_loss", input, target)
    check_reduction("huber_loss", reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta!r}")
    return _reduced(_huber_loss(a, b, delta=delta), reduction)


# ---- distances of probabilities --------------------------------------------------------------------------------


def _binary_forward(input: np.ndarray, target: np.ndarray, pos_weight: Any = None) -> np.ndarray:
    one = target * special.softplus(-input)
    one = one if pos_weight is None else one * pos_weight
    # What has probability 0 counts nothing, not even 0 * inf.
    return np.where(target == 0, 0, one) + np.where(target == 1, 0, (1 - target) * special.softplus(input))


def _binary_input_rule(g: Tensor, input: Tensor, target: Tensor, pos_weight: Any) -> Tensor:
    one = target * sigmoid(-input)
    return g * ((1 - target) * sigmoid(input) - (one if pos_weight is None else one * pos_weight))


def _binary_target_rule(g: Tensor, input: Tensor, pos_weight: Any) -> Tensor:
    return -g * input if pos_weight is None else g * (pos_weight * _softplus(-input) - _softplus(input))


def _softplus(x: Tensor) -> Tensor:
    return softplus(x, threshold=math.inf)


_binary_cross_entropy = op(
    "binary_cross_entropy_with_logits",
    _binary_forward,
    {
        "input": _binary_input_rule,
        "target": _binary_target_rule,
        "pos_weight": lambda g, input, target: g * (target * _softplus(-input)),
    },
    doc="-pos_weight * target * log(sigmoid(input)) - (1 - target) * log(1 - sigmoid(input)).",
)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Cross-entropy of the probabilities sigmoid(input) with target probabilities, of the same shape, entry by entry.

    `pos_weight` scales the part of target 1, `weight` the whole; both broadcast to the input's shape. Computed
    without overflow; dinput = (sigmoid(input) - target) / n.

    Raises ShapeError where shapes do not fit, ValueError naming the first target outside [0, 1].

    >>> binary_cross_entropy_with_logits(Tensor([0.0, 100.0]), Tensor([1.0, 1.0]), reduction="sum")
    tensor(0.6931472)
    """
    name = "binary_cross_entropy_with_logits"
    a, b = _pair(name, input, target)
    check_reduction(name, reduction)
    check_probabilities(name, b)
    pos_weight, weight = _factor(name, "pos_weight", pos_weight, a), _factor(name, "weight", weight, a)
    losses = _binary_cross_entropy(a, b, pos_weight)
    return _reduced(losses if weight is None else losses * weight, reduction)


def _kl_forward(input: np.ndarray, target: np.ndarray, log_target: bool) -> np.ndarray:
    if log_target:
        p = np.exp(target)
        return np.where(p == 0, 0, p * (target - input))
    return np.where(target == 0, 0, target * (np.log(target) - input))


def _kl_target_rule(g: Tensor, input: Tensor, target: Tensor, log_target: bool) -> Tensor:
    return g * (exp(target) * (target - input + 1) if log_target else log(target) - input + 1)


_kl_div = op(
    "kl_div",
    lambda input, target, *, log_target: _kl_forward(input, target, log_target),
    (
        lambda g, target, log_target: -g * (exp(target) if log_target else target),
        _kl_target_rule,
    ),
    doc="target * (log(target) - input), 0 where the target is 0; its derivative in a target of 0 is -inf.",
)


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Kullback-Leibler divergence of log-probabilities `input` from probabilities `target`, entry by entry.

    Both have one shape; with `log_target` the target holds log-probabilities too. The divergence of distributions is
    the sum over classes: "batchmean" sums all and divides by the length of the first axis, "mean" by all entries.
    dinput = -target / n. Kullback and Leibler 1951.

    Raises ShapeError if the shapes differ, ValueError naming the first target outside [0, 1].

    >>> kl_div(Tensor([[-1.0, -1.0]]), Tensor([[0.0, 1.0]]), reduction="batchmean")
    tensor(1.)
    """
    a, b = _pair("kl_div", input, target)
    check_reduction("kl_div", reduction, "batchmean")
    if not log_target:
        check_probabilities("kl_div", b)
    losses = _kl_div(a, b, log_target=bool(log_target))
    if reduction != "batchmean":
        return _reduced(losses, reduction)
    if a.ndim == 0:
        raise ShapeError("kl_div: reduction 'batchmean' divides by the length of the first axis, and input has none")
    return losses.sum() / max(a.shape[0], 1)


# ---- shared ----------------------------------------------------------------------------------------------------


def _pair(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a, b = as_tensor(a), as_tensor(b)
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: input has shape {a.shape}, target {b.shape}; they must be equal, for broadcasting one against "
            "the other would compare things that do not belong together"
        )
    refuse_mixed_dtypes(name, input=a, target=b)
    return a, b


def _factor(name: str, what: str, factor: Any, x: Tensor) -> Tensor | None:
    if factor is None:
        return None
    if not isinstance(factor, Tensor | np.ndarray):  # Python's numbers are weak
        factor = Tensor(factor, dtype=x.dtype if x.dtype.kind in "fc" else None)
    factor = as_tensor(factor)
    if factor.ndim > x.ndim or any(n not in (1, m) for n, m in zip(factor.shape[::-1], x.shape[::-1], strict=False)):
        raise ShapeError(f"{name}: {what} of shape {factor.shape} does not broadcast to the input's {x.shape}")
    refuse_mixed_dtypes(name, input=x, **{what: factor})
    return factor


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
