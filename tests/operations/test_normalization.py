"""Batch, layer, group and instance normalisation: values, laws N, running statistics, second order, errors."""

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn.operations.normalization import batch_norm, group_norm, instance_norm, layer_norm
from tinygrad_cnn.testing import naive


def leaf(array):
    return tc.tensor(array, requires_grad=True)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def problem(*shape):
    x = normal(*shape)
    g = np.random.default_rng(1).integers(-9, 10, shape).astype(np.float64)
    return leaf(x), leaf(normal(shape[1], seed=2)), leaf(normal(shape[1], seed=3)), g


def composed(x, weight, bias, eps=1e-5):
    """The definition, in elementary operations."""
    axes, shape = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    centred = x - x.mean(axes, keepdims=True)
    std = ((centred * centred).mean(axes, keepdims=True) + eps) ** 0.5
    return centred / std * weight.reshape(shape) + bias.reshape(shape)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 2)])
def test_value_and_gradients_to_second_order(shape):
    x, weight, bias, g = problem(*shape)
    y = batch_norm(x, None, None, weight, bias, training=True)
    np.testing.assert_allclose(y.data, naive.batch_norm(x.data, weight.data, bias.data), rtol=1e-12, atol=1e-12)
    inputs = [x, weight, bias]
    for create in (False, True):
        ours = tc.grad(batch_norm(x, None, None, *inputs[1:], training=True), inputs, tc.tensor(g), create_graph=create)
        reference = tc.grad(composed(*inputs), inputs, tc.tensor(g), create_graph=create)
        for a, b in zip(ours, reference, strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-11)
    second = [
        tc.grad(sum((d * normal(*d.shape, seed=5)).sum() for d in first[:2]), inputs[:2]) for first in (ours, reference)
    ]
    for a, b in zip(*second, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-9, atol=1e-9)


