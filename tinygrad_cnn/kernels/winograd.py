"""Winograd's convolution: fewer multiplications for kernels of three rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .columns import PER_PASS, Path, copy_cost, product_cost
from .geometry import Geometry
from .layout import Array, windows
from .products import product, sum_of_products
from .workspace import scratch


class NotFinite(ArithmeticError):
    """A path that adds zeros times pixels met an infinity or a NaN, which only `Columns` keeps in its place."""


def _toom_cook(outputs: int, points: Sequence[Fraction | int]) -> tuple[Array, Array, Array]:
    """Matrices A, B, G with y_i = sum_j x_(i+j) w_j = sum_k A_ik (B x)_k (G w)_k, i < outputs, j < 3, and few k.

    The coefficients of a product of two polynomials of degrees outputs - 1 and 2 are interpolated from its values at
    outputs + 1 points and its leading coefficient ("at infinity"); correlation is the transpose of that product
    (Toom 1963, Cook 1966, Winograd 1980).
    """
    rows = [[p**i for p in points] + [int(i == outputs - 1)] for i in range(outputs)]
    others = [[q for q in points if q != p] for p in points]
    weights = [[p**j / math.prod((p - q for q in rest), start=Fraction(1)) for j in range(3)]
               for p, rest in zip(points, others, strict=True)]  # fmt: skip
    pixels = [[*_with_roots(rest), 0] for rest in others]
    return _floats(rows), _floats([*pixels, _with_roots(points)]), _floats([*weights, [0, 0, 1]])


def _floats(rows: Sequence[Sequence[Fraction | int]]) -> Array:
    return np.array([[float(v) for v in row] for row in rows])


def _with_roots(roots: Sequence[Fraction | int]) -> list[Fraction | int]:
    """The coefficients of prod (x - root), the constant first."""
    coefficients: list[Fraction | int] = [1]
    for root in roots:
        shifted, scaled = [0, *coefficients], [*(root * c for c in coefficients), 0]
        coefficients = [high - low for high, low in zip(shifted, scaled, strict=True)]
    return coefficients


class Winograd(Path):
    """Kernels of three rows with two thirds of the multiplications: F(2, 3), along the rows alone.

    Two neighbouring outputs of a three-tap filter need four products instead of six (Winograd 1980; Lavin and Gray
    2016). As a trilinear form, with rows k of three small matrices,

        <conv(x, w), g>  =  sum_k (B x)_k (G w)_k (A' g)_k

    for every two rows g of the output and the four rows x that they see; the products over channels, filters and the
    kernel's other axes stay what they were. Halves and small integers are all there is in A, B and G: integers stay
    exact, and the rounding error is that of the plain sum.
    """

    name = "winograd"
    tile = 2
    a, b, g = _toom_cook(2, (0, 1, -1))

    @classmethod
    def applies(cls, w_shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any]) -> bool:
        rows = w_shape[2], geometry.stride[0], geometry.dilation[0]
        return rows == (3, 1, 1) and geometry.groups == 1 and dtype == np.float32

    @classmethod
    def cost(cls, w_shape: Sequence[int], geometry: Geometry, output: Sequence[int]) -> float:
        filters, channels, _, *kernel = w_shape
        tiles = -(-output[0] // cls.tile)
        m, k = math.prod(output[1:]) * tiles * len(cls.b), math.prod(kernel) * channels
        run = channels * (kernel[-1] if kernel and geometry.dilation[-1] == 1 else 1)
        transforms = PER_PASS * m * (channels + filters)
        return transforms + copy_cost(m * k, run) + product_cost(m, k, filters)

    def __init__(self, w_shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any]) -> None:
        super().__init__(w_shape, geometry, dtype)
        self.a, self.b, self.g = (matrix.astype(dtype) for matrix in (self.a, self.b, self.g))

    def prepare(self, w: Array) -> None:
        weights = np.tensordot(self.g, w, (1, 2))  # (terms, O, C, *K[1:])
        self.form = np.ascontiguousarray(np.moveaxis(weights, (1, 2), (-1, -2))).reshape(len(self.g), -1, self.filters)
        _check_finite(self.form)

    def forward(self, image: Array, out: Array) -> None:
        columns, tiles = self._columns(image, out.shape[1:-1])
        products = scratch("products", (*columns.shape[:2], self.filters), image.dtype)
        product(columns, self.form, out=products)
        batch, rows = out.shape[:2]
        whole = rows == tiles * self.tile
        y = out if whole else scratch("rows", (batch, tiles * self.tile, *out.shape[2:]), out.dtype)
        by_term = products.reshape(len(self.b), batch * tiles, -1).transpose(1, 0, 2)
        np.matmul(self.a, by_term, out=y.reshape(batch * tiles, self.tile, -1))
        if not whole:
            np.copyto(out, y[:, :rows])

    def pair(self, image: Array, g: Array) -> Array:
        columns, tiles = self._columns(image, g.shape[1:-1])
        _check_finite(g)
        batch, rows = g.shape[:2]
        if rows != tiles * self.tile:
            filled = scratch("rows", (batch, tiles * self.tile, *g.shape[2:]), g.dtype)
            filled[:, :rows], filled[:, rows:] = g, 0
            g = filled
        terms = scratch("products", (*columns.shape[:2], self.filters), g.dtype)
        by_tile = terms.reshape(len(self.b), batch * tiles, -1).transpose(1, 0, 2)
        np.matmul(self.a.T, g.reshape(batch * tiles, self.tile, -1), out=by_tile)
        return sum_of_products(columns.transpose(0, 2, 1), terms)

    def restore(self, total: Array) -> Array:
        weights = total.reshape(len(self.g), *self.kernel[1:], self.channels, self.filters)
        dw = np.tensordot(self.g, weights, (0, 0))  # (3, *K[1:], C, O)
        return np.ascontiguousarray(np.moveaxis(dw, (-1, -2), (0, 1)))

    def bytes_per_row(self, output: Sequence[int]) -> int:
        return super().bytes_per_row(output) // 3 * len(self.b) // self.tile

    def _columns(self, image: Array, output: Sequence[int]) -> tuple[Array, int]:
        """Columns of the transformed rows, (terms, M, K), and the number of tiles along the rows."""
        _check_finite(image)
        batch, span, *rest, channels = image.shape
        terms, tiles, row = len(self.b), -(-output[0] // self.tile), math.prod(rest) * channels
        strides = [image.itemsize * n for n in (span * row, self.tile * row, row, 1)]
        pixels = np.ndarray((batch, tiles, terms, row), image.dtype, image, 0, strides)
        transformed = scratch("transformed", pixels.shape, image.dtype)
        np.matmul(self.b, pixels, out=transformed)
        lines = transformed.reshape(batch * tiles * terms, *rest, channels)
        view = windows(lines, self.kernel[1:], self.geometry.stride[1:], self.geometry.dilation[1:])
        view = view[(slice(None), *map(slice, output[1:]))]
        view = view.reshape(batch * tiles, terms, *view.shape[1:]).swapaxes(0, 1)
        columns = scratch("columns", view.shape, image.dtype)
        np.copyto(columns, view)
        return columns.reshape(terms, batch * tiles * math.prod(output[1:]), -1), tiles


class FastWinograd(Winograd):
    """F(4, 3): half of the multiplications, and about twice the rounding error of the plain sum.

    Four outputs see six rows. With the points 0, +-3/4, +-3/2 the errors are smallest (with 0, +-1, +-2 half as large
    again), but integers are no longer exact, and where a window holds nothing but zeros there may be rounding left
    from its neighbours. So it is used in fast math alone.
    """

    name = "fast winograd"
    tile = 4
    a, b, g = _toom_cook(4, (0, Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)))
    exact = False


def _check_finite(a: Array) -> None:
    """Raise NotFinite for an infinity or a NaN, or numbers whose squares overflow."""
    flat = a.reshape(-1)
    if not math.isfinite(np.dot(flat, flat)):
        raise NotFinite
