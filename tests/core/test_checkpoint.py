"""Checkpointing: the same gradients in every order, the same masks, statistics updated once, less memory."""

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F

RNG = np.random.default_rng(0)


def block(w):
    return lambda x: ((x @ w).tanh() @ w).relu() + x


def gradients(run, order):
    x = tc.tensor(RNG_X, requires_grad=True)
    w = tc.tensor(RNG_W, requires_grad=True)
    h = x * 2.0  # the input is itself computed
    loss = (run(block(w), run(block(w), h)) ** 2).sum()
    found = tc.grad(loss, [x, w], create_graph=order > 1)
    for _ in range(order - 1):
        found = tc.grad(sum((g * g * 0.1).sum() for g in found), [x, w], create_graph=True)
    return [g.numpy() for g in found]


RNG_X, RNG_W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 4)) * 0.3


@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_order_agrees_with_the_stored_graph(order):
    plain = gradients(lambda f, x: f(x), order)
    checkpointed = gradients(tc.checkpoint, order)
    for a, b in zip(plain, checkpointed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_dropout_has_the_same_mask_and_the_stream_goes_on():
    x = tc.tensor(np.ones(1000), requires_grad=True)
    tc.manual_seed(1)
    y = tc.checkpoint(lambda x: F.dropout(x, 0.5), x)
    after = tc.rand(1).item()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    tc.manual_seed(1)
    F.dropout(x, 0.5)
    assert tc.rand(1).item() == after


def test_running_statistics_are_updated_once():
    x = tc.tensor(RNG.normal(size=(8, 3)), requires_grad=True)
    mean, var = np.zeros(3), np.ones(3)
    y = tc.checkpoint(lambda x: F.batch_norm(x, mean, var, training=True), x)
    (y * y * y).sum().backward()
    np.testing.assert_allclose(mean, 0.1 * x.numpy().mean(0))


def test_only_inputs_stay_alive_until_backward():
    x = tc.tensor(np.ones((10, 10)), requires_grad=True)
    y = tc.checkpoint(lambda x: x.exp().tanh().exp().sigmoid(), x)
    assert all(saved is x.data for saved in y.grad_fn.saved[0])


def test_without_gradients_it_is_the_function():
    x = tc.tensor([1.0])
    assert not tc.checkpoint(lambda x: x * 2, x).requires_grad
    with tc.no_grad():
        assert not tc.checkpoint(lambda x: x * 2, tc.tensor([1.0], requires_grad=True)).requires_grad
    with pytest.raises(TypeError, match="must return one Tensor, it returned tuple"):
        tc.checkpoint(lambda x: (x, x), x)
