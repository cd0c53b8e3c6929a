"""`viz.capture` watches and changes nothing."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn, optim


def step(model: Any, batch: Any) -> Any:
    x, y = batch
    loss = F.cross_entropy(model(tc.tensor(x)), y)
    loss.backward()
    return loss


def test_watching_changes_nothing(small: Any, batch: Any) -> None:
    twin = copy.deepcopy(small)
    loss = step(twin, batch)
    with viz.capture(small, optim.SGD(small.parameters(), lr=0.1)) as cap:
        watched = step(small, batch)
    cap.figure().report()
    assert watched.item() == loss.item()
    for p, q in zip(small.parameters(), twin.parameters(), strict=True):
        assert np.array_equal(p.data, q.data)
        assert np.array_equal(p.grad.data, q.grad.data)
    assert not any(getattr(module, "_forward_hooks", None) for module in small.modules())


def test_hooks_are_removed_when_the_block_fails(small: Any) -> None:
    with pytest.raises(ZeroDivisionError), viz.capture(small):
        raise ZeroDivisionError
    assert not any(getattr(module, "_forward_hooks", None) for module in small.modules())
    assert not tc.core.tape.STATE.get().observers


def test_what_was_seen_before_a_failure_can_be_drawn(small: Any, batch: Any) -> None:
    def failing(cap: viz.capture) -> None:
        with cap:
            step(small, batch)
            raise ZeroDivisionError

    cap = viz.capture(small)
    with pytest.raises(ZeroDivisionError):
        failing(cap)
    assert cap.figure().ok
    assert cap.trace.backward == "full"


def test_arrays_are_let_go_after_the_block(small: Any, batch: Any) -> None:
    x = batch[0].copy()
    seen = weakref.ref(x)
    with viz.capture(small) as cap:
        F.cross_entropy(small(tc.tensor(x)), batch[1]).backward()
    del x
    gc.collect()
    assert seen() is None
    assert len(cap.trace.nodes) > 5


def test_an_open_capture_is_not_opened_twice(small: Any) -> None:
    cap = viz.capture(small)
    with cap, pytest.raises(RuntimeError, match="already open"), cap:
        pass


def test_what_is_seen(captured: viz.capture) -> None:
    trace = captured.trace
    assert [(n.op, n.path) for n in trace.nodes if n.kind != "constant"] == [
        ("input", ""), ("conv2d", "features.0"), ("relu", "features.1"), ("max_pool2d", "features.2"),
        ("conv2d", "features.3"), ("relu", "features.4"), ("reshape", ""), ("linear", "fc"), ("cross_entropy", ""),
    ]  # fmt: skip
    assert [p.name for p in trace.parameters] == [
        "features.0.weight", "features.0.bias", "features.3.weight", "features.3.bias", "fc.weight", "fc.bias",
    ]  # fmt: skip
    assert trace.backward == "full"
    assert trace.output is not None
    assert trace.nodes[trace.output].op == "linear"
    assert trace.steps[0].batch == 8
    assert [m.type for m in trace.modules if m.path in ("", "features", "fc")] == ["Small", "Sequential", "Linear"]
    assert trace.nodes[2].saved == ["y"]


def test_the_gradients_are_the_parameters(small: Any, batch: Any) -> None:
    with viz.capture(small) as cap:
        step(small, batch)
        small.zero_grad()
    reference = copy.deepcopy(small)
    step(reference, batch)
    for seen, p in zip(cap.trace.parameters, reference.parameters(), strict=True):
        assert seen.grad is not None
        assert seen.grad.norm == pytest.approx(float(np.linalg.norm(p.grad.data)), rel=1e-5)


def test_before_backward_the_picture_says_so(small: Any, batch: Any) -> None:
    with viz.capture(small) as cap:
        F.cross_entropy(small(tc.tensor(batch[0])), batch[1])
    figure = cap.figure()
    assert cap.trace.backward == "none"
    assert "no backward yet" in figure.text()
    assert "no backward yet" in figure.dot()
    assert "dir=back" not in figure.dot()
    assert (figure.report(), figure.ok) == ([], False)


def test_nothing_captured_is_an_empty_picture() -> None:
    with viz.capture() as cap:
        pass
    assert cap.figure().text()
    assert cap.figure().svg()


def test_the_last_complete_step_is_drawn(small: Any, batch: Any) -> None:
    with viz.capture(small) as cap:
        first = step(small, batch)
        for p in small.parameters():
            p.data = p.data * 0.5
        second = step(small, batch)
        F.cross_entropy(small(tc.tensor(batch[0][:3])), batch[1][:3])  # an evaluation, not a step
    assert first.item() != second.item()
    assert cap.trace.steps[0].loss == pytest.approx(second.item())
    assert cap.trace.steps[0].step == 1
    assert cap.trace.steps[0].batch == 8


def test_channels_are_dead_only_over_the_whole_window(batch: Any) -> None:
    tc.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))
    model[0].weight.data = np.eye(2, dtype=np.float32)
    model[0].bias.data = np.zeros(2, np.float32)
    one, other = np.array([[1, -1]], np.float32), np.array([[-1, 1]], np.float32)

    def silent(*inputs: np.ndarray) -> tuple[int, int]:
        with viz.capture(model) as cap:
            for x in inputs:
                model(tc.tensor(x)).sum().backward()
        (node,) = [n for n in cap.trace.nodes if n.silent is not None]
        assert node.silent is not None
        return node.silent.channels, node.silent.samples

    assert silent(one) == (1, 1)
    assert silent(one, other) == (0, 2)
    assert silent(one, one, one) == (1, 3)


class Shared(nn.Module):
    """One layer called twice in a row, and its rectifier three times."""

    def __init__(self) -> None:
        self.layer, self.relu, self.out = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.relu(self.layer(self.layer(self.relu(self.relu(x))))))


def test_shared_modules_have_a_card_for_each_call() -> None:
    tc.manual_seed(0)
    model = Shared()
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    with viz.capture(model) as cap:
        model(tc.tensor(x)).sum().backward()
    cards = [(card.path, card.call) for card in cap.figure().diagram.cards if card.kind == "module"]
    assert cards == [("relu", 0), ("relu", 1), ("layer", 0), ("layer", 1), ("relu", 2), ("out", 0)]
    weight = cap.trace.parameters[0]
    assert len(weight.uses) == 2
    model.zero_grad()
    model(tc.tensor(x)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.norm == pytest.approx(float(np.linalg.norm(model.layer.weight.grad.data)), rel=1e-5)
    assert "Σ of 2 uses" in cap.figure(level="op").dot()


def test_a_tensor_that_is_not_an_input_is_not_drawn_as_one(captured: viz.capture) -> None:
    cards = captured.figure().diagram.cards
    assert [card.name for card in cards if card.kind == "input"] == ["input"]


# ---- the optimiser's step ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.01)])
def test_the_update_is_that_of_the_optimiser(small: Any, batch: Any, make: Any) -> None:
    optimizer = make(small.parameters())
    step(small, batch)
    optimizer.step()
    optimizer.zero_grad()
    before = [p.data.copy() for p in small.parameters()]
    state = copy.deepcopy(optimizer.state_dict())

    with viz.capture(small, optimizer) as cap:
        step(small, batch)
    tried = [p.update for p in cap.trace.parameters]
    for p, old in zip(small.parameters(), before, strict=True):
        assert np.array_equal(p.data, old), "trying a step must not take it"
    assert repr(optimizer.state_dict()) == repr(state)

    small.zero_grad()
    with viz.capture(small, optimizer) as cap:
        step(small, batch)
        optimizer.step()
    taken = [p.update for p in cap.trace.parameters]
    moved = [
        float(np.linalg.norm(p.data - old) / np.linalg.norm(old))
        for p, old in zip(small.parameters(), before, strict=True)
    ]
    assert tried == pytest.approx(moved, rel=1e-4)
    assert taken == pytest.approx(moved, rel=1e-4)


def test_without_an_optimiser_the_update_is_not_available(captured: viz.capture) -> None:
    assert all(p.update is None for p in captured.trace.parameters)
    assert "n/a" in captured.figure().dot()


def test_the_update_of_a_weight_of_zero_is_not_available(small: Any, batch: Any) -> None:
    small.fc.bias.data = np.zeros(5, np.float32)
    with viz.capture(small, optim.SGD(small.parameters(), lr=0.1)) as cap:
        step(small, batch)
    assert cap.trace.parameters[-1].update is None
    assert cap.trace.parameters[-2].update is not None
