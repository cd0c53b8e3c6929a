"""Third derivatives of everything beside PyTorch's, and random calls of the core operations to second order."""

from __future__ import annotations

import operator
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
from parity.table import TABLE


def _normalised(axes: tuple[int, ...], shape: tuple[int, ...]) -> Callable[..., torch.Tensor]:
    """Normalisation over some axes, then weight and bias of a shape; PyTorch's fused ones are wrong in third order."""

    def composed(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(axes, keepdim=True)
        spread = ((centred * centred).mean(axes, keepdim=True) + 1e-5).sqrt()
        return centred / spread * w.reshape(shape) + b.reshape(shape)

    return composed


THEIRS: dict[str, Callable[..., torch.Tensor]] = {
    "F.batch_norm": _normalised((0, 2, 3), (4, 1, 1)),
    "F.instance_norm": _normalised((2, 3), (4, 1, 1)),
    "F.layer_norm": _normalised((2, 3), (6, 5)),
    # PyTorch stops at the second order with output_padding; padding and output_padding of 1 crop the first line alone.
    **{f"F.conv_transpose{d}d": (lambda x, w, b, f=f, d=d: f(x, w, b, 2, 0, 0, 2)[(..., *[slice(1, None)] * d)])
       for d, f in ((1, TF.conv_transpose1d), (2, TF.conv_transpose2d), (3, TF.conv_transpose3d))},
}  # fmt: skip
OURS: dict[str, Callable[..., tc.Tensor]] = {
    f"F.conv_transpose{d}d": (lambda x, w, b, f=f: f(x, w, b, 2, 1, 1, 2))
    for d, f in ((1, F.conv_transpose1d), (2, F.conv_transpose2d), (3, F.conv_transpose3d))
}


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.order >= 2])
def test_third_order(name: str) -> None:
    row = TABLE[name]
    ours, theirs = OURS.get(name, row.ours), THEIRS.get(name, row.theirs)
    for seed in range(2):
        inputs = row.inputs(seed)
        if name.startswith("F.conv_transpose"):
            inputs[1] = normal(np.random.default_rng(seed), 4, 3, *[3] * (inputs[1].ndim - 2))
        agree(ours, theirs, *inputs, order=3, rtol=1e-9)


# Nonlinear around each, so that all mixed derivatives are there; arguments on both sides.
CORE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (operator.add, operator.add),
    "sub": (operator.sub, operator.sub),
    "mul": (operator.mul, operator.mul),
    "div": (lambda a, b: a / (b * b + 1), lambda a, b: a / (b * b + 1)),
    "maximum": (tc.maximum, torch.maximum),
    "minimum": (tc.minimum, torch.minimum),
    "where": (lambda a, b: tc.where(a > b, a.sin(), b * b), lambda a, b: torch.where(a > b, a.sin(), b * b)),
    "exp and tanh": (lambda a, b: (a * 0.3).exp() * b.tanh(), lambda a, b: (a * 0.3).exp() * b.tanh()),
    "log": (lambda a, b: (a * a + 1).log() * b, lambda a, b: (a * a + 1).log() * b),
    "sigmoid": (lambda a, b: (a + b).sigmoid(), lambda a, b: (a + b).sigmoid()),
    "pow": (lambda a, b: (a * a + 0.5) ** b, lambda a, b: (a * a + 0.5) ** b),
    "sum and mean": (lambda a, b: (a + b).sum() * (a * b).mean(), lambda a, b: (a + b).sum() * (a * b).mean()),
    "logsumexp": (lambda a, b: (a * b).logsumexp(), lambda a, b: (a * b).flatten().logsumexp(0)),
}


@pytest.mark.parametrize("name", CORE)
@cases(200)
def test_elementwise(rng: np.random.Generator, name: str) -> None:
    """Operands of any shapes that broadcast and in any memory layout; every tenth to third order."""
    shape = [int(n) for n in rng.choice([0, 1, 2, 3], rng.integers(0, 4), p=[0.02, 0.28, 0.35, 0.35])]
    arrays = []
    for _ in range(2):
        lengths = [1 if rng.random() < 0.3 else n for n in shape][
            int(rng.integers(0, len(shape) + 1)) * (rng.random() < 0.3) :
        ]
        arrays.append(LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *lengths)))
    ours, theirs = CORE[name]
    agree(ours, theirs, *arrays, order=3 if rng.random() < 0.1 else 2, rtol=1e-9)


@pytest.mark.parametrize("function", ["matmul", "linear", "conv2d"])
@cases(120)
def test_products(rng: np.random.Generator, function: str) -> None:
    """Inside something nonlinear, to third order."""
    a, b, c, n = (int(k) for k in rng.integers(1, 4, 4))
    if function == "matmul":
        x, w = (
            normal(rng, *[[n, a, b], [a, b], [b]][int(rng.integers(3))]),
            normal(rng, *[[b, c], [b]][int(rng.integers(2))]),
        )
        ours, theirs = tc.matmul, torch.matmul
    elif function == "linear":
        x, w = normal(rng, *[[n, a], [a], [2, n, a]][int(rng.integers(3))]), normal(rng, b, a)
        ours, theirs = F.linear, TF.linear
    else:
        k, options = int(rng.integers(1, 4)), {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 3))}
        x, w = normal(rng, n, a, int(rng.integers(k, 6)), int(rng.integers(k, 5))), normal(rng, b, a, k, k)
        ours, theirs = (lambda x, w: F.conv2d(x, w, **options)), (lambda x, w: TF.conv2d(x, w, **options))
    x, w = (LAYOUTS[pick(rng, list(LAYOUTS))](array) for array in (x * 0.5, w * 0.5))
    agree(lambda x, w: ours(x, w).tanh(), lambda x, w: theirs(x, w).tanh(), x, w, order=3, rtol=1e-9)
