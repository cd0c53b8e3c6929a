"""Elementwise operations: arithmetic, functions of one variable, activations, comparison.

Derivatives at kinks and ties are PyTorch's, listed in docs/conventions.md: each rule says so where it decides one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, choice, number, refuse_mixed_dtypes
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import elementwise as kernels
from tinygrad_cnn.kernels import special

# ---- arithmetic ------------------------------------------------------------------------------------------------

add = op("add", np.add, (lambda g: g, lambda g: g), doc="a + b, broadcasting.")
sub = op("sub", np.subtract, (lambda g: g, lambda g: -g), doc="a - b, broadcasting.")
mul = op("mul", np.multiply, (lambda g, b: g * b, lambda g, a: g * a), doc="a * b, broadcasting.")
div = op("div", np.true_divide, (lambda g, b: g / b, lambda g, y, b: -g * y / b), doc="a / b, broadcasting.")
neg = op("neg", np.negative, lambda g: -g, doc="-x.")


def _base_rule(g: Tensor, a: Tensor, b: Any) -> Tensor:
    """g b a^(b - 1), and 0 where b is 0."""
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b != 0 else zeros_like(g)
    zero = b == 0
    return where(zero, 0.0, g * b * a ** where(zero, 1.0, b - 1.0))  # 0 * a**-1 would be NaN at a = 0


def _exponent_rule(g: Tensor, a: Any, b: Tensor, y: Tensor) -> Tensor:
    """g y log(a), and 0 where a is 0 and b is not negative."""
    a = Tensor(a, dtype=y.dtype) if not isinstance(a, Tensor) else a
    flat = (a == 0) & (b >= 0)
    return where(flat, 0.0, g * y * log(where(flat, 1.0, a)))  # 0**b is constant in b


pow_ = op("pow", lambda a, b: a**b, (_base_rule, _exponent_rule), doc="a ** b, broadcasting; d(0**0)/da = 0.")


def _tie_rule(wins: Any) -> Any:
    """The gradient of maximum or minimum to one argument: all, nothing, or half at a tie (NaN: all)."""
    return lambda g, a, b: where(a == b, g * 0.5, where(wins(a, b), 0.0, g))


maximum = op("maximum", np.maximum, (_tie_rule(lambda a, b: a < b), _tie_rule(lambda a, b: a > b)),
             doc="The larger of a and b; at ties half of the gradient to each.")  # fmt: skip
minimum = op("minimum", np.minimum, (_tie_rule(lambda a, b: a > b), _tie_rule(lambda a, b: a < b)),
             doc="The smaller of a and b; at ties half of the gradient to each.")  # fmt: skip

where: Op = op(
    "where",
    lambda condition, a, b: np.where(condition, a, b),
    {"a": lambda g, condition: where(condition, g, 0.0), "b": lambda g, condition: where(condition, 0.0, g)},
    doc="a where the condition is true, else b; what is not chosen gets gradient 0, never NaN.",
)

clip = op(
    "clip",
    lambda x, min=None, max=None: np.clip(x, min, max),
    {"x": lambda g, x, min, max: where(_within(x, min, max), g, 0.0)},
    doc="x limited to [min, max]; the derivative is 1 within and at both bounds, 0 outside and at NaN.",
)


def _within(x: Tensor, low: Any, high: Any) -> Any:
    above = True if low is None else x >= low
    below = True if high is None else x <= high
    return below if above is True else above if below is True else above & below


remainder = op("remainder", np.remainder, {"a": lambda g: g, "b": lambda g, a, b: -g * floor_divide(a, b)},
               doc="a - floor(a / b) * b, with the sign of b.")  # fmt: skip

# ---- functions of one variable ---------------------------------------------------------------------------------

exp = op("exp", np.exp, lambda g, y: g * y, doc="e to the power x.")
expm1 = op("expm1", np.expm1, lambda g, y: g * (y + 1), doc="exp(x) - 1, exact near 0.")
log = op("log", np.log, lambda g, x: g / x, doc="The natural logarithm.")
log1p = op("log1p", np.log1p, lambda g, x: g / (x + 1), doc="log(1 + x), exact near 0.")
# ln 2 and ln 10 as numbers: a rule of plain arithmetic runs on bare arrays.
log2 = op("log2", np.log2, lambda g, x: g / (x * 0.6931471805599453), doc="The logarithm to base 2.")
log10 = op("log10", np.log10, lambda g, x: g / (x * 2.302585092994046), doc="The logarithm to base 10.")
sqrt = op("sqrt", np.sqrt, lambda g, y: g / (2 * y), doc="The square root; its derivative at 0 is infinite.")
rsqrt = op("rsqrt", lambda x: 1 / np.sqrt(x), lambda g, y: g * (-0.5 * y * y * y), doc="1 / sqrt(x); infinite at 0.")
reciprocal = op("reciprocal", lambda x: 1 / x, lambda g, y: -g * y * y, doc="1 / x; infinite at 0.")
square = op("square", np.square, lambda g, x: g * (2 * x), doc="x * x.")
sin = op("sin", np.sin, lambda g, x: g * cos(x), doc="The sine of x in radians.")
cos: Op = op("cos", np.cos, lambda g, x: -g * sin(x), doc="The cosine of x in radians.")
tan = op("tan", np.tan, lambda g, y: g * (1 + y * y), doc="The tangent of x in radians.")
atan = op(
    "atan", np.arctan, lambda g, x: g / (1 + x * x), doc="The angle in radians from -pi/2 to pi/2 whose tangent is x."
)
sinh: Op = op("sinh", np.sinh, lambda g, x: g * cosh(x), doc="The hyperbolic sine.")
cosh: Op = op("cosh", np.cosh, lambda g, x: g * sinh(x), doc="The hyperbolic cosine.")
tanh = op("tanh", np.tanh, lambda g, y: g * (1 - y * y), doc="The hyperbolic tangent.")
sigmoid = op("sigmoid", special.sigmoid, lambda g, y: g * (y * (1 - y)), doc="1 / (1 + exp(-x)).")
erf = op("erf", special.erf, lambda g, x: g * (exp(-x * x) * (2 / math.sqrt(math.pi))), doc="The error function.")
abs_ = op("abs", np.abs, lambda g, x: g * sign(x), doc="|x|; its derivative at 0 is 0.")
sign: Op = op("sign", np.sign, lambda g: zeros_like(g), doc="-1, 0 or 1; its derivative is 0.")
floor: Op = op("floor", np.floor, lambda g: zeros_like(g), doc="The largest integer below; its derivative is 0.")
ceil = op("ceil", np.ceil, lambda g: zeros_like(g), doc="The smallest integer above; its derivative is 0.")
round_ = op(
    "round", lambda x: np.round(x), lambda g: zeros_like(g), doc="To the nearest, halves to even; derivative 0."
)
zeros_like: Op = op("zeros_like", lambda x: np.zeros_like(x), lambda g: zeros_like(g), doc="0 for each element.")
clone = op("clone", lambda x: np.copy(x), lambda g: g, doc="A copy in memory of its own, on the tape.")

# A leaf as it was at the time of an earlier forward pass: other values, the same place on the tape.
alias = op("alias", lambda x, *, values: values, lambda g: g, doc="The values that a leaf had, in the leaf's place.")
astype = op("astype", lambda x, *, dtype: np.asarray(x).astype(dtype), lambda g: g,
            doc="The elements in another dtype; the gradient comes back in this one.")  # fmt: skip

# ---- activations -----------------------------------------------------------------------------------------------

relu = op(
    "relu",
    lambda x: kernels.relu(x),
    lambda g, y: where(y <= 0, 0.0, g),  # selects, never multiplies: inf * 0 is NaN; a NaN passes its gradient on
    fast=lambda g, y: kernels.relu_gradient(g, y),
    doc="max(x, 0); its derivative at 0 is 0.",
)
leaky_relu = op(
    "leaky_relu",
    lambda x, negative_slope=0.01: _leaky_relu(x, number("leaky_relu", "negative_slope", negative_slope)),
    lambda g, x, negative_slope: where(x > 0, g, g * negative_slope),
    doc="x above 0, negative_slope * x below; its derivative at 0 is negative_slope.",
)
elu = op(
    "elu",
    lambda x, alpha=1.0: _elu(x, number("elu", "alpha", alpha)),
    lambda g, x, alpha: where(x <= 0, g * (alpha * exp(where(x <= 0, x, 0.0))), g),
    doc="x above 0, alpha * (exp(x) - 1) below; its derivative at 0 is alpha (Clevert et al. 2015).",
)


def _leaky_relu(x: np.ndarray, negative_slope: float) -> np.ndarray:
    return np.where(x > 0, x, x * negative_slope)


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    if choice("gelu", "approximate", approximate, ("none", "tanh")) == "tanh":
        return x * (0.5 * (1 + np.tanh(_GELU_TANH * (x + 0.044715 * x**3))))
    return x * (0.5 * (1 + special.erf(x * math.sqrt(0.5))))


def _gelu_rule(g: Tensor, x: Tensor, approximate: str) -> Tensor:
    """g (P(x) + x p(x)), with the normal distribution's function P and density p; of 'tanh' likewise."""
    if approximate == "tanh":
        t = tanh(_GELU_TANH * (x + 0.044715 * x**3))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_GELU_TANH * (1 + 3 * 0.044715 * x * x)))
    return g * (0.5 * (1 + erf(x * math.sqrt(0.5))) + x * exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))


