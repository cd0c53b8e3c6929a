"""One point at which a gradient is judged: its output, its rounding, its slopes and its gradients."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tinygrad_cnn.testing.comparison import Comparison
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
from tinygrad_cnn.testing.directions import (
    array_scale,
    balanced,
    element_scale,
    feature_scale,
    jittered,
    spread_integers,
)
from tinygrad_cnn.testing.reports import Failure, GradReport
from tinygrad_cnn.testing.settings import Settings
from tinygrad_cnn.testing.subjects import Inputs, Subject, is_differentiable


class Point:
    """A subject at its inputs. Gradients come out as float64 arrays, slopes as flat vectors over the outputs."""

    def __init__(self, subject: Subject, inputs: Inputs, settings: Settings, report: GradReport) -> None:
        self.subject, self.inputs, self.settings, self.report = subject, inputs, settings, report
        self.rng = np.random.default_rng(settings.seed)
        y = np.asarray(subject.value(inputs))
        self.shape, self.dtype = y.shape, y.dtype
        self.unit = float(np.finfo(y.dtype).eps) if y.dtype.kind == "f" else float(np.finfo(np.float64).eps)
        self.y = y.astype(np.float64).reshape(-1)
        self.finite = np.isfinite(self.y)
        with np.errstate(invalid="ignore"):
            sizes = np.asarray(subject.sizes(inputs, y), np.float64).reshape(-1)
        sizes = np.where(self.finite & np.isfinite(sizes), sizes, 0.0)
        # An output far smaller than the others may be a small difference of numbers of their size.
        self.size = np.maximum(sizes, np.minimum(np.max(sizes, initial=0.0), 1e8 * sizes))
        self.kinky = False

    # ---- the analytic side -----------------------------------------------------------------------------------------

    def grad(self, arg: int, g: Array) -> Array:
        """The gradient under test; None counts as zero, another shape as NaN."""
        x = self.inputs[arg]
        found = self.subject.grads(self.inputs, g.reshape(self.shape).astype(self.dtype))[arg]
        if found is None:
            return np.zeros(x.shape)
        found = np.asarray(found, np.float64)
        return found if found.shape == x.shape else np.full(x.shape, np.nan)

    def cotangents(self) -> Array:
        """Upstream gradients as rows: one-hot for few outputs, dense random integers; blind to outputs not finite."""
        m = self.y.size
        rows = [spread_integers(self.rng, (m,)) for _ in range(self.settings.probes)]
        if len(rows) > 2:
            rows[0] = rows[0] * balanced(self.y, 2.0**20)
        dense = np.stack(rows)
        return (np.concatenate([np.eye(m), dense]) if m <= self.settings.full_below else dense) * self.finite

    # ---- the numeric side ------------------------------------------------------------------------------------------

    def along(self, oracle: Oracle, moves: dict[int, Array]) -> Slope:
        """The slope of all outputs when the inputs move along these directions."""
        if isinstance(
            oracle, ComplexStep
        ):  # tiny beside 1 as well as beside the inputs: sin at 1e12 varies on that of 1
            large = max(1.0, *(float(np.max(np.abs(u), initial=0.0)) for u in moves.values()))
            small = {arg: u / large for arg, u in moves.items()}
            return _rescaled(oracle.slope(self.subject.path(self.inputs, small)), 1 / large)
        slope = oracle.slope(self.subject.path(self.inputs, moves))
        if isinstance(oracle, Exact) and (self.finite & (slope.error >= UNKNOWN)).any():
            raise OracleUnfit("the function is not linear along the step, or not computed exactly")
        self.kinky = self.kinky or not slope.smooth.all()
        return slope

    def coordinate(self, oracle: Oracle, arg: int, i: int) -> Slope:
        """The slope along one coordinate, per unit of it."""
        x = self.inputs[arg]
        if isinstance(oracle, Exact):
            return self.along(oracle, {arg: one_hot(x.shape, i, 1.0)})
        near, far = float(element_scale(x).reshape(-1)[i]), array_scale(x)
        size = near if isinstance(oracle, ComplexStep) else far
        slope = _rescaled(self.along(oracle, {arg: one_hot(x.shape, i, size)}), size)
        unsettled = self.finite & (slope.error > 1e-7 * np.max(np.abs(slope.value), initial=0.0))
        if near < size and unsettled.any():
            slope = _merged(slope, _rescaled(self.along(oracle, {arg: one_hot(x.shape, i, near)}), near))
        return slope

    @cached_property
    def noise(self) -> Array:
        """How much each output changes when the inputs change by a few roundings.

        The smaller of a change and its opposite: where the function jumps exactly here, that is not its rounding.
        """
        noise = self.unit / 8 * self.size
        for seed in range(2):
            there, back = (np.abs(self.jittered(sign, seed).y - self.y) for sign in (1, -1))
            noise = np.fmax(noise, np.fmin(there, back))
        return np.where(self.finite, noise, 0.0)

    def richardson(self, thorough: bool = False, fine: bool = False) -> Richardson:
        """Richardson's oracle, told the noise of this function here; `fine` has steps down to the rounding of x."""
        if fine:
            return Richardson(self.noise, True, start=2.0**-24, levels=12)
        return Richardson(self.noise, thorough)

    def jittered(self, sign: int = 1, seed: int = 0) -> Point:
        """The same point with inputs off by a few roundings."""
        rng = np.random.default_rng([self.settings.seed, seed])
        moving = {i: x for i, x in enumerate(self.inputs) if is_differentiable(x) and x.size}
        moved = jittered(moving, rng, sign * self.unit)
        inputs = tuple(moved.get(i, x) for i, x in enumerate(self.inputs))
        return Point(self.subject, inputs, self.settings, self.report)

    def untied(self, seed: int, size: float) -> Point:
        """The same point with every value moved by up to `size` of its array's scale, so that nothing is tied."""
        rng = np.random.default_rng([self.settings.seed, seed])
        moved = [
            x + size * array_scale(x) * rng.uniform(-1, 1, x.shape) if is_differentiable(x) and x.size else x
            for x in self.inputs
        ]
        return Point(self.subject, tuple(moved), self.settings, self.report)

    def feature(self, arg: int) -> Array:
        """The scale on which the function may vary with each element, flattened."""
        return feature_scale(self.inputs[arg]).reshape(-1)

    def settled(self, slope: Slope) -> Mask:
        """The outputs whose slope is known well enough to be used in a sum (along a move of the inputs' own scale)."""
        size = np.abs(slope.value)
        enough = 1e-3 * size + 1e-6 * np.maximum(np.max(np.maximum(size, slope.span), initial=0.0), self.size)
        return self.finite & slope.smooth & (slope.error < UNKNOWN) & (slope.error <= enough)

    # ---- judging ---------------------------------------------------------------------------------------------------

    def verdict(self, comparison: Comparison, oracle: Oracle, noise: Array | float = 0.0) -> tuple[Mask, Array]:
        """Which comparisons fail, and with which tolerance."""
        rtol = self.settings.rtol
        if rtol is None:
            rtol = oracle.rtol if self.unit < 1e-10 else max(oracle.rtol, 1e-4)
        tolerance = comparison.tolerance(rtol, self.settings.atol, noise)
        wrong = comparison.outside(tolerance)
        if self.settings.kinks == "skip":
            wrong &= ~comparison.at_kink
        return wrong, tolerance

    def count(self, comparison: Comparison, wrong: Mask, tolerance: Array, natural: Array | float) -> None:
        """Add to the report's numbers; `natural` is the size a slope could have here."""
        limit = 1e-4 if self.unit < 1e-10 else 1e-2  # a wider tolerance proves nothing
        unsure = comparison.unsure(tolerance - self.settings.atol, limit, natural) & ~wrong & ~comparison.at_kink
        self.report.comparisons += int(wrong.size)
        self.report.inconclusive += int(unsure.sum())
        self.report.kinks += int(comparison.at_kink.sum())
        if self.settings.kinks == "error" and comparison.at_kink.any():
            self.report.failures.append(Failure("kinks", "the function has a kink here, and kinks='error'"))

    def failed(self, arg: int) -> bool:
        """Whether a failure was noted for this argument."""
        return any(f.argument == arg for f in self.report.failures)

    def index(self, arg: int, i: int) -> tuple[int, ...]:
        """A flat number as an index."""
        return tuple(int(k) for k in np.unravel_index(i, self.inputs[arg].shape))


