"""What a failing check says: which op is wrong, and a snippet that fails the same way on its own."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing
from tinygrad_cnn.testing import snippets
from tinygrad_cnn.testing.mutants.rewriting import with_gradient

rng = np.random.default_rng(0)
wrong_sin = tc.op("report_wrong_sin", np.sin, lambda g, x: g * tc.cos(x) * 1.01)
wrong_max = tc.op(
    "report_wrong_max", np.maximum, (lambda g, a, b: tc.where(a >= b, g, 0.0), lambda g, a, b: tc.where(b >= a, g, 0.0))
)
wrong_twice = tc.op("report_wrong_twice", np.tanh, lambda g, y: g * (1 - y.detach() * y.detach()))


def wrong_mean(x):
    """A function that can be quoted."""
    return tc.ops()["report_wrong_sin"](x).mean()


def forward(x, scale=1.0):
    return x * scale


def wrong_rule(g, x, scale):
    return g


CASES = {
    "few numbers": lambda: testing.gradcheck(wrong_sin, rng.standard_normal(5)),
    "hundreds of numbers": lambda: testing.gradcheck(wrong_sin, rng.standard_normal((20, 20))),
    "many numbers": lambda: testing.gradcheck(wrong_sin, 1e3 + 5 * rng.standard_normal((40, 30))),
    "many ties": lambda: testing.gradcheck(wrong_max, (np.round(rng.standard_normal((92, 90))), np.zeros((92, 90)))),
    "few ties": lambda: testing.gradcheck(wrong_max, (np.array([0.0, 1.0]), np.array([0.0, 2.0]))),
    "special numbers": lambda: testing.gradcheck(wrong_sin, np.array([np.nan, 1.0, np.inf, -0.0])),
    "second order": lambda: testing.gradgradcheck(wrong_twice, rng.standard_normal((4, 30))),
    "float32": lambda: testing.gradcheck(wrong_sin, rng.standard_normal((10, 10)).astype(np.float32)),
    "a function": lambda: testing.gradcheck(wrong_mean, rng.standard_normal((3, 3)), seed=5),
    "a pair with options": lambda: testing.gradcheck(
        (forward, wrong_rule), rng.standard_normal(4), kwargs={"scale": 2.0}
    ),
    "adjoint_check": lambda: testing.adjoint_check((forward, wrong_rule), np.ones(70), 0, kwargs={"scale": 3.0}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_snippet_fails_in_the_same_way_with_numpy_and_the_package_alone(name):
    with pytest.raises(testing.GradcheckError) as caught:
        CASES[name]()
    first = caught.value.report.failures[0]
    assert "# Too many" not in caught.value.report.repro()
    with pytest.raises(testing.GradcheckError) as again:
        exec(caught.value.report.repro(), {})
    second = again.value.report.failures[0]
    assert (second.law, second.argument) == (first.law, first.argument)
    assert len(str(caught.value)) < 40_000


def test_a_case_of_hundreds_of_numbers_is_source():
    for x in (rng.standard_normal((9, 9)), rng.integers(-4, 5, (30, 30)).astype(float), rng.random(99) < 0.5):
        case = testing.OpCase((x,), {}, 3)
        again = eval(repr(case), {"np": np, "OpCase": testing.OpCase}).args[0]
        assert np.array_equal(again, x)
        assert again.dtype == x.dtype


def test_what_can_not_be_printed_is_said():
    def picky(x):
        return wrong_sin(x) if x.data.flat[0] == 0.1234 else tc.sin(x)

    x = rng.standard_normal((50, 50))
    x[0, 0] = 0.1234
    report = testing.gradcheck(picky, x, raise_=False)
    assert not report.ok
    assert "# Too many numbers to print" in report.repro()


def test_a_large_array_stands_for_itself_only_if_it_is_written():
    assert snippets.stand_in(np.ones(3)) is None
    assert snippets.stand_in(np.full((99, 99), np.nan)) is None
    drawn, source = snippets.stand_in(np.arange(20_000.0))
    assert np.array_equal(eval(source), drawn)


@pytest.mark.parametrize(
    ("op", "fn", "inputs", "argument"),
    [
        ("tanh", lambda x: (tc.tanh(x * 2) + tc.sin(x)).sum(), (rng.standard_normal((4, 5)),), "argument 0 'x'"),
        (
            "matmul",
            lambda x, w: tc.relu(x @ w).mean(),
            (np.ones((3, 4)), rng.standard_normal((4, 5))),
            "argument 1 'b'",
        ),
        (
            "conv2d",
            lambda x, w: F.max_pool2d(F.conv2d(x, w, padding=1), 2),
            (rng.standard_normal((2, 3, 8, 8)), rng.standard_normal((4, 3, 3, 3))),
            "argument 1 'weight'",
        ),
    ],
)
def test_the_op_that_is_wrong_is_named_inside_a_function(op, fn, inputs, argument):
    with testing.patched(op, vjp=spoilt(tc.ops()[op])):
        report = testing.gradcheck(fn, inputs, raise_=False)
    assert report.culprit.startswith(f"the op {op!r}, {argument}")
    assert f"culprit: the op {op!r}" in str(report)
    assert testing.gradcheck(fn, inputs).culprit is None


def spoilt(record):
    """The rule of its last input off by one part in a hundred."""
    last = {"conv2d": 1}.get(record.name, len(record.inputs) - 1)
    return with_gradient(record, last, lambda d, named: d * 1.01)


def test_the_culprit_in_second_order():
    report = testing.gradgradcheck(lambda x: wrong_twice(x * 2).sum(), rng.standard_normal(4), raise_=False)
    assert report.culprit.startswith("the op 'report_wrong_twice'")


def test_a_rule_that_raises_is_reported_with_its_argument():
    def rule(g, a):
        raise ValueError("not today")

    op = tc.Op("report_raises", lambda a, b: a * b, (lambda g, b: g * b, rule))
    report = testing.gradcheck(op, (np.ones(2), np.ones(2)), raise_=False)
    assert report.failures[0].argument_name == "b"
    assert "the gradient raised ValueError: not today" in str(report)


def test_the_only_op_that_is_called_is_the_culprit():
    report = testing.gradcheck(lambda x: wrong_sin(x), rng.standard_normal(4), raise_=False)
    assert report.culprit == "the op 'report_wrong_sin', the only one that is called"
