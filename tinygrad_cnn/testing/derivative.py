"""The law of the adjoint: ⟨J u, g⟩ = ⟨u, Jᵀ g⟩ for every argument, elementwise where affordable.

The left side comes from evaluating the function (an oracle), the right side from the gradient under test.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.testing.columns import judge_columns
from tinygrad_cnn.testing.differences import ComplexStep, Exact, Oracle, OracleUnfit
from tinygrad_cnn.testing.point import Point
from tinygrad_cnn.testing.probing import judge_probes
from tinygrad_cnn.testing.reports import Failure
from tinygrad_cnn.testing.survey import choose
from tinygrad_cnn.testing.ties import judge_ties


def check_adjoint(point: Point, wanted: tuple[int, ...]) -> None:
    """Judge each wanted argument, then all together where values are tied; findings go to the point's report."""
    wanted = tuple(arg for arg in wanted if point.inputs[arg].size and point.y.size)
    if wanted and not point.finite.any():
        message = "no output is finite at these inputs, so that there is nothing to judge; choose others"
        point.report.failures.append(Failure("adjoint", message, kit=True))
        return
    for arg in wanted:
        choice = choose(point, arg)
        point.report.failures.extend(choice.failures)
        for oracle in (choice.oracle, point.richardson(), point.richardson(fine=True)):
            try:
                _judge(point, arg, oracle)
                break
            except OracleUnfit as error:
                if point.settings.oracle in ("complex", "exact"):
                    name = point.subject.input_name(arg)
                    message = f"oracle={point.settings.oracle!r} does not fit: {error}"
                    point.report.failures.append(Failure("oracle", message, arg, name))
                    break
    if point.kinky and wanted and point.report.ok and point.subject.order == 1:
        judge_ties(point, wanted)


def _judge(point: Point, arg: int, oracle: Oracle) -> None:
    point.report.oracles[point.subject.input_name(arg)] = oracle.name
    n, m = point.inputs[arg].size, point.y.size
    evaluations = n * (1 if isinstance(oracle, ComplexStep) else 4 if isinstance(oracle, Exact) else 16)
    affordable = evaluations <= 2**6 * point.settings.full_below and evaluations * (n + m) <= 2**21
    if n <= point.settings.full_below or affordable:
        judge_columns(point, arg, oracle, np.arange(n))
    else:
        judge_probes(point, arg, oracle)
