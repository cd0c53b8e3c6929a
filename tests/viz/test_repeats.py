"""Repeated blocks are drawn once, and a picture has at most sixty cards unless more are asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import models, nn
from viz.folding import MOST_CARDS


def figure_of(model: Any, shape: tuple[int, ...], **options: Any) -> viz.Figure:
    with viz.capture(model) as cap:
        model(tc.tensor(np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32))).sum().backward()
    return cap.figure(**options)


def folded(figure: viz.Figure) -> list[tuple[str, str]]:
    return [(card.name, card.type) for card in figure.diagram.cards if card.kind == "fold"]


def test_resnet20_is_open_with_its_repeated_blocks_folded() -> None:
    tc.manual_seed(0)
    figure = figure_of(models.resnet20(), (3, 8, 8))
    assert len(figure.diagram.cards) <= MOST_CARDS
    assert folded(figure) == [
        ("×2 more", "layer1.1, layer1.2: as layer1.0"),
        ("×1 more", "layer2.2: as layer2.1"),
        ("×1 more", "layer3.2: as layer3.1"),
    ]
    assert any(card.path == "layer1.0.conv1" for card in figure.diagram.cards)
    drawn = sorted(p.id for card in figure.diagram.cards for p in card.parameters)
    assert drawn == sorted(p.id for p in figure.trace.parameters), "every parameter is in one card"
    assert "repeated blocks are drawn once" in figure.text()


def test_a_net_that_fits_is_not_folded() -> None:
    assert folded(figure_of(models.resnet8(), (3, 8, 8))) == []


def test_layers_that_repeat_together_are_one_block() -> None:
    figure = figure_of(models.mlp([8, *[16] * 41, 4]), (8,))
    ((name, what),) = folded(figure)
    assert (name, what) == ("×39 more", "fc3 … relu41: as fc2 → relu2")
    assert [card.path for card in figure.diagram.cards if card.kind == "module"] == [
        "flatten", "fc1", "relu1", "fc2", "relu2", "fc42",
    ]  # fmt: skip


class Loop(nn.Module):
    def __init__(self) -> None:
        self.cell = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        for _ in range(70):
            x = F.tanh(self.cell(x))
        return x


def test_calls_of_one_module_repeat() -> None:
    ((name, what),) = folded(figure_of(Loop(), (4,)))
    assert name == "×69 more"
    assert what == "cell (call 2) … tanh: as cell → tanh"


def test_what_is_built_otherwise_is_not_a_repeat() -> None:
    """Other options, other shapes, other operations: seventy layers of which no two neighbours are alike."""
    widths = [4 + i % 2 for i in range(64)]
    layers = [nn.Linear(a, b, bias=i % 3 == 0) for i, (a, b) in enumerate(pairwise(widths))]
    figure = figure_of(nn.Sequential(*layers), (4,))
    names = [what for _, what in folded(figure)]
    assert len(figure.diagram.cards) <= MOST_CARDS
    assert all("→" in what for what in names), names  # only the pattern of six repeats


def test_a_mess_without_repeats_is_drawn_as_runs() -> None:
    model = nn.Sequential(*(nn.Linear(4 + i, 5 + i) for i in range(70)))
    figure = figure_of(model, (4,))
    assert 20 < len(figure.diagram.cards) <= MOST_CARDS
    assert "runs" in figure.diagram.note
    assert len(figure_of(model, (4,), depth=1).diagram.cards) == 72, "all, when asked for"


def test_marks_inside_a_fold_are_on_its_card() -> None:
    tc.manual_seed(0)
    model = models.resnet20()
    model.layer1[2].bn2.weight.data = model.layer1[2].bn2.weight.data * np.float32(np.nan)
    figure = figure_of(model, (3, 8, 8))
    assert figure.report()[0].where == "layer1.2.bn2"
    card = next(card for card in figure.diagram.cards if card.kind == "fold")
    assert card.marks[0].first
    assert "layer1.2.bn2" in card.marks[0].message


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_depth_that_is_asked_for_is_kept(depth: int) -> None:
    tc.manual_seed(0)
    figure = figure_of(models.resnet20(), (3, 8, 8), depth=depth)
    assert figure.diagram.depth == depth
    assert folded(figure) == []
