"""What surrounds the rules: accumulation, hooks, retained gradients, `inputs=`, graphs kept and freed, modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc

A = np.array([[1.0, -2.0], [0.5, 3.0]])
B = np.array([[0.25, 1.5], [-1.0, 2.0]])


class Side:
    """One of the two libraries, where their spellings differ."""

    def __init__(self, ours: bool) -> None:
        self.tensor: Callable[..., Any] = tc.tensor if ours else torch.tensor
        self.grad: Callable[..., Any] = tc.grad if ours else torch.autograd.grad
        self.no_grad: Callable[..., Any] = tc.no_grad if ours else torch.no_grad
        self.enable_grad: Callable[..., Any] = tc.enable_grad if ours else torch.enable_grad
        self.error: type[Exception] = RuntimeError

    def leaf(self, array: np.ndarray) -> Any:
        return self.tensor(array.copy(), requires_grad=True)


def program(run: Callable[[Side], list[Any]]) -> Callable[[], None]:
    """A test that runs the function on both sides and compares the list of tensors that it returns."""

    def test() -> None:
        ours, theirs = run(Side(ours=True)), run(Side(ours=False))
        assert len(ours) == len(theirs)
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert (a is None) == (b is None), i
            if hasattr(a, "data"):
                np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-12, err_msg=f"result {i}")
            else:
                assert a == b, i

    test.__doc__ = run.__doc__
    return test


@program
def test_accumulation(m: Side) -> list[Any]:
    """Into .grad, over several calls and several uses; None starts anew."""
    a, b = m.leaf(A), m.leaf(B)
    (a * b).sum().backward()
    first = a.grad.clone()
    (a.exp() + a * a).sum().backward()
    second = a.grad.clone()
    a.grad = None
    (a * b * a).sum().backward()
    return [first, second, a.grad, b.grad]


@program
def test_a_gradient_is_given(m: Side) -> list[Any]:
    a = m.leaf(A)
    y = a * a
    y.backward(m.tensor(B), retain_graph=True)
    y.backward(gradient=m.tensor(A))
    return [a.grad]


@program
def test_inputs(m: Side) -> list[Any]:
    """Only those named get their gradient, leaves or not."""
    a, b = m.leaf(A), m.leaf(B)
    c = a * b
    (c * a).sum().backward(inputs=[b, c])
    return [a.grad, b.grad, c.grad]


@program
def test_retained_gradients(m: Side) -> list[Any]:
    a = m.leaf(A)
    b = a * 2
    c = b.exp()
    b.retain_grad()
    c.retain_grad()
    (c * b).sum().backward()
    return [a.grad, b.grad, c.grad]


@program
def test_hooks(m: Side) -> list[Any]:
    """On leaves and between; they see the summed gradient and may replace it, each what the one before left."""
    a = m.leaf(A)
    b = a * 3
    seen: list[Any] = []
    b.register_hook(lambda g: seen.append(g.clone()))
    b.register_hook(lambda g: g * 2)
    handle = b.register_hook(lambda g: g * 100)
    handle.remove()
    b.register_hook(lambda g: seen.append(g.clone()))
    a.register_hook(lambda g: g + 1)
    (b * b + b).sum().backward()
    return [a.grad, *seen]


@program
def test_hooks_in_a_recorded_pass(m: Side) -> list[Any]:
    a = m.leaf(A)
    b = a * 3
    b.register_hook(lambda g: g * g)
    (da,) = m.grad((b * b).sum(), a, create_graph=True)
    (again,) = m.grad((da * da).sum(), a)
    return [da, again]


@program
def test_hooks_and_grad(m: Side) -> list[Any]:
    """The gradient of a tensor between is what its hooks left. (Asked for a as well, PyTorch gives what they got.)"""
    a = m.leaf(A)
    b = a * 3
    b.register_hook(lambda g: g * 2)
    loss = (b * b).sum()
    return [*m.grad(loss, b, retain_graph=True), *m.grad(loss, a)]


@program
def test_several_outputs(m: Side) -> list[Any]:
    a, b = m.leaf(A), m.leaf(B)
    c, d = a * b, a + b
    found = m.grad([c, d, c.sum()], [a, b, c], [m.tensor(A), m.tensor(B), None], retain_graph=True)
    return [*found, *m.grad([c.sum(), c.sum()], [a, b])]


@program
def test_unused_inputs(m: Side) -> list[Any]:
    a, b, c = m.leaf(A), m.leaf(B), m.leaf(A)
    found = m.grad((a * 2).sum(), [a, b, c], allow_unused=True)
    with pytest.raises(m.error):
        m.grad((a * 2).sum(), [a, b])
    return list(found)


@program
def test_an_output_as_input(m: Side) -> list[Any]:
    a = m.leaf(A)
    b = a * 2
    return [*m.grad(b, [b, a], m.tensor(B), retain_graph=True), *m.grad(a, a, m.tensor(B))]


@program
def test_graphs_are_freed(m: Side) -> list[Any]:
    """A second pass fails where something was saved, and not where nothing was."""
    a = m.leaf(A)
    product, total = (a * a).sum(), (a + a).sum()
    product.backward()
    with pytest.raises(m.error):
        product.backward()
    total.backward()
    total.backward()
    return [a.grad]


@program
def test_a_graph_shared_by_two_losses(m: Side) -> list[Any]:
    a = m.leaf(A)
    h = a.tanh()
    (h * h).sum().backward(retain_graph=True)
    h.sum().backward()
    with pytest.raises(m.error):
        h.sum().backward()
    return [a.grad]


@program
def test_create_graph_to_third_order(m: Side) -> list[Any]:
    a, b = m.leaf(A), m.leaf(B)
    y = (a.sin() * b * a).sum()
    results = []
    for _ in range(3):
        da, db = m.grad(y, [a, b], create_graph=True, allow_unused=True)
        results += [da, db]
        y = (da * da * db).sum()
    return results


@program
def test_backward_of_a_gradient_penalty(m: Side) -> list[Any]:
    a, b = m.leaf(A), m.leaf(B)
    (da,) = m.grad((a @ b).tanh().sum(), a, create_graph=True)
    ((da * da).sum() + (a * b).sum()).backward()
    return [a.grad, b.grad]


@program
def test_modes(m: Side) -> list[Any]:
    a = m.leaf(A)
    with m.no_grad():
        b = a * 2
        with m.enable_grad():
            c = a * 3
        d = c * 2

    @m.no_grad()
    def silent() -> Any:
        return a * 5

    (c * b + d).sum().backward()
    return [b.requires_grad, c.requires_grad, d.requires_grad, silent().requires_grad, a.grad]


@program
def test_detached_parts(m: Side) -> list[Any]:
    a = m.leaf(A)
    b = a.detach()
    (a * b + (a * 2).detach() * a).sum().backward()
    return [a.grad, b.requires_grad]


@program
def test_asking_late(m: Side) -> list[Any]:
    a = m.tensor(A)
    b = a * 2
    a.requires_grad_()
    (a * a).sum().backward()
    return [a.grad, b.requires_grad, a.is_leaf, (a * 2).is_leaf]


@program
def test_leaves_are_written_between_steps(m: Side) -> list[Any]:
    """Gradient descent by hand."""
    a = m.leaf(A)
    for _ in range(5):
        (a * a * a).sum().backward()
        with m.no_grad():
            a -= 0.01 * a.grad
        a.grad = None
    return [a]


@program
def test_an_overwritten_leaf_is_refused(m: Side) -> list[Any]:
    """What backward needs was overwritten: an error on both sides; and none where it does not need it."""
    a, b = m.leaf(A), m.leaf(B)
    needs, does_not = (a * b).sum(), (a + b).sum()
    with m.no_grad():
        a += 1
    with pytest.raises(m.error):
        needs.backward()
    does_not.backward()
    return [a, b.grad]


@pytest.mark.parametrize("depth", [5000])
def test_long_chains(depth: int) -> None:
    x, t = tc.tensor(0.5, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    y, z = x, t
    for _ in range(depth):
        y, z = y + y * -0.001, z + z * -0.001
    y.backward()
    z.backward()
    np.testing.assert_allclose(x.grad.item(), t.grad.item(), rtol=1e-3)


def test_wide_diamonds() -> None:
    """60 doublings: each node is visited once, so 2**60 paths cost 60 steps."""
    x, t = tc.tensor(np.array(1.0), requires_grad=True), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    y, z = x, t
    for _ in range(60):
        y, z = y + y, z + z
    y.backward()
    z.backward()
    assert x.grad.item() == t.grad.item() == 2.0**60
