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

from typing import TYPE_CHECKING, Any

from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.testing.battery import BatteryReport, check_case, laws_of, patched, run_battery
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.generation import (
    ConvGeometry,
    PoolGeometry,
    broadcast_shapes,
    conv_geometry,
    index_for,
    pool_geometry,
    tensors,
)
from tinygrad_cnn.testing.gradchecks import DEFAULT_CHECKS, adjoint_check, gradcheck, gradgradcheck
from tinygrad_cnn.testing.laws import LawEnv
from tinygrad_cnn.testing.leaks import no_leaks
from tinygrad_cnn.testing.random_graphs import Graph, graphs
from tinygrad_cnn.testing.reports import Failure, GradcheckError, GradReport
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, OpSpec, cases, register_op
from tinygrad_cnn.testing.strategies import make_tests, op_case

if TYPE_CHECKING:
    from tinygrad_cnn.testing.machine import EngineMachine


def __getattr__(name: str) -> Any:
    if name != "EngineMachine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_extra("hypothesis", "testing", "testing.EngineMachine")
    from tinygrad_cnn.testing.machine import EngineMachine

    return EngineMachine


__all__ = [
    "DEFAULT_CHECKS",
    "BatteryReport",
    "ConvGeometry",
    "Draw",
    "EngineMachine",
    "ErrorCase",
    "Failure",
    "GradReport",
    "GradcheckError",
    "Graph",
    "LawEnv",
    "OpCase",
    "OpSpec",
    "PoolGeometry",
    "adjoint_check",
    "broadcast_shapes",
    "cases",
    "check_case",
    "conv_geometry",
    "gradcheck",
    "gradgradcheck",
    "graphs",
    "index_for",
    "laws_of",
    "make_tests",
    "no_leaks",
    "op_case",
    "patched",
    "pool_geometry",
    "register_op",
    "run_battery",
    "tensors",
]
