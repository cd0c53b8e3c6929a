"""Schedules: a learning rate as a function of the initial one and the number of steps taken.

If something else has changed the rate meanwhile, another scheduler or you, that stays as a factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygrad_cnn.checks import integer, number
from tinygrad_cnn.optim.optimizer import Optimizer


class LRScheduler:
    """The base of schedules; a subclass says in `rate` what the learning rate is after `t` steps."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        integer(type(self).__name__, "last_epoch", last_epoch, least=-1)
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

    def rates(self, t: int) -> list[float]:
        """The learning rate of each group after t steps."""
        return [self.rate(initial, t) for initial in self.base_lrs]

    def step(self) -> None:
        """Take one step and set the learning rate of every group."""
        self.last_epoch += 1
        earlier = self.rates(self.last_epoch - 1) if self.last_epoch > 0 else self.base_lrs
        for group, before, now in zip(self.optimizer.param_groups, earlier, self.rates(self.last_epoch), strict=True):
            ours = before == 0 or group["lr"] == before
            group["lr"] = now if ours else group["lr"] * (now / before)

    def restart(self) -> None:
        """Back to the beginning, whatever the rate is now."""
        self.last_epoch = 0
        for group, rate in zip(self.optimizer.param_groups, self.rates(0), strict=True):
            group["lr"] = rate

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
        self.step_size = integer("StepLR", "step_size", step_size, least=1)
        self.gamma = number("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        return initial * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times gamma at each of the milestones.

    >>> import tinygrad_cnn as tc
    >>> scheduler = MultiStepLR(tc.optim.SGD([tc.zeros(1, requires_grad=True)], lr=1.0), [2, 3], gamma=0.5)
    >>> [scheduler.rate(1.0, t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if not isinstance(milestones, list | tuple):
            raise TypeError(f"MultiStepLR: milestones must be a list of numbers of steps, got {milestones!r}")
        self.milestones = sorted(integer("MultiStepLR", "milestones", m) for m in milestones)
        self.gamma = number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        return initial * self.gamma ** sum(milestone <= t for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """The rate times gamma after every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        return initial * self.gamma**t


class LambdaLR(LRScheduler):
    """The initial rate times a function of the number of steps taken; one function, or one for each group.

    The functions are no part of `state_dict()`.

    >>> import tinygrad_cnn as tc
    >>> optimizer = tc.optim.SGD([tc.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = LambdaLR(optimizer, lambda t: 1 / (1 + t))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    Factor = Callable[[int], float]

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        groups = len(checked_optimizer(self, optimizer).param_groups)
        given: Any = lr_lambda
        self._factors: list[LambdaLR.Factor] = list(given) if isinstance(given, list | tuple) else [given] * groups
        if len(self._factors) != groups or not all(callable(factor) for factor in self._factors):
            raise TypeError(f"LambdaLR: lr_lambda must be a function, or one for each of {groups} groups")
        super().__init__(optimizer, last_epoch)

    def rates(self, t: int) -> list[float]:
        return [initial * factor(t) for initial, factor in zip(self.base_lrs, self._factors, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict().items() if name != "_factors"}


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
        self.start_factor = number("LinearLR", "start_factor", start_factor, above=0, most=1)
        self.end_factor = number("LinearLR", "end_factor", end_factor, least=0, most=1)
        self.total_iters = integer("LinearLR", "total_iters", total_iters, least=1)
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return initial * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to eta_min in T_max steps (and up again). Loshchilov and Hutter 2016."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = integer("CosineAnnealingLR", "T_max", T_max, least=1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, t: int) -> float:
        return self.eta_min + (initial - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


# ---- shared ----------------------------------------------------------------------------------------------------


def checked_optimizer(scheduler: Any, optimizer: Any) -> Optimizer:
    """Raise TypeError for anything but an optimiser."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: needs an optimiser, got {type(optimizer).__name__}")
    return optimizer


def per_group(
    scheduler: Any, name: str, value: float | Sequence[float], groups: int, least: float | None = None
) -> list[float]:
    """One number for all groups, or one for each."""
    kind = type(scheduler).__name__
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{kind}: {name} must be one number, or one for each of {groups} groups, got {value!r}")
    return [number(kind, name, v, least=least) for v in values]
