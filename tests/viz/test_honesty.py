"""The numbers in a picture are what they claim to be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn
from viz import measure
from viz.diagram import Card


class Through(nn.Module):
    """One function between two linear maps, so that it lies inside the model."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.first = nn.Conv2d(2, 2, 1)
        self.last = nn.Flatten()

    def forward(self, x: Any) -> Any:
        return self.last(self.function(self.first(x)))


def gain_of(function: Any, op: str, size: int = 8) -> Card:
    tc.manual_seed(0)
    model = Through(function)
    x = tc.tensor(np.random.default_rng(0).normal(size=(4, 2, size, size)))
    with viz.capture(model.to("float64")) as cap:
        model(x).sum().backward(tc.tensor(1.0, dtype="float64"))
    return next(card for card in cap.figure(level="op").diagram.cards if card.name == op)


def test_max_pool_keeps_the_norm() -> None:
    card = gain_of(lambda x: F.max_pool2d(x, 2), "max_pool2d")
    assert card.gain == pytest.approx(1, abs=1e-6)
    assert card.neutral == 1


def test_reshape_keeps_the_norm() -> None:
    card = gain_of(lambda x: x.reshape(4, 2, 4, 16), "reshape")
    assert card.gain == pytest.approx(1, abs=1e-6)
    assert card.neutral == 1


@pytest.mark.parametrize("kernel", [2, (2, 4), 4])
def test_average_pool_has_its_neutral_gain(kernel: Any) -> None:
    card = gain_of(lambda x: F.avg_pool2d(x, kernel), "avg_pool2d")
    high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    assert card.gain == pytest.approx(1 / math.sqrt(high * wide), abs=1e-6)
    assert card.neutral == pytest.approx(card.gain, abs=1e-6)


def test_global_average_pool_has_its_neutral_gain() -> None:
    tc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(3, 4))
    x = tc.tensor(np.random.default_rng(0).normal(size=(5, 1, 6, 7)).astype(np.float32))
    with viz.capture(model) as cap:
        F.cross_entropy(model(x), np.zeros(5, int)).backward()
    card = next(card for card in cap.figure().diagram.cards if card.path == "1")
    assert card.gain == pytest.approx(1 / math.sqrt(6 * 7), rel=1e-5)
    assert card.neutral == pytest.approx(1 / math.sqrt(6 * 7), rel=1e-6)


def test_gains_of_a_chain_multiply(captured: viz.capture) -> None:
    for level in ("module", "op"):
        diagram = captured.figure(level=level).diagram
        cards = [card for card in diagram.cards if card.judged]
        product = math.prod(card.gain for card in cards if card.gain is not None)
        start = next(card for card in diagram.cards if card.kind == "input")
        assert len(cards) > 4
        assert start.out is not None
        assert diagram.reference is not None
        assert product == pytest.approx(start.out.flow / diagram.reference, rel=1e-5)


def test_flow_does_not_depend_on_batch_size_or_reduction(small: Any) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 1, 8, 8)).astype(np.float32), rng.integers(0, 5, 6)
    decades = []
    for images, labels, reduction in (
        (x, y, "mean"),
        (x, y, "sum"),
        (np.concatenate([x, x]), np.concatenate([y, y]), "mean"),
    ):
        with viz.capture(small) as cap:
            F.cross_entropy(small(tc.tensor(images)), labels, reduction=reduction).backward()
        decades.append([card.decades for card in cap.figure().diagram.cards if card.judged])
    np.testing.assert_allclose(decades[0], decades[1], atol=1e-5)
    np.testing.assert_allclose(decades[0], decades[2], atol=1e-5)


def test_magnitudes_are_the_norms(captured: viz.capture, small: Any, batch: Any) -> None:
    x, y = batch
    leaf = tc.tensor(x, requires_grad=True)
    hidden = small.features(leaf)
    (gx, gh) = tc.grad(F.cross_entropy(small.fc(hidden.flatten(1)), y), [leaf, hidden])
    nodes = captured.trace.nodes
    for node, g in ((nodes[0], gx), (next(n for n in nodes if n.path == "features.4"), gh)):
        assert node.grad is not None
        assert node.grad.norm == pytest.approx(np.linalg.norm(g.data), rel=1e-5)
        assert node.grad.flow == pytest.approx(np.sqrt((g.data.reshape(8, -1) ** 2).sum(1).mean()), rel=1e-5)
        assert node.grad.rms == pytest.approx(np.sqrt((g.data**2).mean()), rel=1e-5)


def test_magnitudes_do_not_overflow_or_hide_what_is_not_finite() -> None:
    m = measure.magnitude(np.full((2, 2), 1e30, np.float32), batched=True)
    assert m.norm == pytest.approx(2e30)
    assert m.flow == pytest.approx(2e30 / math.sqrt(2))
    assert measure.magnitude(np.full(4, 1e-40, np.float64)).norm == pytest.approx(2e-40)
    m = measure.magnitude(np.array([np.nan, np.inf, 3.0, 4.0]))
    assert (m.nan, m.inf, m.norm) == (0.25, 0.25, 5.0)
    assert measure.magnitude(np.zeros((0, 3))).norm == 0


