"""The adjoint law along random directions, for arguments too large to be judged element by element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.testing.columns import judge_columns, refuse_if_finer
from tinygrad_cnn.testing.comparison import JUMP, Comparison
from tinygrad_cnn.testing.differences import Array, ComplexStep, Exact, Oracle, Richardson, Slope
from tinygrad_cnn.testing.directions import array_scale, balanced, spread_integers, value_classes
from tinygrad_cnn.testing.point import Point, restricted
from tinygrad_cnn.testing.reports import Failure


class Probe(NamedTuple):
    """One comparison of scalars: a move of some inputs, the upstream gradient, and what came of it."""

    moves: dict[int, Array]
    g: Array
    comparison: Comparison


def judge_probes(point: Point, arg: int, oracle: Oracle) -> None:
    """Judge an argument along directions of several balances, then a sample of its elements.

    A direction that fails is halved until one element is left.
    """
    seen = ~point.finite
    for u, g in _directions(point, arg, oracle):
        slope = point.along(oracle, {arg: u})
        probe = compare(point, {arg: u}, np.where(point.settled(slope), g.reshape(-1), 0.0), slope)
        seen |= (probe.g != 0) | ~slope.smooth
        natural = 1e-3 * float(np.abs(probe.g) @ point.size)
        wrong, tolerance = point.verdict(probe.comparison, oracle)
        if (
            wrong.any()
            and not isinstance(oracle, Exact)
            and not probe.comparison.gross(_floor(point, arg, probe)).any()
        ):
            wrong, tolerance = point.verdict(probe.comparison, oracle, _noise(point, oracle, arg, probe))
        if wrong.any() and not slope.smooth.all() and _right_nearby(point, oracle, {arg: u}, g):
            wrong[:] = False  # at a tie several gradients are right: the elements and the law of ties decide
        point.count(probe.comparison, wrong, tolerance, natural)
        point.report.kinks += int((~slope.smooth).sum())
        if wrong.any():
            judge_columns(point, arg, oracle, _around(point, arg, _localised(point, arg, oracle, probe)))
            if not point.failed(arg):
                if isinstance(oracle, Richardson) and not oracle.fine and point.settings.oracle == "auto":
                    fine = point.along(point.richardson(fine=True), probe.moves)
                    refuse_if_finer(probe.g, float(probe.comparison.analytic[0]), slope, fine)
                point.report.failures.append(_failure(point, arg, oracle, probe.comparison, float(tolerance[0])))
            return
    point.report.comparisons += seen.size
    point.report.inconclusive += int((~seen).sum())  # outputs whose slope could not be settled along any direction
    judge_columns(point, arg, oracle, _sample(point, arg))


def take(point: Point, oracle: Oracle, moves: dict[int, Array], g: Array) -> Probe:
    """⟨u, Jᵀg⟩ beside ⟨J u, g⟩, with g blind to outputs that have a kink or no slope on the way."""
    slope = point.along(oracle, moves)
    return compare(point, moves, np.where(point.settled(slope), g.reshape(-1), 0.0), slope)


def compare(point: Point, moves: dict[int, Array], g: Array, slope: Slope) -> Probe:
    """As `take`, for a slope that is known already."""
    products = [np.where(u != 0, u * point.grad(arg, g), 0.0) for arg, u in moves.items()]
    analytic = sum(float(p.sum()) for p in products)
    terms = sum(float(np.abs(p).sum()) for p in products)
    used = g != 0
    numeric = float(g[used] @ slope.value[used])
    scale = max(terms if np.isfinite(terms) else 0.0, float(np.abs(g[used]) @ np.abs(slope.value[used])))
    error = float(np.abs(g[used]) @ slope.error[used])
    return Probe(moves, g, Comparison(*(np.asarray([v]) for v in (analytic, numeric, numeric, error, scale))))


def _directions(point: Point, arg: int, oracle: Oracle) -> Iterator[tuple[Array, Array]]:
    """Moves at the scale of the array, of each element, balanced by the gradient; and of elements it calls faint.

    Balance makes each term of the sum weigh alike, so that one wrong element in thousands shows.
    """
    x, rng = point.inputs[arg], point.rng
    g = spread_integers(rng, point.y.shape)
    dx = point.grad(arg, g)
    whole = isinstance(oracle, Exact) and oracle.step >= 1
    size = (16.0 if whole else 1.0) if isinstance(oracle, Exact) else array_scale(x)
    limit = 2.0**20 if isinstance(oracle, ComplexStep) else 2.0**8
    usable = np.isfinite(dx)
    for number in range(point.settings.probes):
        u = spread_integers(rng, x.shape) / 16 * size * usable
        if not isinstance(oracle, Exact) and number % 3 == 1:
            u = u / size * point.feature(arg).reshape(x.shape)
        elif not isinstance(oracle, Exact) and number % 3 == 2:
            u, g = u * balanced(dx, limit), g * balanced(point.y, limit)
            u *= np.exp2(-np.ceil(np.log2(np.max(np.abs(u), initial=size) / size)))
        yield u, g
        g = spread_integers(rng, point.y.shape)
    faint = usable & (np.abs(dx) <= 2.0**-20 * np.max(np.abs(dx), initial=0.0, where=usable))
    if faint.any() and not faint.all():
        yield spread_integers(rng, x.shape) / 16 * size * faint, g


def _right_nearby(point: Point, oracle: Oracle, moves: dict[int, Array], g: Array) -> bool:
    """Whether the same comparison holds where nothing is tied."""
    nearby = point.untied(0, 2.0**-6)
    wrong, _ = nearby.verdict(take(nearby, oracle, moves, g).comparison, oracle, 1e-8 * np.abs(g).max())
    return not wrong.any()


def _noise(point: Point, oracle: Oracle, arg: int, probe: Probe) -> Array:
    """The accuracy this point allows; see `columns`."""
    noise = 0.0
    limit = JUMP * float(probe.comparison.scale[0]) + 1e-9 * float(np.abs(probe.g) @ point.size)
    for seed, sign in enumerate((1, -1)):
        moved = take(point.jittered(sign, seed), oracle, probe.moves, probe.g).comparison
        for a, b in ((moved.analytic, probe.comparison.analytic), (moved.low, probe.comparison.low)):
            gap = float(np.abs(a - b)[0])
            noise = max(noise, gap if gap < limit else 0.0)
    return np.asarray([noise]) + 64 * point.unit * _floor(point, arg, probe) / 1e-7


def _floor(point: Point, arg: int, probe: Probe) -> float:
    """A small part of the largest terms anywhere, on the scale of the steps."""
    steps = float((np.abs(probe.moves[arg]).reshape(-1) / point.feature(arg)).sum())
    return 1e-7 * steps * float(np.max(np.abs(probe.g) * point.size, initial=0.0))


def _localised(point: Point, arg: int, oracle: Oracle, probe: Probe) -> int:
    """Halve a direction that failed, keeping the half that disagrees more, down to one element."""
    u, elements, gap = probe.moves[arg], np.flatnonzero(probe.moves[arg]), _gap(probe)
    while elements.size > 1:
        first, second = np.array_split(elements, 2)
        part = _gap(take(point, oracle, {arg: restricted(u, first)}, probe.g))
        rest = gap - part  # both sides are linear in the direction
        elements, gap = (second, rest) if abs(rest) > abs(part) or np.isnan(rest) else (first, part)
    return int(elements[0])


def _gap(probe: Probe) -> float:
    return float((probe.comparison.analytic - probe.comparison.low)[0])


def _around(point: Point, arg: int, i: int) -> np.ndarray:
    """An element, its neighbours along each axis, and some others: enough to see a pattern."""
    x = point.inputs[arg]
    others = point.rng.choice(x.size, min(x.size, _sampled(point)), replace=False)
    strides = np.cumprod([1, *x.shape[:0:-1]])
    neighbours = [i + d for s in strides for d in (-int(s), int(s)) if 0 <= i + d < x.size]
    return np.unique(np.concatenate([[i], neighbours, others]).astype(int))


def _sample(point: Point, arg: int) -> np.ndarray:
    """Elements worth a look of their own: tied, zero, of the largest and the smallest gradients, and some others."""
    x = point.inputs[arg].reshape(-1)
    dx = np.abs(point.grad(arg, spread_integers(point.rng, point.y.shape)).reshape(-1))
    order = np.argsort(dx, kind="stable")
    silent = int(np.searchsorted(dx[order], 0, side="right"))
    some, few = _sampled(point) // 2, _sampled(point) // 12 + 1
    picks = [point.rng.choice(x.size, min(x.size, some), replace=False), order[:few], order[-few:]]
    picks.append(order[silent : silent + few])
    classes, _, counts = value_classes({arg: x})
    tied = np.flatnonzero(counts[classes[arg]] > 1)
    special = np.union1d(tied, np.flatnonzero(x == 0))
    if special.size:
        picks.append(point.rng.choice(special, min(special.size, some), replace=False))
    return np.unique(np.concatenate(picks))


def _sampled(point: Point) -> int:
    """How many elements of a large argument are judged one by one all the same."""
    return max(4, 3 * point.settings.full_below // 4)


def _failure(point: Point, arg: int, oracle: Oracle, comparison: Comparison, tolerance: float) -> Failure:
    message = "⟨J u, g⟩ differs from ⟨u, Jᵀ g⟩ along a random direction"
    values = (float(comparison.analytic[0]), float(comparison.low[0]), tolerance)
    return Failure("adjoint", message, arg, point.subject.input_name(arg), None, *values, oracle.name)