def test_gradient_is_orthogonal_to_shift_and_nearly_to_scale():
    x, weight, bias, g = problem(4, 3, 5)
    (dx,) = tc.grad(batch_norm(x, None, None, weight, bias, training=True, eps=1e-12), [x], tc.tensor(g))
    np.testing.assert_allclose(dx.data.sum((0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((dx.data * (x.data - x.data.mean((0, 2), keepdims=True))).sum((0, 2)), 0, atol=1e-9)


def test_running_statistics():
    x, weight, bias, _ = problem(4, 3, 5)
    mean, var = np.full(3, 2.0), np.full(3, 4.0)
    batch_norm(x, mean, var, weight, bias, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 1.5 + 0.25 * x.data.mean((0, 2)))
    np.testing.assert_allclose(var, 3 + 0.25 * x.data.var((0, 2), ddof=1))
    before = mean.copy(), var.copy()
    y = batch_norm(x, mean, var, weight, bias)
    batch_norm(np.zeros((0, 3, 5)), mean, var, training=True)
    np.testing.assert_array_equal((mean, var), before)
    inv_std = 1 / np.sqrt(var + 1e-5)
    shaped = [a.reshape(-1, 1) for a in (mean, inv_std * weight.data, bias.data)]
    np.testing.assert_allclose(y.data, (x.data - shaped[0]) * shaped[1] + shaped[2], rtol=1e-12)
    (dx,) = tc.grad(y, [x], tc.tensor(np.ones(x.shape)))
    np.testing.assert_allclose(dx.data, np.broadcast_to(shaped[1], x.shape), rtol=1e-12)


def test_running_statistics_may_be_tensors_and_keep_their_dtype():
    x = leaf(normal(4, 3).astype(np.float32))
    mean, var = tc.tensor(np.zeros(3, np.float32)), tc.tensor(np.ones(3, np.float32))
    y = batch_norm(x, mean, var, training=True)
    assert y.dtype == mean.dtype == var.dtype == np.float32
    np.testing.assert_allclose(mean.data, 0.1 * x.data.mean(0), rtol=1e-6)
    with pytest.raises(TypeError, match="batch_norm: x is float32, running_mean is float64"):
        batch_norm(x, np.zeros(3), np.ones(3))


def test_an_update_between_forward_and_backward_harms_nothing():
    x, weight, bias, g = problem(4, 3)
    mean, var = np.zeros(3), np.ones(3)
    y = batch_norm(x, mean, var, weight, bias)
    expected = tc.grad(y, [x, weight], tc.tensor(g), retain_graph=True)
    batch_norm(x, mean, var, weight, bias, training=True)
    for a, b in zip(tc.grad(y, [x, weight], tc.tensor(g)), expected, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_without_running_statistics_the_batch_is_used():
    x, weight, bias, _ = problem(4, 3)
    training = batch_norm(x, None, None, weight, bias, training=True)
    np.testing.assert_array_equal(batch_norm(x, None, None, weight, bias).data, training.data)


def test_an_empty_batch_has_zero_gradients():
    x, weight, bias, g = problem(0, 3, 2)
    y = batch_norm(x, None, None, weight, bias, training=True)
    y.backward(g)
    assert x.grad.shape == x.shape
    for parameter in (weight, bias):
        np.testing.assert_array_equal(parameter.grad.data, np.zeros(3))


def test_memory_order_is_kept():
    x = leaf(np.moveaxis(normal(2, 4, 5, 3), -1, 1))
    mean, var = np.zeros(3), np.ones(3)
    for training in (True, False):
        y = batch_norm(x, mean, var, training=training)
        (dx,) = tc.grad(y, [x], tc.tensor(normal(*x.shape)))
        assert y.data.strides == x.data.strides
        if training:
            assert dx.data.strides == x.data.strides


def test_layer_norm_is_batch_norm_of_the_transpose():
    x, weight, bias, g = problem(4, 3)
    np.testing.assert_allclose(layer_norm(x.T, 4).data.T, batch_norm(x, training=True).data, rtol=1e-12, atol=1e-12)
    y = layer_norm(x, 3, weight, bias)
    np.testing.assert_allclose(((y.data - bias.data) / weight.data).sum(1), 0, atol=1e-12)
    dx, dweight, dbias = tc.grad(y, [x, weight, bias], tc.tensor(g))
    np.testing.assert_allclose(dx.data.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(dweight.data, (g * (y.data - bias.data) / weight.data).sum(0), rtol=1e-12)
    np.testing.assert_array_equal(dbias.data, g.sum(0))


def test_group_norm_lies_between_layer_and_instance_norm():
    x, weight, bias, _ = problem(2, 4, 3, 3)
    parameters = weight.reshape(4, 1, 1).broadcast_to(4, 3, 3), bias.reshape(4, 1, 1).broadcast_to(4, 3, 3)
    one = group_norm(x, 1, weight, bias)
    np.testing.assert_allclose(one.data, layer_norm(x, (4, 3, 3), *parameters).data, rtol=1e-12, atol=1e-12)
    each = group_norm(x, 4, weight, bias)
    np.testing.assert_allclose(each.data, instance_norm(x, weight=weight, bias=bias).data, rtol=1e-12, atol=1e-12)


def test_instance_norm_updates_and_uses_running_statistics():
    x = normal(2, 3, 4)
    mean, var = np.zeros(3), np.ones(3)
    instance_norm(x, mean, var)
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 2)))
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(2, ddof=1).mean(0))
    y = instance_norm(x, mean, var, use_input_stats=False)
    np.testing.assert_array_equal(y.data, batch_norm(x, mean, var).data)


X = np.zeros((4, 3, 2), np.float32)

ERRORS = [
    (lambda: batch_norm(X[0, 0], training=True), tc.ShapeError, r"batch_norm: x must have at least 2 axes"),
    (
        lambda: batch_norm(X[:1, :, :1], training=True),
        ValueError,
        r"more than one value per channel, x.shape = \(1, 3, 1\)",
    ),
    (lambda: batch_norm(X, weight=np.ones(2, np.float32)), tc.ShapeError, r"weight must have shape \(3,\).*got \(2,\)"),
    (lambda: batch_norm(X, np.zeros(4), np.ones(4)), tc.ShapeError, r"running_mean must have shape \(3,\)"),
    (lambda: batch_norm(X, np.zeros(3)), ValueError, r"both running_mean and running_var"),
    (lambda: batch_norm(X, eps=0), ValueError, r"eps must be a number in \(0, inf\), got 0"),
    (lambda: batch_norm(X, weight=np.ones(3)), TypeError, r"x is float32, weight is float64"),
    (lambda: batch_norm(X.astype(int)), TypeError, r"x must be floating, got int64"),
    (lambda: layer_norm(X, 3), tc.ShapeError, r"normalized_shape \(3,\) is not the end of x.shape"),
    (lambda: layer_norm(X, 2, np.ones(3, np.float32)), tc.ShapeError, r"weight must have shape \(2,\)"),
    (lambda: group_norm(X, 2), tc.ShapeError, r"2 groups must divide the 3 channels"),
    (lambda: group_norm(X, 0), ValueError, r"num_groups must be an integer of at least 1"),
    (lambda: instance_norm(X[:, :, :1]), ValueError, r"more than one pixel per channel"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors_name_the_op_the_numbers_and_the_fix(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_layer_norm_of_a_single_sample_without_a_batch_axis():
    x = normal(5)
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    np.testing.assert_allclose(layer_norm(x, 5).data, expected, rtol=1e-12)
