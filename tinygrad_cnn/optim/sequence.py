"""Schedules in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.optim.schedule import LRScheduler, checked_optimizer


class SequentialLR(LRScheduler):
    """Schedulers of one optimiser, one after the other: the next starts, at its beginning, at each milestone."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
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