def one_hot(shape: tuple[int, ...], i: int, value: float) -> Array:
    """Zeros but for one element."""
    u = np.zeros(shape)
    u.reshape(-1)[i] = value
    return u


def restricted(u: Array, elements: np.ndarray) -> Array:
    """A direction without all but some elements."""
    part = np.zeros(u.shape)
    part.reshape(-1)[elements] = u.reshape(-1)[elements]
    return part


def _rescaled(slope: Slope, size: float) -> Slope:
    with np.errstate(over="ignore"):
        value, left, right = (
            np.clip(part / size, -UNKNOWN, UNKNOWN) for part in (slope.value, slope.left, slope.right)
        )
        error = np.where((slope.error < UNKNOWN) & (np.abs(value) < UNKNOWN), slope.error / size, UNKNOWN)
    return Slope(value, error, left, right, slope.smooth, slope.span / size)


def _merged(a: Slope, b: Slope) -> Slope:
    """Per output, the slope that is known better."""
    first = a.error <= b.error
    pairs = ((a.value, b.value), (a.error, b.error), (a.left, b.left), (a.right, b.right), (a.smooth, b.smooth))
    value, error, left, right, smooth = (np.where(first, p, q) for p, q in pairs)
    return Slope(value, error, left, right, smooth, np.maximum(a.span, b.span))
