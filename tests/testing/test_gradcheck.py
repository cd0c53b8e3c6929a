"""gradcheck alone refuses what is wrong, at small and large sizes, and lets through what is right but tricky."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tinygrad_cnn import testing

SIZES = {"small": (3, 4), "large": (64, 40), "odd": (513,)}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- functions and right rules, as pairs of NumPy functions ----------------------------------------------------------


def tanh_rule(g, y):
    return g * (1 - y * y)


def matmul_rule(g, a, b):
    return g @ b.T, a.T @ g


def softmax(x):
    e = np.exp(x - np.max(x.real, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_rule(g, y):
    return y * (g - (g * y).sum(-1, keepdims=True))


def batch_norm(x, w, b):
    centred = x - x.mean(0)
    var = (centred * centred).mean(0)
    return w * centred / np.sqrt(var + 1e-5) + b


def batch_norm_rule(g, x, w, b):
    centred = x - x.mean(0)
    inv_std = 1 / np.sqrt((centred * centred).mean(0) + 1e-5)
    z = centred * inv_std
    gw = g * w
    return inv_std * (gw - gw.mean(0) - z * (gw * z).mean(0)), (g * z).sum(0), g.sum(0)


def relu(x):
    return np.where(x > 0, x, 0.0)


def relu_rule(g, x):
    return np.where(x > 0, g, 0.0)


def maximum_rule(g, a, b):
    return g * np.where(a == b, 0.5, a > b), g * np.where(a == b, 0.5, b > a)


def row_max(x):
    return x.max(-1)


def row_max_rule(g, x):
    """The first of equals gets all."""
    d = np.zeros(x.shape)
    np.put_along_axis(d, x.argmax(-1)[..., None], g[..., None], -1)
    return d


def pool(x):
    """Windows of 2 with stride 1 along the last axis: they overlap."""
    return np.maximum(x[..., :-1], x[..., 1:])


def pool_rule(g, x):
    d = np.zeros(x.shape)
    left = x[..., :-1] >= x[..., 1:]
    d[..., :-1] += np.where(left, g, 0)
    d[..., 1:] += np.where(left, 0, g)
    return d


def blur(x):
    return x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]


def blur_rule(g, x):
    d = np.zeros(x.shape)
    for i, w in enumerate((1, 2, 1)):
        d[..., i : i + g.shape[-1]] += w * g
    return d


# ---- ways to be wrong ------------------------------------------------------------------------------------------------


def scaled(d):
    return d * 1.01


def one_element(d):
    d = np.array(d)
    d.flat[np.argmax(np.abs(d))] *= 1.1
    return d


def one_zeroed(d):
    d = np.array(d)
    d.flat[np.argmax(np.abs(d))] = 0
    return d


def swapped(d):
    d = np.array(d)
    d[[0, 1]] = d[[1, 0]]
    return d


def shifted(d):
    return np.roll(d, 1, -1)


def transposed(d):
    return np.swapaxes(d.reshape(d.shape[::-1]), 0, -1) if d.ndim > 1 else d[::-1]


def negated(d):
    return -d


def nothing(d):
    return d * 0


def clipped(d):
    return np.clip(d, -1, 1)


def rounded(d):
    return d.astype(np.float32).astype(np.float64)


MISTAKES: tuple[Callable[[Any], Any], ...] = (
    scaled, one_element, one_zeroed, swapped, shifted, transposed, negated, nothing, clipped, rounded,
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A function with a right rule and inputs of a size; `wrong_at` is the argument whose gradient a mistake spoils."""

    name: str
    forward: Callable[..., Any]
    rule: Callable[..., Any]
    inputs: Callable[[tuple[int, ...]], tuple[Any, ...]]
    wrong_at: int = 0

    def spoilt(self, mistake: Callable[[Any], Any]) -> Callable[..., Any]:
        """The rule with one gradient put wrong."""

        def rule(g, *inputs):
            right = call(self.rule, self.forward, g, inputs)
            return tuple(mistake(d) if i == self.wrong_at else d for i, d in enumerate(right))

        return rule


def call(rule, forward, g, inputs):
    """The gradients as a tuple, whatever the rule names."""
    words = rule.__code__.co_varnames[: rule.__code__.co_argcount]
    result = rule(g, forward(*inputs)) if words == ("g", "y") else rule(g, *inputs)
    return result if isinstance(result, tuple) else (result,)


