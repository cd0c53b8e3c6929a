"""Every rule of every operation is put wrong in several ways: the battery's laws must notice, each time.

A mistake that changes nothing (a factor on a gradient that is 0 everywhere) is no mistake; those are listed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import testing
from tinygrad_cnn.testing.catalog import INTERNAL

_CASES = 12  # drawn calls, of which one must show the mistake

# Their gradient is 0 everywhere, which no factor and no rearrangement changes.
ZERO = {"sign", "floor", "ceil", "round", "zeros_like"}


def scaled(d):
    return d * 1.01


def one_element(d):
    factors = np.ones(d.shape, d.dtype)
    if d.size:
        factors.flat[d.size // 2] = 1.1
    return d * factors


def rolled(d):
    return d.roll(1, d.ndim - 1) if d.ndim and d.shape[-1] > 1 else d * 1.5


def rows_swapped(d):
    if d.ndim == 0 or d.shape[0] < 2:
        return d * 1.5
    return d[np.array([1, 0, *range(2, d.shape[0])])]


def negated(d):
    return -d


def off_by_one(d):
    return d + 1.0


def nothing(d):
    return d * 0.0


def constant(d):
    """Right in first order only."""
    return tc.tensor(d.data.copy())


SLOW = (scaled, rolled, rows_swapped, negated, off_by_one, nothing)
MISTAKES = (one_element, constant, *(pytest.param(m, marks=pytest.mark.slow) for m in SLOW))
RULES = [
    (name, rule)
    for name, op in sorted(tc.ops().items())
    if op.differentiable and name not in INTERNAL and name in testing.cases()
    for rule in range(1 if callable(op.vjp) else len(op.vjp))
    if callable(op.vjp) or isinstance(op.vjp, Mapping) or op.vjp[rule] is not None
]


def spoilt(vjp, number, mistake):
    """The rules of a record with one of them (the first gradient of a joint rule) put wrong."""
    if isinstance(vjp, Mapping):
        word = list(vjp)[number]
        return {**vjp, word: _spoilt_rule(vjp[word], mistake)}
    if not callable(vjp):
        return tuple(_spoilt_rule(rule, mistake) if i == number else rule for i, rule in enumerate(vjp))
    return _spoilt_rule(vjp, mistake)


def _spoilt_rule(rule, mistake):
    @functools.wraps(rule)
    def wrong(*args, **kwargs):
        result = rule(*args, **kwargs)
        if isinstance(result, tc.Tensor | np.ndarray):
            return mistake(_tensor(result))
        first, *rest = result
        return (mistake(_tensor(first)), *rest)

    wrong.__signature__ = inspect.signature(rule)
    return wrong


def _tensor(d):
    return d if isinstance(d, tc.Tensor) else tc.tensor(np.asarray(d))


def is_noticed(name, law):
    spec = testing.cases()[name]
    calls = (spec.case(testing.Draw.seeded(seed)) for seed in range(_CASES))
    return any(not testing.check_case(name, call, law, raise_=False).ok for call in calls)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
@pytest.mark.parametrize(("name", "rule"), RULES, ids=lambda value: str(value))
def test_mistakes_in_rules_are_noticed(name, rule, mistake):
    op = tc.ops()[name]
    with testing.patched(op, vjp=spoilt(op.vjp, rule, mistake)):
        noticed = is_noticed(name, "second" if mistake is constant else "adjoint")
    assert noticed is not (name in ZERO and mistake is not off_by_one)
