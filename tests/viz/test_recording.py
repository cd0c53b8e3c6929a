"""Recording a run: what is kept agrees with a capture of the same step, and files are whole or refused."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tests.viz.conftest import Small
from tinygrad_cnn import nn
from tinygrad_cnn.core import tape
from viz.measure import magnitude
from viz.recording_meter import measured
from viz.recording_run import places_of, sizes_of

Batch = tuple[np.ndarray, np.ndarray]


def recorded(
    model: Any, batch: Batch, steps: int, *, before: Callable[[int], None] = lambda i: None, **options: Any
) -> viz.record:
    """A short training run under a recorder."""
    rec = viz.record(model, tc.optim.SGD(model.parameters(), lr=0.05), **options)
    train(rec, model, batch, steps, before=before)
    return rec


def train(
    rec: viz.record, model: Any, batch: Batch, steps: int, *, before: Callable[[int], None] = lambda i: None
) -> None:
    """Steps under a recorder; `before` may bring about an accident."""
    x, y = batch
    optimizer = rec.optimizer or tc.optim.SGD(model.parameters(), lr=0.05)
    with rec:
        for i in range(steps):
            before(i)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rec.step(loss)


@pytest.fixture(scope="module")
def rec(batch: Batch) -> viz.record:
    tc.manual_seed(0)
    return recorded(Small(), batch, 12, every=3, thumbs=6)


# ---- what is kept ----------------------------------------------------------------------------------------------


def test_steps_losses_and_maps(rec: viz.record) -> None:
    assert rec.steps == [0, 3, 6, 9]
    assert len(rec.run.losses) == 12
    assert [frame.step.loss for frame in rec.run.frames] == [rec.run.losses[i] for i in rec.steps]
    assert [frame.maps is not None for frame in rec.run.frames] == [True, False, True, False]
    assert repr(rec) == "<viz.record 'Small': 4 of 12 steps recorded>"


@pytest.mark.parametrize("step", [3, 6])
def test_a_step_is_what_a_capture_of_it_says(step: int, batch: Batch, rec: viz.record) -> None:
    x, y = batch
    tc.manual_seed(0)
    model = Small()
    optimizer = tc.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(step + 1):
        with viz.capture(model, optimizer) as cap:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    seen, kept = cap.trace, rec.run.trace_at(rec.steps.index(step))
    assert [node.op for node in kept.nodes] == [node.op for node in seen.nodes]
    for place, mine, theirs in zip(places_of(seen), sizes_of(kept), sizes_of(seen), strict=True):
        kind, number, _ = place
        if kind == "node" and seen.nodes[number].kind != "op":
            continue  # a capture goes on to the inputs, training does not
        if kind == "edge" and seen.nodes[seen.edges[number].source].kind != "op":
            continue
        assert (mine is None) == (theirs is None), place
        np.testing.assert_allclose(mine or [], theirs or [], rtol=1e-5, err_msg=str(place))
    for mine, theirs in zip(kept.parameters, seen.parameters, strict=True):
        assert mine.update == pytest.approx(theirs.update)
    for mine, theirs in zip(kept.nodes, seen.nodes, strict=True):
        assert mine.active == theirs.active
        assert mine.value == pytest.approx(theirs.value)
    if step == 6:
        assert [n.thumbs.keys() for n in kept.nodes if n.kind == "op"] == [
            n.thumbs.keys() for n in seen.nodes if n.kind == "op"
        ]
        assert [p.histogram for p in kept.parameters] == [p.histogram for p in seen.parameters]
        assert kept.nodes[1].crops["forward"] == seen.nodes[1].crops["forward"]
        assert [n.crops for n in kept.nodes[2:]] == [n.crops for n in seen.nodes[2:]]


def test_recording_changes_nothing(batch: Batch) -> None:
    x, y = batch
    weights = []
    for watched in (True, False):
        tc.manual_seed(0)
        model = Small()
        optimizer = tc.optim.SGD(model.parameters(), lr=0.05)
        recorder = viz.record(model, optimizer, every=1, thumbs=2)
        with recorder:
            for _ in range(4):
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if watched:
                    recorder.step(loss)
        weights.append([p.data.tobytes() for p in model.parameters()])
    assert weights[0] == weights[1]


def test_the_figure_of_a_step_is_drawn_from_its_own_numbers(rec: viz.record) -> None:
    first, last = rec.figure(0), rec.figure()
    assert last.trace.steps[0].step == 9
    assert last.facts().startswith("step 9")
    assert first.trace.nodes[-1].value == pytest.approx(rec.run.losses[0])
    assert last.trace.nodes[-1].value == pytest.approx(rec.run.losses[9])
    assert last.ok
    assert rec.figure(6).trace.nodes[1].thumbs == rec.figure(9).trace.nodes[1].thumbs  # the newest that were kept
    assert not rec.figure(9, level="op").trace.nodes[1].crops  # numbers of another step are not shown


def test_a_step_that_was_not_recorded_names_its_neighbours(rec: viz.record) -> None:
    with pytest.raises(ValueError, match=r"step 4 was not recorded \(every 3th is\); the nearest are 3 and 6"):
        rec.figure(step=4)


def test_between_recorded_steps_nothing_is_watched_and_nothing_stays(batch: Batch) -> None:
    x, y = batch
    model = Small()
    optimizer = tc.optim.SGD(model.parameters(), lr=0.05)
    seen = []
    with viz.record(model, optimizer, every=3) as rec:
        for _ in range(7):
            hooks = sum(len(module._forward_hooks) for module in model.modules())
            seen.append((len(tape.STATE.get().observers), hooks > 0))
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rec.step(loss)
        held = [value for value in vars(rec).values() if type(value).__name__ in ("Meter", "capture")]
        assert not held
    assert [watched for _, watched in seen] == [True, False, False, True, False, False, True]
    assert [count > 0 for count, _ in seen] == [True, False, False, True, False, False, True]
    assert not tape.STATE.get().observers
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_recording_keeps_what_it_had(stop: type, at: int, batch: Batch) -> None:
    def interrupt(step: int) -> None:
        if step == at:
            raise stop("enough")

    model = Small()
    rec = viz.record(model, every=1)
    with pytest.raises(stop):
        train(rec, model, batch, 5, before=interrupt)
    assert rec.steps == list(range(at))
    assert rec.run.stopped == stop.__name__
    assert not tape.STATE.get().observers
    assert not any(module._forward_hooks for module in model.modules())
    assert rec.figure().trace.backward == "full"


# ---- what goes wrong in a run ----------------------------------------------------------------------------------


def test_nan_and_dead_layers_are_dated(batch: Batch) -> None:
    tc.manual_seed(0)
    model = Small()

    def accident(step: int) -> None:
        if step == 4:
            model.features[3].bias.data = model.features[3].bias.data - 50
        if step == 12:
            model.fc.weight.data = model.fc.weight.data * np.nan

    rec = recorded(model, batch, 14, before=accident, every=2)
    found = {(f.kind, f.where): f.message for f in rec.report()}
    assert found["nan", "fc"].endswith("since step 12")
    assert "FIRST" in found["nan", "fc"]
    assert found["dead", "features.4"].endswith("since step 4")
    assert not rec.ok
    assert not [f for f in rec.figure(2).report() if f.kind == "dead"]
    assert [f.where for f in rec.figure(4).report() if f.kind == "dead"] == ["features.4"]


def test_channels_that_rest_for_a_few_steps_are_not_dead(batch: Batch) -> None:
    tc.manual_seed(0)
    model = Small()
    bias = model.features[0].bias

    def rest(step: int) -> None:
        if step in (3, 6):
            bias.data = bias.data + (-50 if step == 3 else 50)

    rec = recorded(model, batch, 12, before=rest, every=1)
    assert not [f for step in rec.steps for f in rec.figure(step).report() if f.kind == "dead"]


def test_a_last_smaller_batch_has_its_own_length(batch: Batch) -> None:
    x, y = batch
    tc.manual_seed(0)
    model = Small()
    rec = viz.record(model, every=1)
    with rec:
        for n in (8, 3):
            loss = F.cross_entropy(model(x[:n]), y[:n])
            loss.backward()
            rec.step(loss)
    trace = rec.figure(1).trace
    assert [node.shape[0] for node in trace.nodes if node.batched] == [3] * sum(n.batched for n in trace.nodes)
    out = next(node.grad for node in trace.nodes if node.id == trace.output)
    assert out is not None
    assert out.flow == pytest.approx(out.norm / math.sqrt(3), rel=1e-5)


def test_shared_weights_and_several_losses(batch: Batch) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Any) -> Any:
            return self.conv(self.conv(x).relu())

    tc.manual_seed(0)
    model = Twice()
    rec = viz.record(model, every=1, thumbs=100)
    with rec:
        for _ in range(3):
            model.zero_grad()
            y = model(batch[0])
            first, second = (y**2).mean(), y.abs().mean()
            first.backward(retain_graph=True)
            second.backward()
            rec.step()
    assert len(rec.steps) >= 2
    frame = rec.figure(rec.steps[-1]).trace
    assert len(frame.parameters) == 2
    assert frame.parameters[0].grad is not None
    assert frame.parameters[0].grad.norm == pytest.approx(np.linalg.norm(model.conv.weight.grad.data), rel=1e-4)
    assert all(math.isnan(loss) for loss in rec.run.losses)
    json.loads(rec.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_a_step_of_another_computation_is_left_out_and_counted(batch: Batch) -> None:
    x, y = batch
    model = Small()
    rec = viz.record(model, every=1)
    with rec:
        for i in range(3):
            out = model(x)
            loss = F.cross_entropy(out * 2 if i == 1 else out, y)
            loss.backward()
            rec.step(loss)
    assert rec.steps == [0, 2]
    assert rec.run.skipped == 1


def test_a_loop_that_only_evaluates_records_nothing_and_says_so(batch: Batch, tmp_path: Path) -> None:
    model = Small()
    rec = viz.record(model, every=1)
    with rec:
        with tc.no_grad():
            model(batch[0])
        rec.step(1.0)
    assert rec.steps == []
    for use in (rec.figure, rec.report, lambda: rec.movie(tmp_path / "no.html")):
        with pytest.raises(ValueError, match=r"call rec.step\(loss\) after each loss.backward"):
            use()


@pytest.mark.parametrize("options", [{"every": 0}, {"thumbs": -1}, {"every": 2.5}])
def test_intervals_are_positive_whole_numbers(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive whole number, got"):
        viz.record(**options)


def test_mistakes_of_use() -> None:
    rec = viz.record()
    with pytest.raises(RuntimeError, match="belongs inside the block"):
        rec.step(1.0)
    with rec, pytest.raises(RuntimeError, match="already open"):
        rec.__enter__()
    with pytest.raises(ValueError, match=r"ends in \.html"):
        rec.movie("film.gif")


# ---- measuring in passing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-25, 1e-40, 1e15, 1e25, 0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_in_passing_are_those_of_a_careful_look(scale: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    array = (rng.normal(size=(5, 3, 7, 6)) * scale).astype(dtype).transpose(0, 3, 1, 2)
    for view in (array, array[:, ::2], array[:0]):
        fast, slow = measured(view), magnitude(view)
        np.testing.assert_allclose([fast.norm, fast.rms, fast.largest], [slow.norm, slow.rms, slow.largest], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted(bad: float) -> None:
    array = np.ones((4, 4), np.float32)
    array[0, 0] = bad
    assert measured(array) == magnitude(array)


# ---- files -----------------------------------------------------------------------------------------------------


def test_round_trip(rec: viz.record, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    text = rec.to_json(path)
    assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary is left
    run = viz.Run.from_json(text)
    assert run == rec.run
    assert run.to_json() == text
    assert run.figure(3).dot() == rec.figure(3).dot()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_a_run_with_nan_and_a_hostile_title_comes_back(batch: Batch) -> None:
    model = Small()
    rec = viz.record(model, every=1, title='"run": {</script> 𝄞 \\N\ud800')
    with rec:
        loss = F.cross_entropy(model(batch[0] * np.nan), batch[1])
        loss.backward()
        rec.step(loss)
    text = rec.to_json()
    assert "NaN" in {frame.step.loss and str(frame.step.loss).replace("nan", "NaN") for frame in rec.run.frames}
    assert viz.Run.from_json(text).to_json() == text


def test_the_file_is_cut_anywhere(rec: viz.record) -> None:
    text = rec.to_json()
    for at in [0, 10, 60, 120, 200, len(text) // 2, len(text) - 3]:
        with pytest.raises(ValueError, match=r"cut off|not a recorded run|damaged"):
            viz.Run.from_json(text[:at])


def test_changed_files_are_refused(rec: viz.record) -> None:
    text = rec.to_json()
    with pytest.raises(ValueError, match="version 2 is not 1"):
        viz.Run.from_json(text.replace('"version": 1', '"version": 2', 1))
    at = text.index('"losses":[') + len('"losses":[')
    swapped = text[:at] + ("9" if text[at] != "9" else "8") + text[at + 1 :]
    with pytest.raises(ValueError, match="checksum does not fit"):
        viz.Run.from_json(swapped)
    with pytest.raises(ValueError, match="not a recorded run"):
        viz.Run.from_json(viz.Trace().to_json())


def test_a_run_of_another_model_is_refused(rec: viz.record) -> None:
    text = rec.to_json()
    assert viz.Run.from_json(text, Small()).steps == rec.steps
    with pytest.raises(ValueError, match=r"another model \(Small\): parameter .* is missing"):
        viz.Run.from_json(text, tc.models.lenet5())


def test_a_failed_write_leaves_the_old_file(rec: viz.record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    rec.to_json(path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no room"):
        rec.to_json(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


_PROGRAM = """
import sys
import numpy as np, tinygrad_cnn as tc, tinygrad_cnn.functional as F, viz
tc.manual_seed(0)
model = tc.models.mlp([4, 8, 3])
rng = np.random.default_rng(0)
x, y = rng.integers(-3, 4, (6, 4)).astype(np.float32), np.arange(6) % 3
rec = viz.record(model, every=1)
with rec:
    for _ in range(2):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        rec.step(loss)
sys.stdout.write(rec.to_json() + rec.run.figure().html())
"""


def test_the_same_bytes_in_every_process() -> None:
    outputs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path),
                       "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr.decode()
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert b"<!DOCTYPE html>" in outputs[0]


def test_a_validation_between_two_steps_is_part_of_neither(batch: Batch) -> None:
    tc.manual_seed(0)
    model = Small()

    def validate(step: int) -> None:
        if step == 3:  # while the recorder watches
            with tc.no_grad():
                model(batch[0])

    validated = recorded(model, batch, 7, every=3, before=validate)
    tc.manual_seed(0)
    plain = recorded(Small(), batch, 7, every=3)
    assert validated.steps == plain.steps == [0, 3, 6]
    assert [frame.sizes for frame in validated.run.frames] == [frame.sizes for frame in plain.run.frames]
