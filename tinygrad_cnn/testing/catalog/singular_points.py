"""Exact points: where no derivative exists, or infinities and ties meet, values and gradients are conventions.

PyTorch's, as listed in docs/conventions.md. Differences can not tell one convention from another; this table can.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_cnn.testing.specs import PointCase, add_points

inf, nan = math.inf, math.nan

_UNARY: dict[str, tuple[tuple[list[float], list[float], list[float]], ...]] = {  # x, y, dx for g = 1
    "abs": (([-1, 0, 1, -inf], [1, 0, 1, inf], [-1, 0, 1, -1]),),
    "sign": (([-2, 0, 2, inf], [-1, 0, 1, 1], [0, 0, 0, 0]),),
    "sqrt": (([0, 4, inf, -1], [0, 2, inf, nan], [inf, 0.25, 0, nan]),),
    "log": (([0, 1, inf], [-inf, 0, inf], [inf, 1, 0]),),
    "reciprocal": (([0, 2, inf], [inf, 0.5, 0], [-inf, -0.25, 0]),),
    "square": (([0, -3], [0, 9], [0, -6]),),
    "exp": (([-inf, 0, 1e4], [0, 1, inf], [0, 1, inf]),),
    "expm1": (([-inf, 0, 1e-20], [-1, 0, 1e-20], [0, 1, 1]),),
    "log1p": (([-1, 0, 1e-20], [-inf, 0, 1e-20], [inf, 1, 1]),),
    "tanh": (([-1e4, 0, 1e4], [-1, 0, 1], [0, 1, 0]),),
    "sigmoid": (([-1e4, 0, 1e4, -inf, inf], [0, 0.5, 1, 0, 1], [0, 0.25, 0, 0, 0]),),
    "gelu": (([-1e4, 0, 1e4], [0, 0, 1e4], [0, 0.5, 1]),),
    "silu": (([-1e4, 0, 1e4], [0, 0, 1e4], [0, 0.5, 1]),),
    "softplus": (([-1e4, 0, 1e4], [0, math.log(2), 1e4], [0, 0.5, 1]),),
    "relu6": (([-inf, 0, 3, 6, 7, inf, nan], [0, 0, 3, 6, 6, 6, nan], [0, 0, 1, 0, 0, 0, 0]),),
    "hardtanh": (([-2, -1, 0, 1, 2], [-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),),
    "hardswish": (([-4, -3, 0, 3, 4, inf], [0, 0, 0, 3, 4, inf], [0, 0, 0.5, 1, 1, 1]),),
    "elu": (([-inf, 0, 1, inf], [-1, 0, 1, inf], [0, 1, 1, 1]),),
    "leaky_relu": (([-100, 0, 1, inf, nan], [-1, 0, 1, inf, nan], [0.01, 0.01, 1, 1, 0.01]),),
}

_ROWS: dict[str, tuple[tuple[list[Any], dict[str, Any], Any, list[Any]], ...]] = {  # x, options, y, dx for g = 1
    "amax": (
        ([3.0, 3, 1, 3], {}, 3.0, [1 / 3, 1 / 3, 0, 1 / 3]),
        ([1.0, nan], {}, nan, [0, 1]),
        ([0.0] * 70_000, {}, 0.0, [1 / 70_000] * 70_000),  # more ties than half precision can count
    ),
    "amin": (
        ([3.0, 1, 1], {}, 1.0, [0, 0.5, 0.5]),
        ([nan, 1.0], {}, nan, [1, 0]),
        ([0.0] * 70_000, {}, 0.0, [1 / 70_000] * 70_000),
    ),
    "max": (
        ([[1.0, 3, 3], [2, nan, nan]], {"axis": 1}, [3, nan], [[0, 1, 0], [0, 1, 0]]),
        ([[-inf, -inf]], {"axis": 1}, [-inf], [[1, 0]]),
    ),
    "min": (([[3.0, 1, 1], [nan, 0, nan]], {"axis": 1}, [1, nan], [[0, 1, 0], [1, 0, 0]]),),
    "prod": (
        ([0.0, 2, 3], {}, 0.0, [6, 0, 0]),
        ([0.0, 0, 3], {}, 0.0, [0, 0, 0]),
    ),
    "norm": (([0.0, 0], {}, 0.0, [0, 0]), ([3.0, 4], {}, 5.0, [0.6, 0.8])),
    "std": (([2.0, 2, 2], {}, 0.0, [0, 0, 0]),),
    "var": (
        ([5.0], {"correction": 1}, nan, [nan]),
        ([5.0], {}, 0.0, [0]),
        ([1e8, 1e8 + 1], {}, 0.25, [-0.5, 0.5]),  # E[x²] - E[x]² cancels
    ),
    "mean": (([], {}, nan, []),),
    "logsumexp": (
        ([1e3, 1e3], {}, 1e3 + math.log(2), [0.5, 0.5]),
        ([-inf, 0], {}, 0.0, [0, 1]),
        ([-inf, -inf], {}, -inf, [0, 0]),
        ([-1e4, 1e4], {}, 1e4, [0, 1]),
    ),
}


def _unary() -> Iterator[tuple[str, PointCase]]:
    for name, points in _UNARY.items():
        for x, y, dx in points:
            yield name, PointCase((_array(x),), {}, _array(y), (_array(dx),))
    x, y = [-inf, -1, -0.0, 0, 1, inf, nan], [0, 0, 0, 0, 1, inf, nan]
    for g in (1.0, inf):  # what is not passed on is 0, not 0 * inf
        yield "relu", PointCase((_array(x),), {}, _array(y), (_array([0, 0, 0, 0, g, g, g]),), np.full(7, g))
    x, y = [-2, -1, 0, 1, 2], [-1, -1, 0, 1, 1]
    yield "clip", PointCase((_array(x), -1.0, 1.0), {}, _array(y), (_array([0, 1, 1, 1, 0]),))
    kept = {"mask": np.array([False, True]), "scale": 2.0}
    yield "dropout", PointCase((_array([inf, 1]),), kept, _array([0, 2]), (_array([0, inf]),), _array([inf, inf]))


def _binary() -> Iterator[tuple[str, PointCase]]:
    a, b = _array([1, 1, nan, 1]), _array([1, 2, 1, nan])
    yield "maximum", PointCase((a, b), {}, _array([1, 2, nan, nan]), (_array([0.5, 0, 1, 1]), _array([0.5, 1, 1, 1])))
    yield "minimum", PointCase((a, b), {}, _array([1, 1, nan, nan]), (_array([0.5, 1, 1, 1]), _array([0.5, 0, 1, 1])))
    a, b = _array([0, 0, 0, 2]), _array([0, 1, 2, 0])
    db = _array([0, 0, 0, math.log(2)])
    yield "pow", PointCase((a, b), {}, _array([1, 0, 0, 1]), (_array([0, 1, 0, 0]), db))
    for exponent, slope in ((0, 0), (1, 1), (2, 0), (0.5, inf)):
        yield "pow", PointCase((_array([0]), exponent), {}, _array([0.0**exponent]), (_array([slope]),))
    condition = np.array([True, False])
    yield "where", PointCase((condition, _array([1, 2]), _array([3, 4])), {}, _array([1, 4]),
                             (None, _array([inf, 0]), _array([0, inf])), _array([inf, inf]))  # fmt: skip
    yield "div", PointCase((_array([1]), _array([0])), {}, _array([inf]), (_array([inf]), _array([-inf])))


def _rows() -> Iterator[tuple[str, PointCase]]:
    for name, points in _ROWS.items():
        for x, options, y, dx in points:
            yield name, PointCase((_array(x),), options, _array(y), (_array(dx),))
    g = _array([[1, 2]])
    for x, y, dx in (([[-1e4, 1e4]], [[0, 1]], [[0, 0]]), ([[-inf, 0]], [[0, 1]], [[0, 0]])):
        yield "softmax", PointCase((_array(x),), {}, _array(y), (_array(dx),), g)
    for x, y, dx in (([[-1e4, 1e4]], [[-2e4, 0]], [[1, -1]]), ([[-inf, 0]], [[-inf, 0]], [[1, -1]])):
        yield "log_softmax", PointCase((_array(x),), {}, _array(y), (_array(dx),), g)
    two_rows = _array([[0, 0], [1e3, 1e3]])
    yield "softmax", PointCase((two_rows,), {}, np.full((2, 2), 0.5), (np.zeros((2, 2)),))
    for x, label, y, dx in (([-1e4, 1e4], 0, 2e4, [-1, 1]), ([0, -inf], 0, 0, [0, 0]), ([1e4, -1e4], 0, 0, [0, 0])):
        yield "cross_entropy", PointCase((_array([x]), np.array([label])), {}, _array(y), (_array([dx]),))
    nothing = np.array([-100, -100])
    for name in ("cross_entropy", "nll_loss"):
        yield name, PointCase((np.ones((2, 3)), nothing), {}, _array(0), (np.zeros((2, 3)),))
        yield name, PointCase((np.ones((0, 3)), nothing[:0]), {}, _array(0), (np.zeros((0, 3)),))
    log_p = _array([[-inf, -1], [0, -1]])
    yield "nll_loss", PointCase((log_p, np.array([1, -100])), {}, _array(1), (_array([[0, -1], [0, 0]]),))
    yield "nll_loss", PointCase((log_p, np.array([-100, 0])), {}, _array(0), (_array([[0, 0], [-1, 0]]),))
    logits, target = _array([-1e4, 1e4, -1e4, 1e4]), _array([0, 1, 1, 0])
    name, total = "binary_cross_entropy_with_logits", {"reduction": "sum"}
    yield name, PointCase((logits, target), total, _array(2e4), (_array([0, 0, -1, 1]),))
    yield "kl_div", PointCase((_array([-1, -1]), _array([0, 1])), total, _array(1), (_array([0, -1]),))


def _normalisation() -> Iterator[tuple[str, PointCase]]:
    x, half = _array([[1e8], [1e8 + 1]]), 0.5 / math.sqrt(0.25 + 1e-5)
    yield "batch_norm", PointCase((x, None, None), {"axes": (0,), "eps": 1e-5}, _array([[-half], [half]]), (None,))


def _pools() -> Iterator[tuple[str, PointCase]]:
    def pool(x: list[float], y: list[float], dx: list[float], **options: Any) -> tuple[str, PointCase]:
        return "max_pool1d", PointCase((_array([[x]]),), options, _array([[y]]), (_array([[dx]]),))

    yield pool([-5, -3], [-5, -3, -3], [1, 2], kernel_size=2, stride=1, padding=1)  # padding is below all
    yield pool([-1e10, -2e10], [-1e10], [1, 0], kernel_size=2)
    yield pool([-inf, -inf], [-inf] * 3, [2, 1], kernel_size=2, stride=1, padding=1)
    yield pool([2, 2, 2], [2, 2], [1, 1, 0], kernel_size=2, stride=1)  # the first of equals
    yield pool([1, nan, nan], [nan], [0, 1, 0], kernel_size=3)
    x = np.array([[[1, 3]]])
    yield "max_pool1d", PointCase((x, 2), {}, np.array([[[3]]]), ())  # integers stay integers
    first = _array([[[[1, 0], [0, 0]]]])
    yield "max_pool2d", PointCase((np.ones((1, 1, 2, 2)), 2), {}, np.ones((1, 1, 1, 1)), (first,))


def _array(values: Any) -> np.ndarray:
    return np.array(values, np.float64)


for _points in (_unary, _binary, _rows, _normalisation, _pools):
    for _name, _point in _points():
        add_points(_name, _point)