EXAMPLES = (
    Example("tanh", np.tanh, tanh_rule, lambda s: (rng().standard_normal(s),)),
    Example("relu", relu, relu_rule, lambda s: (rng(1).standard_normal(s),)),
    Example("softmax", softmax, softmax_rule, lambda s: (rng(2).standard_normal(s),)),
    Example("blur", blur, blur_rule, lambda s: (rng(3).standard_normal(s),)),
    Example("pool", pool, pool_rule, lambda s: (rng(4).standard_normal(s),)),
    Example(
        "matmul",
        np.matmul,
        matmul_rule,
        lambda s: (rng(5).standard_normal((4, s[0])), rng(6).standard_normal((*s, 5)[:2])),
        1,
    ),
    Example(
        "batch_norm",
        batch_norm,
        batch_norm_rule,
        lambda s: (rng(7).standard_normal(s), *rng(8).uniform(0.5, 2, (2, *s[1:]))),
    ),
)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_right_gradients_pass(example, size):
    report = testing.gradcheck((example.forward, example.rule), example.inputs(SIZES[size]))
    assert report.ok
    assert report.comparisons > 0
    assert report.inconclusive == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_wrong_gradients_are_refused(example, mistake, size):
    inputs = example.inputs(SIZES[size])
    pair = (example.forward, example.spoilt(mistake))
    with pytest.raises(testing.GradcheckError) as caught:
        testing.gradcheck(pair, inputs)
    failure = caught.value.report.failures[0]
    assert failure.argument == example.wrong_at
    assert caught.value.report.name in str(caught.value)
    if mistake is scaled:
        assert failure.hint.startswith("off by the constant factor 1.01 everywhere")


# ---- right but tricky ------------------------------------------------------------------------------------------------

x = rng(10).standard_normal((30, 30))
small = rng(11).standard_normal((4, 5))
ties = np.round(x)

TRICKY = {
    "huge": (np.square, lambda g, x: 2 * g * x, (x * 1e140,)),
    "tiny": (np.square, lambda g, x: 2 * g * x, (x * 1e-140,)),
    "all sizes at once": (np.log, lambda g, x: g / x, (10.0 ** rng().uniform(-150, 150, (20, 20)),)),
    "huge times tiny": (np.matmul, matmul_rule, (small * 1e150, small.T * 1e-150)),
    "tiny slopes": (lambda x: 1e-8 * np.sin(x), lambda g, x: 1e-8 * g * np.cos(x), (x,)),
    "a small term": (lambda x: x + 1e-9 * np.sin(x), lambda g, x: g + 1e-9 * g * np.cos(x), (x,)),
    "saturated": (np.tanh, tanh_rule, (x * 10,)),
    "softmax far away": (softmax, softmax_rule, (x * 100 + 1e4,)),
    "batch norm at 1e4": (batch_norm, batch_norm_rule, (x + 1e4, *rng().uniform(0.5, 2, (2, 30)))),
    "batch norm at 1e6": (batch_norm, batch_norm_rule, (small + 1e6, *rng().uniform(0.5, 2, (2, 5)))),
    "relu at 0": (relu, relu_rule, (ties,)),
    "abs at 0": (np.abs, lambda g, x: g * np.sign(x), (ties,)),
    "maximum of equals": (np.maximum, maximum_rule, (ties, np.round(x.T))),
    "maximum, all equal": (np.maximum, maximum_rule, (np.zeros((9, 9)), np.zeros((9, 9)))),
    "first of equal maxima": (row_max, row_max_rule, (ties,)),
    "pool of equals": (pool, pool_rule, (ties,)),
    "loss at many kinks": (lambda x: relu(x).sum(), lambda g, x: relu_rule(g, x), (ties,)),
    "constant": (lambda x: softmax(x).sum(-1), lambda g, x: 0 * x, (x,)),
    "infinite slope": (np.sqrt, lambda g, y: g / (2 * y), (np.abs(ties),)),
    "steps": (np.floor, lambda g, x: 0 * x, (x * 3,)),
    "sort of equals": (
        lambda x: np.sort(x, -1),
        lambda g, x: np.take_along_axis(g, np.argsort(np.argsort(x, -1, kind="stable"), -1, kind="stable"), -1),
        (ties,),
    ),
    "0-d": (np.exp, lambda g, y: g * y, (np.array(1.0),)),
    "one element": (np.exp, lambda g, y: g * y, (np.array([[1.0]]),)),
    "empty": (np.exp, lambda g, y: g * y, (np.zeros((0, 3)),)),
    "float32": (np.exp, lambda g, y: g * y, (small.astype(np.float32),)),
    "views of one array": (np.multiply, lambda g, a, b: (g * b, g * a), (small, small[:])),
    "reversed memory": (np.tanh, tanh_rule, (x[::-1, ::2],)),
    "relu, all sizes at once": (relu, relu_rule, (x * 10.0 ** rng().integers(-8, 5, x.shape),)),
    "steps far from 0": (np.floor, lambda g, x: 0 * x, (x * 1e6,)),
    "waves far from 0": (np.sin, lambda g, x: g * np.cos(x), (x * 1e12,)),
    "zeros": (np.square, lambda g, x: 2 * g * x, (0 * x,)),
    "cubes of zeros": (lambda x: x * x * x, lambda g, x: 3 * g * x * x, (0 * x,)),
    "variance at 1e6": (
        lambda x: ((x - x.mean(-1, keepdims=True)) ** 2).mean(-1),
        lambda g, x: 2 / x.shape[-1] * g[:, None] * (x - x.mean(-1, keepdims=True)),
        (x + 1e6,),
    ),
    "a log of a size at 1e6": (
        lambda x: np.log1p(np.abs(x)),
        lambda g, x: g * np.sign(x) / (1 + np.abs(x)),
        (x + 1e6,),
    ),
    "steep": (lambda x: np.tanh(1e4 * x), lambda g, y: 1e4 * tanh_rule(g, y), (x,)),
    "float32, saturated": (softmax, softmax_rule, (x.astype(np.float32) * 1000,)),
    "float32, overflowing": (np.square, lambda g, x: 2 * g * x, (x.astype(np.float32) * np.float32(1e25),)),
    "float32 at ties": (relu, relu_rule, (ties.astype(np.float32),)),
    "float32, batch norm": (batch_norm, batch_norm_rule, tuple(a.astype(np.float32) for a in (x + 50, x[0], x[1]))),
}


