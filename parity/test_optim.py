"""Optimisers, schedules and clipping: the same numbers as PyTorch's, step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
from tinygrad_cnn import nn, optim

SHAPES = [(3, 4), (5,), (), (2, 3, 3, 3)]
STEPS = 100


def _sgd(rng: np.random.Generator) -> dict[str, Any]:
    momentum = float(rng.choice([0.0, 0.9, 0.5]))
    nesterov = bool(momentum and rng.random() < 0.5)
    dampening = 0.0 if nesterov else float(rng.choice([0.0, 0.3]))
    return dict(lr=rng.uniform(0.001, 0.1), momentum=momentum, dampening=dampening, nesterov=nesterov, **_common(rng))


def _adam(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lr": rng.uniform(1e-4, 0.1),
        "betas": (rng.uniform(0, 0.99), rng.uniform(0, 0.9999)),
        "eps": 10.0 ** rng.uniform(-8, -2),
        "amsgrad": bool(rng.random() < 0.5),
        **_common(rng),
    }


def _rmsprop(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lr": rng.uniform(1e-4, 0.05),
        "alpha": rng.uniform(0.5, 0.999),
        "eps": 10.0 ** rng.uniform(-8, -2),
        "momentum": float(rng.choice([0.0, 0.9])),
        "centered": bool(rng.random() < 0.5),
        **_common(rng),
    }


def _adagrad(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lr": rng.uniform(1e-3, 0.5),
        "lr_decay": float(rng.choice([0.0, 0.01])),
        "initial_accumulator_value": float(rng.choice([0.0, 0.1])),
        "eps": 10.0 ** rng.uniform(-10, -2),
        **_common(rng),
    }


def _common(rng: np.random.Generator) -> dict[str, Any]:
    return {"weight_decay": float(rng.choice([0.0, 0.1])), "maximize": bool(rng.random() < 0.25)}


OPTIONS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "SGD": _sgd, "Adam": _adam, "AdamW": _adam, "RMSprop": _rmsprop, "Adagrad": _adagrad,
}  # fmt: skip


class Pair:
    """The same parameters here and there, moved by the same gradients."""

    def __init__(self, name: str, options: dict[str, Any], rng: np.random.Generator, dtype: str) -> None:
        starts = [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]
        self.rng = rng
        self.ours = [nn.Parameter(a.copy()) for a in starts]
        self.theirs = [torch.tensor(a, requires_grad=True) for a in starts]
        self.ours_by = getattr(optim, name)(self._groups(self.ours), **options)
        self.theirs_by = getattr(torch.optim, name)(self._groups(self.theirs), **options)

    @staticmethod
    def _groups(tensors: list[Any]) -> list[dict[str, Any]]:
        return [{"params": tensors[:2]}, {"params": tensors[2:], "lr": 0.01, "weight_decay": 0.05, "eps": 1e-3}]

    def step(self) -> None:
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            if self.rng.random() < 0.1:
                ours.grad = theirs.grad = None
                continue
            # Never tiny: at 0 the first step of an adaptive method is a matter of rounding.
            g = np.asarray(self.rng.uniform(0.1, 1, ours.shape) * self.rng.choice([-1, 1], ours.shape), ours.dtype)
            ours.grad, theirs.grad = tc.tensor(g), torch.tensor(g)
        self.ours_by.step()
        self.theirs_by.step()

    def check(self, tolerance: float) -> None:
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", OPTIONS)
def test_trajectory(name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(name)])
    pair = Pair(name, OPTIONS[name](rng), rng, "float64")
    for _ in range(STEPS):
        pair.step()
        pair.check(1e-10)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, on its own deprecated arguments
@pytest.mark.parametrize("schedule", ["cosine", "milestones", "one-cycle", "warm-up-cosine"])
@pytest.mark.parametrize("name", OPTIONS)
def test_trajectory_under_a_schedule(name: str, schedule: str) -> None:
    if schedule == "one-cycle" and name == "Adagrad":
        return  # it has no momentum to cycle
    rng = np.random.default_rng([3, len(name)])
    pair = Pair(
        name, {**OPTIONS[name](rng), **({"momentum": 0.9} if name in ("SGD", "RMSprop") else {})}, rng, "float64"
    )
    schedules = [
        SCHEDULES[schedule](module, optimizer)
        for module, optimizer in ((optim.lr_scheduler, pair.ours_by), (torch.optim.lr_scheduler, pair.theirs_by))
    ]
    for _ in range(STEPS - 1):
        pair.step()
        pair.check(1e-10)
        for each in schedules:
            each.step()


@pytest.mark.parametrize("name", OPTIONS)
def test_trajectory_in_float32(name: str) -> None:
    rng = np.random.default_rng(7)
    pair = Pair(name, {}, rng, "float32")
    for _ in range(STEPS):
        pair.step()
        pair.check(1e-6)
    assert all(p.dtype == np.float32 for p in pair.ours)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", OPTIONS)
def test_state_dict_from_pytorch(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = OPTIONS[name](rng)
    pair = Pair(name, options, rng, "float64")
    for _ in range(10):
        pair.step()
    fresh = getattr(optim, name)(pair._groups(pair.ours), lr=99.0)
    fresh.load_state_dict(copy.deepcopy(pair.theirs_by.state_dict()))
    pair.ours_by = fresh
    for _ in range(10):
        pair.step()
        pair.check(1e-10)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", OPTIONS)
def test_state_dict_to_pytorch(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair = Pair(name, OPTIONS[name](rng), rng, "float64")
    for _ in range(10):
        pair.step()
    state = pair.ours_by.state_dict()
    state["state"] = {
        i: {k: torch.tensor(v, dtype=torch.float32 if k == "step" else None) for k, v in entry.items()}
        for i, entry in state["state"].items()
    }
    fresh = getattr(torch.optim, name)(pair._groups(pair.theirs), lr=99.0)
    fresh.load_state_dict(state)
    pair.theirs_by = fresh
    for _ in range(10):
        pair.step()
        pair.check(1e-10)


# ---- schedules -------------------------------------------------------------------------------------------------

Schedule = Callable[[Any, Any], Any]  # (the module lr_scheduler, an optimiser) -> a scheduler

SCHEDULES: dict[str, Schedule] = {
    "step": lambda m, o: m.StepLR(o, 7, gamma=0.3),
    "milestones": lambda m, o: m.MultiStepLR(o, [30, 5, 12], gamma=0.5),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.97),
    "function": lambda m, o: m.LambdaLR(o, lambda t: 1 / (1 + t)),
    "functions": lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1.0 + t / 50]),
    "linear": lambda m, o: m.LinearLR(o),
    "linear-down": lambda m, o: m.LinearLR(o, start_factor=0.9, end_factor=0.1, total_iters=30),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, T_max=40),
    "cosine-up-again": lambda m, o: m.CosineAnnealingLR(o, T_max=13, eta_min=0.003),
    "one-cycle": lambda m, o: m.OneCycleLR(o, max_lr=0.5, total_steps=STEPS),
    "one-cycle-linear": lambda m, o: m.OneCycleLR(
        o, max_lr=[0.5, 0.2], epochs=10, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.4, div_factor=10,
        final_div_factor=100, base_momentum=0.7, max_momentum=0.9,
    ),
    "one-cycle-three-phases": lambda m, o: m.OneCycleLR(
        o, max_lr=0.5, total_steps=STEPS, three_phase=True, cycle_momentum=False
    ),
    "warm-up-cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=5), m.CosineAnnealingLR(o, T_max=60)], milestones=[5]
    ),
    "three-in-turn": lambda m, o: m.SequentialLR(
        o, [m.StepLR(o, 3), m.LinearLR(o), m.StepLR(o, 10, gamma=0.9)], milestones=[9, 30]
    ),
}  # fmt: skip


def _optimisers(name: str) -> tuple[Any, Any]:
    options: dict[str, Any] = {"momentum": 0.8} if name == "SGD" else {}
    ours = [tc.zeros(1, requires_grad=True), tc.zeros(1, requires_grad=True)]
    theirs = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    return tuple(
        getattr(package, name)([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.03}], lr=0.1, **options)
        for package, ps in ((optim, ours), (torch.optim, theirs))
    )  # type: ignore[return-value]  # two of them


def _rates(optimizer: Any) -> list[float]:
    return [
        value
        for group in optimizer.param_groups
        for value in (group["lr"], *([group["momentum"]] if "momentum" in group else group["betas"]))
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, on its own deprecated arguments
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str, optimizer: str) -> None:
    ours, theirs = _optimisers(optimizer)
    our_schedule = SCHEDULES[name](optim.lr_scheduler, ours)
    their_schedule = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    np.testing.assert_allclose(_rates(ours), _rates(theirs), rtol=1e-9)
    for _ in range(STEPS - 1):
        for part in (ours, theirs, our_schedule, their_schedule):
            part.step()
        np.testing.assert_allclose(_rates(ours), _rates(theirs), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(our_schedule.get_last_lr(), their_schedule.get_last_lr(), rtol=1e-9, atol=1e-15)


def test_two_schedulers_of_one_optimizer_multiply() -> None:
    ours, theirs = _optimisers("SGD")
    schedulers = [
        scheduler
        for module, o in ((optim.lr_scheduler, ours), (torch.optim.lr_scheduler, theirs))
        for scheduler in (module.LinearLR(o, total_iters=10), module.StepLR(o, 5, gamma=0.5))
    ]
    for _ in range(30):
        for part in (ours, theirs, *schedulers):
            part.step()
        np.testing.assert_allclose(_rates(ours), _rates(theirs), rtol=1e-9)


def _plateau(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "mode": str(rng.choice(["min", "max"])),
        "factor": rng.uniform(0.1, 0.9),
        "patience": int(rng.integers(0, 4)),
        "threshold": float(rng.choice([1e-4, 0.1])),
        "threshold_mode": str(rng.choice(["rel", "abs"])),
        "cooldown": int(rng.integers(0, 3)),
        "min_lr": float(rng.choice([0.0, 0.01])),
    }


@pytest.mark.parametrize("seed", range(20))
def test_plateau(seed: int) -> None:
    options = _plateau(np.random.default_rng(seed))
    ours, theirs = _optimisers("SGD")
    schedules = [
        module.ReduceLROnPlateau(o, **options)
        for module, o in ((optim.lr_scheduler, ours), (torch.optim.lr_scheduler, theirs))
    ]
    rng = np.random.default_rng(1)
    for t in range(60):
        metric = math.exp(-t / 20) + 0.1 * rng.standard_normal()
        for schedule in schedules:
            schedule.step(math.nan if t == 30 else metric)
        assert _rates(ours) == pytest.approx(_rates(theirs), rel=1e-12)


# ---- clipping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
@pytest.mark.parametrize("special", [None, math.inf, math.nan])
def test_clip_grad_norm(max_norm: float, norm_type: float, special: float | None) -> None:
    rng = np.random.default_rng(0)
    ours = [nn.Parameter(np.zeros(shape)) for shape in SHAPES]
    theirs = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = np.asarray(rng.standard_normal(p.shape))
        if special is not None and i == 0:
            g[0, 0] = special
        p.grad, q.grad = tc.tensor(g.copy()), torch.tensor(g)
    norm = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    np.testing.assert_allclose(norm.item(), expected.item(), rtol=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        assert p.grad is not None
        assert q.grad is not None
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-12)


def test_clip_grad_value() -> None:
    g = np.random.default_rng(0).standard_normal((4, 5))
    p, q = nn.Parameter(np.zeros_like(g)), torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    p.grad, q.grad = tc.tensor(g.copy()), torch.tensor(g)
    nn.utils.clip_grad_value_([p], 0.5)
    torch.nn.utils.clip_grad_value_([q], 0.5)
    np.testing.assert_array_equal(p.grad.data, q.grad.numpy())
