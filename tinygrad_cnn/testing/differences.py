"""Derivatives by evaluation alone: the numbers that analytic gradients are held against.

An oracle looks at a path ``t -> f(x + t u)`` (all outputs, flattened) and tells its `Slope` at t = 0.
Which oracle is right depends on the function, not on a tolerance:

- `Exact`: f is linear, or linear on pieces, and x lies on a grid: a large step has no error at all.
- `ComplexStep`: f is analytic: Im f(x + ih u) / h has no subtraction, so no step size to trade off.
- `Richardson`: nothing is known: extrapolated central differences; the error is measured, not assumed,
  and a kink shows as a left slope that differs from the right one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]
Path = Callable[[complex], NDArray[np.inexact]]

UNKNOWN = 1e300  # "error" of a slope that could not be settled: finite, so that 0 * UNKNOWN is 0


class OracleUnfit(Exception):
    """This oracle cannot judge this function (the reason is the message); another one may."""


@dataclass(frozen=True, slots=True)
class Slope:
    """The derivative of every output along one direction.

    ``value`` differs from the truth by at most ``error``. Where the function has a kink, ``smooth`` is False and the
    one-sided slopes ``left`` and ``right`` are all there is to know.
    """

    value: Array
    error: Array
    left: Array
    right: Array
    smooth: Mask
    span: Array | float = 0.0  # the size a slope could have here: the steepest secant seen

    @property
    def low(self) -> Array:
        return np.where(self.smooth, self.value, np.minimum(self.left, self.right))

    @property
    def high(self) -> Array:
        return np.where(self.smooth, self.value, np.maximum(self.left, self.right))


class Oracle(Protocol):
    name: str
    rtol: float  # relative accuracy to be expected of value and of a correct analytic gradient

    def slope(self, path: Path) -> Slope: ...


class Exact:
    """Differences with a large binary step, without any error on a grid of small binary fractions.

    A second, halved step tells a jump (the difference stays, the slope doubles: no bracket) from a kink, and leaves the
    slope unknown where the function is not straight between x - hu and x + hu after all.
    """

    rtol = 0.0

    def __init__(self, step: float = 1.0) -> None:
        self.step = step
        self.name = f"exact h={step:g}"

    def slope(self, path: Path) -> Slope:
        h, y = self.step, _real(path(0.0))
        with np.errstate(invalid="ignore"):
            right, left = (_real(path(h)) - y) / h, (y - _real(path(-h))) / h
            near_right, near_left = (_real(path(h / 2)) - y) * (2 / h), (y - _real(path(-h / 2))) * (2 / h)
        jump = ((near_right == 2 * right) & (right != 0)) | ((near_left == 2 * left) & (left != 0))
        straight = ((near_right == right) & (near_left == left)) | jump
        smooth = (left == right) & ~jump
        low = np.where(jump, -UNKNOWN, np.minimum(left, right))
        high = np.where(jump, UNKNOWN, np.maximum(left, right))
        value = np.where(smooth & straight, right, 0.0)
        return Slope(value, np.where(straight, 0.0, UNKNOWN), low, high, smooth | ~straight)


class ComplexStep:
    """The imaginary part of f at x + ih u, divided by h: exact to rounding for analytic functions.

    Raises `OracleUnfit` when the function drops the imaginary part (NumPy's ComplexWarning), cannot take complex
    numbers, or gives another real part than at x.
    """

    name = "complex step"
    rtol = 1e-12

    def __init__(
        self, step: float = 2.0**-40
    ) -> None:  # its square is lost in rounding, and 1e-290 * it does not underflow
        self.step = step

    def slope(self, path: Path) -> Slope:
        real = _real(path(0.0))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            try:
                y = path(1j * self.step)
            except (TypeError, ValueError, np.exceptions.ComplexWarning) as error:
                raise OracleUnfit(f"the function does not take complex numbers ({error})") from error
        if not np.iscomplexobj(y):
            raise OracleUnfit("the function returned real numbers for complex ones")
        finite = np.isfinite(real) & np.isfinite(y)
        with np.errstate(invalid="ignore"):
            moved = finite & (np.abs(y.real - real) > 1e-6 * np.abs(real) + 1e-9 * np.max(np.abs(real), initial=0.0))
        if moved.any():
            raise OracleUnfit("the function takes another branch for complex numbers")
        value = np.where(finite, y.imag, 0.0) / self.step
        return Slope(value, np.where(finite, 0.0, UNKNOWN), value, value, np.ones(value.shape, bool))


class Richardson:
    """Ridders' method: differences at steps ¼, 1/16, … extrapolated to zero, each output at its own best step.

    The error is the disagreement between neighbouring extrapolations plus the rounding of f: that of its result, and
    `noise` for what happens inside. The same evaluations give the one-sided slopes; where these differ by more than
    their errors there is a kink. Stops as soon as smaller steps do not help; if a very small one then disagrees, or if
    `thorough`, all steps are taken, and the smallest tell how noisy the function really is.
    """

    name = "Richardson"
    rtol = 1e-9
    shrink = 4.0

    def __init__(
        self, noise: Array | float = 0.0, thorough: bool = False, start: float = 0.25, levels: int = 13
    ) -> None:
        self.noise, self.thorough, self.start, self.levels = noise, thorough, start, levels
        self.fine = start < 2.0**-16

    def slope(self, path: Path) -> Slope:
        base = path(0.0)
        ladder = _Ladder(_real(base), _unit(base), self.noise)
        h = self.start
        with np.errstate(all="ignore"):
            for level in range(self.levels):
                ladder.add(h, _real(path(h)), _real(path(-h)))
                if level >= 3 and not self.thorough and ladder.settled():
                    break
                h /= self.shrink
            else:
                ladder = ladder.with_measured_noise()
            fine = min(h, self.start * 2.0**-18)
            rough = ladder.refute(fine, _real(path(fine)), _real(path(-fine)))
            if rough.any() and not self.thorough:  # it varies on a finer scale than the steps so far (floor, remainder)
                return Richardson(self.noise, True, self.start, self.levels).slope(path)
            return ladder.slope()


class _Ladder:
    """Differences at ever smaller steps, and what they extrapolate to."""

    def __init__(self, y: Array, unit: float, noise: Array | float) -> None:
        self.y, self.unit, self.noise = y, unit, noise
        self.samples: list[tuple[float, Array, Array]] = []
        self.central, self.right, self.left = (_Tableau(y, order) for order in (2, 1, 1))

    def add(self, h: float, up: Array, down: Array) -> None:
        self.samples.append((h, up, down))
        noise = self._rounding(h, up, down)
        self.central.add((up - down) / (2 * h), noise)
        self.right.add((up - self.y) / h, noise)
        self.left.add((self.y - down) / h, noise)

    def settled(self) -> bool:
        """Smaller steps would not help: accurate enough, or the rounding already exceeds what was reached."""
        noise = self._rounding(*self.samples[-1])
        size = np.maximum(np.abs(self.central.best), 1e-3 * np.max(np.abs(self.central.best), initial=0.0))
        value_done = (self.central.error <= 1e-11 * size) | (noise > self.central.error)
        side = np.maximum(self.right.error, self.left.error)
        return bool((value_done & ((side <= 1e-6 * size) | (noise > side))).all())

    def with_measured_noise(self) -> _Ladder:
        """Again, with the noise that differences at the smallest steps show when one goes from one to the next."""
        fine = [((up - down) / (2 * h), h) for h, up, down in self.samples[-3:]]
        seen = [np.where(self._jumps(), 0, np.abs(a - b) * h) for (a, _), (b, h) in pairwise(fine)]
        ladder = _Ladder(self.y, self.unit, np.max([np.broadcast_to(self.noise, self.y.shape), *seen], axis=0))
        for sample in self.samples:
            ladder.add(*sample)
        return ladder

    def refute(self, h: float, up: Array, down: Array) -> Mask:
        """Where the difference at a very small step contradicts what was found; the error then is at least that."""
        gap = np.abs((up - down) / (2 * h) - self.central.best)
        rough = gap > 4 * (self._rounding(h, up, down) + self.central.error) + 0.01 * np.abs(self.central.best)
        self.central.error = np.where(rough, np.maximum(self.central.error, gap), self.central.error)
        return rough

    def slope(self) -> Slope:
        central, right, left = self.central, self.right, self.left
        jump = self._jumps()
        low = np.minimum(left.best - left.error, right.best - right.error)
        high = np.maximum(left.best + left.error, right.best + right.error)
        low, high = np.where(jump, -UNKNOWN, low), np.where(jump, UNKNOWN, high)
        h, up, down = self.samples[0]
        span = np.maximum(np.abs(up - self.y), np.abs(self.y - down)) / h
        span = np.where(np.isfinite(span), span, 0.0)
        return Slope(central.best, central.error, low, high, ~(self._kinks() | jump), span)

    def _jumps(self) -> Mask:
        """Where the difference does not shrink with the step down to very small ones, so that neither slope exists."""
        if self.samples[-1][0] > 2.0**-18 * self.samples[0][0]:
            return np.zeros(self.y.shape, bool)
        changes = np.stack(
            [np.maximum(np.abs(up - self.y), np.abs(self.y - down)) for _, up, down in self.samples[-3:]]
        )
        return (changes.max(0) < 1.1 * changes.min(0)) & (changes.min(0) > 1e3 * self.unit * np.abs(self.y))

    def _kinks(self) -> Mask:
        """Where the one-sided slopes differ by more than their errors, and lie on both sides of the central one.

        By chance one of many extrapolations looks sure of a wrong slope, so that the centre must agree.
        """
        right, left = self.right, self.left
        gap, doubt = np.abs(right.best - left.best), right.error + left.error
        apart = gap > 4 * doubt + 1e-5 * np.maximum(np.abs(right.best), np.abs(left.best))
        middle = np.abs((right.best + left.best) / 2 - self.central.best)
        return apart & (middle <= 4 * (doubt + self.central.error) + 0.05 * gap)

    def _rounding(self, h: float, up: Array, down: Array) -> Array:
        size = np.maximum(np.maximum(np.abs(up), np.abs(down)), np.abs(self.y))
        return (self.unit * size + self.noise) / h


class Central:
    """One plain central difference with step h·|u|, for comparison with other tools; halved to estimate its error."""

    name = "central difference"
    rtol = 1e-6

    def __init__(self, step: float = 2.0**-17) -> None:
        self.step = step

    def slope(self, path: Path) -> Slope:
        h, base = self.step, path(0.0)
        y, unit = _real(base), _unit(base)
        up, down, half_up, half_down = (_real(path(t)) for t in (h, -h, h / 2, -h / 2))
        value, half = (up - down) / (2 * h), (half_up - half_down) / h
        error = 4 * np.abs(value - half) + 8 * unit * np.abs(y) / h
        left, right = (y - down) / h, (up - y) / h
        kink = np.abs(right - left) > 4 * error + 1e-3 * np.maximum(np.abs(right), np.abs(left))
        return Slope(value, error, np.minimum(left, right), np.maximum(left, right), ~kink)


class _Tableau:
    """Neville's extrapolation of differences to step zero, per output, keeping the best entry and its error."""

    def __init__(self, like: Array, order: int) -> None:
        self.order = order
        self.row: list[Array] = []
        self.best = np.zeros(like.shape)
        self.error = np.full(like.shape, UNKNOWN)

    def add(self, difference: Array, noise: Array) -> None:
        row, ratio = [difference], 1.0
        value, sure = difference, np.full(difference.shape, UNKNOWN)
        for column, before in enumerate(self.row[:6]):
            ratio *= Richardson.shrink**self.order
            row.append(row[column] + (row[column] - before) / (ratio - 1))
            error = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - before)) + 2 * noise
            better = error < sure
            value, sure = np.where(better, row[-1], value), np.where(better, error, sure)
        # A coarse step may look sure of a slope that finer ones refute (a function that saturates far away).
        refuted = np.abs(value - self.best) > 4 * (sure + self.error)
        better = (sure < self.error) | (refuted & (sure < UNKNOWN))
        self.best, self.error = np.where(better, value, self.best), np.where(better, sure, self.error)
        self.row = row


def _real(y: NDArray[np.inexact]) -> Array:
    return np.asarray(y, dtype=np.float64).reshape(-1)


def _unit(y: NDArray[np.inexact]) -> float:
    """Relative rounding of the function's own arithmetic: a float32 result has float32's."""
    return float(np.finfo(y.real.dtype if y.dtype.kind in "fc" else np.float64).eps)
