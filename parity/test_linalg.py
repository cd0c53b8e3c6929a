"""Matrix products of all ranks, and the linear layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS


@pytest.mark.parametrize("ranks", [(a, b) for a in range(1, 5) for b in range(1, 5)])
@cases(20)
def test_matmul(rng: np.random.Generator, ranks: tuple[int, int]) -> None:
    """Vectors, matrices, batches that broadcast; any length may be 0."""
    rows, inner, columns = (int(n) for n in rng.choice([0, 1, 2, 3, 4], 3, p=[0.05, 0.2, 0.25, 0.25, 0.25]))
    batch = [int(n) for n in rng.integers(1, 4, 2)]
    shapes = []
    for rank, core in zip(ranks, ([rows, inner], [inner, columns]), strict=True):
        if rank == 1:
            shapes.append([inner])
            continue
        lead = [1 if rng.random() < 0.4 else n for n in batch][4 - rank :]
        shapes.append(lead + core)
    a, b = (LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape)) for shape in shapes)
    agree(lambda a, b: a @ b, torch.matmul, a, b)
    agree(lambda a, b: tc.matmul(a, b) ** 2, lambda a, b: torch.matmul(a, b) ** 2, a, b)


def test_with_arrays_on_either_side() -> None:
    rng = np.random.default_rng(0)
    a, b = normal(rng, 3, 4), normal(rng, 4, 2)
    agree(lambda x: x @ b, lambda t: t @ torch.tensor(b), a)
    agree(lambda x: a @ x, lambda t: torch.tensor(a) @ t, b)
    agree(lambda x: x @ x.T @ x, lambda t: t @ t.T @ t, a, order=3)


@cases(60)
def test_linear(rng: np.random.Generator) -> None:
    """x with any number of leading axes, with and without bias."""
    lead = tuple(int(n) for n in rng.integers(0, 4, rng.integers(0, 4)))
    inputs, outputs = (int(n) for n in rng.integers(1, 5, 2))
    x, w, b = normal(rng, *lead, inputs), normal(rng, outputs, inputs), normal(rng, outputs)
    x, w = (LAYOUTS[pick(rng, list(LAYOUTS))](a) for a in (x, w))
    agree(lambda x, w, b: F.linear(x, w, b) ** 2, lambda x, w, b: TF.linear(x, w, b) ** 2, x, w, b)
    agree(F.linear, TF.linear, x, w)


def test_larger_products_in_float32() -> None:
    rng = np.random.default_rng(0)
    a, b = (normal(rng, 64, 64).astype(np.float32) for _ in range(2))
    agree(lambda a, b: a @ b, torch.matmul, a, b, order=1, rtol=1e-5)
