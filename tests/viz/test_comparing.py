"""`diff`: what is new, what is gone, and which layer changed the gradient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import viz
from tinygrad_cnn import nn
from tinygrad_cnn.cli import main
from viz.difference import change_colour
from viz.palette import DARK, LIGHT


def figure_of(model: Any, scale: float = 1.0) -> viz.Figure:
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    with viz.capture(model) as cap:
        (tc.functional.cross_entropy(model(tc.tensor(x)), np.arange(4)) * scale).backward()
    return cap.figure()


def net(*more: Any, padding: int = 1) -> nn.Sequential:
    tc.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=padding), nn.ReLU(), *more, nn.Flatten(), nn.Linear(256, 5))


def test_a_figure_does_not_differ_from_itself(captured: viz.capture) -> None:
    difference = viz.diff(captured.figure(), captured.figure())
    assert difference.same
    assert difference.changes() == []
    assert all(row.only == "" and not row.shift for row in difference.rows)
    assert "nothing has changed" in difference.text()
    assert "nothing has changed" in difference.dot()


def test_the_scale_of_the_loss_is_no_difference() -> None:
    difference = viz.diff(figure_of(net()), figure_of(net(), scale=1000))
    assert difference.same
    assert {round(row.shift, 5) for row in difference.rows if row.shift is not None} == {0.0}


def test_the_layer_that_changed_the_gradient_is_named() -> None:
    sick = net(nn.Conv2d(4, 4, 1), nn.ReLU())
    healthy = figure_of(sick)
    sick[2].weight.data = sick[2].weight.data / 1000
    difference = viz.diff(healthy, figure_of(sick), names=("healthy", "sick"))
    changes = difference.changes()
    assert changes[0].startswith("New: 2 (shrinks)")
    assert any(change.startswith("2: the gradient leaves it ×") for change in changes)
    assert not any(change.startswith(("0: the gradient leaves", "1: the gradient leaves")) for change in changes)
    first = next(row for row in difference.rows if row.card.path == "0")
    assert first.shift == pytest.approx(-3, abs=0.3)
    assert "NEW  SHRINKS GRADIENT" in difference.dot().replace("&#160;", " ")
    back = viz.diff(figure_of(sick), healthy).changes()
    assert "Gone: 2 (shrinks)." in back


def test_layers_in_one_figure_only_stand_where_they_belong() -> None:
    named = nn.Sequential({"conv": nn.Conv2d(1, 4, 3, padding=1), "flat": nn.Flatten(), "fc": nn.Linear(256, 5)})
    longer = nn.Sequential(
        {"conv": nn.Conv2d(1, 4, 3, padding=1), "relu": nn.ReLU(), "flat": nn.Flatten(), "fc": nn.Linear(256, 5)}
    )
    difference = viz.diff(figure_of(named), figure_of(longer))
    assert [(row.card.name, row.only) for row in difference.rows] == [
        ("input", ""), ("conv", ""), ("relu", "B"), ("flat", ""), ("fc", ""), ("loss", ""),
    ]  # fmt: skip
    assert difference.changes()[0] == "relu is only in B."
    assert "ONLY IN B" in difference.dot()
    back = viz.diff(figure_of(longer), figure_of(named))
    assert back.changes()[0] == "relu is only in A."
    assert "dashed" in back.dot()


def test_other_hyper_parameters_are_said() -> None:
    tc.manual_seed(0)
    a = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5))
    b = nn.Sequential(nn.Conv2d(1, 4, 3, padding=0), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5))
    changes = viz.diff(figure_of(a), figure_of(b)).changes()
    assert "0 was Conv2d 1→4 · 3×3 · pad 1, is Conv2d 1→4 · 3×3." in changes


def test_it_is_saved_in_every_format(captured: viz.capture, tmp_path: Path) -> None:
    difference = viz.diff(captured.figure(theme="dark"), captured.figure(theme="dark"), names=("<a>", "b & c"))
    for ending in (".svg", ".html", ".json", ".txt", ".dot"):
        assert difference.save(tmp_path / f"change{ending}").stat().st_size > 100
    assert DARK.page in difference.dot()
    rows = json.loads((tmp_path / "change.json").read_text(encoding="utf-8"))["rows"]
    assert {"layer", "only", "numbers"} == set(rows[0])


def test_figures_of_operations_are_compared_too(captured: viz.capture) -> None:
    difference = viz.diff(captured.figure(), captured.figure(level="op"))
    assert difference.same
    assert any(row.card.kind == "op" for row in difference.rows)


def test_anything_else_is_refused(captured: viz.capture) -> None:
    with pytest.raises(TypeError, match=r"viz\.diff: compares two figures.*got capture"):
        viz.diff(captured.figure(), captured)  # type: ignore[arg-type]  # the mistake is the point


def test_less_and_more_look_different() -> None:
    for theme in (LIGHT, DARK):
        colours = [change_colour(step, theme) for step in (-3, -1, 0, 1, 3, float("nan"))]
        assert len(set(colours[:5])) == 5
        assert change_colour(9, theme) == colours[4]


def test_on_the_command_line(captured: viz.capture, tmp_path: Path, capsys: Any) -> None:
    a, b = (str(captured.figure().save(tmp_path / name)) for name in ("before.json", "after.json"))
    out = tmp_path / "change.txt"
    assert main(["viz", "diff", a, b, "-o", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("A: before")
    assert f"wrote {out}" in capsys.readouterr().out
