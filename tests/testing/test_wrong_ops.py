"""Wrong ops, at small and at large sizes, are refused by gradcheck or gradgradcheck alone; tricky right ones pass."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import functional as F
from tinygrad_cnn import testing
from tinygrad_cnn.testing.mutants import rewriting
from tinygrad_cnn.testing.mutants.mechanical import GRADIENTS


def softmax(x):
    e = np.exp(x - np.max(x.real, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def batch_norm(x, w, b):
    centred = x - x.mean(0)
    return w * centred / np.sqrt((centred * centred).mean(0) + 1e-5) + b


def batch_norm_rule(g, x, w, b, of_mean=1, of_var=1):
    """With a factor of 0 a statistic is taken for constant."""
    centred = x - x.mean(0, keepdims=True)
    inv_std = ((centred * centred).mean(0, keepdims=True) + 1e-5) ** -0.5
    z, gw = centred * inv_std, g * w
    dx = inv_std * (gw - of_mean * gw.mean(0, keepdims=True) - of_var * z * (gw * z).mean(0, keepdims=True))
    return dx, (g * z).sum(0), g.sum(0)


def blur(x):
    """Windows of three, one apart: they overlap."""
    return x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]


def blur_rule(g):
    still = ((0, 0),) * (g.ndim - 1)
    return F.pad(g, (*still, (0, 2))) + 2 * F.pad(g, (*still, (1, 1))) + F.pad(g, (*still, (2, 0)))


def half_at_ties(wins):
    return lambda g, a, b: tc.where(a == b, g * 0.5, tc.where(wins(a, b), g, 0.0))


OPS = {
    "tanh": (np.tanh, lambda g, y: g * (1 - y * y)),
    "faint": (lambda x: 1e-8 * np.sin(x), lambda g, x: g * (1e-8 * tc.cos(x))),
    "product": (lambda a, b: a * b, (lambda g, b: g * b, lambda g, a: g * a)),
    "matmul": (np.matmul, (lambda g, b: g @ b.mT, lambda g, a: a.mT @ g)),
    "softmax": (softmax, lambda g, y: y * (g - (g * y).sum(-1, keepdims=True))),
    "blur": (blur, blur_rule),
    "batch_norm": (batch_norm, lambda g, x, w, b: batch_norm_rule(g, x, w, b)),
    "maximum": (np.maximum, (half_at_ties(lambda a, b: a > b), half_at_ties(lambda a, b: b > a))),
}
SMOOTH = ("tanh", "faint", "product", "matmul", "softmax", "batch_norm")
SIZES = {"small": (3, 4), "large": (64, 40)}


def inputs_of(name, size):
    rng = np.random.default_rng(len(name))
    x = rng.standard_normal(SIZES[size])
    return {
        "product": lambda: (x, rng.standard_normal(x.shape)),
        "matmul": lambda: (x, rng.standard_normal((x.shape[1], 5))),
        "batch_norm": lambda: (x + 1e4, rng.uniform(0.5, 2, x.shape[1]), rng.standard_normal(x.shape[1])),
        "maximum": lambda: (np.round(x), np.round(rng.standard_normal(x.shape))),
    }.get(name, lambda: (x,))()


def largest_off(d, _):
    """One element of many, the one with the largest gradient."""
    factors = np.ones(d.size)
    factors[np.argmax(np.abs(d.data))] = 1.1
    return d * factors.reshape(d.shape)


HARMLESS = {"limited to ±1000", "last element lost", "one element 10 % off"}  # where that gradient is 0, or small
WRONG = {bug: change for bug, change in GRADIENTS.items() if bug not in HARMLESS} | {"largest 10 % off": largest_off}
LARGE = ("first two rows swapped", "shifted by one", "largest 10 % off")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPS)
def test_right_ops_pass(name, size):
    op = tc.Op(name, *OPS[name])
    assert testing.gradcheck(op, inputs_of(name, size)).ok
    assert testing.gradgradcheck(op, inputs_of(name, size)).ok


@pytest.mark.parametrize(("bug", "size"), [(bug, "small") for bug in WRONG] + [(bug, "large") for bug in LARGE])
@pytest.mark.parametrize("name", OPS)
def test_wrong_ops_are_refused_by_name(name, bug, size):
    op = tc.Op(name, *OPS[name])
    wrong = tc.Op(name, op.forward, rewriting.with_gradient(op, 0, WRONG[bug]))
    with pytest.raises(testing.GradcheckError, match=f"^{name}: ") as caught:
        testing.gradcheck(wrong, inputs_of(name, size))
    failure = caught.value.report.failures[0]
    assert (failure.argument, failure.argument_name) == (0, op.inputs[0])


DROPPED = {
    "softmax": (softmax, lambda g, y: y * g),
    "blur": (blur, lambda g: F.pad(g, (*((0, 0),) * (g.ndim - 1), (0, 2)))),
    "maximum, ties counted twice": (
        np.maximum,
        (lambda g, a, b: tc.where(a >= b, g, 0.0), lambda g, a, b: tc.where(b >= a, g, 0.0)),
    ),
    "maximum, ties not counted": (
        np.maximum,
        (lambda g, a, b: tc.where(a > b, g, 0.0), lambda g, a, b: tc.where(b > a, g, 0.0)),
    ),
    "faint, taken for zero": (lambda x: 1e-8 * np.sin(x), lambda g: g * 0.0),
    "batch_norm, without the mean": (batch_norm, lambda g, x, w, b: batch_norm_rule(g, x, w, b, of_mean=0)),
    "batch_norm, without the variance": (batch_norm, lambda g, x, w, b: batch_norm_rule(g, x, w, b, of_var=0)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DROPPED)
def test_dropped_terms_are_refused(name, size):
    word = name.partition(",")[0]
    with pytest.raises(testing.GradcheckError, match=f"^{word}: law"):
        testing.gradcheck(tc.Op(word, *DROPPED[name]), inputs_of(word, size))


@pytest.mark.parametrize(
    ("name", "size"), [(name, "small") for name in SMOOTH] + [("tanh", "large"), ("matmul", "large")]
)
def test_what_is_right_in_first_order_only_passes_gradcheck_and_not_gradgradcheck(name, size):
    def detached(original, named):
        return original(**{word: value.detach() for word, value in named.items() if word != "g"})

    op, x = tc.Op(name, *OPS[name]), inputs_of(name, size)
    wrong = tc.Op(name, op.forward, rewriting.with_rule(op, 0, detached))
    assert testing.gradcheck(wrong, x).ok
    with pytest.raises(testing.GradcheckError, match=rf"^{name} \(second order\): law"):
        testing.gradgradcheck(wrong, x)


x = np.random.default_rng(3).standard_normal((5, 6))

TRICKY = {
    "huge": ("tanh", (x * 1e100,)),
    "tiny": ("tanh", (x * 1e-100,)),
    "huge times tiny": ("product", (x * 1e120, x * 1e-120)),
    "one array twice": ("product", (x, x)),
    "one array twice, at ties": ("maximum", (np.round(x), np.round(x))),
    "all tied": ("maximum", (np.zeros((5, 6)), np.zeros((5, 6)))),
    "far from zero": ("batch_norm", (x + 1e6, np.ones(6), np.zeros(6))),
    "small spread far from zero": ("batch_norm", (x * 1e-2 + 1e3, np.ones(6), np.zeros(6))),
    "far apart": ("softmax", (x * 300,)),
    "offset": ("softmax", (x + 1e5,)),
}


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_right_ops_pass(name):
    word, inputs = TRICKY[name]
    op = tc.Op(word, *OPS[word])
    assert testing.gradcheck(op, inputs).ok
    assert testing.gradgradcheck(op, inputs).ok


def test_one_tensor_as_both_arguments_passes():
    product = tc.Op("product", *OPS["product"])
    assert testing.gradcheck(lambda t: product(t, t), x).ok
    assert testing.gradgradcheck(lambda t: product(t, t), x).ok
