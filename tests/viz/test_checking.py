"""`check`: the report in sentences, and when a strict one stops the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import viz
from tinygrad_cnn.cli import main
from viz.judging import KINDS


def loss_of(model: Any, batch: tuple[np.ndarray, np.ndarray]) -> Any:
    x, y = batch
    return tc.functional.cross_entropy(model(tc.tensor(x)), y)


def test_a_healthy_net_passes_and_nothing_is_touched(small: Any, batch: Any) -> None:
    loss = loss_of(small, batch)
    report = viz.check(loss, small, strict=True)
    assert (report, report.ok, report.gap) == ([], True, "")
    assert str(report) == "Nothing is wrong: 7 layers judged."
    assert all(p.grad is None for p in small.parameters())
    loss.backward()


def test_what_is_wrong_is_said_in_sentences_with_what_to_do(small: Any, batch: Any) -> None:
    small.features[3].weight.data = small.features[3].weight.data / 1000
    report = viz.check(loss_of(small, batch), small)
    assert [(f.kind, f.where) for f in report] == [("shrinks", "features.3"), ("vanishing", "features.0")]
    first, second = str(report).splitlines()
    assert first.startswith("features.3 (shrinks): the gradient leaves it ×")
    assert "nn.init" in first
    assert "shrunk by features.3" in second
    assert repr(report) == str(report)


def test_strict_raises_an_error_that_names_the_findings(small: Any, batch: Any) -> None:
    small.features[3].weight.data = small.features[3].weight.data / 1000
    with pytest.raises(viz.CheckError, match=r"shrinks, vanishing\nfeatures\.3 \(shrinks\)") as caught:
        viz.check(loss_of(small, batch), small, strict=True)
    assert [f.kind for f in caught.value.report] == ["shrinks", "vanishing"]
    assert isinstance(caught.value, RuntimeError)


def test_what_is_meant_can_be_allowed(small: Any, batch: Any) -> None:
    small.features[0].requires_grad_(False)
    with pytest.raises(viz.CheckError, match="frozen"):
        viz.check(loss_of(small, batch), small, strict=True)
    report = viz.check(loss_of(small, batch), small, strict=True, allow=["frozen"])
    assert [f.kind for f in report] == ["frozen"]
    with pytest.raises(ValueError, match="'freezing' is no kind of finding"):
        viz.check(loss_of(small, batch), small, strict=True, allow=["freezing"])


def test_strict_does_not_pass_what_it_could_not_judge(small: Any, batch: Any) -> None:
    loss = loss_of(small, batch)
    loss.backward()
    assert str(viz.check(loss, small)) == "Not judged: intermediate gradients were freed: use viz.capture."
    with pytest.raises(viz.CheckError, match="intermediate gradients were freed"):
        viz.check(loss, small, strict=True)
    w = tc.tensor(2.0, requires_grad=True)
    with pytest.raises(viz.CheckError, match="no layer lies between"):
        viz.check(w * w, strict=True)


def test_every_kind_has_its_advice() -> None:
    for kind in KINDS:
        sentence = viz.Finding(kind, "conv1", None, "what").sentence
        assert sentence.startswith(f"conv1 ({kind}): what. ")
        assert sentence.endswith(".")


# ---- the gate for continuous integration -----------------------------------------------------------------------


def test_the_report_of_a_saved_figure_is_the_figures(captured: Any, tmp_path: Path, capsys: Any) -> None:
    figure = captured.figure()
    path = str(figure.save(tmp_path / "run.json"))
    assert main(["viz", "report", path, "--strict"]) == 0
    assert capsys.readouterr().out.strip() == str(figure.report())


def test_a_sick_net_fails_the_gate(small: Any, batch: Any, tmp_path: Path, capsys: Any) -> None:
    small.fc.weight.data[0, 0] = np.nan
    path = str(viz.graph(loss_of(small, batch), small).save(tmp_path / "run.json"))
    assert main(["viz", "report", path]) == 0
    assert main(["viz", "report", path, "--strict"]) == 1
    assert main(["viz", "report", path, "--strict", "--allow", "inf"]) == 1
    assert main(["viz", "report", path, "--strict", "--allow", "nan"]) == 0
    assert "fc (nan)" in capsys.readouterr().out


def test_a_run_without_backward_fails_the_gate(small: Any, batch: Any, tmp_path: Path, capsys: Any) -> None:
    with viz.capture(small) as cap:
        small(tc.tensor(batch[0]))
    path = str(cap.figure().save(tmp_path / "run.json"))
    assert main(["viz", "report", path, "--strict"]) == 1
    assert "no backward yet" in capsys.readouterr().out


def test_a_saved_figure_is_drawn(captured: Any, tmp_path: Path, capsys: Any) -> None:
    path = str(captured.figure().save(tmp_path / "run.json"))
    out = tmp_path / "net.dot"
    assert main(["viz", path, "-o", str(out), "--level", "op"]) == 0
    assert out.read_text(encoding="utf-8") == captured.figure(level="op").dot()
    assert f"wrote {out}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["viz", "{run}"], "-o net.svg"),
        (["viz", "report"], "expected `viz report FILE`"),
        (["viz", "diff", "{run}", "-o", "a.svg"], "expected `viz diff FILE FILE -o OUT`"),
        (["viz", "report", "none.json"], "none.json"),
        (["viz", "report", "{text}"], "not a trace"),
        (["viz", "report", "{run}", "--strict", "--allow", "x"], "no kind of finding"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str, captured: Any, tmp_path: Path, capsys: Any) -> None:
    run = captured.figure().save(tmp_path / "run.json")
    text = tmp_path / "other.json"
    text.write_text("[]", encoding="utf-8")
    assert main([word.format(run=run, text=text) for word in words]) == 2
    assert message in capsys.readouterr().err
