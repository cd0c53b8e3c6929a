"""`viz.graph` reads a tape that stands, and leaves it standing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from viz.walking import call_numbers


def test_looking_has_no_side_effect(small: Any, batch: Any) -> None:
    fired = []
    hidden = small.features(tc.tensor(batch[0]))
    hidden.register_hook(lambda g: fired.append("node"))
    hidden.retain_grad()
    small.fc.weight.register_hook(lambda g: fired.append("leaf"))
    loss = F.cross_entropy(small.fc(hidden.flatten(1)), batch[1])
    figure = viz.graph(loss, small)
    figure.report()
    assert fired == []
    assert hidden.grad is None
    assert all(p.grad is None for p in small.parameters())
    loss.backward()
    assert sorted(fired) == ["leaf", "node"]
    for seen, p in zip(figure.trace.parameters, small.parameters(), strict=True):
        assert seen.grad is not None
        assert seen.grad.norm == pytest.approx(float(np.linalg.norm(p.grad.data)), rel=1e-5)


def test_it_sees_what_capture_sees(small: Any, batch: Any) -> None:
    with viz.capture(small) as cap:
        loss = F.cross_entropy(small(tc.tensor(batch[0])), batch[1])
        walked = viz.graph(loss, small)
        loss.backward()
    captured = cap.figure()
    assert [c.name for c in walked.diagram.cards] == [c.name for c in captured.diagram.cards]
    for a, b in zip(walked.diagram.cards, captured.diagram.cards, strict=True):
        assert (a.gain is None) == (b.gain is None)
        assert a.gain is None or a.gain == pytest.approx(b.gain, rel=1e-6)
        assert (a.decades or 0.0) == pytest.approx(b.decades or 0.0, abs=1e-6)
    assert walked.report() == captured.report()


def test_after_backward_the_structure_and_the_leaves_are_left(small: Any, batch: Any) -> None:
    loss = F.cross_entropy(small(tc.tensor(batch[0])), batch[1])
    loss.backward()
    figure = viz.graph(loss, small)
    assert "intermediate gradients were freed: use viz.capture" in figure.text()
    assert "intermediate gradients were freed: use viz.capture" in figure.dot()
    assert [n.op for n in figure.trace.nodes] == [
        "conv2d", "relu", "max_pool2d", "conv2d", "relu", "reshape", "linear", "cross_entropy"
    ]  # fmt: skip
    assert all(p.grad is not None for p in figure.trace.parameters)
    assert (figure.report(), figure.ok) == ([], False)
    assert figure.svg()


def test_a_retained_tape_is_not_freed(small: Any, batch: Any) -> None:
    loss = F.cross_entropy(small(tc.tensor(batch[0])), batch[1])
    loss.backward(retain_graph=True)
    assert viz.graph(loss, small).trace.backward == "full"


def test_without_a_tape_the_error_says_why() -> None:
    with pytest.raises(ValueError, match="no_grad"):
        viz.graph(tc.tensor([1.0]))
    with pytest.raises(ValueError, match="no tape"):
        viz.graph(tc.tensor(1.0, requires_grad=True))


def test_a_loss_of_several_elements_is_walked_from_ones() -> None:
    x = tc.tensor([1.0, 2.0, 3.0], requires_grad=True, name="x")
    figure = viz.graph(x * x)
    (leaf,) = figure.trace.parameters
    assert leaf.grad is not None
    assert leaf.grad.norm == pytest.approx(np.linalg.norm([2.0, 4.0, 6.0]))


def test_level_auto_is_modules_where_there_are_any(small: Any, batch: Any) -> None:
    x = tc.tensor([1.0], requires_grad=True)
    assert viz.graph((x * 2).sum()).level == "op"
    assert viz.graph(small(tc.tensor(batch[0])).sum(), small).level == "module"
    assert viz.graph(small(tc.tensor(batch[0])).sum()).level == "module"


def test_users_ops_are_drawn_by_their_name() -> None:
    swish = tc.op(
        "viz_cube", lambda x: x / (1 + np.exp(-x)), lambda g, x: g * (tc.sigmoid(x) * (1 + x * (1 - tc.sigmoid(x))))
    )
    figure = viz.graph(swish(tc.tensor([1.0, 2.0], requires_grad=True, name="x")).sum())
    assert "viz_cube.backward" in figure.dot()
    assert "viz_cube" in figure.text()


def test_one_node_is_walked_once() -> None:
    x = tc.tensor([1.0], requires_grad=True, name="x")
    y = x
    for _ in range(60):
        y = y + y
    figure = viz.graph(y.sum())
    assert len(figure.trace.nodes) == 61
    assert figure.trace.parameters[0].grad is not None
    assert figure.trace.parameters[0].grad.norm == 2.0**60


def test_calls_are_told_apart_by_what_comes_between() -> None:
    paths = ["a.b", "a.b", "a.c", "a.b", "", "a.b"]
    assert call_numbers(paths) == [[0, 0], [0, 0], [0, 0], [0, 1], [], [1, 2]]
