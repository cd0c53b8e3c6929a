"""A learning rate that falls when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_cnn.checks import choice, integer, number
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.optim.schedule import LRScheduler, checked_optimizer, per_group


class ReduceLROnPlateau:
    """The rate times factor once a metric has not improved for more than patience steps; call `step(metric)`.

    Better means below best * (1 - threshold) ("rel") or best - threshold ("abs"); with mode "max" above. After a
    reduction `cooldown` steps pass before bad ones count; no rate falls below min_lr, or changes by less than eps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.optimizer = checked_optimizer(self, optimizer)
        self.mode = choice(name, "mode", mode, ("min", "max"))
        self.factor = number(name, "factor", factor, least=0, below=1)
        self.patience = integer(name, "patience", patience, least=0)
        self.threshold = number(name, "threshold", threshold)
        self.threshold_mode = choice(name, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = integer(name, "cooldown", cooldown, least=0)
        self.min_lrs = per_group(self, "min_lr", min_lr, len(optimizer.param_groups), least=0)
        self.eps = number(name, "eps", eps, least=0)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: Any) -> None:
        """Note the metric, and reduce the rate if it has stopped improving."""
        metric = float(metrics)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                reduced = max(group["lr"] * self.factor, least)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, metric: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * metric < sign * self.best - self.threshold
        return sign * metric < sign * self.best * (1 - sign * self.threshold)

    get_last_lr = LRScheduler.get_last_lr
    state_dict = LRScheduler.state_dict
    load_state_dict = LRScheduler.load_state_dict
