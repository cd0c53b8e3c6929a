"""A backward pass recorded with create_graph is itself a graph: it can be walked, observed and drawn."""

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn.core import tape

RNG = np.random.default_rng(0)


def small_net():
    x = tc.tensor(RNG.normal(size=(2, 1, 6, 6)), requires_grad=True)
    w = tc.tensor(RNG.normal(size=(2, 1, 3, 3)), requires_grad=True)
    loss = (F.max_pool2d(F.conv2d(x, w).tanh(), 2) ** 2).sum()
    return x, w, loss, tc.grad(loss, [x, w], create_graph=True)


def test_it_is_drawn_with_the_operations_of_the_backward_pass():
    x, w, loss, (dx, dw) = small_net()
    figure = viz.graph((dx * dx).sum() + (dw * dw).sum(), level="op")
    text = figure.text()
    for name in ("conv2d", "max_pool2d", "conv_transpose2d", "conv2d_weight_gradient", "scatter_winners"):
        assert name in text
    assert "conv_transpose2d" in figure.svg()
    assert x.grad is None
    assert w.grad is None
    assert "scatter_winners" in viz.graph(dx, level="op").text()  # also of what is no single number
    assert "scatter_winners" not in viz.graph(loss, level="op").text()
    (dx.sum() + dw.sum()).backward()  # drawing has freed nothing
    assert x.grad is not None


def test_rules_are_recorded_only_when_asked():
    seen = []
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    y = (x.tanh() ** 3).sum()
    with tape.observe(on_record=lambda node, op, args, options, out: seen.append((op.name, node is not None))):
        tc.grad(y, x, retain_graph=True)
        assert not seen  # an unrecorded walk shows its nodes alone
        tc.grad(y, x, create_graph=True)
    assert ("mul", True) in seen


def test_a_recorded_pass_holds_the_numbers_of_an_unrecorded_one():
    x, w, loss, recorded = small_net()
    for a, b in zip(recorded, tc.grad(loss, [x, w]), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)
        assert a.requires_grad
        assert not b.requires_grad


def test_keeping_the_graph_follows_create_graph_unless_said():
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    tc.grad(y, x, create_graph=True)
    tc.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(tc.TapeError, match="was freed by an earlier backward"):
        tc.grad(y, x)