@pytest.mark.parametrize("name", TRICKY)
def test_right_but_tricky_gradients_pass(name):
    forward, rule, inputs = TRICKY[name]
    assert testing.gradcheck((forward, rule), inputs).ok


# ---- wrong in ways that hide -----------------------------------------------------------------------------------------

HIDDEN = {
    "a zero gradient of a tiny slope": (lambda x: 1e-8 * np.sin(x), lambda g, x: 0 * g, (x,)),
    "a small term dropped": (lambda x: x + 1e-7 * np.sin(x), lambda g, x: g, (x,)),
    "tiny gradients set to zero": (
        np.tanh, lambda g, y: np.where(1 - y * y < 1e-6, 0, tanh_rule(g, y)), (x * 5,)
    ),
    "each of equals gets all": (np.maximum, lambda g, a, b: (g * (a >= b), g * (b >= a)), (ties, np.round(x.T))),
    "equals get nothing": (np.maximum, lambda g, a, b: (g * (a > b), g * (b > a)), (ties, np.round(x.T))),
    "equal maxima all get all": (row_max, lambda g, x: g[..., None] * (x == x.max(-1, keepdims=True)), (ties,)),
    "too steep at 0": (np.abs, lambda g, x: g * np.where(x == 0, 1.5, np.sign(x)), (ties,)),
    "overlaps overwritten": (pool, lambda g, x: _overwritten(g, x), (x,)),
    "the mean taken for constant": (
        batch_norm, lambda g, x, w, b: _without_mean(g, x, w, b), (x + 1e4, *np.ones((2, 30)))
    ),
    "a batch average too many": (np.matmul, lambda g, a, b: (g @ b.T, a.T @ g / len(a)), (x, x.T)),
    "only one-hot g is right": (
        np.matmul,
        lambda g, a, b: tuple(d / max(np.count_nonzero(g), 1) for d in matmul_rule(g, a, b)),
        (small, small.T),
    ),
}  # fmt: skip


def _counting(wrong):
    """A rule that is wrong in the calls with these numbers."""
    calls = []

    def rule(g, y):
        calls.append(None)
        return tanh_rule(g, y) * (1.1 if len(calls) in wrong else 1.0)

    return rule


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("calls", [(1,), (2,), (3,), (2, 4, 6, 8), range(3, 999)], ids=str)
def test_a_rule_that_is_wrong_in_some_calls_only_is_refused(calls, size):
    report = testing.gradcheck((np.tanh, _counting(calls)), rng().standard_normal(SIZES[size]), raise_=False)
    assert not report.ok
    assert report.failures[0].argument_name == "x"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mistake", [scaled, one_element, one_zeroed, shifted], ids=lambda m: m.__name__)
