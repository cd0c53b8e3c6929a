"""Seeded bugs prove the kit: every operation has them all, every class of bugs that others had is among them, the
battery kills them (a sample here, all in `make mutants`), and right operations raise no alarm."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import testing
from tinygrad_cnn.testing import mutants
from tinygrad_cnn.testing.mutants import __main__ as command
from tinygrad_cnn.testing.mutants import hunting, mechanical, rewriting, terms, workers
from tinygrad_cnn.testing.mutants.journal import Journal
from tinygrad_cnn.testing.mutants.sources import OF_ENGINES, OF_OPERATIONS, SOURCES, citations

ROOT = Path(__file__).parents[2]
EVERYONE = mutants.all_mutants()
HISTORIC = mutants.historic_mutants()
QUICK = {"add", "mul", "relu", "tanh", "softmax", "amax", "max_pool1d", "pad", "getitem", "batch_norm", "where"}
SAMPLE = [m for m in EVERYONE if m.op in QUICK and m.name not in mutants.EQUIVALENT]
MECHANICAL = [m for m in SAMPLE if m.family != "historic"]


# ---- the list of mutants --------------------------------------------------------------------------------------------


def test_every_mutant_has_a_name_of_its_own_and_says_what_is_wrong():
    names = [m.name for m in EVERYONE]
    assert len(set(names)) == len(names) > 4000
    assert all(m.op in testing.cases() and m.bug and m.family for m in EVERYONE)
    assert len(HISTORIC) > 80
    assert all(m.seen for m in HISTORIC)


def test_every_gradient_has_every_mechanical_bug():
    names = {m.name for m in EVERYONE}
    optional = {"last two axes transposed"}  # of a vector it is no bug
    for name, op in tc.ops().items():
        if name not in testing.cases() or not op.differentiable or name.startswith("doc_"):  # a page's, not ours
            continue
        for position in rewriting.positions(op):
            where = f"{name}: gradient of {op.input_name(position)}: "
            bugs = (
                {"g is handed on"} if name in mechanical.FLAT else {*mechanical.GRADIENTS, "g is a constant"} - optional
            )
            assert {where + bug for bug in bugs} <= names
        if name not in mechanical.FLAT:
            assert f"{name}: a second gradient overwrites the first" in names


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.bugs)
def test_every_class_of_bugs_has_its_mutants_and_every_place_is_cited(source):
    own = [m for m in EVERYONE if source.cited_by(m)]
    cited = {place for m in own for place in citations(m.seen)}
    assert own
    assert set(citations(source.seen)) <= cited


def test_the_classes_are_those_of_the_study():
    assert (len(OF_OPERATIONS), len(OF_ENGINES)) == (24, 16)


def test_every_mutant_can_be_seeded_and_is_gone_when_its_block_ends():
    records = {name: vars(op).copy() for name, op in tc.ops().items()}
    for mutant in EVERYONE:
        with mutant.seeded():
            pass
    for name, before in records.items():
        op = tc.ops()[name]
        assert (op.forward, op.vjp, op.fast, op.aux) == tuple(
            before[part] for part in ("forward", "vjp", "fast", "aux")
        )
    assert testing.gradcheck(tc.tanh, np.array([1.0, 2.0])).ok


def test_a_rule_loses_each_of_its_terms():
    def rule(g, x, *, scale=2.0):
        return g * (1 - x) + scale

    found = dict(terms.without_a_term(rule))
    assert {source: f(5.0, 3.0) for source, f in found.items()} == {
        "1 - x": 5 * 1 + 2.0,
        "g * (1 - x) + scale": 5.0 * -2,
    }
    assert found["1 - x"](5.0, 3.0, scale=0.0) == 5.0
    assert list(terms.without_a_term(np.add)) == []


# ---- hunting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", MECHANICAL[::17], ids=lambda m: m.name)
def test_a_sample_of_mechanical_mutants_is_killed(mutant):
    found = mutants.hunt(mutant)
    assert found.killed
    assert not found.raised


@pytest.mark.parametrize("mutant", [m for m in SAMPLE if m.family == "historic"][::3], ids=lambda m: m.name)
def test_a_sample_of_bugs_of_the_past_is_killed(mutant):
    assert mutants.hunt(mutant).killed


@pytest.mark.slow
@pytest.mark.parametrize("mutant", HISTORIC, ids=lambda m: m.name)
def test_every_bug_of_the_past_is_killed(mutant):
    assert mutants.hunt(mutant).killed == (mutant.name not in mutants.EQUIVALENT)


@pytest.mark.parametrize("name", [*mutants.EQUIVALENT][::9])
def test_equivalent_mutants_survive(name):
    (mutant,) = mutants.mutants_named(name)
    assert not mutants.hunt(mutant, examples=3).killed
    assert mutants.EQUIVALENT[name].strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", mutants.EQUIVALENT)
def test_equivalent_mutants_survive_four_times_as_many_other_cases(name):
    (mutant,) = mutants.mutants_named(name)
    assert not mutants.hunt(mutant, examples=100, seed=10**6).killed


def test_a_law_that_the_right_op_breaks_as_well_convicts_nobody():
    (mutant,) = mutants.mutants_named("tanh: gradient of x: sign turned")
    harmless = replace(mutant, seeded=lambda: testing.patched("tanh"))
    hunting._holds_unmutated.cache_clear()
    with testing.patched("tanh", forward=lambda x: np.tanh(x) + 1):
        assert not mutants.hunt(harmless, examples=1).killed
    hunting._holds_unmutated.cache_clear()
    assert not mutants.hunt(harmless, examples=1).killed


def test_what_raises_is_told_from_what_is_wrong():
    (mutant,) = mutants.mutants_named("pad: sliced to -p, also for p = 0")
    found = mutants.hunt(mutant)
    assert (found.killed, found.raised) == (True, True)
    assert "ShapeError: pad: the vjp rule of input 'x' returned a gradient of shape" in found.report


def test_right_ops_raise_no_alarm():
    places = list(mutants.places(300, seed=0))
    assert [alarm for place in places for alarm in mutants.false_alarms(*place)] == []


def test_an_op_that_is_wrong_raises_an_alarm():
    with testing.patched("tanh", vjp=lambda g, y: 1.01 * g * (1 - y * y)):
        alarms = mutants.false_alarms("tanh", 3)
    assert "tanh, case 3, law adjoint" in alarms[0]


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_counts_and_lists_survivors(capsys):
    assert command.main(["zeros_like", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "equivalent: its output is 0" in said
    assert "9 of 9 mutants are killed or equivalent" in said


def test_the_command_fails_for_what_is_missed_or_listed_in_vain(capsys, monkeypatch):
    monkeypatch.setattr(command.summaries, "EQUIVALENT", {"isnan: output: off by one": "a wrong claim"})
    monkeypatch.setattr(workers, "hunt", _surviving_if_it_warns)
    assert command.main(["isnan", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "MISSED isnan: output: warns: no reason known" in said
    assert "STALE isnan: output: off by one" in said


def _surviving_if_it_warns(place):
    mutant = workers.everyone()[place[0]]
    return mutants.Hunt(mutant.name, mutant.family, None if "warns" in mutant.bug else "reference", 1, 0.0)


def test_the_command_fails_for_a_false_alarm(capsys, monkeypatch):
    monkeypatch.setattr(workers, "everyone", lambda: mutants.mutants_named("isnan: output: off by one"))
    monkeypatch.setattr(workers, "alarms", lambda place: ([f"{place[0]} is accused"] * (place[0] == "conv1d"), 0.0))
    assert command.main(["--jobs", "1", "--false-alarms", "30"]) == 1
    said = capsys.readouterr().out
    assert "FALSE ALARM conv1d is accused" in said
    assert "1 false alarms in 30 examples of right ops" in said


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    journal, numbers = tmp_path / "runs" / "hunt.jsonl", tmp_path / "hunt.json"
    whole = ["isnan", "--jobs", "1", "--journal", str(journal), "--json", str(numbers)]
    command.main(whole)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-2]) + lines[-2][:20])  # killed while it wrote
    again = []
    monkeypatch.setattr(workers, "hunt", lambda place, hunt=workers.hunt: again.append(place) or hunt(place))
    assert command.main(whole) == 0
    assert len(again) == 2
    assert len(Journal(journal)) == len(lines)
    assert json.loads(numbers.read_text())["families"]["all"]["mutants"] == len(lines)


def test_the_command_names_an_op_without_mutants(capsys):
    assert command.main(["nothing"]) == 2
    assert "no mutants of nothing" in capsys.readouterr().err


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_those_of_the_results():
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    filled = runpy.run_path(str(ROOT / "benchmarks" / "mutants_page.py"))["filled"]
    assert filled(page) == page, "docs/mutants.md is out of date: python -m benchmarks.checkers --page"


def test_the_published_run_leaves_nobody_alive_and_its_false_alarms_in_100_000_examples_are_mended():
    run = json.loads((ROOT / "benchmarks" / "results" / "mutants.json").read_text(encoding="utf-8"))
    assert run["examples"] >= 100_000
    assert (run["missed"], run["stale"]) == (dict(mutants.MISSED), [])
    for alarm in run["alarms"]:
        name, case = re.match(r"(\w+), case (\d+),", alarm).groups()
        assert mutants.false_alarms(name, int(case)) == []
    assert set(run["equivalent"]) == set(mutants.EQUIVALENT)
