"""Un-broadcasting, laid against broadcasting by hand: exact on integers, 0-d and empty shapes included."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tc

shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_dims=4, max_side=3)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(shapes, st.integers(0, 2**31), st.sampled_from(["add", "sub", "mul", "maximum", "where"]))
def test_the_gradient_of_a_broadcast_operand_is_summed_over_the_stretched_axes(pair, seed, name):
    rng = np.random.default_rng(seed)
    (sa, sb), shape = pair.input_shapes, pair.result_shape
    a, b, g = (rng.integers(-9, 10, s).astype(np.float64) for s in (sa, sb, shape))
    condition = rng.integers(0, 2, shape).astype(bool)

    def apply(x, y):
        return tc.where(condition, x, y) if name == "where" else tc.ops()[name](x, y)

    x, y = tc.tensor(a, requires_grad=True), tc.tensor(b, requires_grad=True)
    apply(x, y).backward(g)
    big_x = tc.tensor(np.broadcast_to(a, shape).copy(), requires_grad=True)
    big_y = tc.tensor(np.broadcast_to(b, shape).copy(), requires_grad=True)
    apply(big_x, big_y).backward(g)
    for small, big in ((x, big_x), (y, big_y)):
        assert small.grad.shape == small.shape
        extra = len(shape) - small.ndim
        summed = big.grad.numpy().sum(axis=tuple(range(extra)))
        stretched = tuple(i for i, n in enumerate(small.shape) if n == 1 and summed.shape[i] != 1)
        np.testing.assert_array_equal(small.grad.numpy(), summed.sum(axis=stretched, keepdims=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, st.integers(0, 2**31))
def test_second_order_through_broadcasting(pair, seed):
    rng = np.random.default_rng(seed)
    (sa, sb), shape = pair.input_shapes, pair.result_shape
    a = tc.tensor(rng.integers(-5, 6, sa).astype(np.float64), requires_grad=True)
    b = tc.tensor(rng.integers(-5, 6, sb).astype(np.float64), requires_grad=True)
    (da,) = tc.grad((a * b * b).sum(), a, create_graph=True)
    (dadb,) = tc.grad(da.sum(), b)
    # d/db sum(b**2 over shape) = 2 b times how often b was repeated
    repeats = np.prod(shape, dtype=int) // max(b.size, 1)
    np.testing.assert_array_equal(dadb.numpy(), 2 * b.numpy() * (repeats if b.size else 0))


@pytest.mark.parametrize("scalar", [2, 2.5, np.float64(2.5), np.float32(2.5), np.array([1.0, 2.0]), [1.0, 2.0]])
def test_reflected_operators_put_the_operands_in_order(scalar):
    x = tc.tensor(np.array([3.0, 4.0]), requires_grad=True)
    plain = x.numpy()
    value = np.asarray(scalar)
    np.testing.assert_allclose((scalar - x).numpy(), value - plain)
    np.testing.assert_allclose((scalar / x).numpy(), value / plain)
    np.testing.assert_allclose((scalar**x).numpy(), value**plain)
    np.testing.assert_allclose((scalar % x).numpy(), value % plain)
    np.testing.assert_allclose((scalar // x).numpy(), value // plain)


def test_reflected_matmul_keeps_the_order():
    a, b = np.arange(6.0).reshape(2, 3), tc.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    y = a @ b
    assert isinstance(y, tc.Tensor)
    np.testing.assert_array_equal(y.numpy(), a @ b.numpy())


def test_operators_refuse_what_is_not_a_number():
    x = tc.tensor([1.0])
    for operand in ("text", None, object()):
        with pytest.raises(TypeError):
            x + operand
        with pytest.raises(TypeError):
            operand - x


def test_a_zero_axis_or_weight_is_not_taken_for_missing():
    x = tc.tensor(np.ones((2, 3)), requires_grad=True)
    assert x.sum(axis=0).shape == (3,)
    assert x.clip(0, None).shape == (2, 3)
    x.sum().backward(np.array(0.0))
    assert x.grad.tolist() == [[0.0] * 3] * 2


def test_comparisons_are_boolean_and_without_gradient():
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    for y in (x < 2, x <= 2, x > 2, x >= 2, x == 2, x != 2, (x > 1) & (x < 3), ~(x > 1)):
        assert y.dtype == bool
        assert not y.requires_grad
    ((x > 1) * x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
