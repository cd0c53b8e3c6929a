"""Losses that compare an input with a target entry by entry, and then take the mean, the sum, or neither."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, flag, number, refuse_mixed_dtypes
from tinygrad_cnn.core.op import op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import special
from tinygrad_cnn.operations.elementwise import exp, hardtanh, log, maximum, sigmoid, sign, softplus
from tinygrad_cnn.operations.loss import check_probabilities, check_reduction

# ---- distances -------------------------------------------------------------------------------------------------


def _size(d: np.ndarray) -> np.ndarray:
    return np.where(d.real < 0, -d, d)  # |d|, also of a complex step


_mse_loss = op(
    "mse_loss",
    lambda input, target: np.square(input - target),
    (lambda g, input, target: g * (2 * (input - target)), lambda g, input, target: g * (2 * (target - input))),
    doc="(input - target)², entry by entry.",
)
_l1_loss = op(
    "l1_loss",
    lambda input, target: _size(input - target),
    (lambda g, input, target: g * sign(input - target), lambda g, input, target: -g * sign(input - target)),
    doc="|input - target|, entry by entry; its derivative at 0 is 0.",
)


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Mean of (input - target)²; both of one shape. dinput = 2 (input - target) / n.

    >>> mse_loss(Tensor([1.0, 3.0]), Tensor([1.0, 1.0]))
    tensor(2.)
    """
    a, b = _pair("mse_loss", input, target)
    check_reduction("mse_loss", reduction)
    return _reduced(_mse_loss(a, b), reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Mean of |input - target|; both of one shape; the derivative at 0 is 0.

    >>> l1_loss(Tensor([1.0, 3.0]), Tensor([1.0, 1.0]))
    tensor(1.)
    """
    a, b = _pair("l1_loss", input, target)
    check_reduction("l1_loss", reduction)
    return _reduced(_l1_loss(a, b), reduction)


def _huber_forward(input: np.ndarray, target: np.ndarray, delta: float) -> np.ndarray:
    d = input - target
    size = _size(d)
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
    number("huber_loss", "delta", delta, above=0)
    return _reduced(_huber_loss(a, b, delta=delta), reduction)


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Mean of the smooth L1 loss: d² / (2 beta) up to |d| = beta, and |d| - beta / 2 from there, d = input - target.

    It is `huber_loss` with delta = beta, over beta; with beta = 0 it is `l1_loss`. Girshick 2015.

    Raises ShapeError if the shapes differ, ValueError for a negative beta.

    >>> smooth_l1_loss(Tensor([1.0, 4.0]), Tensor([1.0, 1.0]))
    tensor(1.25)
    """
    a, b = _pair("smooth_l1_loss", input, target)
    check_reduction("smooth_l1_loss", reduction)
    beta = number("smooth_l1_loss", "beta", beta, least=0, below=math.inf)
    return _reduced(_huber_loss(a, b, delta=beta) / beta if beta else _l1_loss(a, b), reduction)


# ---- distances of probabilities --------------------------------------------------------------------------------

_LEAST_LOG = -100.0  # so that a certain mistake costs something finite, as in PyTorch
_LEAST_VARIANCE = float(np.float32(1e-12))  # of PyTorch, which holds it in single precision


def _probability_forward(input: np.ndarray, target: np.ndarray) -> np.ndarray:
    one, zero = (np.where(p.real <= 0, _LEAST_LOG, np.log(p)) for p in (input, 1 - input))
    return -(target * _no_less(one) + (1 - target) * _no_less(zero))


def _no_less(log_p: np.ndarray) -> np.ndarray:
    return np.where(log_p.real < _LEAST_LOG, _LEAST_LOG, log_p)


_binary_cross_entropy = op(
    "binary_cross_entropy",
    _probability_forward,
    (
        lambda g, input, target: g * ((input - target) / maximum(input * (1 - input), _LEAST_VARIANCE)),
        lambda g, input: g * (log(1 - input) - log(input)),
    ),
    doc="-target * log(input) - (1 - target) * log(1 - input); a logarithm counts as -100 at least.",
)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy of probabilities `input` with target probabilities, of the same shape, entry by entry.

    `weight` scales the entries and broadcasts to the input's shape. Logarithms below -100 count as -100. Before a
    sigmoid, `binary_cross_entropy_with_logits` is exact. dinput = (input - target) / (input (1 - input)) / n.

    Raises ShapeError where shapes do not fit, ValueError naming the first probability outside [0, 1].

    >>> binary_cross_entropy(Tensor([0.5, 1.0]), Tensor([1.0, 0.0]), reduction="sum")
    tensor(100.693146)
    """
    name = "binary_cross_entropy"
    a, b = _pair(name, input, target)
    check_reduction(name, reduction)
    check_probabilities(name, a, what="input", rounding=0.0)
    check_probabilities(name, b)
    weight = _factor(name, "weight", weight, a)
    losses = _binary_cross_entropy(a, b)
    return _reduced(losses if weight is None else losses * weight, reduction)


def _logits_forward(input: np.ndarray, target: np.ndarray, pos_weight: Any = None) -> np.ndarray:
    one = target * special.softplus(-input)
    one = one if pos_weight is None else one * pos_weight
    # What has probability 0 counts nothing, not even 0 * inf.
    return np.where(target == 0, 0, one) + np.where(target == 1, 0, (1 - target) * special.softplus(input))


def _logits_input_rule(g: Tensor, input: Tensor, target: Tensor, pos_weight: Any) -> Tensor:
    """g ((1 - target) sigmoid(input) - pos_weight target sigmoid(-input))."""
    one = target * sigmoid(-input)
    return g * ((1 - target) * sigmoid(input) - (one if pos_weight is None else one * pos_weight))


def _logits_target_rule(g: Tensor, input: Tensor, pos_weight: Any) -> Tensor:
    return -g * input if pos_weight is None else g * (pos_weight * _softplus(-input) - _softplus(input))


def _softplus(x: Tensor) -> Tensor:
    return softplus(x, threshold=math.inf)


_binary_cross_entropy_with_logits = op(
    "binary_cross_entropy_with_logits",
    _logits_forward,
    {
        "input": _logits_input_rule,
        "target": _logits_target_rule,
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
    losses = _binary_cross_entropy_with_logits(a, b, pos_weight)
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
    if not flag("kl_div", "log_target", log_target):
        check_probabilities("kl_div", b)
    losses = _kl_div(a, b, log_target=bool(log_target))
    if reduction != "batchmean":
        return _reduced(losses, reduction)
    if a.ndim == 0:
        raise ShapeError("kl_div: reduction 'batchmean' divides by the length of the first axis, and input has none")
    return losses.sum() / max(a.shape[0], 1)


# ---- shared ----------------------------------------------------------------------------------------------------


def _pair(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a, b = as_tensor(name, a, "input"), as_tensor(name, b, "target")
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: input has shape {a.shape}, target {b.shape}; they must be equal, for broadcasting one against "
            "the other would compare things that do not belong together"
        )
    if a.dtype.kind not in "fc":
        raise TypeError(f"{name}: input must be floating, got {a.dtype}; use input.astype('float32')")
    refuse_mixed_dtypes(name, input=a, target=b)
    return a, b


def _factor(name: str, what: str, factor: Any, x: Tensor) -> Tensor | None:
    if factor is None:
        return None
    factor = as_tensor(name, factor, what, like=x)
    if factor.ndim > x.ndim or any(n not in (1, m) for n, m in zip(factor.shape[::-1], x.shape[::-1], strict=False)):
        raise ShapeError(f"{name}: {what} of shape {factor.shape} does not broadcast to the input's {x.shape}")
    refuse_mixed_dtypes(name, input=x, **{what: factor})
    return factor


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
