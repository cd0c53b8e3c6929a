"""One cycle of the learning rate, up and down again, for a whole training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinygrad_cnn.checks import choice, flag, integer, number
from tinygrad_cnn.optim.optimizer import Group, Optimizer
from tinygrad_cnn.optim.schedule import LRScheduler, checked_optimizer, per_group

_NAME = "OneCycleLR"


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to max_lr / div_factor / final_div_factor, in total_steps steps.

    pct_start is the share of the way up; anneal_strategy is "cos" or "linear"; three_phase comes down to the initial
    rate first, as slowly as it went up. With cycle_momentum the momentum (Adam: β₁) moves the other way, between
    max_momentum and base_momentum. total_steps may be given as epochs times steps_per_epoch. Smith and Topin 2017.

    Raises ValueError when stepped more than total_steps times.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            epochs = integer(_NAME, "epochs", epochs, least=1)
            total_steps = epochs * integer(_NAME, "steps_per_epoch", steps_per_epoch, least=1)
        self.total_steps = integer(_NAME, "total_steps", total_steps, least=1)
        self.pct_start = number(_NAME, "pct_start", pct_start, least=0, most=1)
        self.anneal_strategy = choice(_NAME, "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.div_factor = number(_NAME, "div_factor", div_factor, above=0)
        self.final_div_factor = number(_NAME, "final_div_factor", final_div_factor, above=0)
        self.three_phase = flag(_NAME, "three_phase", three_phase)
        self.cycle_momentum = flag(_NAME, "cycle_momentum", cycle_momentum)
        self.base_momentum = number(_NAME, "base_momentum", base_momentum, least=0, below=1)
        self.max_momentum = number(_NAME, "max_momentum", max_momentum, least=0, below=1)
        groups = checked_optimizer(self, optimizer).param_groups
        peaks = per_group(self, "max_lr", max_lr, len(groups), least=0)
        if cycle_momentum and not all("momentum" in group or "betas" in group for group in groups):
            raise ValueError("OneCycleLR: the optimiser has no momentum to cycle; pass cycle_momentum=False")
        if last_epoch == -1:
            for group, peak in zip(groups, peaks, strict=True):
                group["lr"] = group["initial_lr"] = peak / div_factor
        super().__init__(optimizer, last_epoch)

    def step(self) -> None:
        if self.last_epoch + 1 > self.total_steps:
            raise ValueError(f"OneCycleLR: stepped {self.last_epoch + 1} times, total_steps is {self.total_steps}")
        super().step()
        if self.cycle_momentum:
            high, low = self.max_momentum, self.base_momentum
            for group in self.optimizer.param_groups:
                _set_momentum(group, self._cycle(self.last_epoch, high, low, high))

    def rate(self, initial: float, t: int) -> float:
        return self._cycle(t, initial, initial * self.div_factor, initial / self.final_div_factor)

    def _cycle(self, t: int, start: float, peak: float, end: float) -> float:
        """From start to peak to end (with three phases: to start, to end), each phase annealed."""
        top = self.pct_start * self.total_steps - 1
        if self.three_phase:
            phases = [(top, start, peak), (2 * top, peak, start), (self.total_steps - 1, start, end)]
        else:
            phases = [(top, start, peak), (self.total_steps - 1, peak, end)]
        begin = 0.0
        for last, a, b in phases:
            if t <= last or last == phases[-1][0]:
                return self._anneal(a, b, (t - begin) / (last - begin) if last != begin else 0.0)
            begin = last
        raise AssertionError  # the last phase returns

    def _anneal(self, a: float, b: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return a + (b - a) * share
        return b + (a - b) / 2 * (1 + math.cos(math.pi * share))


def _set_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum
