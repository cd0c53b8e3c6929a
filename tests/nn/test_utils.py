"""Clipping gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import nn


def parameters(*gradients: list[float] | None) -> list[nn.Parameter]:
    made = []
    for g in gradients:
        p = nn.Parameter(np.zeros(1 if g is None else len(g), np.float32))
        p.grad = None if g is None else tc.tensor(g)
        made.append(p)
    return made


def grads(ps: list[nn.Parameter]) -> list[list[float]]:
    return [p.grad.tolist() for p in ps if p.grad is not None]


def test_norms_above_the_limit_are_scaled_to_it() -> None:
    ps = parameters([3.0], None, [0.0, -4.0])
    norm = nn.utils.clip_grad_norm_(ps, 1.0)
    assert isinstance(norm, tc.Tensor)
    assert norm.item() == 5
    np.testing.assert_allclose(np.concatenate(grads(ps)), [0.6, 0, -0.8], rtol=1e-6)


def test_norms_below_the_limit_are_left_alone() -> None:
    ps = parameters([3.0], [4.0])
    assert nn.utils.clip_grad_norm_(iter(ps), 5.1).item() == 5
    assert grads(ps) == [[3.0], [4.0]]
    assert nn.utils.clip_grad_norm_(ps, 3.5, norm_type=math.inf).item() == 4
    np.testing.assert_allclose(grads(ps)[1], [3.5], rtol=1e-6)
    assert nn.utils.clip_grad_norm_(parameters(None), 1.0).item() == 0
    assert nn.utils.clip_grad_norm_(parameters([1e30, 1e30]), math.inf).item() == pytest.approx(2**0.5 * 1e30)


def test_a_parameter_listed_twice_is_clipped_once() -> None:
    (p,) = parameters([4.0])
    assert nn.utils.clip_grad_norm_([p, p], 2.0).item() == 4
    assert grads([p])[0] == pytest.approx([2.0])


def test_nonfinite_norms() -> None:
    ps = parameters([math.nan], [1.0])
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan; nothing was changed"):
        nn.utils.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
    assert grads(ps)[1] == [1.0]
    assert math.isnan(nn.utils.clip_grad_norm_(ps, 1.0).item())
    assert math.isnan(grads(ps)[1][0])


@pytest.mark.parametrize("clip", [nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_])
def test_clipping_is_noticed_by_the_tape(clip: Callable[..., Any]) -> None:
    (p,) = parameters([3.0, 4.0])
    weight = tc.ones(2, requires_grad=True)
    y = (p.grad * weight).sum()
    clip([p], 1.0)
    with pytest.raises(tc.TapeError, match="overwritten"):
        y.backward()


def test_values() -> None:
    ps = parameters([-3.0, 0.5], None, [2.0])
    nn.utils.clip_grad_value_(ps, 1.0)
    assert grads(ps) == [[-1.0, 0.5], [1.0]]
    for call in (
        lambda: nn.utils.clip_grad_value_(ps, -1.0),
        lambda: nn.utils.clip_grad_norm_(ps, math.nan),
        lambda: nn.utils.clip_grad_norm_(ps, 1.0, norm_type=0),
    ):
        with pytest.raises(ValueError, match=r"must be a number (of at least|above) 0"):
            call()
