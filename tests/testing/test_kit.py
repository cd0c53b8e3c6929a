"""The kit on Tensors and op records, in second order; its registry, battery, generated tests and command line."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing
from tinygrad_cnn.testing import __main__ as command

rng = np.random.default_rng(0)
small, large = rng.standard_normal((3, 4)), rng.standard_normal((64, 40))
image, weight = rng.standard_normal((2, 3, 7, 8)), rng.standard_normal((4, 3, 3, 3))

RIGHT = {
    "op": (tc.tanh, small),
    "large op": (tc.tanh, large),
    "function": (lambda x: (x * x).sum(1) + x.exp().mean(), small),
    "convolution": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), (image, weight)),
    "pool of equals": (lambda x: F.max_pool2d(x, 3, 2, 1), np.round(image)),
    "batch norm": (lambda x, w: F.batch_norm(x, None, None, w, None, training=True), (image + 1e4, weight[0, :, 0, 0])),
    "cross entropy": (lambda z: F.cross_entropy(z, np.array([0, 3, 1])), small * 10),
    "several outputs": (lambda x: (x.exp(), x.sum()), small),
    "values of max": (lambda x: x.max(1), np.round(small)),
    "one input twice": (lambda x: tc.maximum(x, x) * x - x, np.round(small)),
    "an unused input": (lambda x, y: x * 2, (small, small)),
    "python numbers and integers": (lambda x, i, s: x[i] * s, (small, np.array([0, 0, 2]), 2.0)),
    "0-d": (lambda x: x * x, np.array(3.0)),
    "parameters in float32": (lambda x: x * tc.tensor([1.0, 2.0, 3.0, 4.0]), small.astype(np.float32)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_of_tensors_pass(name):
    fn, inputs = RIGHT[name]
    assert testing.gradcheck(fn, inputs).ok
    assert testing.gradgradcheck(fn, inputs).ok


def test_only_tensors_that_require_grad_are_differentiated():
    x = tc.tensor(small, requires_grad=True)
    report = testing.gradcheck(lambda x, y: x * y, (x, tc.tensor(small)))
    assert list(report.oracles) == ["x"]


def test_order_2_checks_both_orders():
    assert testing.gradcheck(tc.tanh, small, order=2).order == 2


def test_gradgradcheck_needs_tensors():
    with pytest.raises(TypeError, match="rules on arrays have no derivative"):
        testing.gradgradcheck((np.tanh, lambda g, y: g * (1 - y * y)), small)


def test_gradgradcheck_takes_an_upstream_gradient():
    assert testing.gradgradcheck(tc.tanh, small, np.ones((3, 4))).ok


# ---- wrong records -----------------------------------------------------------------------------------------------


def _constant(t):
    return tc.tensor(t.data)


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True)) if not np.iscomplexobj(x) else np.exp(x)
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("x", [small, large], ids=["small", "large"])
@pytest.mark.parametrize(
    ("forward", "vjp", "aux"),
    [
        (np.tanh, lambda g, y: g * (1 - _constant(y * y)), None),
        (lambda x: (np.log(np.exp(x).sum(-1)), _softmax(x)), lambda g, p: g.expand_dims(-1) * p, {"p": None}),
        (np.square, lambda g, x: 2 * g * _constant(x), None),
    ],
    ids=["saved output as a constant", "auxiliary output as a constant", "input as a constant"],
)
def test_what_is_right_in_first_order_only_is_refused_in_second(forward, vjp, aux, x):
    op = tc.Op("first_order_only", forward, vjp, aux)
    assert testing.gradcheck(op, x).ok
    with pytest.raises(
        testing.GradcheckError, match=r"first_order_only \(second order\): law adjoint .* argument 0 'x'"
    ):
        testing.gradgradcheck(op, x)


def test_a_fast_rule_that_differs_is_refused():
    op = tc.Op("hasty", np.exp, lambda g, y: g * y, fast=lambda g, y: g * y * 1.001)
    with pytest.raises(testing.GradcheckError, match="hasty: law adjoint"):
        testing.gradcheck(op, small)


def test_a_slow_rule_that_differs_is_refused():
    op = tc.Op("sluggish", np.exp, lambda g, y: g * y * 1.001, fast=lambda g, y: g * y)
    with pytest.raises(testing.GradcheckError, match="sluggish: law recorded"):
        testing.gradcheck(op, small)


def test_an_auxiliary_output_that_is_not_what_it_says_is_refused():
    op = tc.Op("vague", lambda x: (np.exp(x), x + 1), lambda g, y: g * y, {"a": lambda x: x})
    with pytest.raises(testing.GradcheckError, match="auxiliary output 'a' of 'vague'"):
        testing.gradcheck(op, small)


def test_a_rule_that_raises_is_refused_by_name():
    op = tc.Op("misshapen", np.exp, lambda g, y: (g * y).sum(0))
    with pytest.raises(
        testing.GradcheckError, match="misshapen: the vjp rule of input 'x' returned a gradient of shape"
    ):
        testing.gradcheck(op, small)


def test_a_missing_gradient_is_refused():
    op = tc.Op("forgetful", lambda a, b: a * b, {"a": lambda g, b: g * b})
    with pytest.raises(testing.GradcheckError, match=r"forgetful: law adjoint broken w\.r\.t\. argument 1 'b'"):
        testing.gradcheck(op, (small, small))


def test_a_rule_that_writes_into_what_was_saved_is_refused():
    def rule(g, y):
        np.multiply(y.data, 2, out=y.data)
        return g * y / 2

    op = tc.Op("careless", np.exp, rule)
    with pytest.raises(testing.GradcheckError, match="careless"):
        testing.gradcheck(op, small)


def test_a_mistake_deep_inside_a_function_is_found():
    with testing.patched("sigmoid", vjp=lambda g, y: g * y * (1 - y) * 1.01), pytest.raises(testing.GradcheckError):
        testing.gradcheck(lambda x: F.silu(x.sigmoid() * 2).sum(), large)


# ---- adjoint_check ---------------------------------------------------------------------------------------------------


def test_adjoint_check_compares_bit_for_bit():
    whole = tuple(np.round(a * 2) for a in (image, weight))
    for arg in (0, 1):
        assert testing.adjoint_check(lambda x, w: F.conv2d(x, w, padding=1), whole, arg).ok
    rules = {"x": None, "weight": lambda g, x, weight_shape, geometry: nearly(x, g, weight_shape[2:], geometry)}
    with testing.patched("conv2d", vjp=rules), pytest.raises(testing.GradcheckError, match="argument 1 'w'"):
        testing.adjoint_check(lambda x, w: F.conv2d(x, w, padding=1), whole, 1)


def nearly(x, g, kernel, geometry):
    """Off in the fortieth bit."""
    return tc.ops()["conv2d_weight_gradient"](x, g, kernel=kernel, geometry=geometry) * (1 + 2**-40)


def test_adjoint_check_refuses_what_is_not_linear():
    assert not testing.adjoint_check(tc.exp, small, 0, raise_=False).ok


# ---- the registry ----------------------------------------------------------------------------------------------


@testing.register_op(
    name="kit_swish",
    kind="analytic",
    ref=lambda x: x / (1 + np.exp(-x)),
    case=lambda d: testing.OpCase((d.smooth(d.shape(max_dims=3, min_side=0)),), {}, d.seed),
)
def swish(x):
    return x * tc.sigmoid(x)


testing.make_tests(globals(), ops=["kit_swish"], profile="debug")


def test_make_tests_names_each_law():
    marks = globals()["test_kit_swish"].pytestmark
    assert "kit_swish-adjoint" in marks[0].kwargs["ids"]
    assert {"reference", "second", "dtype", "layout"} <= set(marks[0].args[1])


def test_a_registered_function_is_found_by_name_and_by_itself():
    assert testing.cases()["kit_swish"].fn is swish
    assert testing.run_battery(swish, profile="debug").ok
    assert testing.gradcheck(swish, small).oracles == {"x": "complex step"}


def test_registering_from_elsewhere_is_an_error():
    with pytest.raises(ValueError, match="'kit_swish' is registered already, at"):
        testing.register_op(swish, name="kit_swish", case=lambda d: testing.OpCase(()))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: testing.register_op("no_such_op", case=None), "there is no op 'no_such_op'"),
        (lambda: testing.register_op(lambda x: x, case=None), "needs a name"),
        (lambda: testing.register_op(tc.exp, case=None, kind="smooth", name="kit_kind"), "kind must be one of"),
        (lambda: testing.register_op(tc.exp, case=None, name="kit_waive", waive={"adjoint": " "}), "without a reason"),
    ],
)
def test_bad_registrations_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_an_unknown_op_says_how_to_register_it():
    with pytest.raises(KeyError, match="'nobody' is not registered"):
        testing.run_battery("nobody")


def test_a_case_is_source():
    case = testing.cases()["add"].case(testing.Draw.seeded(3))
    again = eval(repr(case), {"np": np, "OpCase": testing.OpCase})
    assert all(np.array_equal(a, b) for a, b in zip(case.args, again.args, strict=True))


# ---- the battery -----------------------------------------------------------------------------------------------


def test_a_battery_reports_each_law_and_a_small_case():
    with testing.patched("exp", vjp=lambda g, y: g * y * 1.01):
        report = testing.run_battery("exp", profile="debug")
    assert not report
    assert "adjoint" in report.failures
    assert sum(a.size for a in report.failures["adjoint"].inputs) == 1
    assert "off by the constant factor 1.01" in str(report)
    with pytest.raises(testing.GradcheckError), testing.patched("exp", vjp=lambda g, y: g * y * 1.01):
        exec(report.failures["adjoint"].repro(), {})
    assert report.to_dict()["failures"]["adjoint"]["name"] == "exp"
    assert testing.run_battery("exp", profile="debug").ok


def test_a_wrong_forward_is_found_by_its_reference_although_its_gradient_fits():
    with testing.patched("sin", forward=np.cos, vjp=lambda g, x: -g * tc.sin(x)):
        pass  # cos has sin in its rule, which is patched too: too entangled to be of use here
    with testing.patched("tan", forward=lambda x: 2 * np.tan(x), vjp=lambda g, y: g * (2 + y * y / 2)):
        report = testing.run_battery("tan", profile="debug")
    assert set(report.failures) == {"reference"}


def test_an_error_case_that_does_not_raise_is_found():
    spec = testing.cases()["exp"]
    wrong = testing.ErrorCase((np.ones(2),), {}, ValueError, "never")
    never = testing.OpSpec("exp", spec.fn, spec.case, spec.kind, ref=spec.ref, errors=lambda: [wrong])
    assert "did not raise ValueError" in str(testing.run_battery(never, profile="debug", laws=["errors"]))


def test_a_waiver_that_is_not_needed_is_found():
    spec = testing.cases()["exp"]
    waived = testing.OpSpec("exp", spec.fn, spec.case, spec.kind, ref=spec.ref, waive={"linear": "just so"})
    assert "remove the waiver" in str(testing.run_battery(waived, profile="debug", laws=["linear"]))


def test_patched_restores_the_record_also_after_an_exception():
    before = tc.exp.vjp
    with pytest.raises(RuntimeError), testing.patched("exp", vjp=lambda g, y: g):
        raise RuntimeError
    assert tc.exp.vjp is before
    with pytest.raises(ValueError, match="there is no op"), testing.patched("nobody"):
        pass


# ---- command line and imports ----------------------------------------------------------------------------------------


def test_the_command_line_prints_a_table(capsys):
    assert command.main(["exp", "relu", "--profile", "debug"]) == 0
    shown = capsys.readouterr().out
    assert "exp" in shown
    assert "2 of 2 operations hold all laws" in shown
    with testing.patched("exp", vjp=lambda g, y: -g * y):
        assert command.main(["exp", "--profile", "debug"]) == 1
    assert "the sign is turned" in capsys.readouterr().out
    assert command.main(["nobody"]) == 2
    assert "not registered: nobody" in capsys.readouterr().err


def test_the_core_needs_numpy_only():
    code = """
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("hypothesis", "pytest", "rich"):
                    raise ImportError(name)
        sys.meta_path.insert(0, Refuse())
        import numpy as np, tinygrad_cnn as tc
        from tinygrad_cnn import testing
        assert testing.gradcheck(tc.tanh, np.zeros(3)).ok
        assert testing.run_battery("conv2d", profile="debug").ok
        try:
            testing.make_tests({})
        except ImportError as error:
            assert "pip install" in str(error)
        from tinygrad_cnn.testing.__main__ import main
        assert main(["exp", "--profile", "debug"]) == 0
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_kit_imports_neither_hypothesis_nor_pytest():
    code = "import sys, tinygrad_cnn.testing; sys.exit(bool({'hypothesis', 'pytest', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
