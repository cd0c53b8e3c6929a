"""Which oracle may judge an argument: decided by what the function is said to be, and checked by looking once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tinygrad_cnn.testing.differences import (
    UNKNOWN,
    Array,
    Central,
    ComplexStep,
    Exact,
    Oracle,
    OracleUnfit,
    Slope,
)
from tinygrad_cnn.testing.directions import array_scale, on_grid, spread_integers
from tinygrad_cnn.testing.point import Point
from tinygrad_cnn.testing.reports import Failure
from tinygrad_cnn.testing.settings import Settings


@dataclass(frozen=True)
class Choice:
    """The oracle for one argument, whether it has a say at kinks, and what the survey found wrong."""

    oracle: Oracle
    failures: list[Failure] = field(default_factory=list)


def choose(point: Point, arg: int) -> Choice:
    """The most exact oracle that fits this argument."""
    settings = point.settings
    if settings.oracle == "central":
        return Choice(Central())
    if settings.oracle == "exact":
        return Choice(Exact(_step(settings, arg)))
    if settings.oracle == "richardson":
        return Choice(point.richardson())
    if settings.oracle == "complex":
        return Choice(ComplexStep())
    if settings.kind in ("multilinear", "piecewise_linear") and _inputs_on_grid(point):
        choice = _exact(point, arg)
        if choice is not None:
            return choice
    if point.dtype != np.float64:
        return Choice(point.richardson())
    return _analytic(point, arg)


def _step(settings: Settings, arg: int) -> float:
    linear = settings.kind == "multilinear" and (settings.linear_in is None or arg in settings.linear_in)
    return 1.0 if linear else 0.25


def _exact(point: Point, arg: int) -> Choice | None:
    """Exact differences, unless the function turns out not to be computed exactly (a mean over 3, a slope of 0.01)."""
    settings = point.settings
    linear = settings.kind == "multilinear"
    if linear and settings.linear_in is not None and arg not in settings.linear_in:
        return None
    oracle = Exact(_step(settings, arg))
    u = spread_integers(point.rng, point.inputs[arg].shape) / (1.0 if linear else 16.0)
    slope = oracle.slope(point.subject.path(point.inputs, {arg: u}))
    bent = (slope.error >= UNKNOWN) & point.finite
    if not bent.any() and not (linear and not slope.smooth.all()):
        unit = 1.0 if linear else 1 / 16
        other = oracle.slope(point.subject.path(point.inputs, {arg: u + unit}))  # a third of u may be whole by chance
        whole = all(on_grid(s.value[point.finite], 2**20, 2.0**44) for s in (slope, other))
        return Choice(oracle) if whole else None
    if linear and not _linear_but_for_rounding(point, arg, u):
        name = point.subject.input_name(arg)
        message = f"declared linear in {name!r}, but f(x + u) - f(x) is not f(x) - f(x - u)"
        return Choice(point.richardson(), [Failure("kind", message, arg, name)])
    return None


def _linear_but_for_rounding(point: Point, arg: int, u: Array) -> bool:
    path = point.subject.path(point.inputs, {arg: u})
    up, down = path(1.0), path(-1.0)
    size = np.max(np.abs(up) + np.abs(down) + 2 * point.size, initial=0.0)
    return not (np.abs(up + down - 2 * point.y) > 1e-10 * size).any()


def _analytic(point: Point, arg: int) -> Choice:
    """The complex step where it agrees with Richardson along a random direction, else Richardson."""
    x = point.inputs[arg]
    move: dict[int, Array] = {arg: spread_integers(point.rng, x.shape) / 16 * array_scale(x)}
    try:
        exact = point.along(ComplexStep(), move)
    except OracleUnfit:
        return Choice(point.richardson())
    numeric = point.along(point.richardson(), move)
    apart = _disagreement(exact, numeric)
    if apart is None and numeric.smooth.all():
        return Choice(ComplexStep())
    fine = point.along(point.richardson(fine=True), move)
    if _disagreement(fine, numeric) and not _disagreement(exact, fine):  # it varies between the steps of the other
        return Choice(ComplexStep())
    if apart is None or not numeric.smooth.all() or point.settings.kind != "analytic":
        return Choice(point.richardson())
    return Choice(point.richardson(), [Failure("oracles", apart, arg, point.subject.input_name(arg), kit=True)])


def _disagreement(exact: Slope, numeric: Slope) -> str | None:
    """What two oracles say differently about a smooth function, beyond their errors."""
    size = np.maximum(np.abs(exact.value), np.abs(numeric.value))
    gap = np.abs(exact.value - numeric.value)
    rounding = 1e-9 * np.max(size, initial=0.0)  # an output that is a small difference of large terms
    apart = (gap > 4 * (numeric.error + exact.error) + 1e-6 * size + rounding) & (exact.error < UNKNOWN)
    if not apart.any():
        return None
    worst = int(np.argmax(np.where(apart, gap / (size + 1e-300), -1.0)))
    return (
        f"the complex step says {exact.value[worst]:.9g} for output {worst}, Richardson {numeric.value[worst]:.9g} "
        f"± {numeric.error[worst]:.1g}: a forward that drops the imaginary part (np.abs, .var()), or is not smooth"
    )


def _inputs_on_grid(point: Point) -> bool:
    return all(on_grid(x) for x in point.inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f")