def test_what_is_wrong_in_single_precision_only_is_refused(mistake, size):
    def rule(g, y):
        d = tanh_rule(g, y)
        return mistake(d).astype(d.dtype) if y.dtype == np.float32 else d

    inputs = rng().standard_normal(SIZES[size])
    assert testing.gradcheck((np.tanh, rule), inputs).ok
    report = testing.gradcheck((np.tanh, rule), inputs.astype(np.float32), raise_=False)
    assert [(f.law, f.argument_name) for f in report.failures] == [("single", "x")]


def _overwritten(g, x):
    d = np.zeros(x.shape)
    left = x[..., :-1] >= x[..., 1:]
    d[..., :-1] = np.where(left, g, 0)
    d[..., 1:] = np.where(left, d[..., 1:], g)
    return d


def _without_mean(g, x, w, b):
    dx, dw, db = batch_norm_rule(g, x, w, b)
    inv_std = 1 / np.sqrt(x.var(0) + 1e-5)
    return dx + inv_std * (g * w).mean(0), dw, db


@pytest.mark.parametrize("name", HIDDEN)
def test_wrong_gradients_that_hide_are_refused(name):
    forward, rule, inputs = HIDDEN[name]
    with pytest.raises(testing.GradcheckError) as caught:
        testing.gradcheck((forward, rule), inputs)
    assert caught.value.report.failures[0].argument is not None


# ---- more than numbers -----------------------------------------------------------------------------------------------


def _mutating(g, y):
    g *= 1 - y * y
    return g


def test_a_rule_that_writes_into_g_is_refused():
    report = testing.gradcheck((np.tanh, _mutating), small, raise_=False)
    assert [f.law for f in report.failures] == ["pure"]
    assert "overwrites the upstream gradient" in str(report)


def test_a_forward_that_writes_into_its_input_is_refused():
    report = testing.gradcheck((lambda x: np.exp(x, out=x), lambda g, y: g * y), small, raise_=False)
    assert [f.law for f in report.failures] == ["pure"]


def test_a_random_function_is_refused_with_advice():
    noise = np.random.default_rng(0)
    report = testing.gradcheck((lambda x: x * noise.random(x.shape), lambda g, x: g), small, raise_=False)
    assert report.failures[0].law == "repeat"
    assert "freeze the random draw" in str(report)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (lambda g, x: (g * 2).sum(0), r"gradient has shape \(5,\), its input \(4, 5\)"),
        (lambda g, x: (g * 2).astype(np.float32), "gradient has dtype float32, its input float64"),
        (lambda g, x: g * 2 + 1e-13, r"B\(.* g\) is not|B\(0\) is not 0"),
        (lambda g, x: np.abs(g) * 2, "not the derivative|B"),
        (lambda g, x: np.where(np.abs(g) < 1e-6, 0, 2 * g), "B"),
    ],
    ids=["shape", "dtype", "offset", "not linear", "threshold"],
)
def test_gradients_of_another_form_are_refused(rule, says):
    with pytest.raises(testing.GradcheckError, match=says):
        testing.gradcheck((lambda x: 2 * x, rule), small)


def test_a_rule_that_depends_on_the_memory_layout_is_refused():
    def rule(g, x):
        return g * (1 if x.flags.c_contiguous else 2)

    report = testing.gradcheck((lambda x: x * 1.0, rule), small, raise_=False)
    assert {f.law for f in report.failures} == {"layout"}


def test_an_inconclusive_check_does_not_pass():
    def rough(x):
        return np.sin(1e9 * x) * 1e3

    report = testing.gradcheck((rough, lambda g, x: 1e12 * g * np.cos(1e9 * x)), small, oracle="central", raise_=False)
    assert not report.ok


def test_oracles_that_disagree_are_the_kits_failure_not_the_ops():
    drops_the_imaginary_part = lambda x: np.abs(x) * x  # noqa: E731  # a lambda as users write them
    report = testing.gradcheck((drops_the_imaginary_part, lambda g, x: 2 * g * np.abs(x)), small, raise_=False)
    assert report.ok
    assert report.oracles == {"x": "Richardson"}


