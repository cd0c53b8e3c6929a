"""Functions of functions beside `torch.func`, of nonlinear functions that mix their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import cases, normal, pick
from parity.test_programs import BINARY, ROWS, UNARY, VIEWS, VIEWS_OF_ROWS

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, in torch.func

Pair = tuple[Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]

SCALAR: dict[str, Pair] = {
    "polynomial": (lambda x: (x**3 - 2 * x).sum(), lambda x: (x**3 - 2 * x).sum(), [(4,)]),
    "of two": (
        lambda x, y: (x @ y).tanh().sum() * x.mean(), lambda x, y: (x @ y).tanh().sum() * x.mean(), [(2, 3), (3, 2)],
    ),
    "logsumexp": (lambda x: x.logsumexp(), lambda x: x.logsumexp((0, 1)), [(2, 3)]),
    "convolution": (
        lambda x, w: (F.conv2d(x, w, padding=1).tanh() ** 2).sum(),
        lambda x, w: (TF.conv2d(x, w, padding=1).tanh() ** 2).sum(),
        [(1, 2, 3, 3), (2, 2, 2, 2)],
    ),
    "cross-entropy": (
        lambda x: F.cross_entropy(x, np.array([0, 2])), lambda x: TF.cross_entropy(x, torch.tensor([0, 2])), [(2, 3)],
    ),
    "does not depend": (lambda x, y: (x * x).sum(), lambda x, y: (x * x).sum(), [(3,), (2,)]),
    "linear": (lambda x: 3 * x.sum(), lambda x: 3 * x.sum(), [(3,)]),
}  # fmt: skip
VECTOR: dict[str, Pair] = {
    "elementwise": (lambda x: x.sin() * x, lambda x: x.sin() * x, [(2, 3)]),
    "mixing": (lambda x: x.cumsum(0).exp() + x[0], lambda x: x.cumsum(0).exp() + x[0], [(4,)]),
    "matrix": (lambda x, y: (x @ y) ** 2, lambda x, y: (x @ y) ** 2, [(2, 3), (3, 2)]),
    "softmax": (lambda x: x.softmax(-1), lambda x: x.softmax(-1), [(2, 3)]),
    "batch norm": (
        lambda x: F.batch_norm(x, training=True), lambda x: TF.batch_norm(x, None, None, training=True), [(4, 2)],
    ),
}  # fmt: skip


def _arguments(shapes: list[tuple[int, ...]], seed: int = 0) -> tuple[list[tc.Tensor], list[torch.Tensor]]:
    arrays = [normal(np.random.default_rng((seed, i)), *shape) for i, shape in enumerate(shapes)]
    return [tc.tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]


def _equal(ours: Any, theirs: Any) -> None:
    if isinstance(ours, tuple | list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _equal(a, b)
        return
    b = theirs.detach().numpy()
    assert ours.shape == b.shape
    np.testing.assert_allclose(ours.data, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SCALAR)
def test_grad_and_hessian(name: str) -> None:
    ours, theirs, shapes = SCALAR[name]
    xs, ts = _arguments(shapes)
    every = tuple(range(len(shapes)))
    _equal(tc.func.grad(ours)(*xs), torch.func.grad(theirs)(*ts))
    _equal(tc.func.grad(ours, every)(*xs), torch.func.grad(theirs, every)(*ts))
    value, gradient = tc.func.value_and_grad(ours)(*xs)
    _equal((gradient, value), torch.func.grad_and_value(theirs)(*ts))
    for i in every:
        _equal(tc.func.hessian(ours, i)(*xs), torch.func.hessian(theirs, i)(*ts))
    energy = tc.func.grad(lambda *xs: (tc.func.grad(ours)(*xs) ** 2).sum())(*xs)
    _equal(energy, torch.func.grad(lambda *ts: (torch.func.grad(theirs)(*ts) ** 2).sum())(*ts))


@pytest.mark.parametrize("name", SCALAR)
def test_hvp(name: str) -> None:
    ours, theirs, shapes = SCALAR[name]
    (xs, ts), (vs, us) = _arguments(shapes), _arguments(shapes, seed=1)
    _, product = tc.func.hvp(ours, xs, vs)
    expected = torch.autograd.functional.hvp(theirs, tuple(ts), tuple(us))[1]
    _equal(tuple(product) if isinstance(product, tuple | list) else (product,), expected)


@pytest.mark.parametrize("name", [*VECTOR, *SCALAR])
def test_jacobian_and_products(name: str) -> None:
    ours, theirs, shapes = (VECTOR | SCALAR)[name]
    (xs, ts), (vs, us) = _arguments(shapes), _arguments(shapes, seed=1)
    every = tuple(range(len(shapes)))
    _equal(tc.func.jacobian(ours)(*xs), torch.func.jacrev(theirs)(*ts))
    _equal(tc.func.jacobian(ours, every)(*xs), torch.func.jacrev(theirs, every)(*ts))
    _equal(tc.func.jvp(ours, tuple(xs), tuple(vs)), torch.func.jvp(theirs, tuple(ts), tuple(us)))
    y, pull = tc.func.vjp(ours, *xs)
    z, pull_there = torch.func.vjp(theirs, *ts)
    g = normal(np.random.default_rng(2), *y.shape)
    _equal((y, *pull(tc.tensor(g))), (z, *pull_there(torch.tensor(g))))
    _equal(pull(tc.tensor(2 * g)), pull_there(torch.tensor(2 * g)))  # once more


def test_through_a_closure() -> None:
    """What the function reaches from outside can itself be differentiated."""
    w, v = (
        tc.tensor(np.array([1.0, 2.0]), requires_grad=True),
        torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True),
    )
    x, t = tc.tensor(np.array([0.5, -1.0])), torch.tensor([0.5, -1.0], dtype=torch.float64)
    ours = tc.func.grad(lambda x: (w * x * x).sum() * w.sum())(x)
    theirs = torch.func.grad(lambda t: (v * t * t).sum() * v.sum())(t)
    _equal(ours, theirs)
    _equal(tc.grad((ours**2).sum(), w)[0], torch.autograd.grad((theirs**2).sum(), v)[0])


@cases(200)
def test_random_functions(rng: np.random.Generator) -> None:
    """Compositions of several operations: each product beside PyTorch's, and beside the Jacobian of ours."""
    pieces = {k: v for k, v in (UNARY | ROWS | VIEWS | VIEWS_OF_ROWS).items() if k not in ("detach", "squeeze")}
    names = [pick(rng, list(pieces)) for _ in range(int(rng.integers(2, 5)))]
    joined = pick(rng, list(BINARY))

    def composed(side: int) -> Callable[..., Any]:
        def function(x: Any, y: Any) -> Any:
            for name in names:
                if x.ndim or name not in (ROWS | VIEWS_OF_ROWS):
                    x = pieces[name][side](x)
            return BINARY[joined][side](x, y.sum() * 0.5 + x)

        return function

    ours, theirs = composed(0), composed(1)
    arrays = [
        rng.integers(-4, 5, pick(rng, [(3,), (2, 3), (1, 3), (2, 2)])) / 4.0 + 0.125,
        rng.integers(-4, 5, 2) / 4.0,
    ]
    xs, ts = tuple(tc.tensor(a) for a in arrays), tuple(torch.tensor(a) for a in arrays)
    vs = tuple(normal(rng, *a.shape) for a in arrays)
    us = tuple(torch.tensor(v) for v in vs)
    jacobians = tc.func.jacobian(ours, (0, 1))(*xs)
    _near(jacobians, torch.func.jacrev(theirs, (0, 1))(*ts))
    y, push = tc.func.jvp(ours, xs, vs)
    _near((y, push), torch.func.jvp(theirs, ts, us))
    by_jacobian = sum(np.tensordot(j.data, v, v.ndim) for j, v in zip(jacobians, vs, strict=True))
    np.testing.assert_allclose(push.data, by_jacobian, rtol=1e-9, atol=1e-9)
    g = normal(rng, *y.shape)
    _near(tc.func.vjp(ours, *xs)[1](g), torch.func.vjp(theirs, *ts)[1](torch.tensor(g)))
    energy, energy_there = (lambda *a: (ours(*a) ** 2).sum()), (lambda *a: (theirs(*a) ** 2).sum())
    _near(tc.func.hessian(energy)(*xs), torch.func.hessian(energy_there)(*ts))
    product = tc.func.hvp(energy, xs, vs)[1]
    _near(product, torch.autograd.functional.hvp(energy_there, ts, us)[1])


def _near(ours: Any, theirs: Any) -> None:
    """Within rounding of the largest number of each array."""
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for a, b in pairs:
        assert a.shape == tuple(b.shape)
        size = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        np.testing.assert_allclose(a.data / size, b.detach().numpy() / size, rtol=0, atol=1e-9)
