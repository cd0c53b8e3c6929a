"""Initialisers: moments, ranges and exact cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn.nn import init

SHAPE = (80, 60, 3, 3)
FAN_IN, FAN_OUT = 60 * 9, 80 * 9


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda t: init.uniform_(t, 1, 3), 2, (1 / 3) ** 0.5),
        (lambda t: init.normal_(t, 1, 0.5), 1, 0.5),
        (lambda t: init.constant_(t, 4), 4, 0),
        (lambda t: init.xavier_uniform_(t), 0, (2 / (FAN_IN + FAN_OUT)) ** 0.5),
        (lambda t: init.xavier_normal_(t, gain=3), 0, 3 * (2 / (FAN_IN + FAN_OUT)) ** 0.5),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), 0, (2 / FAN_IN) ** 0.5),
        (lambda t: init.kaiming_uniform_(t, a=5**0.5), 0, (1 / 3 / FAN_IN) ** 0.5),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), 0, (2 / FAN_OUT) ** 0.5),
        (lambda t: init.kaiming_normal_(t, nonlinearity="linear"), 0, FAN_IN**-0.5),
    ],
)
def test_moments(fill: Callable[[Any], Any], mean: float, std: float) -> None:
    tc.manual_seed(0)
    t = tc.zeros(SHAPE)
    assert fill(t) is t
    assert t.dtype == np.float32
    assert t.data.mean() == pytest.approx(mean, abs=0.02 * std + 1e-6)
    assert t.data.std() == pytest.approx(std, rel=0.02, abs=1e-6)


def test_truncated_normal() -> None:
    tc.manual_seed(0)
    values = init.trunc_normal_(tc.zeros(50_000), 0, 1, -1, 0.5).data
    assert values.min() >= -1
    assert values.max() <= 0.5
    # The mean of a normal distribution between a and b: (phi(a) - phi(b)) / (Phi(b) - Phi(a)).
    assert values.mean() == pytest.approx((0.24197 - 0.35207) / (0.69146 - 0.15866), abs=0.01)
    with pytest.raises(ValueError, match=r"does not reach \[20, 30\]"):
        init.trunc_normal_(tc.zeros(3), 0, 1, 20, 30)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (4, 3, 3), (5, 5)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(tc.zeros(shape, dtype="float64"), gain=2).data.reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_matrices_prefer_no_sign() -> None:
    tc.manual_seed(0)
    corners = [init.orthogonal_(tc.zeros(3, 3)).data[0, 0] for _ in range(300)]
    assert np.mean(corners) == pytest.approx(0, abs=0.15)


def test_identities() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4, 5, 5))
    kernel = init.dirac_(tc.zeros(4, 4, 3, 3, dtype="float64"))
    np.testing.assert_array_equal(tc.functional.conv2d(x, kernel, padding=1).data, x)
    grouped = init.dirac_(tc.zeros(4, 2, 3, 3, dtype="float64"), groups=2)
    np.testing.assert_array_equal(tc.functional.conv2d(x, grouped, padding=1, groups=2).data, x)
    assert init.eye_(tc.zeros(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert init.ones_(tc.zeros(2)).tolist() == [1, 1]
    assert init.zeros_(tc.ones(2)).tolist() == [0, 0]


def test_fans_and_gains() -> None:
    assert init.fans(tc.zeros(SHAPE)) == (FAN_IN, FAN_OUT)
    assert init.fans(tc.zeros(7, 5)) == (5, 7)
    assert init.calculate_gain("relu") ** 2 == pytest.approx(2)
    assert init.calculate_gain("leaky_relu", 2) ** 2 == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.xavier_normal_(tc.zeros(3)), tc.ShapeError, r"xavier_normal_: tensor must be a weight .* \(3,\)"),
        (lambda: init.kaiming_uniform_(tc.zeros(3)), tc.ShapeError, "kaiming_uniform_: .* for a bias use zeros_"),
        (lambda: init.xavier_uniform_(np.zeros((2, 2))), TypeError, "xavier_uniform_: tensor must be a Tensor"),
        (lambda: init.zeros_(None), TypeError, "zeros_: tensor must be a Tensor to fill in place, got NoneType"),
        (lambda: init.calculate_gain("swish"), ValueError, "nonlinearity must be one of 'linear', .* got 'swish'"),
        (lambda: init.kaiming_normal_(tc.zeros(2, 2), mode="fan"), ValueError, "kaiming_normal_: mode must be one of"),
        (lambda: init.kaiming_normal_(tc.zeros(2, 2), a=None), TypeError, "kaiming_normal_: a must be a number"),
        (lambda: init.uniform_(tc.zeros(2), 1.0, 0.0), ValueError, r"uniform_: b must be a number in \[1.0, inf\)"),
        (lambda: init.normal_(tc.zeros(2), std=-1), ValueError, "normal_: std must be a number of at least 0, got -1"),
        (lambda: init.trunc_normal_(tc.zeros(2), std=0), ValueError, "trunc_normal_: "),
        (lambda: init.constant_(tc.zeros(2), "x"), TypeError, "constant_: val must be a number, got 'x'"),
        (lambda: init.eye_(tc.zeros(2)), tc.ShapeError, "eye_: needs a matrix"),
        (lambda: init.dirac_(tc.zeros(3, 3, 3), groups=2), tc.ShapeError, "dirac_: needs a weight"),
        (lambda: init.dirac_(tc.zeros(3, 3, 3), groups=0), ValueError, "dirac_: groups must be an integer"),
        (lambda: init.orthogonal_(tc.zeros(3)), tc.ShapeError, "orthogonal_: needs at least 2 axes"),
    ],
)  # fmt: skip
def test_mistakes(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_filling_is_noticed_by_the_tape() -> None:
    w = tc.ones(2, requires_grad=True)
    y = (w * w).sum()
    init.normal_(w)
    with pytest.raises(tc.TapeError, match="overwritten"):
        y.backward()
