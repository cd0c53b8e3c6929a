"""Every operation has what the kit needs: a reference, cases, calls that must raise, a counterpart in PyTorch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import testing
from tinygrad_cnn.testing.catalog import INTERNAL

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "tinygrad_cnn" / "testing" / "catalog"
BUILT_IN = {name for name, op in tc.ops().items() if op.module.partition(".")[0] == "tinygrad_cnn"}
SPECS = {name: spec for name, spec in testing.cases().items() if spec.case.__module__.startswith("tinygrad_cnn.")}
# Records that PyTorch has no name for, and what is compared there that runs them.
PART_OF = {
    **{f"conv{d}d_weight_gradient": f"conv{d}d" for d in (1, 2, 3)},
    **{f"avg_pool{d}d_gradient": f"avg_pool{d}d" for d in (1, 2, 3)},
    "gather_winners": "max_pool2d",
    "scatter_winners": "max_pool2d",
    "extend": "pad",
    "extend_gradient": "pad",
    "interpolate_gradient": "interpolate",
    "standardize": "layer_norm",
    "setitem": "_written",
    "invert": "bitwise_not",
}
NO_REFERENCE = {"dropout_draws": "a draw; its law `mask` says what must hold of it"}


def test_every_operation_has_cases():
    assert BUILT_IN - set(SPECS) - set(INTERNAL) == set()
    assert all(reason.strip() for reason in INTERNAL.values())


@pytest.mark.parametrize("name", SPECS)
def test_every_operation_has_a_reference_and_calls_that_must_raise(name):
    spec = SPECS[name]
    assert (spec.ref is not None) != (name in NO_REFERENCE)
    assert any(True for _ in spec.errors())
    case = spec.case(testing.Draw.seeded(1))
    kinds = {type(v).__name__: type(v) for v in (*case.args, *case.kwargs.values())}
    again = eval(repr(case), {"np": np, "OpCase": testing.OpCase, **kinds})
    assert repr(again) == repr(case)


def test_every_operation_is_compared_with_pytorch():
    compared = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "parity").glob("*.py"))
    words = set(re.findall(r"\w+", compared))
    assert {name for name in BUILT_IN - set(INTERNAL) if PART_OF.get(name, name) not in words} == set()
    assert {name for name in PART_OF if name in words} == set()


@pytest.mark.parametrize("path", [*CATALOG.glob("*.py"), CATALOG.parent / "naive.py"], ids=lambda path: path.stem)
def test_references_are_independent_of_the_kernels(path):
    """They may name a geometry, but not compute with a kernel; and nothing private of the naive loops is used."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinygrad_cnn.kernels"):
            assert {alias.name for alias in node.names} <= {"Geometry", "Window"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "naive":
            assert not node.attr.startswith("_")


@testing.register_op(
    name="kit_five_lines",
    ref=lambda x: x / (1 + np.exp(-x)),
    case=lambda d: testing.OpCase((d.smooth(d.shape(min_side=0)),), {}, d.seed),
)
def five_lines(x):
    return x * tc.sigmoid(x)


def test_five_lines_are_worth_some_twenty_tests():
    made: dict[str, object] = {}
    testing.make_tests(made, ops=["kit_five_lines"])
    (mark,) = [m for m in made["test_kit_five_lines"].pytestmark if m.name == "parametrize"]
    assert len(mark.kwargs["ids"]) >= 20
    assert testing.run_battery("kit_five_lines", profile="debug").ok


# ---- failures of the kit itself --------------------------------------------------------------------------------------


def spec_of(name, **options):
    """A spec that is not registered."""
    case = options.pop("case", lambda d: testing.OpCase((d.smooth((3,)),), {}, d.seed))
    return testing.OpSpec(name, options.pop("fn"), case, **options)


def test_a_waiver_holds_as_long_as_it_is_needed():
    wrong = tc.Op("kit_waived", np.sin, lambda g, x: g * tc.cos(x) * 1.01)
    right = tc.Op("kit_waived", np.sin, lambda g, x: g * tc.cos(x))
    waive = {"adjoint": "as an experiment"}
    assert testing.run_battery(spec_of("kit_waived", fn=wrong, waive=waive), profile="debug", laws=["adjoint"]).ok
    report = testing.run_battery(spec_of("kit_waived", fn=right, waive=waive), profile="debug", laws=["adjoint"])
    assert "remove the waiver" in str(report)
    with pytest.raises(ValueError, match="waives the law 'adjiont', which it does not have"):
        testing.run_battery(spec_of("kit_waived", fn=right, waive={"adjiont": "a typing error"}), profile="debug")


def test_oracles_that_disagree_about_an_analytic_op_are_the_kits_failure():
    drops_the_imaginary_part = tc.Op("kit_not_analytic", lambda x: np.abs(x) * x, lambda g, x: 2 * g * tc.abs(x))
    spec = spec_of("kit_not_analytic", fn=drops_the_imaginary_part, kind="analytic")
    report = testing.run_battery(spec, profile="debug", laws=["adjoint"])
    (failure,) = report.failures["adjoint"].failures
    assert failure.kit
    assert "the kit could not judge" in str(report)


def test_what_can_not_be_judged_is_counted_and_fails():
    rough = (lambda x: np.sin(1e13 * x), lambda g, x: 1e13 * g * np.cos(1e13 * x))
    report = testing.gradcheck(rough, np.linspace(1, 2, 30), oracle="richardson", raise_=False)
    assert not report.ok
    assert report.inconclusive > 0.2 * report.comparisons or report.failures[0].law == "adjoint"
    assert testing.gradcheck((np.exp, lambda g, y: g * y), np.linspace(1, 2, 30)).inconclusive == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"case": None}, "case must be a function of a Draw"),
        ({"case": lambda d: 3}, "case must return an OpCase, it returned int"),
        ({"case": lambda d: testing.OpCase((object(),))}, "is not valid Python when printed"),
        ({"ref": 3}, "ref must be a function of arrays"),
        ({"nondiff": (5,)}, r"nondiff names the position 5, but a case has 1 argument"),
        ({"linear_in": (5,)}, r"linear_in names the position 5, but a case has 1 argument"),
    ],
)
def test_a_wrong_registration_says_what_to_change(options, says):
    given = {"case": lambda d: testing.OpCase((np.ones(2),)), **options}
    with pytest.raises((TypeError, ValueError), match=says):
        testing.register_op(tc.exp, name="kit_wrongly_registered", **given)
    assert "kit_wrongly_registered" not in testing.cases()


def test_the_command_teaches():
    run = [sys.executable, "-m", "tinygrad_cnn.testing", "--help"]
    said = subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for word in ("--import my_ops swish", "comparisons", "nightly 3600 s", "exit status"):
        assert word in said
