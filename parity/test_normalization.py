"""Normalisation: training and evaluation, running statistics, every subset of weight and bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS


def _images(rng: np.random.Generator, least_axes: int = 2) -> np.ndarray:
    """(N, C) to (N, C, D, H, W), never one value per channel."""
    shape = [int(n) for n in rng.integers(2, 5, rng.integers(least_axes, 6))]
    return LAYOUTS[pick(rng, [k for k in LAYOUTS if k != "broadcast"])](normal(rng, *shape) * 2 + 1)


def _affine(rng: np.random.Generator, *shape: int) -> tuple[list[np.ndarray], Callable[..., Any], Callable[..., Any]]:
    """Weight, bias, both or neither; and how to tell them apart again, here and there."""
    kind = pick(rng, ["both", "both", "weight", "bias", "none"])
    weight, bias = normal(rng, *shape), normal(rng, *shape)
    arrays = {"both": [weight, bias], "weight": [weight], "bias": [bias], "none": []}[kind]

    def ours(*given: Any) -> tuple[Any, ...]:
        return {"both": given, "weight": (*given, None), "bias": (None, *given), "none": (None, None)}[kind]

    def theirs(*given: Any) -> tuple[Any, ...]:
        weight, bias = ours(*given)  # what is left out is written out: without it PyTorch's second order fails
        ones = torch.ones(shape, dtype=torch.float64)
        return ones if weight is None else weight, 0 * ones if bias is None else bias

    return arrays, ours, theirs


@cases(150)
def test_batch_norm_in_training(rng: np.random.Generator) -> None:
    """Also without running statistics; those are updated with the unbiased variance, in place."""
    x = _images(rng)
    channels = x.shape[1]
    arrays, told, told_there = _affine(rng, channels)
    momentum, eps = float(rng.uniform(0, 1)), float(pick(rng, [1e-5, 1e-3, 0.1]))
    mean, var = normal(rng, channels), rng.uniform(0.5, 2, channels)
    tracked = rng.random() < 0.7
    ours_running = (tc.tensor(mean.copy()), tc.tensor(var.copy())) if tracked else (None, None)
    theirs_running = (torch.tensor(mean), torch.tensor(var)) if tracked else (None, None)
    training = True if tracked else bool(rng.integers(2))  # without statistics the batch's are used in any mode
    agree(
        lambda x, *ps: F.batch_norm(x, *ours_running, *told(*ps), training, momentum, eps) ** 2,
        lambda t, *ps: TF.batch_norm(t, *theirs_running, *told_there(*ps), True, momentum, eps) ** 2,
        x,
        *arrays,
        rtol=1e-9,
    )
    for ours, theirs in zip(ours_running, theirs_running, strict=True):
        if tracked:
            np.testing.assert_allclose(ours.data, theirs.numpy(), rtol=1e-12)


@cases(80)
def test_batch_norm_in_evaluation(rng: np.random.Generator) -> None:
    """The running statistics are constants and stay as they are; one value per channel will do."""
    x = normal(rng, *rng.integers(0, 4, 1), *rng.integers(1, 4, rng.integers(1, 4)))
    channels = x.shape[1]
    arrays, told, told_there = _affine(rng, channels)
    mean, var = normal(rng, channels), rng.uniform(0.0, 2, channels)
    ours_running = mean.copy(), var.copy()  # arrays will do
    agree(
        lambda x, *ps: F.batch_norm(x, *ours_running, *told(*ps)) ** 2,
        lambda t, *ps: TF.batch_norm(t, torch.tensor(mean), torch.tensor(var), *told_there(*ps)) ** 2,
        x,
        *arrays,
        rtol=1e-10,
    )
    np.testing.assert_array_equal(ours_running, (mean, var))


def test_batch_norm_over_several_steps() -> None:
    """Single precision, as in training: the running statistics follow PyTorch's."""
    rng = np.random.default_rng(0)
    ours = np.zeros(3, np.float32), np.ones(3, np.float32)
    theirs = torch.zeros(3), torch.ones(3)
    for _ in range(20):
        x = normal(rng, 4, 3, 5, 5) * [[[[2.0]], [[0.1]], [[5.0]]]] + [[[[0.0]], [[10.0]], [[-3.0]]]]
        x = x.astype(np.float32)
        y = F.batch_norm(x, *ours, training=True)
        z = TF.batch_norm(torch.tensor(x), *theirs, training=True)
        np.testing.assert_allclose(y.data, z.numpy(), rtol=1e-4, atol=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_batch_norm_far_from_zero(offset: float) -> None:
    """The variance is not taken as a difference of squares."""
    x = normal(np.random.default_rng(0), 8, 2, 6, 6) + offset
    agree(lambda x: F.batch_norm(x, training=True), lambda t: TF.batch_norm(t, None, None, training=True), x, order=1,
          rtol=1e-9 if offset < 1e6 else 1e-7)  # fmt: skip


def test_batch_norm_without_spread() -> None:
    agree(lambda x: F.batch_norm(x, training=True), lambda t: TF.batch_norm(t, None, None, training=True),
          np.full((4, 2, 3), 0.5), order=1)  # fmt: skip


@cases(100)
def test_layer_norm(rng: np.random.Generator) -> None:
    x = _images(rng)
    shape = x.shape[int(rng.integers(0, x.ndim)) :]
    arrays, told, told_there = _affine(rng, *shape)
    eps = float(pick(rng, [1e-5, 1e-2]))
    agree(
        lambda x, *ps: F.layer_norm(x, shape, *told(*ps), eps) ** 2,
        lambda t, *ps: TF.layer_norm(t, shape, *told_there(*ps), eps) ** 2,
        x,
        *arrays,
        rtol=1e-9,
    )


@cases(100)
def test_group_norm(rng: np.random.Generator) -> None:
    x = _images(rng, least_axes=3)
    groups = pick(rng, [g for g in range(1, x.shape[1] + 1) if x.shape[1] % g == 0])
    arrays, told, told_there = _affine(rng, x.shape[1])
    agree(
        lambda x, *ps: F.group_norm(x, groups, *told(*ps)) ** 2,
        lambda t, *ps: TF.group_norm(t, groups, *told_there(*ps)) ** 2,
        x,
        *arrays,
        rtol=1e-8,
    )


@cases(80)
def test_instance_norm(rng: np.random.Generator) -> None:
    """Of the samples' own statistics, tracked or not; or of the running ones."""
    x = _images(rng, least_axes=3)
    channels = x.shape[1]
    arrays, told, told_there = _affine(rng, channels)
    tracked, own = bool(rng.integers(2)), rng.random() < 0.7
    mean, var = normal(rng, channels), rng.uniform(0.5, 2, channels)
    ours_running = (mean.copy(), var.copy()) if tracked or not own else (None, None)
    theirs_running = (torch.tensor(mean), torch.tensor(var)) if tracked or not own else (None, None)
    agree(
        lambda x, *ps: F.instance_norm(x, *ours_running, *told(*ps), own) ** 2,
        lambda t, *ps: TF.instance_norm(t, *theirs_running, *told_there(*ps), own) ** 2,
        x,
        *arrays,
        rtol=1e-8,
    )
    for ours, theirs in zip(ours_running, theirs_running, strict=True):
        if ours is not None:
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
