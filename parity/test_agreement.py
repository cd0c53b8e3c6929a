"""The helper that all tests here rest on finds what is wrong: each of these pairs differs in one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
from parity.agreement import agree

X = np.array([[0.5, -1.0], [2.0, 0.25]])


@contextmanager
def replaced(name: str, **parts: Any) -> Iterator[None]:
    with tc.ops()[name].replaced(**parts):
        yield


def test_agreement() -> None:
    agree(lambda x: tc.exp(x) * x, lambda t: torch.exp(t) * t, X, order=3)


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        (lambda x: tc.exp(x) * (1 + 1e-9), "output 0: 4 of 4 differ"),
        (lambda x: tc.exp(x)[0], "output 0: shape"),
        (lambda x: (tc.exp(x), x), "2 outputs"),
        (lambda x: tc.exp(x).detach(), "output 0: requires_grad is False"),
        (lambda x: tc.exp(x) > 0, "output 0: dtype bool"),
        (lambda x: tc.exp(x.detach()) + 0 * x, "order 1, gradient 0"),
    ],
)
def test_differences_of_functions(ours: Callable[..., Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        agree(ours, torch.exp, X)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"vjp": lambda g, y: g * y * 1.01}, "order 1, gradient 0"),
        ({"vjp": lambda g, y: g * y.detach()}, "order 2, gradient 0"),  # right once, wrong twice
        ({"vjp": lambda g, y: g.detach() * y}, "order 2, gradient 1"),  # the gradient in the upstream gradient
        ({"vjp": lambda g, y: g * y, "fast": lambda g, y: g * y * 1.01}, "order 1, gradient 0"),
        ({"vjp": lambda g, y: 1.01 * g * y, "fast": lambda g, y: g * y}, "order 1, recorded gradient 0"),
    ],
)
def test_differences_of_rules(parts: dict[str, Any], message: str) -> None:
    with replaced("exp", **parts), pytest.raises(AssertionError, match=message):
        agree(tc.exp, torch.exp, X)


def test_a_changed_input_is_noticed() -> None:
    def forward(x: np.ndarray) -> np.ndarray:
        y = np.exp(x)
        x[0, 0] = 7
        return y

    with replaced("exp", forward=forward), pytest.raises(AssertionError, match="an input was changed"):
        agree(tc.exp, torch.exp, X.copy(), order=0)
