"""The code in the documentation runs as it stands, and its tables say what the engine does."""

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_python_blocks_run_in_order(page):
    namespace = {"np": np, "tc": tc, "F": F}
    defined = set(tc.ops())
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if "op(" not in block or "tc.op(" in block:  # a record quoted from the source is not run again
            exec(compile(block, page.name, "exec"), namespace)
    assert set(tc.ops()) >= defined


def slope(f, *values, argument=0, dtype="float64"):
    xs = [tc.tensor(np.array(v, dtype=dtype), requires_grad=True) for v in values]
    f(*xs).sum().backward()
    return xs[argument].grad.tolist()


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (F.relu, [0.0, -0.0, np.nan, -1.0, 1.0], [0, 0, 1, 0, 1]),
        (F.leaky_relu, [0.0], [0.01]),
        (lambda x: F.elu(x, 0.5), [0.0], [0.5]),
        (F.relu6, [0.0, 6.0], [0, 0]),
        (F.hardtanh, [-1.0, 1.0], [0, 0]),
        (F.hardswish, [-3.0, 3.0], [0, 1]),
        (lambda x: x.clip(-1, 1), [-1.0, 1.0, -1.5, 1.5], [1, 1, 0, 0]),
        (tc.abs, [0.0], [0]),
        (tc.sign, [0.0, 2.0], [0, 0]),
        (lambda x: x.norm(), [0.0, 0.0], [0, 0]),
        (lambda x: x.std(), [2.0, 2.0], [0, 0]),
        (tc.sqrt, [0.0], [np.inf]),
        (lambda x: x**0, [0.0], [0]),
        (lambda x: x.prod(), [0.0, 2.0, 3.0], [6, 0, 0]),
        (lambda x: x.prod(), [0.0, 0.0, 3.0], [0, 0, 0]),
        (lambda x: x.max(0)[0], [2.0, 2.0, 1.0], [1, 0, 0]),
        (lambda x: x.min(0)[0], [2.0, 1.0, 1.0], [0, 1, 0]),
        (lambda x: x.max(), [2.0, 2.0, 1.0], [0.5, 0.5, 0]),
        (lambda x: x.amin(), [2.0, 1.0, 1.0], [0, 0.5, 0.5]),
        (np.max, [2.0, 2.0], [0.5, 0.5]),
        (lambda x: F.max_pool1d(x.reshape(1, 1, 4), 2), [1.0, 1.0, -5.0, -5.0], [1, 0, 1, 0]),
        (lambda x: F.max_pool1d(x.reshape(1, 1, 2), 2, padding=1), [-np.inf, -3.0], [1, 1]),
    ],
)
def test_derivatives_at_kinks_and_ties(f, at, expected):
    np.testing.assert_array_equal(slope(f, at), expected)


def test_ties_between_two_arguments_are_halved():
    for f in (tc.maximum, tc.minimum):
        assert slope(f, [1.0], [1.0]) == [0.5]
        x = tc.tensor([3.0], requires_grad=True)
        f(x, x).sum().backward()
        assert x.grad.tolist() == [1.0]


def test_exponent_at_zero():
    assert slope(lambda a, b: a**b, [0.0], [0.0], argument=1) == [0.0]
    assert slope(lambda a, b: a**b, [0.0], [0.0], argument=0) == [0.0]


def test_nothing_to_count_is_zero():
    z = tc.tensor(np.ones((2, 3)), requires_grad=True)
    loss = F.cross_entropy(z, np.array([-100, -100]))
    loss.backward()
    assert loss.item() == 0.0
    assert not z.grad.numpy().any()
    assert F.cross_entropy(tc.zeros(0, 3), np.zeros(0, int)).item() == 0.0
