"""The pytest plugin, in runs of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

LEAKS = {
    "grad": ("tc.no_grad().__enter__()", "recording was True before the test and is False"),
    "generator": ("tc.randn(3)", "the engine's random generator moved"),
    "numpy": ("np.random.rand()", "NumPy's global random state changed"),
    "errors": ("np.seterr(all='raise')", "np.geterr"),
    "filters": ("import warnings; warnings.simplefilter('ignore')", "the warnings filters changed"),
    "dtype": ("tc.set_default_dtype('float64')", "the default dtype was float32 and is float64"),
    "fast math": ("tc.set_fast_math(True)", "fast math was False and is True"),
}


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a test module with the plugin; in a process of its own, if it touches what a guard would miss."""
    for name in ("PYTEST_ADDOPTS", "TGC_PROFILE", "TGC_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(
            "import numpy as np\nimport tinygrad_cnn as tc\nfrom tinygrad_cnn import testing\n" + source
        )
        run = pytester.runpytest_subprocess if "np.random" in source else pytester.runpytest_inprocess
        return run("-p", "pytest_tinygrad_cnn", *options)

    return run


RESET = """
import numpy as np, pytest, tinygrad_cnn as tc
from tinygrad_cnn.core import tape

@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown():
    try:
        return (yield)
    finally:
        tape.STATE.set(tape.State())
        tc.set_default_dtype("float32"), tc.set_fast_math(False), np.seterr(all="warn")
"""


def test_guarded_tests_that_leak_fail_and_the_sentence_says_what(run, pytester):
    pytester.makeconftest(RESET)
    tests = [f"@pytest.mark.tgc(op='exp')\ndef test_{i}():\n    {code}" for i, (code, _) in enumerate(LEAKS.values())]
    result = run("\n".join(["import pytest", *tests]))
    said = result.stdout.str()
    for _, sentence in LEAKS.values():
        assert sentence in said
    result.assert_outcomes(passed=len(LEAKS), errors=len(LEAKS))


def test_other_tests_are_left_alone_unless_the_setting_is_on(run, pytester):
    source = "def test_seeds():\n    np.random.seed(0)"
    run(source).assert_outcomes(passed=1)
    pytester.makeini("[pytest]\ntgc_leak_guards = true")
    run(source).assert_outcomes(passed=1, errors=1)


def test_the_fixture_checks_gradients_and_names_what_is_wrong(run):
    result = run(
        "def test_right(gradcheck): gradcheck(tc.exp, np.ones(3))\n"
        "def test_wrong(gradcheck): gradcheck((np.exp, lambda g, y: 2 * g * y), np.ones(3))\n"
        "def test_draws(gradcheck, tgc_rng): gradcheck(tc.exp, tc.randn(3))"
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*exp: law adjoint broken w.r.t. argument 0 'x'*", "*constant factor 2 everywhere*"])


def test_a_marked_test_runs_once_per_law(run):
    source = (
        "import pytest\n"
        "@pytest.mark.tgc(op='exp', laws=('adjoint', 'linear'))\n"
        "def test_some(law): assert testing.run_battery('exp', profile='debug', laws=[law])\n"
        "@pytest.mark.tgc(op='tanh')\ndef test_all(law): assert law in testing.laws_of('tanh')\n"
    )
    result = run(source, "-v")
    result.stdout.fnmatch_lines(["*test_some*exp-adjoint*PASSED*", "*test_all*tanh-second*PASSED*"])
    assert result.parseoutcomes()["passed"] > 20
    run(source, "--tgc-op", "exp").assert_outcomes(passed=2, deselected=result.parseoutcomes()["passed"] - 2)


def test_a_mark_without_an_op_says_what_to_write(run):
    result = run("import pytest\n@pytest.mark.tgc\ndef test(): pass")
    assert "@pytest.mark.tgc(op='conv2d')" in result.stdout.str() + result.stderr.str()


def test_made_tests_bear_the_mark_and_take_the_options(run):
    source = "testing.make_tests(globals(), ops=['exp', 'tanh'])"
    both = run(source, "--tgc-profile", "debug", "--tgc-seed", "7").parseoutcomes()["passed"]
    one = run(source, "--tgc-profile", "debug", "--tgc-op", "tanh").parseoutcomes()
    assert one["passed"] == both / 2
    assert one["deselected"] == both / 2


def test_the_plugin_imports_nothing_until_a_test_asks():
    code = "import sys, pytest_tinygrad_cnn; sys.exit('numpy' in sys.modules or 'tinygrad_cnn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
