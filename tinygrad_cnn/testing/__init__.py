"""The property-testing kit: every derivative, a user's own included, is held to exact laws.

    from tinygrad_cnn import testing

    testing.gradcheck(swish, x)                  # is this gradient the derivative? GradcheckError if not, with a report
    testing.gradgradcheck(swish, x)              # and the gradient of the gradient
    testing.register_op(swish, case=...)         # tell the kit how the op is called
    testing.run_battery("swish")                 # hold it to some twenty laws; or, in a test module:
    testing.make_tests(globals(), ops=["swish"])

Needs NumPy only; `op_case` and `make_tests` need Hypothesis and pytest: pip install "tinygrad_cnn[testing]". On the
command line: python -m tinygrad_cnn.testing [OP ...].
"""

from tinygrad_cnn.testing.battery import BatteryReport, check_case, patched, run_battery
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.gradchecks import DEFAULT_CHECKS, adjoint_check, gradcheck, gradgradcheck
from tinygrad_cnn.testing.laws import LawEnv
from tinygrad_cnn.testing.reports import Failure, GradcheckError, GradReport
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, OpSpec, cases, register_op
from tinygrad_cnn.testing.strategies import make_tests, op_case

__all__ = [
    "DEFAULT_CHECKS",
    "BatteryReport",
    "Draw",
    "ErrorCase",
    "Failure",
    "GradReport",
    "GradcheckError",
    "LawEnv",
    "OpCase",
    "OpSpec",
    "adjoint_check",
    "cases",
    "check_case",
    "gradcheck",
    "gradgradcheck",
    "make_tests",
    "op_case",
    "patched",
    "register_op",
    "run_battery",
]
