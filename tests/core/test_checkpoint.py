"""Checkpointing: the same gradients in every order, the same masks, statistics updated once, less memory."""

import weakref

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import nn

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


@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_a_closure_computed_before_gets_its_gradient_and_keeps_its_graph(order):
    def run(wrap):
        w, x = (tc.tensor(np.array(v), requires_grad=True) for v in ([0.3, -0.7], [1.5, 0.4]))
        h = w.tanh()  # reached through the closure, and used elsewhere as well
        y = (wrap(lambda x: (x * h).exp() * w, x) * h).sum() + (h * h).sum()
        found = tc.grad(y, [w, x], create_graph=order > 1)
        for _ in range(order - 1):
            found = tc.grad(sum((g * g).sum() for g in found), [w, x], create_graph=True)
        return [g.data for g in found]

    for a, b in zip(run(lambda f, x: f(x)), run(tc.checkpoint), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_a_hook_on_what_a_closure_computed_fires_once_with_all_of_the_gradient():
    w, x = tc.tensor([1.0, 2.0], requires_grad=True), tc.tensor([3.0, 4.0], requires_grad=True)
    h = w * 1.0
    seen = []
    h.register_hook(lambda g: seen.append(g.tolist()))
    (tc.checkpoint(lambda x: x * h, x) + h).sum().backward()
    assert seen == [[4.0, 5.0]]
    w.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g * 10)
    tc.checkpoint(lambda x: x * w, x).sum().backward()
    assert (w.grad.tolist(), x.grad.tolist()) == ([4.0 + 30, 5.0 + 40], [1.0 + 10, 2.0 + 20])


def _update(w):
    w.data -= 0.5


def _rebind(w):
    w.data = np.array([5.0, 5.0])


def _write(w):
    with tc.no_grad():
        w += 1.0


def _write_through_another(w):
    other = w.detach()
    other += 1.0


@pytest.mark.parametrize("write", [_update, _rebind, _write, _write_through_another])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_what_the_closure_reads_must_not_have_changed(write, requires_grad):
    """Computed again with other numbers, the gradient would belong to neither."""
    x = tc.tensor(np.array([1.0, 2.0]), requires_grad=True)
    w = tc.tensor(np.array([3.0, 4.0]), requires_grad=requires_grad)
    y = tc.checkpoint(lambda x: x * x * w, x)
    write(w)
    with pytest.raises(tc.TapeError, match=r"^checkpoint: .* of shape \(2,\).* was overwritten"):
        y.sum().backward()
    assert x.grad is None


def test_inputs_that_were_overwritten_on_the_tape_are_as_they_were_and_the_function_may_write_its_own():
    x = tc.tensor(np.array([3.0, 4.0]), requires_grad=True)

    def f(h):
        h = h * 2.0
        h += 1.0
        h[0] = 5.0
        return h * h

    h = x * 1.0
    y = tc.checkpoint(f, h)
    h += 100.0
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 36.0]


def test_one_batch_norm_in_two_checkpoints():
    x = tc.tensor(RNG.normal(size=(8, 3)), requires_grad=True)
    norm = nn.BatchNorm1d(3).to("float64")
    y = tc.checkpoint(lambda h: tc.checkpoint(norm, h).tanh() + norm(h), tc.checkpoint(norm, x))
    (y * y).sum().backward()
    assert np.isfinite(x.grad.data).all()
    assert norm.num_batches_tracked.item() == 3


def test_nothing_keeps_the_output_alive():
    x = tc.tensor(np.ones(3), requires_grad=True)
    y = tc.checkpoint(lambda x: x * x, x)
    node, array = y.grad_fn, weakref.ref(y.data)
    del y
    assert array() is None
    assert node.op.name == "checkpoint"


def test_misuse_is_named():
    with pytest.raises(TypeError, match="checkpoint: the first argument must be a function of Tensors, got Tensor"):
        tc.checkpoint(tc.ones(2))