def test_histograms_count_every_nonzero_element() -> None:
    values = np.array([0.0, 1e-20, 1e-3, -1e-3, 0.5, 1e9, np.nan])
    counts = measure.histogram(values)
    assert sum(counts) == 5
    assert counts[0] == 1
    assert counts[-1] == 1
    assert counts[(-3 - measure.HISTOGRAM[0]) * 2] == 2


def test_a_fan_out_shows_each_way_and_their_sum() -> None:
    """Norms of sums do not follow from norms: the two ways of x here cancel in part."""
    x = tc.tensor(np.arange(1.0, 5.0), requires_grad=True, name="x")
    h = x * 1.0
    loss = (h * 3.0 - h * h).sum()
    figure = viz.graph(loss, level="op")
    node = next(n for n in figure.trace.nodes if n.op == "mul")
    h_values = np.arange(1.0, 5.0)
    assert node.grad is not None
    assert node.grad.norm == pytest.approx(np.linalg.norm(3 - 2 * h_values))
    links = [link for link in figure.diagram.links if link.tensor is node]
    norms = sorted(link.grad.norm for link in links if link.grad is not None)
    assert norms == pytest.approx(sorted([np.linalg.norm(np.full(4, 3.0)), np.linalg.norm(2 * h_values)]))
    assert "Σ of 2" in figure.dot()


class Residual(nn.Module):
    def __init__(self) -> None:
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.out = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        h = self.block(x)
        return self.out(h + x * h)


def test_groups_of_readers_are_summed_as_arrays() -> None:
    tc.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), Residual())
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    with viz.capture(model) as cap:
        F.cross_entropy(model(tc.tensor(x)), np.zeros(5, int)).backward()
    shallow, deep = cap.figure(depth=1).diagram, cap.figure(depth=3).diagram
    first = next(card for card in shallow.cards if card.path == "0")
    (link,) = [link for link in shallow.links if link.source == first.id]
    assert link.grad == first.out, "one container reads it: all of the gradient"
    source = next(card for card in deep.cards if card.path == "0")
    parts = [link.grad.flow for link in deep.links if link.source == source.id and link.grad is not None]
    assert len(parts) == 2
    assert source.out is not None
    assert max(parts) < math.hypot(*parts) != pytest.approx(source.out.flow, rel=1e-3)


def test_winners_masks_and_kernels_in_the_crops_are_real(captured: viz.capture, small: Any) -> None:
    nodes = captured.trace.nodes
    pool = next(n for n in nodes if n.op == "max_pool2d")
    pixels, maxima = (np.array(crop.values) for crop in pool.crops["forward"])
    for (r, c), value in zip(pool.crops["forward"][0].rings, maxima.reshape(-1), strict=True):
        assert pixels[r, c] == value
        top, left = r // 2 * 2, c // 2 * 2
        assert pixels[top : top + 2, left : left + 2].max() == value
    up, down = (np.array(crop.values) for crop in pool.crops["backward"])
    assert down.sum() == pytest.approx(up.sum(), rel=1e-2)
    winners = {tuple(ring) for ring in pool.crops["backward"][1].rings}
    assert {(r, c) for r, c in np.argwhere(down != 0)} <= winners

    conv = next(n for n in nodes if n.path == "features.3" and n.op == "conv2d")
    kernel = np.array(conv.crops["forward"][0].values)
    assert np.array_equal(np.array(conv.crops["backward"][1].values), kernel[::-1, ::-1])
    weight = small.features[3].weight.data
    assert any(np.allclose(kernel, w, rtol=1e-3) for w in weight[:, 0])

    relu = next(n for n in nodes if n.op == "relu")
    mask, before, after = (
        np.array(relu.crops[face][i].values) for face, i in (("forward", 0), ("backward", 0), ("backward", 1))
    )
    np.testing.assert_allclose(after, before * mask, rtol=1e-3)
    assert set(np.unique(mask)) <= {0.0, 1.0}


def test_batch_axis_is_not_guessed_from_shapes_alone() -> None:
    """A weight whose first length equals the batch is still a weight."""
    tc.manual_seed(0)
    model = nn.Linear(3, 8)
    with viz.capture(model) as cap:
        (model(tc.tensor(np.ones((8, 3), np.float32))) ** 2).sum().backward()
    weight = cap.trace.parameters[0]
    assert weight.grad is not None
    assert weight.grad.flow == weight.grad.norm
    assert all(node.batched for node in cap.trace.nodes if node.shape[:1] == [8])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_that_passes_a_rectifier(share: float) -> None:
    x = np.where(np.arange(16) < 16 * share, 1.0, -1.0).reshape(1, 1, 4, 4)
    with viz.capture() as cap:
        F.relu(tc.tensor(x, requires_grad=True)).sum().backward()
    (node,) = [n for n in cap.trace.nodes if n.op == "relu"]
    assert node.active == share
