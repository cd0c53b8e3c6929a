"""Resampling, einsum, the rarer elementwise functions, and losses at special values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS

REDUCTIONS = ("mean", "sum", "none")

# ---- elementwise -----------------------------------------------------------------------------------------------

UNARY = ("log2", "log10", "rsqrt", "reciprocal", "atan", "sinh", "cosh")
SPECIAL = np.array(
    [0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, -1e30, 1e300, -1e300, 5e-324, 1e-310, 1e-30, 1.0, -1.0, 0.5, 2.0]
)


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str) -> None:
    for x in SPECIAL:
        agree(getattr(tc, name), getattr(torch, name), np.full(3, x), order=1, rtol=1e-13)
    for shift in range(8):
        agree(getattr(tc, name), getattr(torch, name), np.roll(SPECIAL, shift), order=1, elementwise=True)


@pytest.mark.parametrize("name", UNARY)
@cases(12)
def test_random_points(rng: np.random.Generator, name: str) -> None:
    x = abs(normal(rng, *rng.integers(1, 6, rng.integers(0, 4)))) + 0.1
    agree(getattr(tc, name), getattr(torch, name), LAYOUTS[pick(rng, list(LAYOUTS))](x), order=3, rtol=1e-10)


# ---- losses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("label", [0, 1])
def test_cross_entropy_of_an_impossible_class(label: int, smoothing: float) -> None:
    """-inf is the logit of the class that is asked for, or another: the loss may be inf, the gradient is finite."""
    agree(lambda x: F.cross_entropy(x, [label], label_smoothing=smoothing),
          lambda t: TF.cross_entropy(t, torch.tensor([label]), label_smoothing=smoothing),
          np.array([[0.0, -math.inf, 1.0]]), order=1)  # fmt: skip


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e30, 1e-30, 1e-310, math.inf, -math.inf, math.nan])
def test_distances_at_joints_and_special_values(value: float) -> None:
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        ours, theirs = getattr(F, name), getattr(TF, name)
        if name == "l1_loss" and math.isnan(value):
            continue  # the slope of |NaN| is NaN here, 0 there
        order = 2 if abs(value) <= 2 else 1
        agree(ours, theirs, np.full(3, value), np.zeros(3), order=order)


@cases(20)
def test_binary_cross_entropy(rng: np.random.Generator) -> None:
    """The second order to 1e-9: PyTorch adds 1e-12 to its denominators there."""
    weight = rng.uniform(0.5, 2.0, 3)
    reduction = pick(rng, REDUCTIONS)
    for order, rtol in ((1, 1e-11), (2, 1e-9)):
        agree(lambda p, t: F.binary_cross_entropy(p, t, weight, reduction=reduction),
              lambda p, t: TF.binary_cross_entropy(p, t, torch.tensor(weight), reduction=reduction),
              rng.uniform(0.05, 0.95, (4, 3)), rng.uniform(0, 1, (4, 3)), order=order, rtol=rtol)  # fmt: skip


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-300, 1e-30, 0.5])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.5])
def test_binary_cross_entropy_of_certainties(p: float, target: float) -> None:
    agree(F.binary_cross_entropy, TF.binary_cross_entropy, np.array([p]), np.array([target]), order=1)


@cases(20)
def test_smooth_l1_loss(rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"beta": pick(rng, [0.0, 0.3, 1.0, 2]), "reduction": pick(rng, REDUCTIONS)}
    agree(lambda x, y: F.smooth_l1_loss(x, y, **options), lambda x, y: TF.smooth_l1_loss(x, y, **options),
          normal(rng, 4, 3), normal(rng, 4, 3))  # fmt: skip


@pytest.mark.parametrize("name", ["selu", "mish", "logsigmoid"])
def test_activations_far_out(name: str) -> None:
    for x in (0.0, -0.0, 3.0, -3.0, 30.0, -30.0, 800.0, -800.0, 1e-310, math.nan):
        agree(getattr(F, name), getattr(TF, name), np.full(3, x), order=1)


# Not at infinite logits that are right: the loss is 0 here, inf * 0 = NaN there.
@pytest.mark.parametrize("x", [0.0, -0.0, 1e4, -1e4, 745.0, -745.0, 1e30, -1e30, 1e-310, math.nan])
@pytest.mark.parametrize("p", [0.0, 1.0, 0.5])
def test_binary_cross_entropy_at_special_values(x: float, p: float) -> None:
    ours, theirs = F.binary_cross_entropy_with_logits, TF.binary_cross_entropy_with_logits
    agree(ours, theirs, np.array([x]), np.array([p]), order=1)
    weight = torch.tensor([3.0], dtype=torch.float64)
    agree(lambda x, p: ours(x, p, pos_weight=weight.numpy()), lambda x, p: theirs(x, p, pos_weight=weight),
          np.array([x]), np.array([p]), order=1)  # fmt: skip


@pytest.mark.parametrize("name", ["kl_div", "binary_cross_entropy_with_logits"])
@cases(10)
def test_third_order(rng: np.random.Generator, name: str) -> None:
    agree(getattr(F, name), getattr(TF, name), normal(rng, 3, 2), rng.uniform(0.05, 1.0, (3, 2)), order=3)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "kl_div", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_nothing(name: str, reduction: str) -> None:
    ours, theirs, empty = getattr(F, name), getattr(TF, name), np.zeros((0, 3))
    agree(lambda a, b: ours(a, b, reduction=reduction), lambda a, b: theirs(a, b, reduction=reduction), empty, empty)


# ---- embedding -------------------------------------------------------------------------------------------------


@cases(20)
def test_embedding_with_a_row_for_padding(rng: np.random.Generator) -> None:
    rows = int(rng.integers(1, 6))
    indices = rng.integers(0, rows, rng.integers(1, 4, rng.integers(0, 4)))
    padding = int(pick(rng, [0, -1, rows - 1]))
    agree(lambda w: F.embedding(indices, w, padding), lambda w: TF.embedding(torch.tensor(indices), w, padding),
          normal(rng, rows, int(rng.integers(1, 4))))  # fmt: skip


# ---- resampling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "corners"])
@cases(60)
def test_interpolate(rng: np.random.Generator, mode: str) -> None:
    """Up, down, by lengths and by factors, also those at which PyTorch copies or doubles instead.

    It does so in the gradient of sequences and volumes too, but not in their values, so that the two do not fit: those
    factors are left out.
    """
    d = int(rng.integers(1, 4)) if mode == "nearest" else 2
    size = rng.integers(1, 9, d)
    options: dict[str, Any] = {"mode": "nearest"}
    if mode != "nearest":
        options = {"mode": "bilinear", "align_corners": mode == "corners"}
    output = tuple(int(n) for n in rng.integers(1, 12, d))
    factor = tuple(float(f) for f in rng.uniform(1 / size, 2.6))
    how, value = pick(
        rng, [("size", output), ("size", output[0]), *[("scale_factor", f) for f in (factor, max(factor), 2)]]
    )
    if d != 2 and how == "scale_factor":
        value = 3
    options[how] = value
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, int(rng.integers(0, 3)), 2, *size))
    agree(lambda x: F.interpolate(x, **options), lambda t: TF.interpolate(t, **options), x, order=3)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 31, 46, 64])
def test_nearest_reads_the_same_pixels(n: int) -> None:
    """Of float32 images. Of float64 images PyTorch rounds positions otherwise, and may read the pixel before."""
    x = np.arange(n, dtype=np.float32).reshape(1, 1, 1, n)
    options: list[dict[str, Any]] = [{"size": (1, m)} for m in range(1, 120)]
    options += [{"scale_factor": (1, tenths / 10)} for tenths in range(1, 40) if n * tenths >= 10]
    for o in options:
        agree(lambda x: F.interpolate(x, **o), lambda t: TF.interpolate(t, **o), x, order=0, precision=torch.float32)  # noqa: B023


# ---- einsum ----------------------------------------------------------------------------------------------------

EQUATIONS = {
    "ij,jk->ik": ((2, 3), (3, 4)), "ij,jk": ((2, 3), (3, 4)), "ba,ca": ((2, 3), (4, 3)), "ij->ji": ((2, 3),),
    "ij->": ((2, 3),), "ii": ((3, 3),), "ii->i": ((3, 3),), "iij,j->i": ((3, 3, 2), (2,)), "iijj->ij": ((2, 2, 3, 3),),
    "...ii->...i": ((2, 3, 3),), "...ij,...jk->...ik": ((5, 2, 3), (3, 4)), "b...i,ij->b...j": ((2, 5, 3), (3, 4)),
    "...,...->...": ((2, 1), (3,)), "i,j->ij": ((2,), (3,)), "i,i,i->i": ((2,), (2,), (2,)), ",i->i": ((), (3,)),
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)), "ij,k->i": ((2, 3), (4,)), "ij,jk->ik ": ((2, 1), (3, 4)),
    "ii,i->i": ((1, 1), (3,)), "i,i->": ((0,), (0,)), "ij,j->i": ((2, 0), (0,)), "ij, ji": ((2, 3), (3, 2)),
    "nchw,oc->nohw": ((2, 3, 2, 2), (4, 3)), "aB,Bc -> ca": ((2, 3), (3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
@cases(4)
def test_einsum(rng: np.random.Generator, equation: str) -> None:
    layout = LAYOUTS[pick(rng, list(LAYOUTS))]
    xs = [layout(normal(rng, *shape)) if shape else normal(rng) for shape in EQUATIONS[equation]]
    agree(lambda *xs: tc.einsum(equation, *xs), lambda *ts: torch.einsum(equation, *ts), *xs, order=3, rtol=1e-9)
    agree(lambda *xs: np.einsum(equation, *xs), lambda *ts: torch.einsum(equation, *ts), *xs, order=1)