def test_rules_by_name_by_position_and_per_input():
    forms = [
        lambda g, a, b: (g * b, g * a),
        lambda upstream, first, second: (upstream * second, upstream * first),
        (lambda g, b: g * b, lambda g, a: g * a),
        {"a": lambda g, b: g * b, "b": lambda g, a: g * a},
    ]
    for vjp in forms:
        assert testing.gradcheck((lambda a, b: a * b, vjp), (small, small + 1)).ok


@pytest.mark.parametrize("oracle", ["richardson", "complex", "central"])
def test_an_oracle_can_be_chosen(oracle):
    assert testing.gradcheck((np.tanh, tanh_rule), small, oracle=oracle).ok
    assert not testing.gradcheck((np.tanh, lambda g, y: 1.01 * tanh_rule(g, y)), small, oracle=oracle, raise_=False).ok


def test_the_exact_oracle_needs_no_tolerance():
    whole = rng().integers(-4, 5, (4, 5)).astype(float)
    report = testing.gradcheck((blur, blur_rule), whole, oracle="exact")
    assert report.oracles == {"x": "exact h=0.25"}
    off = testing.gradcheck((blur, lambda g, x: blur_rule(g, x) * (1 + 2**-52)), whole, oracle="exact", raise_=False)
    assert off.failures[0].tolerance == 0


def test_kinks_can_be_skipped_or_refused():
    wrong_at_0 = lambda g, x: np.where(x == 0, 7.0, np.sign(x)) * g  # noqa: E731  # as above
    assert not testing.gradcheck((np.abs, wrong_at_0), ties[:4, :4], raise_=False).ok
    assert testing.gradcheck((np.abs, wrong_at_0), ties[:4, :4], kinks="skip").kinks > 0
    report = testing.gradcheck((np.abs, lambda g, x: g * np.sign(x)), ties[:4, :4], kinks="error", raise_=False)
    assert report.failures[0].law == "kinks"


@pytest.mark.parametrize(
    "bad", [{"oracle": "guess"}, {"kinks": "ignore"}, {"probes": 0}, {"order": 3}, {"checks": ["g"]}]
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="gradcheck: "):
        testing.gradcheck((np.tanh, tanh_rule), small, **bad)


def test_nothing_to_differentiate_is_an_error():
    with pytest.raises(ValueError, match="no input of tanh is a floating array"):
        testing.gradcheck((np.tanh, tanh_rule), np.arange(3))
    with pytest.raises(TypeError, match="fn must be an Op, a function of Tensors or a pair"):
        testing.gradcheck(3, small)


# ---- reports ---------------------------------------------------------------------------------------------------------


def test_a_report_can_be_repeated_and_stored():
    report = testing.gradcheck((np.tanh, lambda g, y: 1.01 * tanh_rule(g, y)), small, raise_=False)
    stored = report.to_dict()
    assert stored["failures"][0]["argument_name"] == "x"
    assert len(stored["failures"][0]["index"]) == 2
    assert stored["versions"]["numpy"] == np.__version__
    assert "testing.gradcheck((np.tanh, fn), inputs)" in report.repro()
    snippet = report.repro().replace("fn = ...", "fn = lambda g, y: 1.01 * g * (1 - y * y)")
    with pytest.raises(testing.GradcheckError, match=r"constant factor 1\.01"):
        exec(snippet, {})


HINTS = {
    "the sign is turned": negated,
    "right but shifted by one along axis 1": shifted,
    "entries 0 and 1 along axis 0 are swapped": swapped,
    "zero where it should not be: everywhere": nothing,
    "off by the constant factor 1.1 in the wrong elements": lambda d: (
        d * np.where(np.arange(d.size) == 7, 1.1, 1).reshape(d.shape)
    ),
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("hint", HINTS)
def test_hints_name_the_pattern(hint, size):
    rule = lambda g, y: HINTS[hint](tanh_rule(g, y))  # noqa: E731  # as above
    report = testing.gradcheck((np.tanh, rule), rng(1).standard_normal(SIZES[size]), raise_=False)
    assert report.failures[0].hint == hint


def test_the_worst_element_is_named():
    def rule(g, y):
        d = tanh_rule(g, y)
        d[17, 3] *= 1.1
        return d

    report = testing.gradcheck((np.tanh, rule), rng(1).standard_normal((64, 40)), raise_=False)
    assert report.failures[0].index == (17, 3)
    assert report.failures[0].analytic == pytest.approx(1.1 * report.failures[0].numeric)
