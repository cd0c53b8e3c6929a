"""Losses: cross-entropy with every option and kind of target, and those that compare two tensors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick, same
from parity.layouts import LAYOUTS

REDUCTIONS = ("mean", "sum", "none")


def _logits(rng: np.random.Generator) -> np.ndarray:
    """(C,), (N, C) or (N, C, ...)."""
    shape = [int(n) for n in rng.integers(1, 5, rng.integers(1, 5))]
    return LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape, scale=2.0))


def _classes(x: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """How many, and the shape of integer targets."""
    return (x.shape[0], ()) if x.ndim == 1 else (x.shape[1], (x.shape[0], *x.shape[2:]))


def _keywords(rng: np.random.Generator, classes: int) -> tuple[dict[str, Any], np.ndarray | None]:
    options: dict[str, Any] = {"reduction": pick(rng, REDUCTIONS)}
    if rng.random() < 0.5:
        options["label_smoothing"] = float(pick(rng, [0.0, 0.1, 0.7, 1.0]))
    return options, rng.uniform(0.2, 2.0, classes) if rng.random() < 0.5 else None


def _theirs(weight: np.ndarray | None) -> torch.Tensor | None:
    return None if weight is None else torch.tensor(weight)


@cases(300)
def test_cross_entropy_of_labels(rng: np.random.Generator) -> None:
    x = _logits(rng)
    classes, shape = _classes(x)
    labels = rng.integers(0, classes, shape)
    options, weight = _keywords(rng, classes)
    if rng.random() < 0.5:  # not all of them: then the mean is 0 here and NaN there
        options["ignore_index"] = int(pick(rng, [-100, -1, 0, classes - 1, 77]))
        labels = np.asarray(np.where(rng.random(shape) < 0.3, options["ignore_index"], labels))
        if options["reduction"] == "mean" and (labels == options["ignore_index"]).all():
            return
    agree(
        lambda x, y: F.cross_entropy(x, y, weight, **options),
        lambda t, y: TF.cross_entropy(t, y, _theirs(weight), **options),
        x,
        labels,
    )


@cases(200)
def test_cross_entropy_of_probabilities(rng: np.random.Generator) -> None:
    """Gradients flow to the target too."""
    x = _logits(rng)
    classes, _ = _classes(x)
    p = np.exp(normal(rng, *x.shape))
    p /= p.sum(0 if x.ndim == 1 else 1, keepdims=True)
    options, weight = _keywords(rng, classes)
    agree(
        lambda x, p: F.cross_entropy(x, p, weight, **options),
        lambda t, p: TF.cross_entropy(t, p, _theirs(weight), **options),
        x,
        p,
        order=2,
    )


def test_cross_entropy_far_out() -> None:
    x = np.array([[1e4, -1e4, 0.0], [0.0, 1000.0, 1001.0], [-1e30, 0.0, 1e30]])
    agree(F.cross_entropy, TF.cross_entropy, x, np.array([0, 2, 1]))
    agree(F.cross_entropy, TF.cross_entropy, np.array([[0.0, -np.inf], [1.0, 2.0]]), np.array([0, 1]))
    agree(F.cross_entropy, TF.cross_entropy, np.array([[0.0, -np.inf]]), np.array([1]), order=1)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_cross_entropy_of_nothing(reduction: str) -> None:
    """An empty batch; the mean of nothing is 0 here by choice, NaN there."""
    x, y = np.zeros((0, 3)), np.zeros(0, np.int64)
    ours, theirs = (functools.partial(f, reduction=reduction) for f in (F.cross_entropy, TF.cross_entropy))
    agree(ours, theirs, x, y)
    agree(ours, theirs, np.ones((2, 3)), np.full(2, -100))


def test_cross_entropy_in_float32() -> None:
    rng = np.random.default_rng(0)
    x, y = normal(rng, 32, 10, scale=5.0).astype(np.float32), rng.integers(0, 10, 32)
    agree(F.cross_entropy, TF.cross_entropy, x, y, rtol=1e-6)


@cases(100)
def test_nll_loss(rng: np.random.Generator) -> None:
    x = _logits(rng)
    classes, shape = _classes(x)
    labels = rng.integers(0, classes, shape)
    weight = rng.uniform(0.2, 2.0, classes) if rng.random() < 0.5 else None
    reduction = pick(rng, REDUCTIONS)
    ignore = int(pick(rng, [-100, 0]))
    if reduction == "mean" and (labels == ignore).all():
        return
    agree(
        lambda x, y: F.nll_loss(x, y, weight, ignore_index=ignore, reduction=reduction),
        lambda t, y: TF.nll_loss(t, y, _theirs(weight), ignore_index=ignore, reduction=reduction),
        x,
        labels,
    )


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@cases(60)
def test_differences(rng: np.random.Generator, name: str) -> None:
    """Gradients to both sides, ties at 0 included."""
    shape = rng.integers(1, 5, rng.integers(0, 4))
    a, b = (np.asarray(rng.integers(-2, 3, shape) / 2.0) for _ in range(2))
    if rng.random() < 0.5:
        a, b = (LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape)) for _ in range(2))
    options: dict[str, Any] = {"reduction": pick(rng, REDUCTIONS)}
    if name == "huber_loss":
        options["delta"] = float(pick(rng, [1.0, 0.5, 2.0]))
    agree(*same(name, **options), a, b, order=1 if name == "huber_loss" else 2)


@cases(80)
def test_binary_cross_entropy_with_logits(rng: np.random.Generator) -> None:
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
    x, p = normal(rng, *shape, scale=3.0), rng.uniform(0, 1, shape)
    options: dict[str, Any] = {"reduction": pick(rng, REDUCTIONS)}
    ours, theirs = F.binary_cross_entropy_with_logits, TF.binary_cross_entropy_with_logits
    weight, positive = (rng.uniform(0.5, 2, shape[-1]) if rng.random() < 0.4 else None for _ in range(2))
    agree(
        lambda x, p: ours(x, p, weight, pos_weight=positive, **options),
        lambda t, p: theirs(t, p, _theirs(weight), pos_weight=_theirs(positive), **options),
        x,
        p,
    )
    agree(ours, theirs, np.array([-1e4, -100.0, 0.0, 100.0, 1e4]), np.array([0.0, 1.0, 0.5, 0.0, 1.0]))


@cases(60)
def test_kl_div(rng: np.random.Generator) -> None:
    x, q = normal(rng, 3, 4), np.exp(normal(rng, 3, 4))
    q /= q.sum(1, keepdims=True)
    log = bool(rng.integers(2))
    q = np.log(q) if log else np.where(rng.random(q.shape) < 0.2, 0.0, q)  # 0 log 0 is 0
    options = {"reduction": pick(rng, [*REDUCTIONS, "batchmean"]), "log_target": log}
    agree(lambda a: F.kl_div(a, q, **options), lambda t: TF.kl_div(t, torch.tensor(q), **options), x)
    if (q != 0).all():
        agree(*same("kl_div", **options), x, q, order=1)


@cases(40)
def test_embedding_and_one_hot(rng: np.random.Generator) -> None:
    """An index that comes twice gets both gradients."""
    table = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, 5, 3))
    places = rng.integers(0, 5, rng.integers(1, 4, rng.integers(0, 4)))
    agree(lambda i, w: F.embedding(i, w) ** 2, lambda i, w: TF.embedding(i, w) ** 2, places, table)
    agree(lambda i: F.one_hot(i, 6), lambda i: TF.one_hot(i, 6), places)
    agree(F.one_hot, TF.one_hot, places)
