"""Reductions over every choice of axes: sums, spreads, extremes with ties, products with zeros, running sums."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS

Call = Callable[..., Any]


def _prod(t: torch.Tensor, axes: tuple[int, ...], keepdims: bool) -> torch.Tensor:
    """PyTorch multiplies along one axis only."""
    for axis in sorted(axes, reverse=True):
        t = t.prod(axis, keepdim=True)
    return t if keepdims else t.reshape([n for i, n in enumerate(t.shape) if i not in axes])


REDUCTIONS: dict[str, tuple[Call, Call]] = {
    "sum": (lambda x, a, k: x.sum(a, k), lambda t, a, k: t.sum(a, k)),
    "mean": (lambda x, a, k: x.mean(a, k), lambda t, a, k: t.mean(a, k)),
    "var": (lambda x, a, k: x.var(a, 0, k), lambda t, a, k: t.var(a, correction=0, keepdim=k)),
    "var1": (lambda x, a, k: x.var(a, 1, k), lambda t, a, k: t.var(a, correction=1, keepdim=k)),
    "std": (lambda x, a, k: x.std(a, 0, k), lambda t, a, k: t.std(a, correction=0, keepdim=k)),
    "std1": (lambda x, a, k: x.std(a, 1, k), lambda t, a, k: t.std(a, correction=1, keepdim=k)),
    "amax": (lambda x, a, k: x.amax(a, k), lambda t, a, k: t.amax(a, k)),
    "amin": (lambda x, a, k: x.amin(a, k), lambda t, a, k: t.amin(a, k)),
    "prod": (lambda x, a, k: x.prod(a, k), _prod),
    "logsumexp": (lambda x, a, k: x.logsumexp(a, k), lambda t, a, k: t.logsumexp(a, k)),
    "norm": (lambda x, a, k: x.norm(a, k), lambda t, a, k: torch.linalg.vector_norm(t, dim=a, keepdim=k)),
}


def _axes(rng: np.random.Generator, ndim: int) -> tuple[int, ...]:
    """Some axes, at least one, in any order, counted from either end."""
    chosen = rng.permutation(ndim)[: int(rng.integers(1, ndim + 1))]
    return tuple(int(a) - (ndim if rng.random() < 0.5 else 0) for a in chosen)


@pytest.mark.parametrize("name", REDUCTIONS)
@cases(60)
def test_axes(rng: np.random.Generator, name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    least = 2 if name[:3] in ("var", "std") else 1
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(least, 5, rng.integers(1, 5))))
    if name[:3] == "std" and np.ptp(x) < 1e-9:
        return
    axes, keepdims = _axes(rng, x.ndim), bool(rng.integers(2))
    if name[:3] == "std" and float(np.min(x.std(axes))) < 1e-3:
        return  # stretched from one number: no spread, the kink of the root
    positive = tuple(a % x.ndim for a in axes)
    agree(lambda x: ours(x, axes, keepdims), lambda t: theirs(t, positive, keepdims), x, rtol=1e-9)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_one_axis_and_all(name: str, axis: int | None) -> None:
    ours, theirs = REDUCTIONS[name]
    x = normal(np.random.default_rng(0), 3, 2, 4)
    every = (0, 1, 2) if axis is None else (axis % 3,)
    agree(lambda x: ours(x, axis, False), lambda t: theirs(t, every, False), x)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "prod", "logsumexp", "norm"])
def test_of_a_single_number(name: str) -> None:
    """0-d, where PyTorch counts one axis nevertheless."""
    ours, _ = REDUCTIONS[name]
    same = {"logsumexp": lambda t: t.logsumexp(0), "norm": torch.linalg.vector_norm}.get(
        name, lambda t: getattr(t, name)()
    )
    agree(lambda x: ours(x, None, False), same, np.array(1.75))


@pytest.mark.parametrize(
    ("shape", "axes"), [((0, 3), (0,)), ((0, 3), (1,)), ((2, 0, 3), (0, 1)), ((0,), (0,)), ((2, 0), (0,))]
)
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "logsumexp", "norm", "var", "std"])
def test_of_nothing(name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    ours, theirs = REDUCTIONS[name]
    for keepdims in (False, True):
        agree(lambda x: ours(x, axes, keepdims), lambda t: theirs(t, axes, keepdims), np.zeros(shape), order=1)  # noqa: B023


@cases(60)
def test_ties(rng: np.random.Generator) -> None:
    """amax, amin and max() share evenly; max(axis) and min(axis) give all to the first of equals, and its index."""
    x = rng.integers(-1, 2, rng.integers(1, 5, rng.integers(1, 4))).astype(float)
    axis = int(rng.integers(x.ndim))
    keepdims = bool(rng.integers(2))
    for name in ("amax", "amin"):
        ours, theirs = REDUCTIONS[name]
        agree(lambda x: ours(x, (axis,), keepdims), lambda t: theirs(t, (axis,), keepdims), x)  # noqa: B023
    agree(lambda x: x.max(), lambda t: t.max(), x)
    agree(lambda x: x.min(), lambda t: t.min(), x)
    agree(lambda x: x.max(axis, keepdims), lambda t: tuple(t.max(axis, keepdims)), x)
    agree(lambda x: x.min(axis, keepdims), lambda t: tuple(t.min(axis, keepdims)), x)
    agree(lambda x: x.argmax(axis, keepdims), lambda t: t.argmax(axis, keepdims), x)
    agree(lambda x: x.argmin(), lambda t: t.argmin(), x)
    agree(lambda x: x.norm(axis), lambda t: torch.linalg.vector_norm(t, dim=axis), x, order=1)


@cases(30)
def test_nan_is_the_extreme(rng: np.random.Generator) -> None:
    x = rng.integers(-1, 2, (3, 4)).astype(float)
    x[rng.random((3, 4)) < 0.25] = np.nan
    for method in ("max", "min"):
        agree(lambda x: getattr(x, method)(1), lambda t: tuple(getattr(t, method)(1)), x)  # noqa: B023
        agree(lambda x: getattr(x, "arg" + method)(1), lambda t: getattr(t, "arg" + method)(1), x)  # noqa: B023


def test_infinities() -> None:
    inf = np.inf
    rows = np.array([[inf, 1.0, 2.0], [-inf, -inf, -inf], [-inf, 0.0, 1.0], [inf, inf, -inf], [np.nan, 1.0, 2.0]])
    for row in rows:
        for name in ("sum", "mean", "amax", "amin", "logsumexp"):
            if name in ("amax", "amin") and np.isnan(row).any():
                continue  # a NaN extreme gets the gradient here; there all become NaN
            if name == "logsumexp" and (row == -inf).all():
                continue  # the gradient is 0 here, NaN there
            ours, theirs = REDUCTIONS[name]
            agree(lambda x: ours(x, (0,), False), lambda t: theirs(t, (0,), False), row, order=1)  # noqa: B023


@pytest.mark.parametrize("correction", [0, 1, 2, 0.5])
def test_corrections(correction: float) -> None:
    """With nothing left to divide by, too."""
    for n in (1, 2, 3, 5):
        x = normal(np.random.default_rng(n), n, 2)
        order = 2 if n > correction and n > 1 else 0
        agree(lambda x: x.var(0, correction), lambda t: t.var(0, correction=correction), x, order=order)
        agree(lambda x: x.std(0, correction), lambda t: t.std(0, correction=correction), x, order=order)


def test_no_spread() -> None:
    """The derivatives of std and norm at 0 are 0, those of var exact."""
    x = np.full((2, 3), 0.5)
    agree(lambda x: x.std(1), lambda t: t.std(1, correction=0), x, order=1)
    agree(lambda x: x.var(1), lambda t: t.var(1, correction=0), x)
    agree(lambda x: x.norm(1), lambda t: torch.linalg.vector_norm(t, dim=1), np.zeros((2, 3)), order=1)


@cases(60)
def test_products_with_zeros(rng: np.random.Generator) -> None:
    """No zero, one, several: exact to second order."""
    x = rng.integers(-2, 3, rng.integers(1, 5, rng.integers(1, 4))).astype(float)
    axes, keepdims = _axes(rng, x.ndim), bool(rng.integers(2))
    axes = tuple(a % x.ndim for a in axes)
    agree(lambda x: x.prod(axes, keepdims), lambda t: _prod(t, axes, keepdims), x)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_products_with_zeros_in_every_place(n: int) -> None:
    for zeros in itertools.product([False, True], repeat=n):
        x = np.where(zeros, 0.0, np.arange(2.0, 2.0 + n))
        agree(lambda x: x.prod(), lambda t: t.prod(), x, order=3)


@cases(40)
def test_cumsum(rng: np.random.Generator) -> None:
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(0, 5, rng.integers(1, 4))))
    axis = int(rng.integers(-x.ndim, x.ndim))
    agree(lambda x: x.cumsum(axis) ** 2, lambda t: t.cumsum(axis) ** 2, x)


def test_integers_and_booleans() -> None:
    x = np.random.default_rng(0).integers(-3, 4, (3, 4))
    b = x > 0
    for name in ("sum", "prod", "amax", "amin", "argmax", "argmin", "cumsum"):
        axis = (0,) if name in ("cumsum", "argmax", "argmin") else (1,)
        agree(lambda x: getattr(x, name)(axis[0]), lambda t: getattr(t, name)(axis[0]), x)  # noqa: B023
    for name in ("all", "any", "sum"):
        agree(lambda x: getattr(x, name)(), lambda t: getattr(t, name)(), b)  # noqa: B023
        agree(lambda x: getattr(x, name)((0, 1)), lambda t: getattr(t, name)((0, 1)), b)  # noqa: B023
    assert tc.tensor(b).sum().dtype == np.int64


@cases(40)
def test_sort_and_topk(rng: np.random.Generator) -> None:
    """Ties keep their order; the gradient goes back to where each element stood."""
    x = LAYOUTS[pick(rng, list(LAYOUTS))](rng.integers(-2, 3, rng.integers(1, 6, rng.integers(1, 4))).astype(float))
    axis, down = int(rng.integers(-x.ndim, x.ndim)), bool(rng.integers(2))
    agree(lambda x: x.sort(axis, down), lambda t: tuple(t.sort(stable=True, dim=axis, descending=down)), x)
    x = normal(rng, *x.shape)
    k = int(rng.integers(0, x.shape[axis] + 1))
    agree(lambda x: x.topk(k, axis), lambda t: tuple(t.topk(k, axis)), x)


@cases(40)
def test_softmax_and_log_softmax(rng: np.random.Generator) -> None:
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(1, 5, rng.integers(1, 5)), scale=3.0))
    axis = int(rng.integers(-x.ndim, x.ndim))
    for name in ("softmax", "log_softmax"):
        ours, theirs = getattr(tc, name), getattr(torch, name)
        agree(lambda x: ours(x, axis), lambda t: theirs(t, axis), x)  # noqa: B023


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_far_out(name: str) -> None:
    ours, theirs = getattr(tc, name), getattr(torch, name)
    x = np.array([[0.0, 1.0], [1000.0, 1001.0], [-1e4, 1e4], [1e300, -1e300], [0.0, -np.inf]])
    agree(lambda x: ours(x, 1), lambda t: theirs(t, 1), x)
    x = np.array([[np.inf, 0.0], [np.nan, 0.0], [-np.inf, -np.inf]])
    agree(lambda x: ours(x, 1), lambda t: theirs(t, 1), x, order=0)
    agree(lambda x: ours(x, 1), lambda t: theirs(t, 1), np.zeros((3, 0)))
