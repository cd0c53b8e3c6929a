"""Ties: where single elements stand at a kink, all equal ones moved together may not, and must then add up."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.testing.differences import Array, Oracle
from tinygrad_cnn.testing.directions import array_scale, element_scale, spread_integers, value_classes
from tinygrad_cnn.testing.point import Point, restricted
from tinygrad_cnn.testing.probing import Probe, take
from tinygrad_cnn.testing.reports import Failure

Classes = dict[int, np.ndarray]  # argument -> the number of the value of each element


def judge_ties(point: Point, wanted: tuple[int, ...]) -> None:
    """Move equal elements of all arguments as one: their gradients must add up to the derivative.

    One-sided slopes alone would let each of two tied maxima have the whole gradient.
    """
    moving = {arg: point.inputs[arg] for arg in wanted}
    classes, values, counts = value_classes(moving)
    tied = (counts > 1) & np.isfinite(values)
    if not tied.any():
        return
    oracle = point.richardson()  # shares of 1/3 do not add up exactly
    size = min(array_scale(x) for x in moving.values())
    sizes = np.where(tied, np.where(values == 0, size, np.minimum(element_scale(values), size)), 0.0)
    still = np.zeros(0, int)
    for _ in range(point.settings.probes):
        weights = spread_integers(point.rng, values.shape) / 16 * sizes
        weights[still] = 0.0
        if not still.size and not point.along(oracle, _together(classes, weights)).smooth.any():
            still = _kinky(point, oracle, classes, weights)
            weights[still] = 0.0
        probe = take(point, oracle, _together(classes, weights), spread_integers(point.rng, point.y.shape))
        wrong, tolerance = point.verdict(probe.comparison, oracle)
        point.count(probe.comparison, wrong, tolerance, 1e-3 * float(np.abs(probe.g) @ point.size))
        if wrong.any():
            _report(point, oracle, classes, weights, probe, float(tolerance[0]))
            return


def _together(classes: Classes, weights: Array) -> dict[int, Array]:
    return {arg: weights[numbers] for arg, numbers in classes.items()}


def _kinky(point: Point, oracle: Oracle, classes: Classes, weights: Array) -> np.ndarray:
    """The values at which the function itself has a kink (0 for relu), found by halving."""
    found: list[int] = []
    stack, budget = [np.arange(weights.size)], 256
    while stack and budget:
        part = stack.pop()
        budget -= 1
        if point.along(oracle, _together(classes, restricted(weights, part))).smooth.all():
            continue
        if part.size == 1:
            found.append(int(part[0]))
        else:
            stack += [part[: part.size // 2], part[part.size // 2 :]]
    return np.concatenate([np.asarray(found, int), *stack])


def _report(point: Point, oracle: Oracle, classes: Classes, weights: Array, probe: Probe, tolerance: float) -> None:
    """Name the value whose tied elements disagree most."""
    part, found = np.flatnonzero(weights), probe
    while part.size > 1:
        halves = (part[: part.size // 2], part[part.size // 2 :])
        probes = [take(point, oracle, _together(classes, restricted(weights, half)), probe.g) for half in halves]
        gaps = [float(np.abs(p.comparison.analytic - p.comparison.low)[0]) for p in probes]
        keep = int(not gaps[0] >= gaps[1])
        part, found = halves[keep], probes[keep]
    number = part[0]
    arg = next(a for a, numbers in classes.items() if (numbers == number).any())
    i = int(np.flatnonzero((classes[arg] == number).reshape(-1))[0])
    tied = sum(int((numbers == number).sum()) for numbers in classes.values())
    move, c = float(weights[number]), found.comparison
    point.report.failures.append(
        Failure(
            "ties",
            f"{tied} elements equal {float(point.inputs[arg].reshape(-1)[i]):g}; moved together, their gradients do "
            "not add up to the derivative",
            arg,
            point.subject.input_name(arg),
            point.index(arg, i),
            float(c.analytic[0]) / move,
            float(c.low[0]) / move,
            tolerance / abs(move),
            oracle.name,
            hint="ties are counted more than once, or not at all?",
        )
    )
