"""Comparing analytic gradients with brackets of numeric ones: what is wrong, what can not be told, what is worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_cnn.testing.differences import UNKNOWN, Array, Mask

JUMP = 1e-5  # a gradient that changes by more than this part under a rounding of its inputs has jumped


@dataclass(frozen=True)
class Comparison:
    """Analytic values, the brackets they must lie in (a point where f is smooth), and how well both are known.

    `scale` is the size of the terms that were summed: the measure of rounding, and of what counts as inconclusive.
    """

    analytic: Array
    low: Array
    high: Array
    error: Array
    scale: Array

    def tolerance(self, rtol: float, atol: float, noise: Array | float = 0.0) -> Array:
        return rtol * self.scale + 4 * self.error + 16 * np.asarray(noise) + atol

    def outside(self, tolerance: Array) -> Mask:
        """Beyond the bracket; NaN and infinity are, unless the slope itself is unknown there."""
        with np.errstate(invalid="ignore"):
            within = (self.analytic >= self.low - tolerance) & (self.analytic <= self.high + tolerance)
        return ~within & (self.error < UNKNOWN)

    def unsure(self, tolerance: Array, limit: float, natural: Array | float) -> Mask:
        """Judged with a tolerance beyond `limit` of the scale, or of the `natural` size of slopes here."""
        return tolerance > limit * np.maximum(self.scale, natural)

    def excess(self, tolerance: Array) -> Array:
        """How far beyond the bracket, in units of the tolerance: the worst element is the largest."""
        gap = np.maximum(self.low - self.analytic, self.analytic - self.high)
        smallest = np.maximum(np.abs(self.low), np.abs(self.high)) * 1e-16 + 1e-300
        return np.where(np.isfinite(gap), gap / np.maximum(tolerance, smallest), np.inf)

    def gross(self, floor: Array | float) -> Mask:
        """So far beyond the bracket that no rounding can excuse it; `floor`: that of the largest terms anywhere."""
        gap = np.maximum(self.low - self.analytic, self.analytic - self.high)
        return ~(gap <= 2e1 * JUMP * self.scale + floor) & (self.error < UNKNOWN)

    @property
    def numeric(self) -> Array:
        """The point of the bracket nearest to the analytic value."""
        return np.where(np.isnan(self.analytic), self.low, np.clip(self.analytic, self.low, self.high))

    @property
    def at_kink(self) -> Mask:
        return self.low != self.high
