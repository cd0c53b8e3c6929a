"""Arithmetic, functions of one variable and activations: broadcasting, kinks, ties, special values, options."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick, same
from parity.layouts import LAYOUTS

TINY = 5e-324  # the smallest subnormal number
SPECIAL = np.array(
    [0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, -1e30, 1e300, TINY, -TINY, 1e-310, 1e-30, 1.0, -1.0, 0.5, -0.5,
     2.0, -2.0, 3.0, -3.0, 6.0, -6.0, 20.0, 20.5, -20.0, 700.0, -700.0, 750.0, -750.0, 1.5, 2.5, -1.5]
)  # fmt: skip

UNARY = {
    **{name: (getattr(tc, name), getattr(torch, name)) for name in (
        "exp", "expm1", "log", "log1p", "sqrt", "square", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "abs", "sign",
        "floor", "ceil", "round",
    )},
    **{name: (getattr(F, name), getattr(TF, name)) for name in (
        "relu", "leaky_relu", "elu", "gelu", "silu", "hardswish", "relu6", "hardtanh", "softplus",
    )},
}  # fmt: skip

BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (operator.add, torch.add),
    "sub": (operator.sub, torch.sub),
    "mul": (operator.mul, torch.mul),
    "div": (operator.truediv, torch.div),
    "pow": (operator.pow, torch.pow),
    "remainder": (operator.mod, torch.remainder),
    "maximum": (tc.maximum, torch.maximum),
    "minimum": (tc.minimum, torch.minimum),
}

# Where PyTorch is not followed, and why.
OTHERWISE = {
    "abs": (math.nan,),  # the slope of |NaN| is NaN here, 0 there
    # NaN passes its gradient on here, as it does through relu; there it may also become 0 or NaN.
    "elu": (math.nan,),
    "relu6": (math.nan,),
    "hardtanh": (math.nan,),
    "hardswish": (math.nan,),
    "sign": (math.nan,),  # NaN here, as in NumPy; 0 there
    "log1p": (TINY, -TINY),  # x here, which is exact; 0 there
}


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str) -> None:
    """One by one and all together (so that vectorised loops and their tails meet them in every lane)."""
    ours, theirs = UNARY[name]
    x = np.array([v for v in SPECIAL if repr(v) not in map(repr, map(np.float64, OTHERWISE.get(name, ())))])
    for i in range(len(x)):
        for repeats in (1, 5):
            agree(ours, theirs, np.full(repeats, x[i]), order=1, rtol=1e-13)
    for shift in range(8):
        agree(ours, theirs, np.roll(x, shift), order=1, elementwise=True, rtol=1e-11)


@pytest.mark.parametrize("name", UNARY)
def test_special_values_in_float32(name: str) -> None:
    infinite = () if name == "gelu" else (math.inf, -math.inf)  # of which PyTorch's float32 gelu makes NaN
    for x in (0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, -6.0, 20.0, -20.0, 100.0, -100.0, 1e30, 1e-40, *infinite):
        agree(*UNARY[name], np.full(3, x, np.float32), order=1, rtol=1e-6, precision=torch.float32)


@pytest.mark.parametrize("name", [name for name in UNARY if name not in ("elu", "softplus")])
def test_second_derivative_at_kinks(name: str) -> None:
    """Not of elu and softplus, whose second derivatives jump at 0 and at the threshold: ours come from the left."""
    x = np.array([v for v in SPECIAL if abs(v) <= 20 and not (name in ("log", "sqrt", "log1p") and v < 0.5)])
    agree(*UNARY[name], x)


@pytest.mark.parametrize("name", UNARY)
@cases(12)
def test_random_points(rng: np.random.Generator, name: str) -> None:
    x = normal(rng, *rng.integers(1, 6, rng.integers(0, 4)), scale=pick(rng, [0.1, 1.0, 4.0]))
    if name in ("log", "sqrt", "log1p"):
        x = np.asarray(abs(x) + 0.01)
    agree(*UNARY[name], LAYOUTS[pick(rng, list(LAYOUTS))](x), rtol=1e-10)


@pytest.mark.parametrize("name", BINARY)
@cases(80)
def test_broadcasting(rng: np.random.Generator, name: str) -> None:
    a, b = (normal(rng, *shape) for shape in _broadcastable(rng, 2))
    if name == "pow":
        a = abs(a) + 0.1
    if name == "remainder":
        b = np.copysign(abs(b) + 0.3, b)
    if name == "div":
        b = np.copysign(abs(b) + 0.1, b)
    a, b = (LAYOUTS[pick(rng, list(LAYOUTS))](np.asarray(x)) for x in (a, b))
    agree(*BINARY[name], a, b, rtol=1e-10)


@pytest.mark.parametrize("name", BINARY)
@cases(12)
def test_python_numbers(rng: np.random.Generator, name: str) -> None:
    """On either side, and weak: float32 stays float32."""
    ours, theirs = BINARY[name]
    number = pick(rng, [2, 3.0, -1, 0.5, 1])
    if name in ("maximum", "minimum", "remainder"):  # which there take no numbers
        theirs = lambda a, b, f=theirs: f(*(torch.as_tensor(v, dtype=torch.float64) for v in (a, b)))  # noqa: E731
    x = abs(normal(rng, 3, 2)) + 0.4
    for ours_1, theirs_1 in (
        (lambda x: ours(x, number), lambda t: theirs(t, number)),
        (lambda x: ours(abs(number), x), lambda t: theirs(abs(number), t)),
    ):
        agree(ours_1, theirs_1, x)
        agree(ours_1, theirs_1, x.astype(np.float32), rtol=1e-5)
        assert ours_1(tc.tensor(x.astype(np.float32))).dtype == np.float32


@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_special_values(name: str) -> None:
    few = [
        v for v in SPECIAL if not (v != 0 and abs(v) < 1e-300) and (name == "div" or abs(v) < 1e299 or v == math.inf)
    ]
    a, b = (m.ravel() for m in np.meshgrid(few, few))
    if name == "remainder":  # of infinities PyTorch makes other infinities
        keep = np.isfinite(a) & (abs(a) < 1e20) & (b != 0) & np.isfinite(b)
        a, b = a[keep], b[keep]
    agree(*BINARY[name], a, b, order=1, elementwise=True, rtol=1e-12)


def test_ties_to_second_order() -> None:
    a, b = (m.ravel() for m in np.meshgrid([-1.0, 0.0, -0.0, 2.0], [-1.0, 0.0, -0.0, 2.0]))
    for name in ("maximum", "minimum"):
        agree(*BINARY[name], a, b)


@pytest.mark.parametrize("exponent", [-3, -2.0, -1, -0.5, 0, 0.0, 0.5, 1, 1.0, 1.5, 2, 2.0, 3, 4.0])
def test_constant_powers(exponent: float) -> None:
    whole = float(exponent).is_integer()
    x = np.array([v for v in (0.5, 1.0, 2.0, -1.0, -2.5, 3.0) if whole or v > 0])
    agree(lambda x: x**exponent, lambda t: t**exponent, x, order=3)
    # (-0.0)**0.5 is 0 here, as in C and NumPy, and -0 there, which has another slope.
    zeros = np.array([0.0, -0.0]) if whole else np.zeros(2)
    agree(lambda x: x**exponent, lambda t: t**exponent, zeros, order=1)


@pytest.mark.parametrize("base", [0, 0.0, 1, 2, 0.5, 10.0])
def test_constant_bases(base: float) -> None:
    agree(lambda x: base**x, lambda t: base**t, np.array([0.0, 1.0, 2.0, 0.5, 3.25]), order=1)
    if base:
        agree(lambda x: base**x, lambda t: base**t, np.array([0.0, 1.0, -2.0, 0.5, 3.25]))


@cases(60)
def test_where(rng: np.random.Generator) -> None:
    """What is not chosen may be NaN or infinite; its gradient is 0."""
    c, a, b = _broadcastable(rng, 3)
    condition, x, y = rng.random(c) < 0.5, normal(rng, *a), normal(rng, *b)
    agree(tc.where, torch.where, condition, x, y)
    shape = np.broadcast_shapes(c, a, b)
    condition = np.broadcast_to(condition, shape).copy()
    x, y = np.where(condition, normal(rng, *shape), np.nan), np.where(condition, np.inf, normal(rng, *shape))
    agree(tc.where, torch.where, condition, x, y)


@cases(40)
def test_clip(rng: np.random.Generator) -> None:
    x = rng.integers(-4, 5, 12) / 2.0  # often exactly at a bound
    low, high = sorted(rng.integers(-3, 4, 2) / 2.0)
    low, high = pick(rng, [(low, high), (low, None), (None, high), (high, low)])
    agree(lambda x: tc.clip(x, low, high), lambda t: torch.clip(t, low, high), x)
    agree(lambda x: x.clip(low, high), lambda t: t.clip(low, high), np.array([np.inf, -np.inf]), order=1)


@cases(40)
def test_activation_options(rng: np.random.Generator) -> None:
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, 4, 3, 2, scale=4.0))
    slope, alpha, beta, threshold = rng.uniform(0.01, 2.0, 4)
    agree(*same("leaky_relu", slope), x)
    agree(*same("elu", alpha), x)
    agree(*same("softplus", beta, 3 * threshold), x)
    agree(*same("hardtanh", -slope, alpha), x)


def test_activation_options_at_kinks() -> None:
    x = np.array([-2.0, -1.5, -1.0, -0.0, 0.0, 0.5, 1.5])
    agree(*same("leaky_relu", 0.3), x)
    agree(*same("elu", 1.5), x, order=1)
    agree(*same("hardtanh", -1.5, 0.5), x)
    agree(*same("softplus", 2.0, 3.0), x, order=1)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf", "softplus", "gelu", "silu", "elu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturation(name: str, dtype: Any) -> None:
    """Far out the derivatives are 0 or 1, never NaN."""
    x = np.array([-1e4, -300.0, -90.0, 90.0, 300.0, 1e4], dtype)
    agree(*UNARY[name], x, rtol=1e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("name", ["sigmoid", "erf", "gelu", "silu", "softplus", "log1p", "expm1", "tanh"])
def test_small_numbers_keep_their_digits(name: str) -> None:
    x = np.array([1e-300, 1e-20, 1e-12, 1e-8, 1e-4, -1e-4, -1e-8, -1e-12, -1e-20])
    agree(*UNARY[name], x, order=1, elementwise=True, rtol=1e-13)


def test_compositions_that_share_an_input() -> None:
    """Fan-out: the same tensor used twice, also as both arguments."""
    x = np.array([0.5, -1.25, 2.0])
    agree(lambda x: x * x + x, lambda t: t * t + t, x, order=3)
    agree(lambda x: x - x, lambda t: t - t, x)
    agree(lambda x: tc.maximum(x, x), lambda t: torch.maximum(t, t), x)
    agree(lambda x: tc.where(x > 0, x, x), lambda t: torch.where(t > 0, t, t), x)
    agree(lambda x: (x / (x * x + 1)).exp() * x, lambda t: (t / (t * t + 1)).exp() * t, x, order=3)


def _broadcastable(rng: np.random.Generator, count: int) -> list[tuple[int, ...]]:
    """Shapes that broadcast against each other; lengths 0 to 4, up to 4 axes, 0-d included."""
    full = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 4], rng.integers(0, 5), p=[0.05, 0.2, 0.3, 0.3, 0.15]))
    shapes = []
    for _ in range(count):
        kept = full[int(rng.integers(0, len(full) + 1)) :]
        shapes.append(tuple(1 if rng.random() < 0.3 else n for n in kept))
    return shapes
