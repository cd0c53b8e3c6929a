"""Arithmetic, functions of one variable, activations, comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.testing.catalog.common import Errors, refuses_objects, refuses_shapes
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import OpCase, register_op

Values = Callable[[Draw, tuple[int, ...]], np.ndarray]


def _unary(values: Values, **options: Callable[[Draw], Any]) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        x = values(d, d.shape(min_side=0))
        return OpCase((x,), {name: draw(d) for name, draw in options.items()}, d.seed)

    return case


def _binary(values: Values, second: Values | None = None) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        a, b = d.broadcastable(2, min_side=0)
        return OpCase((values(d, a), (second or values)(d, b)), {}, d.seed)

    return case


def _both_grids(d: Draw) -> OpCase:
    """Two arrays with ties between them, or all values of both different."""
    a, b = d.broadcastable(2, min_side=0)
    if d.boolean():
        return OpCase((d.ties(a), d.ties(b)), {}, d.seed)
    values = d.distinct((math.prod(a) + math.prod(b),))
    return OpCase((values[: math.prod(a)].reshape(a), values[math.prod(a) :].reshape(b)), {}, d.seed)


# ---- arithmetic ----------------------------------------------------------------------------------------------------

for _name, _ref in (("add", lambda a, b: a + b), ("sub", lambda a, b: a - b), ("mul", lambda a, b: a * b)):
    register_op(_name, case=_binary(Draw.ints), kind="multilinear", ref=_ref, errors=refuses_shapes(_name))
register_op(
    "div",
    case=_binary(Draw.smooth, Draw.positive),
    kind="analytic",
    ref=lambda a, b: a / b,
    errors=refuses_shapes("div"),
)
register_op("neg", case=_unary(Draw.ints), kind="multilinear", ref=lambda x: 0 - x, errors=refuses_objects("neg"))
register_op(
    "pow",
    case=_binary(Draw.positive, Draw.smooth),
    kind="analytic",
    ref=lambda a, b: np.exp(b * np.log(a)),
    errors=refuses_shapes("pow"),
)
register_op(
    "remainder",
    case=_binary(Draw.smooth, Draw.positive),
    ref=lambda a, b: a - np.floor(a / b) * b,
    errors=refuses_shapes("remainder"),
)
for _name, _ref in (
    ("maximum", lambda a, b: np.where(a > b, a, b)),
    ("minimum", lambda a, b: np.where(a < b, a, b)),
):
    register_op(_name, case=_both_grids, kind="piecewise_linear", ref=_ref, errors=refuses_shapes(_name))


def _where_case(d: Draw) -> OpCase:
    shapes = d.broadcastable(3, min_side=0)
    condition = d.mask(shapes[0])
    if d.integer(0, 3) == 3:
        condition = condition.astype(np.uint8) * np.uint8(2)  # any number but 0 counts as true
    return OpCase((condition, d.ints(shapes[1]), d.ints(shapes[2])), {}, d.seed)


register_op(
    "where",
    case=_where_case,
    kind="multilinear",
    ref=lambda condition, a, b: np.choose((condition != 0).astype(int), [b, a]),
    nondiff=(0,),
    errors=refuses_objects("where", 3),
)


def _clip_case(d: Draw) -> OpCase:
    low, high = d.choice(((-1.0, 1.0), (None, 1.0), (-1.0, None), (0.0, 0.0)))
    values = d.distinct if low == high else d.grid  # constant, so that 1 at the bound is a convention of its own
    return OpCase((values(d.shape(min_side=0)), low, high), {}, d.seed)


register_op(
    "clip",
    case=_clip_case,
    kind="piecewise_linear",
    ref=lambda x, low, high: np.minimum(
        np.maximum(x, -np.inf if low is None else low), np.inf if high is None else high
    ),
    errors=refuses_objects("clip"),
)

# ---- functions of one variable -------------------------------------------------------------------------------------


def _each(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.array([function(float(v)) for v in np.ravel(x)], np.float64).reshape(x.shape)


def _erf(x: np.ndarray) -> np.ndarray:
    return _each(math.erf, x)


_ANALYTIC: dict[str, tuple[Values, Callable[..., Any]]] = {
    "exp": (Draw.smooth, lambda x: np.e**x),
    "expm1": (Draw.smooth, lambda x: np.exp(x) - 1),
    "log": (Draw.positive, lambda x: np.log2(x) * math.log(2)),
    "log1p": (Draw.positive, lambda x: np.log(1 + x)),
    "sqrt": (Draw.positive, lambda x: x**0.5),
    "square": (Draw.smooth, lambda x: x * x),
    "log2": (Draw.positive, lambda x: np.log(x) / math.log(2)),
    "log10": (Draw.positive, lambda x: np.log(x) / math.log(10)),
    "rsqrt": (Draw.positive, lambda x: x**-0.5),
    "reciprocal": (Draw.positive, lambda x: x**-1.0),
    "atan": (Draw.smooth, lambda x: np.angle(1 + 1j * x)),
    "sinh": (Draw.smooth, lambda x: (np.exp(x) - np.exp(-x)) / 2),
    "cosh": (Draw.smooth, lambda x: (np.exp(x) + np.exp(-x)) / 2),
    "sin": (Draw.smooth, lambda x: np.exp(1j * x).imag),
    "cos": (Draw.smooth, lambda x: np.exp(1j * x).real),
    "tan": (lambda d, shape: d.smooth(shape, -1.2, 1.2), lambda x: np.sin(x) / np.cos(x)),
    "tanh": (Draw.smooth, lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)),
    "sigmoid": (Draw.smooth, lambda x: 1 / (1 + np.exp(-x))),
    "erf": (Draw.smooth, _erf),
    "silu": (Draw.smooth, lambda x: x / (1 + np.exp(-x))),
}
for _name, (_values, _ref) in _ANALYTIC.items():
    register_op(_name, case=_unary(_values), kind="analytic", ref=_ref, errors=refuses_objects(_name))

_GRID: dict[str, tuple[Values, Callable[..., Any]]] = {
    "abs": (Draw.grid, lambda x: np.where(x < 0, -x, x)),
    "relu": (Draw.grid, lambda x: np.where(x > 0, x, 0.0)),
    "relu6": (lambda d, shape: d.grid(shape) * 2, lambda x: np.where(x < 0, 0.0, np.where(x > 6, 6.0, x))),
    "sign": (Draw.grid, lambda x: (x > 0) * 1.0 - (x < 0) * 1.0),
    "floor": (Draw.grid, lambda x: _each(math.floor, x)),
    "ceil": (Draw.grid, lambda x: _each(math.ceil, x)),
    "round": (Draw.grid, lambda x: _each(round, x)),
}
for _name, (_values, _ref) in _GRID.items():
    register_op(_name, case=_unary(_values), kind="piecewise_linear", ref=_ref, errors=refuses_objects(_name))

register_op(
    "zeros_like", case=_unary(Draw.ints), kind="multilinear", ref=lambda x: x * 0, errors=refuses_objects("zeros_like")
)
register_op("clone", case=_unary(Draw.ints), kind="multilinear", ref=lambda x: x, errors=refuses_objects("clone"))
register_op(
    "astype",
    case=_unary(Draw.ints, dtype=lambda d: d.choice(("float64", "float32"))),
    kind="multilinear",
    ref=lambda x, dtype: x.astype(dtype),
    errors=refuses_objects("astype", dtype="float32"),
    waive={"dtype": "its output has the dtype that was asked for"},
)

# ---- activations with options --------------------------------------------------------------------------------------

_SLOPES = (0.125, 0.0, 0.01, 2.0)


def _option(name: str, *values: Any) -> dict[str, Callable[[Draw], Any]]:
    return {name: lambda d: d.choice(values)}


def _activation(
    name: str, kind: str, values: Values, ref: Callable[..., Any], **options: Callable[[Draw], Any]
) -> None:
    errors: Errors = refuses_objects(name)
    register_op(name, case=_unary(values, **options), kind=kind, ref=ref, errors=errors)


_activation(
    "leaky_relu",
    "piecewise_linear",
    Draw.grid,
    lambda x, negative_slope: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    **_option("negative_slope", *_SLOPES),
)
_activation(
    "gelu",
    "analytic",
    Draw.smooth,
    lambda x, approximate: (
        x * (1 + _erf(x / math.sqrt(2))) / 2
        if approximate == "none"
        else x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    ),
    **_option("approximate", "none", "tanh"),
)
_activation(
    "elu",
    "piecewise_analytic",
    lambda d, shape: d.ties(shape) if d.boolean() else d.smooth(shape),
    lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    **_option("alpha", 1.0, 0.5, 2.0),
)
_activation(
    "hardswish",
    "piecewise_analytic",
    lambda d, shape: d.ints(shape) if d.boolean() else d.smooth(shape, -5, 5),
    lambda x: x * np.clip(x + 3, 0, 6) / 6,
)
_activation(
    "hardtanh",
    "piecewise_linear",
    Draw.grid,
    lambda x, min_val, max_val: np.where(x < min_val, min_val, np.where(x > max_val, max_val, x)),
    min_val=lambda d: d.choice((-1.0, 0.0)),
    max_val=lambda d: d.choice((1.0, 2.0)),
)
_activation(
    "softplus",
    "piecewise_analytic",
    lambda d, shape: d.smooth(shape, -5, 5),
    lambda x, beta, threshold: np.where(x * beta > threshold, x, np.log(1 + np.exp(np.minimum(x * beta, 700))) / beta),
    beta=lambda d: d.choice((1.0, 2.0)),
    threshold=lambda d: d.choice((20.0, 100.0)),
)

# ---- without gradient ----------------------------------------------------------------------------------------------

for _name, _ref in (
    ("lt", lambda a, b: a - b < 0),
    ("le", lambda a, b: a - b <= 0),
    ("gt", lambda a, b: a - b > 0),
    ("ge", lambda a, b: a - b >= 0),
    ("eq", lambda a, b: a - b == 0),
    ("ne", lambda a, b: a - b != 0),
):
    register_op(_name, case=_binary(Draw.ties), ref=_ref, nondiff=(0, 1), errors=refuses_shapes(_name))
register_op(
    "floor_divide",
    case=_binary(Draw.ints, lambda d, shape: np.abs(d.ints(shape)) + 1),
    ref=lambda a, b: np.floor(a / b),
    nondiff=(0, 1),
    errors=refuses_shapes("floor_divide"),
)
for _name, _ref in (
    ("bitwise_and", lambda a, b: a * b),
    ("bitwise_or", lambda a, b: a + b > 0),
    ("bitwise_xor", lambda a, b: a != b),
):
    register_op(_name, case=_binary(Draw.mask), ref=_ref, nondiff=(0, 1), errors=refuses_objects(_name, 2))
register_op("invert", case=_unary(Draw.mask), ref=lambda x: x == 0, nondiff=(0,), errors=refuses_objects("invert"))


def _extreme(d: Draw, shape: tuple[int, ...]) -> np.ndarray:
    return d.rng.choice([0.0, 1.0, np.inf, -np.inf, np.nan], shape)


register_op(
    "isinf", case=_unary(_extreme), ref=lambda x: np.abs(x) == np.inf, nondiff=(0,), errors=refuses_objects("isinf")
)
register_op("isnan", case=_unary(_extreme), ref=lambda x: x != x, nondiff=(0,), errors=refuses_objects("isnan"))
register_op(
    "isfinite",
    case=_unary(_extreme),
    ref=lambda x: np.abs(x) < np.inf,
    nondiff=(0,),
    errors=refuses_objects("isfinite"),
)
