"""Special functions that NumPy lacks: erf, and sigmoid and softplus without overflow.

Each keeps a floating dtype (integers become float64), gives NaN for NaN and its limits at +-inf, raises no
floating point error whatever the caller's `np.errstate`, and lets a complex step pass through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .layout import Array

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969); his CALERF.
_NEAR = (  # erf(x) / x in x^2, for |x| <= 0.46875
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_FAR = (  # exp(x^2) * erfc(x) in x, for 0.46875 <= x <= 4; to 6 it keeps the digits that 1 - erfc needs
    (
        *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1),
        *(2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3),
        1.23033935479799725e3,
    ),
    (
        *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3),
        *(3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
    ),
)


def erf(x: ArrayLike) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, to a few ulp.

    Of a complex x the imaginary part is taken to first order, as a complex step needs.
    """
    x = _inexact(x)
    if x.dtype.kind == "c":
        slope = 2 / math.sqrt(math.pi) * np.exp(-(x.real**2))
        return np.asarray(erf(x.real) + 1j * x.imag * slope, x.dtype)
    if x.dtype == np.float16:
        return np.asarray(erf(x.astype(np.float32)), x.dtype)
    size = np.abs(x)
    near, far = np.minimum(size, 0.5), np.clip(size, 0.46875, 6)  # from 6 on, 1 - erfc is 1
    with np.errstate(under="ignore"):
        near_value = near * _ratio(near * near, _NEAR)
        far_value = 1 - np.exp(-far * far) * _ratio(far, _FAR)
    return np.asarray(np.copysign(np.where(size <= 0.46875, near_value, far_value), x))


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x))."""
    x = _inexact(x)
    with np.errstate(under="ignore"):
        positive = x.real >= 0
        decay = np.exp(np.where(positive, -x, x))
        return np.asarray(np.where(positive, 1, decay) / (1 + decay))


def softplus(x: ArrayLike) -> Array:
    """log(1 + exp(x))."""
    x = _inexact(x)
    with np.errstate(under="ignore"):
        positive = x.real >= 0
        return np.asarray(np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x))))


def _inexact(x: ArrayLike) -> Array:
    x = np.asarray(x)
    return x if x.dtype.kind in "fc" else x.astype(np.float64)


def _ratio(x: Array, polynomials: tuple[Sequence[float], Sequence[float]]) -> Array:
    """Quotient of two polynomials, highest power first."""
    above, below = (_horner(x, coefficients) for coefficients in polynomials)
    above /= below
    return above


def _horner(x: Array, coefficients: Sequence[float]) -> Array:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value *= x
        value += coefficient
    return value
