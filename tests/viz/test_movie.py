"""The film of a recorded run: its numbers agree with the figures of its steps, and events stand where they began."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import viz
from tests.viz.conftest import Small
from tests.viz.test_recording import Batch, recorded, train
from tinygrad_cnn.cli import main


@pytest.fixture(scope="module")
def rec(batch: Batch) -> viz.record:
    tc.manual_seed(0)
    model = Small()

    def accident(step: int) -> None:
        if step == 8:
            model.features[3].bias.data = model.features[3].bias.data - 50
        if step == 16:
            model.fc.weight.data = model.fc.weight.data * np.nan

    return recorded(model, batch, 20, before=accident, every=2, thumbs=6)


@pytest.fixture(scope="module")
def film(rec: viz.record, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = rec.movie(tmp_path_factory.mktemp("film") / "train.html")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert found is not None
    return dict(json.loads(found[1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON")))


def test_a_column_has_an_entry_for_every_frame(film: dict[str, Any], rec: viz.record) -> None:
    moving = film["film"]
    frames = len(rec.steps)
    assert moving["steps"] == rec.steps
    assert len(moving["losses"]) == 20
    assert all(len(moving[name]) == frames for name in ("lr", "loss", "batch", "reference"))
    for column in moving["links"]:
        assert len(column["flow"]) == len(column["gain"]) == frames
    for column in moving["cards"]:
        assert all(len(column[name]) == frames for name in ("flow", "gain", "rms", "update", "active"))
    assert len(moving["cards"]) == len(film["levels"][0]["cards"])


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_the_numbers_are_those_of_the_figure(frame: int, film: dict[str, Any], rec: viz.record) -> None:
    diagram = rec.figure(rec.steps[frame]).diagram
    for card, column in zip(diagram.cards, film["film"]["cards"], strict=True):
        if card.out is not None and card.kind != "loss":
            assert column["flow"][frame] == pytest.approx(card.out.flow, rel=5e-3)
        marks = [entry for entry in column["marks"] if entry[0] <= frame][-1][1]
        assert [mark[1] for mark in marks] == [mark.badge for mark in card.marks]
    for link, column in zip(diagram.links, film["film"]["links"], strict=True):
        expected = link.grad.flow if link.grad is not None else None
        assert column["flow"][frame] == (pytest.approx(expected, rel=5e-3) if expected is not None else None)


def test_events_stand_where_they_began(film: dict[str, Any]) -> None:
    events = [(event["step"], event["kind"], event["where"]) for event in film["film"]["events"]]
    assert (8, "dead", "features.4") in events
    assert (16, "nan", "fc") in events
    assert events == sorted(events, key=lambda event: event[0])
    assert next(event for event in events if event[1] == "nan")[2] == "fc"  # the first in the order of computation


def test_maps_come_with_their_scales(film: dict[str, Any]) -> None:
    maps = film["film"]["maps"]
    assert [entry["frame"] for entry in maps] == [0, 3, 6, 9]
    cards = {card["path"]: card["id"] for card in film["levels"][0]["cards"]}
    strips = [entry["cards"][cards["features.0"]] for entry in maps]
    assert all(len(strip["images"]) == len(strip["scales"]) == 4 for strip in strips)  # filters, ∂W, out, ∂L
    assert strips[0]["images"] != strips[1]["images"]
    assert set(strips[0]["blocks"]) <= set("▁▂▃▄▅▆▇█")


def test_what_moves_is_found_in_the_picture(rec: viz.record, tmp_path: Path) -> None:
    """The film's script looks for these words among a card's: if a card says them otherwise, this must fail."""
    page = rec.movie(tmp_path / "train.html").read_text(encoding="utf-8")
    cards = re.split(r'<g id="viz\w+-n\d+" class="node">', page)[1:]
    conv = next(card for card in cards if ">features.0<" in card)
    texts = [re.sub(r"[\s\u00a0]+", " ", word).strip() for word in re.findall(r"<text[^>]*>(.*?)</text>", conv)]
    texts = [word.replace("&#160;", " ").replace("&#45;", "-").strip() for word in texts]
    rms = next(i for i, word in enumerate(texts) if "∇rms" in word)
    update = next(i for i, word in enumerate(texts) if i > rms and re.fullmatch(r"10\^[-−]?[\d.]+|0|n/a", word))
    assert texts[update + 1] in "●▲▼"
    assert any(re.fullmatch("[▁-█]+", word) for word in texts)
    assert any("of units pass" in word for card in cards for word in re.findall(r">([^<]*)</text>", card))
    for name in ("filters", "∂W", "out", "∂L"):
        assert name in texts


def test_a_run_that_was_stopped_says_so(batch: Batch, tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    model = Small()
    rec = viz.record(model, every=1)
    with pytest.raises(KeyboardInterrupt):
        train(rec, model, batch, 5, before=stop)
    assert rec.steps == [0, 1, 2]
    assert "the run was stopped by KeyboardInterrupt" in rec.movie(tmp_path / "f.html").read_text(encoding="utf-8")


# ---- the command line ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(rec: viz.record, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "run.json"
    rec.to_json(path)
    return str(path)


def test_a_run_becomes_a_film_or_a_picture_of_a_step(run: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["viz", run, "-o", str(tmp_path / "train.html")]) == 0
    assert 'id="time"' in (tmp_path / "train.html").read_text(encoding="utf-8")
    assert main(["viz", run, "--step", "4", "-o", str(tmp_path / "step.txt")]) == 0
    assert "step 4" in (tmp_path / "step.txt").read_text(encoding="utf-8")
    assert main(["viz", run, "--step", "4", "-o", str(tmp_path / "step.html")]) == 0
    assert 'id="time"' not in (tmp_path / "step.html").read_text(encoding="utf-8")
    assert main(["viz", run, "--step", "5", "-o", str(tmp_path / "step.txt")]) == 2
    assert "step 5 was not recorded" in capsys.readouterr().err


def test_the_report_of_a_run(run: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["viz", "report", run]) == 0
    assert "since step 16" in capsys.readouterr().out
    assert main(["viz", "report", run, "--strict"]) == 1


def test_two_runs_compared(run: str, tmp_path: Path) -> None:
    assert main(["viz", "diff", run, run, "-o", str(tmp_path / "d.txt")]) == 0
    assert "nothing has changed" in (tmp_path / "d.txt").read_text(encoding="utf-8")


def test_a_cut_file_is_one_line_with_its_name(run: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cut = tmp_path / "cut.json"
    cut.write_text(Path(run).read_text(encoding="utf-8")[:5000], encoding="utf-8")
    assert main(["viz", str(cut), "-o", str(tmp_path / "x.html")]) == 2
    printed = capsys.readouterr().err
    assert "cut.json: viz run: the file is cut off" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "x.html").exists()