_GELU_TANH = math.sqrt(2 / math.pi)
gelu = op(
    "gelu",
    lambda x, *, approximate="none": _gelu(x, approximate),
    _gelu_rule,
    doc="x times the standard normal distribution function, or with 'tanh' nearly so (Hendrycks and Gimpel 2016).",
)
silu = op(
    "silu",
    lambda x: x * special.sigmoid(x),
    lambda g, x: g * _silu_slope(x),
    doc="x * sigmoid(x), also called swish (Elfwing et al. 2017).",
)


def _silu_slope(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


hardswish = op(
    "hardswish",
    lambda x: x * (np.minimum(np.maximum(x + 3, 0), 6) / 6),
    lambda g, x: where(x <= -3, 0.0, where(x < 3, g * (where(abs_(x) < 3, x, 0.0) / 3 + 0.5), g)),
    doc="x * relu6(x + 3) / 6; its derivative is 0 at -3 and 1 at 3 (Howard et al. 2019).",
)
relu6 = op(
    "relu6",
    lambda x: np.minimum(np.maximum(x, 0), 6),
    lambda g, x: where((x > 0) & (x < 6), g, 0.0),
    doc="min(max(x, 0), 6); its derivative is 0 at both bounds, and at NaN.",
)
hardtanh = op(
    "hardtanh",
    lambda x, min_val=-1.0, max_val=1.0: _hardtanh(x, min_val, max_val),
    lambda g, x, min_val, max_val: where((x > min_val) & (x < max_val), g, 0.0),
    doc="x limited to [min_val, max_val]; its derivative is 0 at both bounds, and at NaN.",
)


def _hardtanh(x: np.ndarray, min_val: float, max_val: float) -> np.ndarray:
    number("hardtanh", "min_val", min_val, most=number("hardtanh", "max_val", max_val))
    return np.clip(x, min_val, max_val)


def _softplus(x: np.ndarray, beta: float, threshold: float) -> np.ndarray:
    beta, threshold = number("softplus", "beta", beta, above=0), number("softplus", "threshold", threshold)
    return np.where(x * beta > threshold, x, special.softplus(x * beta) / beta)


softplus = op(
    "softplus",
    lambda x, beta=1.0, threshold=20.0: _softplus(x, beta, threshold),
    lambda g, x, beta, threshold: where(x * beta > threshold, g, g * sigmoid(x * beta)),
    doc="log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold.",
)


def selu(x: Any) -> Tensor:
    """1.0507 * elu(x, alpha=1.6733), which keeps mean 0 and variance 1 from layer to layer. Klambauer et al. 2017.

    >>> selu(Tensor([1.0, 0.0]))
    tensor([1.050701, 0.      ])
    """
    return elu(x, alpha=1.6732632423543772848170429916717) * 1.0507009873554804934193349852946


def mish(x: Any) -> Tensor:
    """x * tanh(log(1 + exp(x))). Misra 2019.

    >>> mish(Tensor([1.0, 0.0]))
    tensor([0.8650984, 0.       ])
    """
    return x * tanh(softplus(x))


def logsigmoid(x: Any) -> Tensor:
    """log(sigmoid(x)), without overflow.

    >>> logsigmoid(Tensor([0.0, -1000.0]))
    tensor([-6.931472e-01, -1.000000e+03])
    """
    return -softplus(neg(x), threshold=math.inf)


def prelu(x: Any, weight: Any) -> Tensor:
    """x above 0, weight * x below: weight (1,), or (C,) for the channels of x (N, C, ...). He et al. 2015.

    dx = weight * g and dweight = sum(x * g) where x <= 0.

    Raises ShapeError for a weight of another shape.

    >>> prelu(Tensor([[1.0, -1.0]]), Tensor([0.5, 0.25]))
    tensor([[ 1.  , -0.25]])
    """
    x, weight = as_tensor("prelu", x), as_tensor("prelu", weight, "weight")
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim != 1 or weight.size not in (1, channels):
        raise ShapeError(
            f"prelu: weight must have shape (1,) or ({channels},), one per channel of x (x.shape = {x.shape}), got "
            f"{weight.shape}"
        )
    refuse_mixed_dtypes("prelu", x=x, weight=weight)
    return where(x > 0, x, x * (weight if weight.size == 1 else weight.reshape(-1, *[1] * (x.ndim - 2))))


# ---- comparison and logic: no gradient -------------------------------------------------------------------------

lt = op("lt", np.less, None, doc="a < b.")
le = op("le", np.less_equal, None, doc="a <= b.")
gt = op("gt", np.greater, None, doc="a > b.")
ge = op("ge", np.greater_equal, None, doc="a >= b.")
eq = op("eq", np.equal, None, doc="a == b.")
ne = op("ne", np.not_equal, None, doc="a != b.")
bitwise_and = op("bitwise_and", np.bitwise_and, None, doc="a & b, for booleans and integers.")
bitwise_or = op("bitwise_or", np.bitwise_or, None, doc="a | b, for booleans and integers.")
bitwise_xor = op("bitwise_xor", np.bitwise_xor, None, doc="a ^ b, for booleans and integers.")
invert = op("invert", np.invert, None, doc="~x, for booleans and integers.")
isnan = op("isnan", np.isnan, None, doc="Whether an element is NaN.")
isinf = op("isinf", np.isinf, None, doc="Whether an element is infinite.")
isfinite = op("isfinite", np.isfinite, None, doc="Whether an element is neither NaN nor infinite.")
floor_divide: Op = op("floor_divide", np.floor_divide, None, doc="The integer quotient, rounded down.")
