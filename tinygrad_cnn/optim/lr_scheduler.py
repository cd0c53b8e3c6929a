"""Learning rates that change while training; call `step()` once per epoch (OneCycleLR: once per batch).

A schedule is a function of the initial rate and the number of steps taken. If something else has changed the rate
meanwhile, another scheduler or you, that stays as a factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_cnn.optim.optimizer import Group, Optimizer


class LRScheduler:
    """The base of schedules; a subclass says in `rate` what the learning rate is after `t` steps."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = _checked(self, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: last_epoch is given, but group {i} has no 'initial_lr'")
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def rate(self, initial: float, t: int) -> float:
        """The learning rate after t steps, from the initial one."""
        raise NotImplementedError

    def step(self) -> None:
        """Take one step and set the learning rate of every group."""
        self.last_epoch += 1
        for group, initial in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            before = self.rate(initial, self.last_epoch - 1) if self.last_epoch > 0 else initial
            now = self.rate(initial, self.last_epoch)
            ours = before == 0 or group["lr"] == before
            group["lr"] = now if ours else group["lr"] * (now / before)

    def restart(self) -> None:
        """Back to the beginning, whatever the rate is now."""
        self.last_epoch = 0
        for group, initial in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(initial, 0)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, which has a state_dict of its own."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken; load the optimiser's too."""
        vars(self).update(state_dict)


class StepLR(LRScheduler):
    """The rate times gamma after every step_size steps.

    >>> import tinygrad_cnn as tc
    >>> optimizer = tc.optim.SGD([tc.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(5):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        _require(self, step_size > 0, "step_size must be positive", step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        return initial * self.gamma ** (t // self.step_size)


class LinearLR(LRScheduler):
    """A factor that goes from start_factor to end_factor in total_iters steps, and stays there: a warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        _require(self, 0 < start_factor <= 1, "start_factor must lie in (0, 1]", start_factor)
        _require(self, 0 <= end_factor <= 1, "end_factor must lie in [0, 1]", end_factor)
        _require(self, total_iters > 0, "total_iters must be positive", total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return initial * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to eta_min in T_max steps (and up again). Loshchilov and Hutter 2016."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        _require(self, T_max > 0, "T_max must be positive", T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        return self.eta_min + (initial - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


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
            total_steps = epochs * steps_per_epoch
        _require(self, total_steps > 0, "total_steps must be positive", total_steps)
        _require(self, 0 <= pct_start <= 1, "pct_start must lie in [0, 1]", pct_start)
        _require(
            self, anneal_strategy in ("cos", "linear"), "anneal_strategy must be 'cos' or 'linear'", anneal_strategy
        )
        self.total_steps, self.pct_start, self.anneal_strategy = total_steps, pct_start, anneal_strategy
        self.div_factor, self.final_div_factor, self.three_phase = div_factor, final_div_factor, three_phase
        self.cycle_momentum, self.base_momentum, self.max_momentum = cycle_momentum, base_momentum, max_momentum
        groups = _checked(self, optimizer).param_groups
        peaks = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        _require(
            self,
            len(peaks) == len(groups),
            f"max_lr must be one number, or one for each of {len(groups)} groups",
            max_lr,
        )
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


class SequentialLR(LRScheduler):
    """Schedulers of one optimiser, one after the other: the next starts, at its beginning, at each milestone."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self.optimizer = _checked(self, optimizer)
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if not self.schedulers or any(s.optimizer is not optimizer for s in self.schedulers):
            raise ValueError("SequentialLR: needs schedulers of this optimiser")
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(set(self.milestones)):
            raise ValueError(
                f"SequentialLR: {len(self.schedulers)} schedulers need {len(self.schedulers) - 1} rising milestones, "
                f"got {self.milestones}"
            )
        self.last_epoch = 0
        self.schedulers[0].restart()

    def step(self) -> None:
        """Take one step of the scheduler whose turn it is."""
        self.last_epoch += 1
        turn = sum(milestone <= self.last_epoch for milestone in self.milestones)
        if self.last_epoch in self.milestones:
            self.schedulers[turn].restart()
        else:
            self.schedulers[turn].step()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        super().load_state_dict({**state_dict, "schedulers": self.schedulers})


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
        self.optimizer = _checked(self, optimizer)
        _require(self, 0 <= factor < 1, "factor must lie in [0, 1)", factor)
        _require(self, mode in ("min", "max"), "mode must be 'min' or 'max'", mode)
        _require(self, threshold_mode in ("rel", "abs"), "threshold_mode must be 'rel' or 'abs'", threshold_mode)
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        _require(
            self, len(self.min_lrs) == groups, f"min_lr must be one number, or one for each of {groups} groups", min_lr
        )
        self.mode, self.factor, self.patience, self.cooldown = mode, factor, patience, cooldown
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
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


# ---- helpers ---------------------------------------------------------------------------------------------------


def _checked(scheduler: Any, optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: needs an optimiser, got {type(optimizer).__name__}")
    return optimizer


def _require(scheduler: Any, condition: bool, sentence: str, value: Any) -> None:
    if not condition:
        raise ValueError(f"{type(scheduler).__name__}: {sentence}, got {value!r}")


def _per_group(scheduler: Any, name: str, value: float | Sequence[float], groups: int) -> list[float]:
    values = list(value) if isinstance(value, Sequence) else [value] * groups
    _require(scheduler, len(values) == groups, f"{name} must be one number, or one for each of {groups} groups", value)
    return values


def _set_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum
