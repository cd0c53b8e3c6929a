"""Image grids: filters, activations, and the input that excites a unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import viz
from tinygrad_cnn import nn


def test_filters_of_one_channel_are_tiles(small: Any, tmp_path: Path, decode: Callable[[bytes], np.ndarray]) -> None:
    grid = viz.show_filters(small.features[0])
    ((_, tiles),) = grid.rows
    assert tiles.shape == (4, 3, 3, 3)
    path = grid.save(tmp_path / "filters.png")
    assert np.array_equal(decode(path.read_bytes()), grid.pixels)
    assert decode(grid._repr_png_()).shape == grid.pixels.shape


def test_filters_of_three_channels_are_in_colour_about_grey() -> None:
    weight = np.zeros((5, 3, 2, 2))
    weight[1, 0] = 1.0
    ((_, tiles),) = viz.show_filters(weight).rows
    assert (tiles[0] == 128).all()
    assert tiles[1, 0, 0].tolist() == [255, 128, 128]


def test_filters_of_many_channels_have_a_row_each(small: Any) -> None:
    grid = viz.show_filters(small.features[3])
    assert [len(tiles) for _, tiles in grid.rows] == [4] * 6
    assert viz.show_filters(np.ones((100, 50, 3, 3)), limit=100).pixels.shape[0] < 2000


def test_what_has_no_kernels_is_refused(small: Any) -> None:
    with pytest.raises(ValueError, match="2-d convolution"):
        viz.show_filters(small.fc)


def test_activations_are_those_of_the_model(small: Any, batch: Any) -> None:
    small.train()
    grid = viz.show_activations(small, batch[0], sample=2)
    assert [caption.split()[0] for caption, _ in grid.rows] == [
        "input", "features.0", "features.1", "features.2", "features.3", "features.4"
    ]  # fmt: skip
    from viz.images import coloured

    with tc.no_grad():
        maps = small.features[0](tc.tensor(batch[0])).data[2]
    assert np.array_equal(grid.rows[1][1], coloured(maps, 0, np.abs(maps).max(), signed=True))
    assert small.training
    assert not any(getattr(module, "_forward_hooks", None) for module in small.modules())
    only = viz.show_activations(small, batch[0], layers=["features.3"], limit=2)
    assert [len(tiles) for _, tiles in only.rows] == [1, 2]
    with pytest.raises(KeyError, match=r"features\.9.*features\.0"):
        viz.show_activations(small, batch[0], layers=["features.9"])


def test_activations_leave_the_running_statistics_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    before = [b.data.copy() for b in model.buffers()]
    viz.show_activations(model, np.ones((2, 1, 6, 6), np.float32))
    for buffer, old in zip(model.buffers(), before, strict=True):
        assert np.array_equal(buffer.data, old)
    assert model[1].training


def test_the_activation_rises(small: Any) -> None:
    before = [p.data.copy() for p in small.parameters()]
    grid = viz.maximize_activation(small, "features.3", 2, shape=(1, 8, 8), steps=20)
    course = grid.values["activation"]
    assert course[-1] > course[0] + 0.1
    assert grid.values["image"].shape == (1, 8, 8)
    again = viz.maximize_activation(small, small.features[3], 2, shape=(1, 8, 8), steps=20)
    assert np.array_equal(again.pixels, grid.pixels)
    for p, old in zip(small.parameters(), before, strict=True):
        assert p.grad is None
        assert np.array_equal(p.data, old)


def test_a_unit_that_is_not_there_is_named(small: Any) -> None:
    with pytest.raises(IndexError, match="unit 99 of 'fc', which has 5 units"):
        viz.maximize_activation(small, "fc", 99, shape=(1, 8, 8))
    with pytest.raises(ValueError, match="shape="):
        viz.maximize_activation(small, "fc", 0)


def test_the_shape_of_the_input_is_found_where_it_is_usual() -> None:
    tc.manual_seed(0)
    grid = viz.maximize_activation(tc.models.lenet5(), "fc3", 0, steps=1)
    assert grid.values["image"].shape == (1, 28, 28)


def test_only_png(small: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="png"):
        viz.show_filters(small.features[0]).save(tmp_path / "filters.jpg")
