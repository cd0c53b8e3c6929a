"""Schedules: their values by formula, in sequence and together, and after a restart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import nn, optim
from tinygrad_cnn.optim import lr_scheduler
from tinygrad_cnn.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)


def sgd(lr: float = 1.0, **options: Any) -> optim.SGD:
    return optim.SGD([nn.Parameter([0.0])], lr, **options)


def rates(scheduler: Any, steps: int) -> list[float]:
    values = scheduler.get_last_lr()
    for _ in range(steps):
        scheduler.step()
        values += scheduler.get_last_lr()
    return values


def test_step() -> None:
    assert rates(StepLR(sgd(), 2, gamma=0.5), 5) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_milestones() -> None:
    assert rates(MultiStepLR(sgd(), [4, 1], gamma=0.5), 5) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_exponential() -> None:
    assert rates(ExponentialLR(sgd(8.0), 0.5), 3) == [8, 4, 2, 1]


def test_functions_of_the_step() -> None:
    optimizer = optim.SGD([{"params": [nn.Parameter([0.0])]}, {"params": [nn.Parameter([0.0])], "lr": 10.0}], 1.0)
    scheduler = LambdaLR(optimizer, [lambda t: 1 / (1 + t), lambda t: 0.5**t])
    scheduler.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([1 / 3, 2.5])
    state = scheduler.state_dict()
    assert state["last_epoch"] == 2
    assert not any(
        callable(value) or (isinstance(value, list) and any(map(callable, value))) for value in state.values()
    )


def test_linear() -> None:
    assert rates(LinearLR(sgd(4.0), 0.25, 1.0, total_iters=3), 5) == pytest.approx([1, 2, 3, 4, 4, 4])


def test_cosine() -> None:
    assert rates(CosineAnnealingLR(sgd(), T_max=2, eta_min=0.2), 4) == pytest.approx([1, 0.6, 0.2, 0.6, 1])
    assert rates(CosineAnnealingLR(sgd(), T_max=3), 3)[-1] == pytest.approx(0)


def test_one_cycle() -> None:
    optimizer = sgd(99, momentum=0.5)
    scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.4, div_factor=10, final_div_factor=5)
    values, momenta = [], []
    for _ in range(10):
        values += scheduler.get_last_lr()
        momenta.append(optimizer.param_groups[0]["momentum"])
        scheduler.step()
    # Half a cosine up in 3 steps, half a cosine down in 6.
    assert values[:4] == pytest.approx([0.1, 0.325, 0.775, 1.0])
    assert values[3::3] == pytest.approx([1.0, 0.51, 0.02])
    assert momenta[::3] == pytest.approx([0.95, 0.85, 0.9, 0.95])
    with pytest.raises(ValueError, match="stepped 11 times, total_steps is 10"):
        scheduler.step()
    three = OneCycleLR(sgd(), 1.0, 10, pct_start=0.4, anneal_strategy="linear", cycle_momentum=False, div_factor=4,
                       final_div_factor=5, three_phase=True)  # fmt: skip
    assert rates(three, 9) == pytest.approx([0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0.55 / 3, 0.35 / 3, 0.05])
    adam = optim.Adam([nn.Parameter([0.0])])
    OneCycleLR(adam, 0.1, epochs=2, steps_per_epoch=5, anneal_strategy="linear")
    assert adam.param_groups[0]["betas"] == (0.95, 0.999)
    linear = OneCycleLR(sgd(), 1.0, 11, pct_start=0.4, anneal_strategy="linear", cycle_momentum=False, div_factor=2)
    assert rates(linear, 1)[1] == pytest.approx(0.5 + 0.5 / 3.4)


def test_sequential() -> None:
    optimizer = sgd()
    warm_up, then = LinearLR(optimizer, 0.5, total_iters=2), StepLR(optimizer, 1, gamma=0.5)
    scheduler = SequentialLR(optimizer, [warm_up, then], milestones=[3])
    assert rates(scheduler, 5) == pytest.approx([0.5, 0.75, 1, 1, 0.5, 0.25])


def test_schedulers_multiply() -> None:
    optimizer = sgd()
    a, b = LinearLR(optimizer, 0.5, total_iters=2), StepLR(optimizer, 2, gamma=0.1)
    seen = []
    for _ in range(4):
        a.step()
        b.step()
        seen += a.get_last_lr()
    assert seen == pytest.approx([0.75, 0.1, 0.1, 0.01])


def test_a_rate_set_by_hand_stays_as_a_factor() -> None:
    optimizer = sgd()
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    optimizer.param_groups[0]["lr"] *= 3
    assert rates(scheduler, 2) == pytest.approx([3, 1.5, 0.75])


def test_plateau() -> None:
    optimizer = sgd()
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, min_lr=0.2)
    seen = []
    for metric in (1.0, 0.9, 0.95, math.nan, 0.9, 0.9, 0.9, tc.tensor(0.9)):
        scheduler.step(metric)
        seen += scheduler.get_last_lr()
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2]
    tiny = ReduceLROnPlateau(sgd(1e-3), patience=0, factor=0.5, eps=1e-3)
    for _ in range(3):
        tiny.step(1.0)
    assert tiny.get_last_lr() == [1e-3]
    better = ReduceLROnPlateau(sgd(), mode="max", patience=0, threshold=0.1, threshold_mode="abs", cooldown=1)
    seen = []
    for metric in (0.5, 0.55, 0.7, 0.7, 0.7, 0.7):
        better.step(metric)
        seen += better.get_last_lr()
    assert seen == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])


SCHEDULES: list[Callable[[optim.Optimizer], Any]] = [
    lambda o: StepLR(o, 3),
    lambda o: LinearLR(o),
    lambda o: CosineAnnealingLR(o, 7),
    lambda o: OneCycleLR(o, 0.3, 20),
    lambda o: SequentialLR(o, [LinearLR(o), CosineAnnealingLR(o, 20)], [5]),
]


@pytest.mark.parametrize("make", SCHEDULES)
def test_a_schedule_resumes(make: Callable[[optim.Optimizer], Any], tmp_path: Any) -> None:
    optimizer = sgd(0.1, momentum=0.9)
    scheduler = make(optimizer)
    rates(scheduler, 6)
    tc.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, tmp_path / "run.npz")
    saved = tc.load(tmp_path / "run.npz")
    other = sgd(0.1, momentum=0.9)
    resumed = make(other)
    resumed.load_state_dict(saved["scheduler"])
    other.load_state_dict(saved["optimizer"])
    assert rates(resumed, 10) == rates(scheduler, 10)
    assert other.param_groups[0]["momentum"] == optimizer.param_groups[0]["momentum"]


def test_a_plateau_resumes() -> None:
    scheduler = ReduceLROnPlateau(sgd(), patience=3)
    for metric in (1.0, 2.0, 2.0):
        scheduler.step(metric)
    other = ReduceLROnPlateau(sgd())
    other.load_state_dict(scheduler.state_dict())
    for both in (scheduler, other):
        both.step(2.0)
        both.step(2.0)
    assert other.get_last_lr() == scheduler.get_last_lr() == [0.1]


def test_last_epoch_goes_on_from_there() -> None:
    optimizer = sgd(0.25)
    optimizer.param_groups[0]["initial_lr"] = 1.0
    assert rates(StepLR(optimizer, 2, gamma=0.5, last_epoch=4), 2) == pytest.approx([0.25, 0.125, 0.125])
    with pytest.raises(KeyError, match="group 0 has no 'initial_lr'"):
        StepLR(sgd(), 2, last_epoch=4)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda o: StepLR(o, 0), ValueError),
        (lambda o: LinearLR(o, start_factor=0), ValueError),
        (lambda o: LinearLR(o, end_factor=2), ValueError),
        (lambda o: LinearLR(o, total_iters=0), ValueError),
        (lambda o: CosineAnnealingLR(o, 0), ValueError),
        (lambda o: OneCycleLR(o, 1.0), ValueError),
        (lambda o: OneCycleLR(o, 1.0, 10, pct_start=2), ValueError),
        (lambda o: OneCycleLR(o, [1.0, 2.0], 10), ValueError),
        (lambda o: OneCycleLR(o, 1.0, 10, anneal_strategy="steps"), ValueError),
        (lambda o: OneCycleLR(optim.Adagrad([nn.Parameter([0.0])]), 1.0, 10), ValueError),
        (lambda o: SequentialLR(o, [], []), ValueError),
        (lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(o, 2)], [3, 4]), ValueError),
        (lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(sgd(), 2)], [3]), ValueError),
        (lambda o: ReduceLROnPlateau(o, factor=1), ValueError),
        (lambda o: ReduceLROnPlateau(o, mode="best"), ValueError),
        (lambda o: ReduceLROnPlateau(o, threshold_mode="both"), ValueError),
        (lambda o: StepLR(nn.Linear(1, 1), 2), TypeError),
        (lambda o: StepLR(o, 2.5), TypeError),
        (lambda o: StepLR(o, 2, gamma="half"), TypeError),
        (lambda o: StepLR(o, 2, last_epoch=-2), ValueError),
        (lambda o: MultiStepLR(o, 3), TypeError),
        (lambda o: MultiStepLR(o, [1.5]), TypeError),
        (lambda o: ExponentialLR(o, math.nan), ValueError),
        (lambda o: LambdaLR(o, 0.5), TypeError),
        (lambda o: LambdaLR(o, [math.sqrt, math.sqrt]), TypeError),
        (lambda o: OneCycleLR(o, -1.0, 10), ValueError),
        (lambda o: OneCycleLR(o, 1.0, 10, three_phase=1), TypeError),
        (lambda o: CosineAnnealingLR(o, None), TypeError),
        (lambda o: ReduceLROnPlateau(o, patience=-1), ValueError),
        (lambda o: ReduceLROnPlateau(o, min_lr=[0.0, 0.0]), ValueError),
    ],
)
def test_mistakes(make: Callable[[Any], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^(\w+LR|ReduceLROnPlateau): "):
        make(sgd())


def test_the_base_has_no_schedule() -> None:
    with pytest.raises(NotImplementedError):
        lr_scheduler.LRScheduler(sgd())
