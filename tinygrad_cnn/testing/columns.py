"""The adjoint law element by element: columns of the Jacobian beside what the gradient says of them."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.testing import hints
from tinygrad_cnn.testing.comparison import JUMP, Comparison
from tinygrad_cnn.testing.differences import (
    UNKNOWN,
    Array,
    ComplexStep,
    Exact,
    Mask,
    Oracle,
    OracleUnfit,
    Richardson,
    Slope,
)
from tinygrad_cnn.testing.directions import array_scale
from tinygrad_cnn.testing.point import Point, one_hot
from tinygrad_cnn.testing.reports import Failure

_NEARBY = 96  # points around a kink at which slopes are looked at


def judge_columns(point: Point, arg: int, oracle: Oracle, elements: np.ndarray) -> None:
    """Judge some elements of an argument, seen through one-hot upstream gradients (all, if few) and dense ones.

    At a kink the gradient must lie in the bracket that the one-sided slopes of the outputs span.
    """
    cotangents = point.cotangents()
    whole = np.stack([point.grad(arg, g).reshape(-1) for g in cotangents])
    comparison, span = _compare(point, arg, oracle, elements, cotangents, whole[:, elements])
    wrong, tolerance = point.verdict(comparison, oracle)
    largest = np.abs(cotangents).max(1, keepdims=True, initial=0.0) * np.max(point.size, initial=0.0)
    floor = 1e-7 * largest / point.feature(arg)[elements]
    if wrong.any() and not isinstance(oracle, Exact) and not (wrong & comparison.gross(floor)).any():
        noise = _noise(point, arg, oracle, elements, cotangents, comparison, wrong)
        wrong, tolerance = point.verdict(comparison, oracle, noise)
    if wrong.any() and point.kinky and point.subject.order == 1:
        comparison = _widened(point, arg, elements, cotangents, comparison, wrong)
        wrong, tolerance = point.verdict(comparison, oracle, 1e-7 * comparison.scale)
    natural = (np.abs(cotangents) @ point.size)[:, None] / point.feature(arg)[elements]
    natural = np.maximum(_neighbours(comparison.scale), 1e-3 * np.maximum(natural, span))
    point.count(comparison, wrong, tolerance, natural)
    if not wrong.any():
        return
    excess = comparison.excess(tolerance) * wrong
    dense = excess[-point.settings.probes :]  # a dense upstream gradient shows the pattern better
    if dense.any():
        excess = np.concatenate([0 * excess[: -point.settings.probes], dense])
    row, column = (int(k) for k in np.unravel_index(np.argmax(excess), excess.shape))
    i = int(elements[column])
    if point.settings.oracle == "auto":
        _confirm(point, oracle, arg, cotangents[row], i, float(comparison.analytic[row, column]))
    x, name = point.inputs[arg], point.subject.input_name(arg)
    hint = hints.pattern(whole[row].reshape(x.shape), x, elements, comparison.numeric[row], wrong[row])
    what = "the gradient is not the derivative"
    if comparison.at_kink[row, column]:
        what = "the gradient lies outside the one-sided slopes"
    point.report.failures.append(
        Failure(
            "adjoint",
            what,
            arg,
            name,
            point.index(arg, i),
            float(comparison.analytic[row, column]),
            float(comparison.numeric[row, column]),
            float(tolerance[row, column]),
            oracle.name,
            int(wrong[row].sum()),
            int(elements.size),
            hint,
        )
    )


def _compare(
    point: Point, arg: int, oracle: Oracle, elements: np.ndarray, cotangents: Array, analytic: Array
) -> tuple[Comparison, Array]:
    """Also the size that slopes could have here."""
    up, down = np.maximum(cotangents, 0), np.maximum(-cotangents, 0)
    low, high, error, scale, span = (np.empty(analytic.shape) for _ in range(5))
    for column, i in enumerate(elements):
        slope = point.coordinate(oracle, arg, int(i))
        known = slope.error < UNKNOWN
        low[:, column] = up @ slope.low - down @ slope.high
        high[:, column] = up @ slope.high - down @ slope.low
        sides = np.where(slope.smooth, 0.0, np.fmax(np.abs(slope.left), np.abs(slope.right)))
        sides[sides >= UNKNOWN / 1e10] = 0.0
        scale[:, column] = (up + down) @ np.where(known, np.fmax(np.abs(slope.value), sides), 0.0)
        span[:, column] = (up + down) @ np.broadcast_to(slope.span, slope.value.shape)
        error[:, column] = np.minimum((up + down) @ slope.error, UNKNOWN)
        rough = ~known | (slope.error > 1e-3 * np.max(np.where(known, np.abs(slope.value), 0.0), initial=0.0))
        if (rough & point.finite).any() or not point.finite.all():  # a vertical tangent, or beyond the domain
            infinite = ~np.isfinite(analytic[:, column])
            error[infinite, column], low[infinite, column], high[infinite, column] = UNKNOWN, -UNKNOWN, UNKNOWN
    if not isinstance(oracle, Exact):
        error = np.where(error < UNKNOWN, error + 8 * point.unit * _neighbours(scale), error)
    return Comparison(analytic, low, high, error, scale), span


def _noise(
    point: Point,
    arg: int,
    oracle: Oracle,
    elements: np.ndarray,
    cotangents: Array,
    comparison: Comparison,
    wrong: Mask,
) -> Array:
    """The accuracy that this point allows, for what failed without it.

    How much both sides change when the inputs change by a few roundings; and what is lost where an output saturates
    (tanh's 1 - y² knows its value to the rounding of y, not to its own), for the outputs that the element can reach.
    """
    noise = np.zeros(comparison.analytic.shape)
    natural = (np.abs(cotangents) @ point.size)[:, None] / point.feature(arg)[elements]
    columns, rows = np.flatnonzero(wrong.any(0)), np.flatnonzero(wrong.any(1))
    for seed, sign in enumerate((1, -1)):
        moved = point.jittered(sign, seed)
        gap = np.zeros(noise.shape)
        for row in rows:
            gap[row] = np.abs(moved.grad(arg, cotangents[row]).reshape(-1)[elements] - comparison.analytic[row])
        for column in columns[:64]:
            slope = moved.coordinate(oracle, arg, int(elements[column]))
            value = cotangents @ np.where(slope.smooth & (slope.error < UNKNOWN), slope.value, np.nan)
            gap[:, column] = np.fmax(gap[:, column], np.abs(value - comparison.low[:, column]))
        noise = np.fmax(noise, np.where(gap < JUMP * comparison.scale + 1e-9 * natural, gap, 0.0))
    feature = point.feature(arg)
    for column in columns:
        reached = _reach(point, arg, int(elements[column]))
        noise[:, column] += 64 * point.unit * np.abs(cotangents) @ (point.size * reached) / feature[elements[column]]
        # A slope of exactly 0, or of a constant, may be one that is lost beside the largest output.
        largest = np.abs(cotangents).max(1) * np.max(point.size, initial=0.0) / feature[elements[column]]
        lost = (comparison.scale[:, column] == 0) | (not reached.any())
        noise[:, column] += np.where(lost, 64 * point.unit * largest, 0.0)
    return noise


def _widened(
    point: Point, arg: int, elements: np.ndarray, cotangents: Array, comparison: Comparison, wrong: Mask
) -> Comparison:
    """Brackets stretched to the slopes of each output at points nearby, where ties are broken.

    At a tie of three, sort hands each output to another element, which no one-sided slope along a coordinate shows.
    """
    up, down = np.maximum(cotangents, 0), np.maximum(-cotangents, 0)
    low, high = comparison.low.copy(), comparison.high.copy()
    moved = [point.untied(seed, 2.0**-20) for seed in range(_NEARBY)]
    step = 2.0**-30 * array_scale(point.inputs[arg])
    for column in np.flatnonzero(wrong.any(0))[:64]:
        move = {arg: one_hot(point.inputs[arg].shape, int(elements[column]), step)}
        paths = [point.subject.path(nearby.inputs, move) for nearby in moved]
        seen = np.stack([np.where(point.finite, (path(1.0) - path(-1.0)) / (2 * step), 0.0) for path in paths])
        low[:, column] = np.fmin(low[:, column], up @ seen.min(0) - down @ seen.max(0))
        high[:, column] = np.fmax(high[:, column], up @ seen.max(0) - down @ seen.min(0))
    scale = np.maximum(comparison.scale, np.maximum(np.abs(low), np.abs(high)))
    return Comparison(comparison.analytic, low, high, comparison.error, scale)


def refuse_if_finer(g: Array, analytic: float, coarse: Slope, fine: Slope) -> None:
    """Raises OracleUnfit if steps near the rounding of x refute larger ones, and say what the gradient says."""
    apart = np.abs(fine.value - coarse.value) > 4 * (fine.error + coarse.error) + 0.01 * np.abs(coarse.value)
    if (apart & (g != 0)).any() and abs(analytic - float(g @ fine.value)) <= 4 * float(np.abs(g) @ fine.error):
        raise OracleUnfit("the function varies on a finer scale than the steps")


def _reach(point: Point, arg: int, i: int) -> Mask:
    """The outputs that change at all when one element moves far."""
    x = point.inputs[arg]
    path = point.subject.path(point.inputs, {arg: one_hot(x.shape, i, 64 * array_scale(x))})
    return (path(1.0) != point.y) | (path(-1.0) != point.y)


def _neighbours(scale: Array) -> Array:
    """The larger of the largest entries in the same row and in the same column of a Jacobian."""
    if not scale.size:
        return scale
    return np.maximum(scale.max(1, keepdims=True), scale.max(0, keepdims=True))


def _confirm(point: Point, oracle: Oracle, arg: int, g: Array, i: int, analytic: float) -> None:
    """Before an oracle accuses a gradient, a finer one must not exonerate it.

    Raises OracleUnfit if it does; of a function declared analytic, that is a failure of the kit, and noted as such.
    """
    if isinstance(oracle, Richardson) and not oracle.fine:
        refuse_if_finer(g, analytic, *(point.coordinate(o, arg, i) for o in (oracle, point.richardson(fine=True))))
    if not isinstance(oracle, ComplexStep):
        return
    settled, finer = (point.coordinate(o, arg, i) for o in (oracle, ComplexStep(oracle.step * 2.0**-20)))
    if abs(float(g @ (settled.value - finer.value))) > 1e-6 * abs(float(g @ settled.value)):
        raise OracleUnfit("only the square of the step is seen")
    slope = point.coordinate(point.richardson(thorough=True), arg, i)
    known = slope.smooth.all() and (slope.error < UNKNOWN).all()
    error = float(np.abs(g) @ np.where(slope.error < UNKNOWN, slope.error, 0.0))
    scale = float(np.abs(g) @ np.abs(slope.value))
    gap = abs(analytic - float(g @ slope.value))
    if known and gap > 4 * error + 1e-9 * scale:
        return
    if known and 4 * error > 1e-6 * scale:
        return  # Richardson can not tell
    near = abs(analytic - float(g @ settled.value)) <= 1e-9 * scale  # the rounding of an ill-conditioned point
    if known and not near and point.settings.kind == "analytic":
        message = "the complex step contradicts the gradient, but Richardson confirms it: is the function analytic?"
        name = point.subject.input_name(arg)
        point.report.failures.append(Failure("oracles", message, arg, name, point.index(arg, i), kit=True))
    raise OracleUnfit("Richardson says otherwise")
