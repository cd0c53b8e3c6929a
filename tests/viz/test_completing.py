"""What a step did not compute and a picture adds: the gradient at the input, and outputs that no rule saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn

X = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)


class Scaled(nn.Module):
    def __init__(self, bias: bool) -> None:
        self.conv, self.fc = nn.Conv2d(1, 3, 3, stride=2, bias=bias), nn.Linear(27, 5, bias=bias)

    def forward(self, x: Any) -> Any:
        return self.fc(F.relu(self.conv(x / 2 - 0.5)).flatten(1))


def gradient_at(figure: viz.Figure, kind: str) -> float:
    node = next(n for n in figure.trace.nodes if kind in (n.kind, n.op))
    assert node.grad is not None
    return node.grad.norm


@pytest.mark.parametrize("bias", [True, False])
def test_the_gradient_at_the_input_is_the_true_one(bias: bool) -> None:
    tc.manual_seed(0)
    model = Scaled(bias)
    with viz.capture(model) as cap:
        F.cross_entropy(model(tc.tensor(X)), np.arange(4)).backward()
    x = tc.tensor(X, requires_grad=True)
    (true,) = tc.grad(F.cross_entropy(model(x), np.arange(4)), [x])
    figure = cap.figure()
    assert gradient_at(figure, "input") == pytest.approx(float(np.linalg.norm(true.data)), rel=1e-5)
    assert gradient_at(figure, "div") == pytest.approx(2 * float(np.linalg.norm(true.data)), rel=1e-5)
    assert "no gradient asked for" not in figure.dot()


def test_what_was_not_recorded_is_not_judged() -> None:
    """x / 255 has a gain of 1/255: that is how the data is scaled, not a sick layer."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

    class Bytes(nn.Module):
        def __init__(self) -> None:
            self.body = model

        def forward(self, x: Any) -> Any:
            return self.body(tc.tensor(x) / 255)

    with viz.capture(whole := Bytes()) as cap:
        F.cross_entropy(whole(X * 100), np.arange(4)).backward()
    assert cap.figure().ok, cap.figure().report()


def test_an_input_that_numpy_made_ready_is_still_the_models_input() -> None:
    class Bytes(nn.Module):
        def __init__(self) -> None:
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x: np.ndarray) -> Any:
            return self.conv(x / np.float32(255)).mean((2, 3))

    model = Bytes()
    with viz.capture(model) as cap:
        F.cross_entropy(model(X), np.arange(4) % 3).backward()
    assert cap.trace.steps[0].batch == 4
    assert cap.trace.nodes[0].kind == "input"


@pytest.mark.parametrize("bias", [True, False])
def test_a_tape_that_stands_tells_as_much_as_a_capture(bias: bool) -> None:
    tc.manual_seed(0)
    model = Scaled(bias)
    with viz.capture(model) as cap:
        loss = F.cross_entropy(model(tc.tensor(X)), np.arange(4))
        walked = viz.graph(loss, model).trace
        loss.backward()
    seen = {(n.op, n.path): n for n in cap.trace.nodes}
    for node in walked.nodes:
        if node.kind == "op":
            assert node.out == seen[node.op, node.path].out, node.op
            assert node.thumbs.keys() == seen[node.op, node.path].thumbs.keys()


def test_a_frozen_bias_is_not_taken_for_none() -> None:
    """A tape holds no trace of it, so what depends on it is left out rather than drawn wrong."""
    model = Scaled(bias=True)
    model.fc.bias.requires_grad_(False)
    model.fc.bias.data[:] = 100
    trace = viz.graph(F.cross_entropy(model(X), np.arange(4)), model).trace
    (linear,) = (n for n in trace.nodes if n.op == "linear")
    assert linear.out is None or linear.out.rms > 50


def test_only_operations_of_the_engine_are_run_again() -> None:
    runs = []

    def forward(x: np.ndarray) -> np.ndarray:
        runs.append(1)
        return 2 * x

    double = tc.op("double_for_completing", forward, vjp=lambda g: 2 * g)
    x = tc.tensor(X, requires_grad=True)
    viz.graph(double(x).sum())
    assert len(runs) == 1
