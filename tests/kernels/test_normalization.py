"""Batch normalisation against nested loops, its gradient against a complex step, memory order, precision."""

import numpy as np
import pytest

from tinygrad_cnn.kernels.normalization import batch_norm, batch_norm_gradient
from tinygrad_cnn.testing import naive

EPS = 1e-5
SHAPES = [(4, 3), (4, 3, 5), (2, 3, 4, 1), (2, 3, 2, 3, 2), (3, 0, 2), (1, 1, 7)]


def channel_axes(x):
    return (0, *range(2, x.ndim))


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def problem(shape, seed=0, axes=None):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(size=shape), rng.integers(-9, 10, shape).astype(np.float64)
    axes = channel_axes(x) if axes is None else axes
    statistics = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return x, g, rng.normal(size=statistics), rng.normal(size=statistics), axes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("arrange", [np.ascontiguousarray, channels_last, np.asfortranarray])
def test_equals_nested_loops(shape, arrange):
    x, _, weight, bias, axes = problem(shape)
    y, mean, var = batch_norm(arrange(x), weight, bias, axes, EPS)
    np.testing.assert_allclose(y, naive.batch_norm(x, weight.ravel(), bias.ravel(), EPS), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(mean, x.mean(axes, keepdims=True), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(var, x.var(axes, keepdims=True), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("shape", "axes"), [*((s, None) for s in SHAPES), ((3, 4, 2), (2,)), ((3, 4, 2), (1, 2))])
def test_gradients_equal_a_complex_step(shape, axes):
    x, g, weight, bias, axes = problem(shape, axes=axes)
    _, mean, var = batch_norm(x, weight, bias, axes, EPS)
    gradients = batch_norm_gradient(g, x, weight, mean, var, axes, EPS)
    arguments = (x, weight, bias)
    for which, (argument, gradient) in enumerate(zip(arguments, gradients, strict=True)):
        expected = np.zeros(argument.shape)
        for at in np.ndindex(*argument.shape):
            moved = [a.astype(complex) for a in arguments]
            moved[which][at] += 1e-30j
            expected[at] = (batch_norm(*moved, axes, EPS)[0].imag * g).sum() / 1e-30
        np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-11)


def test_weight_and_bias_are_optional():
    x, g, weight, bias, axes = problem((3, 2, 4))
    ones, zeros = np.ones_like(weight), np.zeros_like(bias)
    plain, mean, var = batch_norm(x, None, None, axes, EPS)
    np.testing.assert_array_equal(plain, batch_norm(x, ones, zeros, axes, EPS)[0])
    ours = batch_norm_gradient(g, x, None, mean, var, axes, EPS)
    for gradient, expected in zip(ours, batch_norm_gradient(g, x, ones, mean, var, axes, EPS), strict=True):
        np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("arrange", [np.ascontiguousarray, channels_last])
def test_large_mean_cancels_nothing(arrange):
    x = arrange(np.random.default_rng(0).normal(100, 0.01, (8, 4, 16, 16))).astype(np.float32)
    g = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    exact, mean, var = batch_norm(x.astype(np.float64), None, None, (0, 2, 3), EPS)
    y, mean32, var32 = batch_norm(x, None, None, (0, 2, 3), EPS)
    assert y.dtype == np.float32
    assert abs(y - exact).max() < 1e-2
    dx, *_ = batch_norm_gradient(g, x, None, mean32, var32, (0, 2, 3), EPS)
    exact, *_ = batch_norm_gradient(g.astype(np.float64), x.astype(np.float64), None, mean, var, (0, 2, 3), EPS)
    assert dx.dtype == np.float32
    assert abs(dx - exact).max() < 1e-2 * abs(exact).max()


@pytest.mark.parametrize("arrange", [np.ascontiguousarray, channels_last])
def test_memory_order_is_kept_whatever_g_has(arrange):
    x, g, weight, bias, axes = problem((2, 3, 4, 5))
    x = arrange(x)
    y, mean, var = batch_norm(x, weight, bias, axes, EPS)
    assert y.strides == x.strides
    reference = batch_norm_gradient(arrange(g), x, weight, mean, var, axes, EPS)[0]
    for order in (np.ascontiguousarray, np.asfortranarray, channels_last):
        dx = batch_norm_gradient(order(g), x, weight, mean, var, axes, EPS)[0]
        assert dx.strides == x.strides
        np.testing.assert_array_equal(dx, reference)


def test_a_constant_gradient_moves_nothing():
    x, _, weight, bias, axes = problem((4, 3, 5))
    _, mean, var = batch_norm(x, weight, bias, axes, EPS)
    dx, dweight, dbias = batch_norm_gradient(np.full(x.shape, 2.0), x, weight, mean, var, axes, EPS)
    np.testing.assert_allclose(dx, 0, atol=1e-14)
    np.testing.assert_allclose(dweight, 0, atol=1e-13)
    np.testing.assert_array_equal(dbias.ravel(), [40, 40, 40])


def test_half_precision_sums_in_single():
    x = np.full((70000, 1), 2, np.float16)
    y, mean, var = batch_norm(x, None, None, (0,), EPS)
    assert y.dtype == np.float16
    assert (mean.item(), var.item()) == (2, 0)


def test_an_empty_batch_has_no_statistics_and_no_warning():
    x = np.zeros((0, 2, 3), np.float32)
    y, mean, var = batch_norm(x, None, None, (0, 2), EPS)
    dx, dweight, dbias = batch_norm_gradient(y, x, None, mean, var, (0, 2), EPS)
    assert y.shape == dx.shape == x.shape
    for zeros in (mean, var, dweight, dbias):
        np.testing.assert_array_equal(zeros, np.zeros((1, 2, 1)))
