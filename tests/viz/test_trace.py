"""A Trace goes to JSON and back unchanged, and a picture needs nothing else."""

from __future__ import annotations

import json

import pytest

import viz
from viz.trace import Crop, Magnitude, Node, Parameter, Silent, Step, Thumb, Trace


def test_round_trip_of_a_real_trace(captured: viz.capture) -> None:
    trace = captured.trace
    again = Trace.from_json(trace.to_json())
    assert again == trace
    assert again.to_json() == trace.to_json()


def test_the_json_is_strict_and_names_its_format(captured: viz.capture) -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    data = json.loads(captured.trace.to_json(), parse_constant=refuse)
    assert data["format"] == "tinygrad_cnn.viz.trace"
    assert data["version"] == 1


def test_every_field_survives_also_what_is_not_finite() -> None:
    inf, nan = float("inf"), float("nan")
    node = Node(
        0, "op", "relu", path="a.b", calls=[1, 2], name="n", shape=[2], dtype="float32",
        options={"window": {"kernel": [2, 2]}},
        saved=["x"], recorded=False, inside=True, batched=True, value=-inf, active=0.5, silent=Silent(1, 0, 4, 8, 2),
        out=Magnitude(inf, 1, 2, 3, 0.1, 0.2), grad=Magnitude(1, 2, 3, 4), partial={"a:0": Magnitude(1, 1, 1, 1)},
        thumbs={"out": Thumb("signed", [1, 2, 2], 3.0, "AAAA", 7)},
        crops={"forward": [Crop("x", [[1.0, inf]], "range", [[0, 1]])]},
    )  # fmt: skip
    parameter = Parameter(
        0, "w", [2], False, update=1e-3, histogram=[1, 2], reached=False, ran=False, uses=[[0, "weight"]]
    )
    trace = Trace([node], [], [parameter], [Step(3, 0.5, 0.1, 32)], title="t", output=0, loss=0, backward="freed")
    assert Trace.from_json(trace.to_json()) == trace
    node.value = nan
    assert "NaN" not in trace.to_json()
    value = Trace.from_json(trace.to_json()).nodes[0].value
    assert value is not None
    assert value != value


def test_the_same_picture_from_the_file(captured: viz.capture) -> None:
    again = Trace.from_json(captured.trace.to_json())
    for level in ("module", "op"):
        options = viz.Options(level=level)
        assert viz.Figure(again, options).dot() == captured.figure(level=level).dot()
        assert viz.Figure(again, options).report() == captured.figure(level=level).report()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a trace"),
        ("[1]", "not a trace"),
        ('{"format": "tinygrad_cnn.viz.trace", "version": 99}', "version 99"),
        ('{"format": "tinygrad_cnn.viz.trace", "version": 1, "surprise": 0}', "no field"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trace.from_json(text)


@pytest.mark.parametrize("nodes", ["abc", [1], [{"id": 0}], [{"id": 0, "kind": "op", "op": "relu", "shape": 3}]])
def test_a_damaged_trace_is_refused(nodes: object) -> None:
    text = json.dumps({"format": "tinygrad_cnn.viz.trace", "version": 1, "nodes": nodes})
    with pytest.raises(ValueError, match="damaged"):
        Trace.from_json(text)
