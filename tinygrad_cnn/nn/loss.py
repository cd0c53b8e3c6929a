"""Losses as modules; each calls the function of its name, and says there what it takes."""

from __future__ import annotations

import math
from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import as_tensor, flag, integer, number
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.operations.loss import check_reduction


class _Loss(Module):
    def __init__(self, *, reduction: str = "mean") -> None:
        check_reduction(type(self).__name__, reduction)
        self.reduction = reduction

    def _keep(self, **factors: Any) -> None:
        """Register weights as buffers; None stands for one that is left out."""
        for name, factor in factors.items():
            given = None if factor is None else as_tensor(type(self).__name__, factor, name)
            self.register_buffer(name, given)


class CrossEntropyLoss(_Loss):
    """`F.cross_entropy`: softmax cross-entropy of logits (N, C, ...) with classes (N, ...) or probabilities.

    >>> CrossEntropyLoss()(Tensor([[0.0, 0.0]]), [1])
    tensor(0.6931472)
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self._keep(weight=weight)
        self.ignore_index = integer("CrossEntropyLoss", "ignore_index", ignore_index)
        self.label_smoothing = number("CrossEntropyLoss", "label_smoothing", label_smoothing, least=0, most=1)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )


class NLLLoss(_Loss):
    """`F.nll_loss`: minus the log-probabilities (N, C, ...) of the classes (N, ...)."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self._keep(weight=weight)
        self.ignore_index = integer("NLLLoss", "ignore_index", ignore_index)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCELoss(_Loss):
    """`F.binary_cross_entropy`: cross-entropy of probabilities with probabilities, entry by entry."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self._keep(weight=weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`F.binary_cross_entropy_with_logits`: cross-entropy of sigmoid(input) with probabilities, entry by entry."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction=reduction)
        self._keep(weight=weight, pos_weight=pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(_Loss):
    """`F.kl_div`: Kullback-Leibler divergence of log-probabilities from probabilities; reduction also "batchmean"."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        check_reduction("KLDivLoss", reduction, "batchmean")
        self.reduction = reduction
        self.log_target = flag("KLDivLoss", "log_target", log_target)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class HuberLoss(_Loss):
    """`F.huber_loss`: a parabola that goes on as a line from |input - target| = delta."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = number("HuberLoss", "delta", delta, above=0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(_Loss):
    """`F.smooth_l1_loss`: d² / (2 beta) up to |d| = beta, and |d| - beta / 2 from there, d = input - target."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.beta = number("SmoothL1Loss", "beta", beta, least=0, below=math.inf)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class MSELoss(_Loss):
    """`F.mse_loss`: the mean of (input - target)²."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """`F.l1_loss`: the mean of |input - target|."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)
