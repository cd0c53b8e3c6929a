"""Dropout: PyTorch draws other masks, so ours is read off the output and applied there by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick, same
from parity.layouts import LAYOUTS


@pytest.mark.parametrize("name", ["dropout", "dropout2d"])
@cases(60)
def test_the_same_mask(rng: np.random.Generator, name: str) -> None:
    shape = tuple(int(n) for n in rng.integers(0 if name == "dropout" else 1, 5, 4))
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape))
    p, seed = float(pick(rng, [0.1, 0.5, 0.9])), int(rng.integers(1000))

    def ours(x: tc.Tensor) -> tc.Tensor:
        tc.manual_seed(seed)
        return getattr(F, name)(x, p) ** 2

    tc.manual_seed(seed)
    kept = torch.tensor(getattr(F, name)(np.ones(shape), p).data != 0)
    if name == "dropout2d":
        assert bool((kept == kept[:, :, :1, :1]).all())
    agree(ours, lambda t: (torch.where(kept, t, 0.0) / (1 - p)) ** 2, x)


@pytest.mark.parametrize("name", ["dropout", "dropout2d"])
@pytest.mark.parametrize(("p", "training"), [(0.0, True), (1.0, True), (0.5, False), (1.0, False)])
def test_without_chance(name: str, p: float, training: bool) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 4, 4)
    agree(*same(name, p, training), x)


def test_selects_and_does_not_multiply() -> None:
    """A dropped infinity is 0, where PyTorch's product makes it NaN; so is its gradient."""
    x = tc.tensor(np.full(1000, np.inf), requires_grad=True)
    y = F.dropout(x, 0.5)
    assert set(np.unique(y.data)) == {0.0, np.inf}
    (dx,) = tc.grad(y.sum(), x)
    assert set(np.unique(dx.data)) == {0.0, 2.0}
