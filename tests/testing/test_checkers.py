"""The comparison of gradient checkers gives every one of them the same calls, and judges them all alike."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import testing
from tinygrad_cnn.testing.mutants.journal import Journal


@pytest.fixture
def checkers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.checkers")


def test_small_calls_have_something_to_differentiate_and_no_ties(checkers):
    calls = checkers.checked.small(testing.cases()["maximum"], 5, 0)
    assert len(calls) == 5
    for call in calls:
        a, b = call.args
        gaps = np.abs(np.subtract.outer(a, b))
        assert a.size
        assert b.size
        assert gaps.min() > 0.09


def test_calls_at_the_sizes_of_a_layer_are_of_registered_operations(checkers):
    for name, call in checkers.layers().items():
        checked = checkers.checked.Checked(testing.cases()[name], call)
        assert sum(x.size for x in checked.points) >= 4000
        assert checked.value(*checked.points).size


def test_a_call_knows_its_gradient_and_the_gradient_of_that(checkers):
    x, g, u = np.array([0.5, -1.0]), np.array([2.0, 3.0]), np.array([1.0, -1.0])
    call = checkers.checked.Checked(testing.cases()["tanh"], testing.OpCase((x,)))
    y = np.tanh(x)
    assert np.array_equal(call.value(x), y)
    assert np.allclose(call.graph(x).pull(g), [g * (1 - y * y)])
    assert np.allclose(call.second([x], g, [u]), [u * g * -2 * y * (1 - y * y), u * (1 - y * y)])


@pytest.mark.parametrize(("bug", "refused"), [("sign turned", [0]), ("what was saved is a constant", [0]), ("", [])])
def test_a_right_operation_is_accepted_and_a_wrong_one_refused(checkers, bug, refused):
    mutant = f"tanh: gradient of x: {bug}" if bug else ""
    assert checkers.attempt(checkers.Trial("small", "ours", "tanh", mutant))["refused"] == refused


def test_a_call_on_which_the_right_operation_is_refused_is_a_false_alarm_and_convicts_nobody(checkers, monkeypatch):
    monkeypatch.setitem(checkers.CHECKERS, "ours", lambda call: False)
    checkers._accepts.cache_clear()
    trial = checkers.Trial("small", "ours", "tanh")
    assert checkers.attempt(trial)["refused"] == [0, 1, 2, 3, 4]
    assert checkers.attempt(trial._replace(mutant="tanh: gradient of x: sign turned"))["refused"] == []
    checkers._accepts.cache_clear()


def test_what_a_checker_raises_refuses_the_mutant_and_is_noted(checkers, monkeypatch):
    def raising(call):
        if call.graph(*call.points).pull(np.ones(call.value(*call.points).shape))[0].min() < 0:
            raise ZeroDivisionError
        return True

    monkeypatch.setitem(checkers.CHECKERS, "ours", raising)
    found = checkers.attempt(checkers.Trial("small", "ours", "tanh", "tanh: gradient of x: sign turned"))
    assert (found["refused"], found["raised"]) == ([0], "ZeroDivisionError")
    checkers._accepts.cache_clear()


def test_the_summary_counts_what_was_asked_for(checkers, monkeypatch, tmp_path):
    monkeypatch.setattr(checkers, "version", lambda name: "0")
    monkeypatch.setattr(checkers, "RESULTS", tmp_path)
    (tmp_path / "mutants.json").write_text(json.dumps({"missed": {"tanh: gradient of x: zero": "no reason known"}}))
    right = checkers.Trial("small", "ours", "tanh")
    trials = [right, *(right._replace(mutant=f"tanh: gradient of x: {bug}") for bug in ("zero", "sign turned"))]
    done = Journal()
    for trial, refused in zip(trials, ([], [2], []), strict=True):
        done.note(trial, {"refused": refused, "raised": "", "seconds": 0.25})
    sizes = checkers.summary(done, trials)["sizes"]["small"]
    assert sizes["ours"] == {
        "seconds": 0.75,
        "right calls": 5,
        "false alarms": [],
        "families": {"gradient": {"mutants": 2, "killed": 1, "raised": 0}},
        "missed": {"sign turned": 1},
    }
    assert sizes["all laws"]["families"]["gradient"] == {"mutants": 2, "killed": 1, "raised": 0}
    assert sizes["all laws"]["missed"] == {"zero": 1}


def test_one_in_eight_of_the_mechanical_mutants_and_all_historic_ones_are_compared(checkers):
    sample, everyone = ({t.mutant for t in checkers.trials(every)} for every in (8, 1))
    historic = {m.name for m in checkers.all_mutants() if m.family == "historic" and m.op in tc.ops()}
    assert {name for name in historic if name in everyone} <= sample
    assert 0.1 < len(sample) / len(everyone) < 0.25
