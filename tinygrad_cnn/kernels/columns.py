"""The ways to convolve a block of images as one product, or tap by tap; `winograd.py` has another, `paths.py` chooses.

A path gets a block of input rows as contiguous memory, padding included, and works on its own form of the weights:

    prepare(w)             w (O, C / groups, *K) in that form
    forward(image, out)    out (b, *output, O) = the windows of image times the weights
    pair(image, g)         the windows of image times g (b, *output, O), summed: the weight gradient in that form
    restore(total)         from that form back to (O, C / groups, *K)

`image` is (b, *spatial, C), or (b, C, *spatial) if the path asks for planes. It may hold more windows than `out`.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .geometry import Geometry
from .layout import Array, windows
from .products import product, sum_of_products
from .workspace import scratch


class Path(ABC):
    """What all paths have; see the module's text."""

    name: ClassVar[str]
    planes: ClassVar[bool] = False  # whether images come as (b, C, *spatial)
    tile: ClassVar[int] = 1  # rows of windows that belong together
    exact: ClassVar[bool] = True  # on small integers, and where windows hold zeros

    def __init__(self, w_shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any]) -> None:
        self.filters, self.channels, *kernel = w_shape  # channels: of one group
        self.kernel = tuple(kernel)
        self.geometry = geometry
        self.dtype = dtype
        self.form: Any = None

    @classmethod
    def applies(cls, w_shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any]) -> bool:
        return True

    @classmethod
    @abstractmethod
    def cost(cls, w_shape: Sequence[int], geometry: Geometry, output: Sequence[int]) -> float:
        """Nanoseconds an image on one core: a rough scale, made to compare paths and to see what threads pay for."""

    @abstractmethod
    def prepare(self, w: Array) -> None:
        """Take weights (O, C / groups, *K) in this path's form."""

    @abstractmethod
    def forward(self, image: Array, out: Array) -> None:
        """Write the windows of image times the weights into out."""

    @abstractmethod
    def pair(self, image: Array, g: Array) -> Array:
        """The windows of image times g, summed: the weight gradient in this path's form."""

    @abstractmethod
    def restore(self, total: Array) -> Array:
        """A weight gradient from this path's form back to (O, C / groups, *K)."""

    def bytes_per_row(self, output: Sequence[int]) -> int:
        """Memory that the windows of one row take."""
        channels = self.channels * self.geometry.groups
        return math.prod(output[1:]) * math.prod(self.kernel) * channels * self.dtype.itemsize


# Measured on 2 cores with AVX-512. What counts is their ratios: a product against a copy against a call.
_PER_MULTIPLICATION = 0.019  # of a matrix product
_PER_COPY = 0.06  # of an element that is copied
PER_RUN = 6.0  # of a contiguous run of them
PER_PASS = 0.12  # of an element that is read, computed with and written


def product_cost(rows: float, inner: float, columns: float) -> float:
    """BLAS fills its registers with 4 to 16 rows and columns: narrow products cost more than their share."""
    return rows * (inner + 8) * (columns + 4) * _PER_MULTIPLICATION


def copy_cost(elements: float, run: float) -> float:
    return elements * (_PER_COPY + PER_RUN / max(run, 1))


class Columns(Path):
    """One row per window ("im2col"), (M, K) @ (K, O): for everything.

    In channels-last memory a row of a window is kernel_width * C neighbours, so that the copy costs little next to
    the product, and (M, K) @ (K, O) with tall M is the orientation that BLAS is fastest in.
    """

    name = "columns"

    @classmethod
    def cost(cls, w_shape: Sequence[int], geometry: Geometry, output: Sequence[int]) -> float:
        filters, channels, *kernel = w_shape
        m, k, groups = math.prod(output), math.prod(kernel) * channels, geometry.groups
        run = channels * (kernel[-1] if geometry.dilation[-1] == 1 and groups == 1 else 1)
        copied = 0 if _is_pointwise(kernel, geometry) else m * k * groups
        return copy_cost(copied, run) + groups * product_cost(m, k, filters / groups)

    def prepare(self, w: Array) -> None:
        groups, d = self.geometry.groups, len(self.kernel)
        w = w.reshape(groups, self.filters // groups, self.channels, *self.kernel)
        w = w.transpose(0, *range(3, 3 + d), 2, 1)
        self.form = np.ascontiguousarray(w).reshape(groups, -1, self.filters // groups)

    def forward(self, image: Array, out: Array) -> None:
        columns = self._columns(image, out.shape[1:-1])
        product(columns, self.form, out=by_group(out, self.geometry.groups))

    def pair(self, image: Array, g: Array) -> Array:
        columns = self._columns(image, g.shape[1:-1])
        return sum_of_products(columns.transpose(0, 2, 1), by_group(g, self.geometry.groups))

    def restore(self, total: Array) -> Array:
        groups, d = self.geometry.groups, len(self.kernel)
        dw = total.reshape(groups, *self.kernel, self.channels, self.filters // groups)
        dw = dw.transpose(0, d + 2, d + 1, *range(1, d + 1))
        return np.ascontiguousarray(dw).reshape(self.filters, self.channels, *self.kernel)

    def _columns(self, image: Array, output: Sequence[int]) -> Array:
        """One row per window, ordered by tap and channel: (groups, M, K)."""
        groups, d = self.geometry.groups, len(self.kernel)
        m = len(image) * math.prod(output)
        if _is_pointwise(self.kernel, self.geometry) and image.shape[1:-1] == tuple(output):
            columns = image.reshape(m, groups, self.channels)
        else:
            view = windows(image, self.kernel, self.geometry.stride, self.geometry.dilation)
            view = view[(slice(None), *map(slice, output))]
            view = view.reshape(*view.shape[:-1], groups, self.channels)  # a view still: only an axis is split
            view = view.transpose(*range(1 + d), 1 + 2 * d, *range(1 + d, 1 + 2 * d), 2 + 2 * d)
            columns = scratch("columns", view.shape, image.dtype)
            np.copyto(columns, view)
            columns = columns.reshape(m, groups, -1)
        return columns.transpose(1, 0, 2)


class Planes(Path):
    """One column per window, from planes (C, H, W): for few channels, whose rows of windows would be too short to copy.

    The product is that of the transposed columns, which BLAS reads as well.
    """

    name = "planes"
    planes = True

    @classmethod
    def applies(cls, w_shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any]) -> bool:
        return geometry.groups == 1

    @classmethod
    def cost(cls, w_shape: Sequence[int], geometry: Geometry, output: Sequence[int]) -> float:
        filters, channels, *kernel = w_shape
        m, k = math.prod(output), math.prod(kernel) * channels
        run = output[-1] if geometry.stride[-1] == 1 else 1
        to_planes = copy_cost(m * channels, min(channels, 4))
        return to_planes + copy_cost(m * k, run) + product_cost(m, k, filters) * 1.1

    def prepare(self, w: Array) -> None:
        self.form = w.reshape(self.filters, -1).T

    def forward(self, image: Array, out: Array) -> None:
        columns = self._columns(image, out.shape[1:-1])
        product(columns.T, self.form, out=out.reshape(-1, self.filters))

    def pair(self, image: Array, g: Array) -> Array:
        return sum_of_products(self._columns(image, g.shape[1:-1]), g.reshape(-1, self.filters))

    def restore(self, total: Array) -> Array:
        return np.ascontiguousarray(total.T).reshape(self.filters, self.channels, *self.kernel)

    def _columns(self, image: Array, output: Sequence[int]) -> Array:
        """One column per window, ordered by channel and tap: (K, M)."""
        batch, channels, *size = image.shape
        d = len(size)
        view = windows(image.reshape(-1, *size, 1), self.kernel, self.geometry.stride, self.geometry.dilation)
        view = view[(slice(None), *map(slice, output))].reshape(batch, channels, *output, *self.kernel)
        view = view.transpose(1, *range(2 + d, 2 + 2 * d), 0, *range(2, 2 + d))
        columns = scratch("columns", view.shape, image.dtype)
        np.copyto(columns, view)
        return columns.reshape(channels * math.prod(self.kernel), -1)


class Depthwise(Path):
    """One filter per channel: for each tap a multiplication and an addition of shifted images."""

    name = "depthwise"

    @classmethod
    def applies(cls, w_shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any]) -> bool:
        return w_shape[1] == 1 and w_shape[0] == geometry.groups

    @classmethod
    def cost(cls, w_shape: Sequence[int], geometry: Geometry, output: Sequence[int]) -> float:
        elements, taps = math.prod(output) * w_shape[0], math.prod(w_shape[2:])
        run = w_shape[0] * (output[-1] if geometry.stride[-1] == 1 else 1)
        return 2 * taps * elements * (PER_PASS + PER_RUN / max(run, 1))

    def bytes_per_row(self, output: Sequence[int]) -> int:
        return math.prod(output[1:]) * self.filters * self.dtype.itemsize * 4  # what a tap reads and writes

    def prepare(self, w: Array) -> None:
        self.form = np.ascontiguousarray(w.reshape(self.filters, -1).T)  # (taps, C)

    def forward(self, image: Array, out: Array) -> None:
        share = scratch("share", out.shape, out.dtype)
        # Weights repeated along the row: NumPy then runs over whole rows, not over one pixel's channels.
        weights = scratch("weights", (len(self.form), *out.shape[-2:]), out.dtype)
        weights[...] = self.form[:, np.newaxis]
        for tap, pixels in enumerate(self._shifted(image, out.shape[1:-1])):
            np.multiply(pixels, weights[tap], out=share if tap else out)
            if tap:
                out += share

    def pair(self, image: Array, g: Array) -> Array:
        share = scratch("share", g.shape, g.dtype)
        rows = share.reshape(math.prod(g.shape[:-1]), self.filters)
        ones = np.ones(len(rows), g.dtype)
        total = np.empty((math.prod(self.kernel), self.filters), g.dtype)
        for tap, pixels in enumerate(self._shifted(image, g.shape[1:-1])):
            np.multiply(pixels, g, out=share)
            np.matmul(ones, rows, out=total[tap])
        return total

    def restore(self, total: Array) -> Array:
        return np.ascontiguousarray(total.T).reshape(self.filters, 1, *self.kernel)

    def _shifted(self, image: Array, output: Sequence[int]) -> list[Array]:
        """For each tap the pixels that it reads, (b, *output, C)."""
        g = self.geometry
        per_axis = [
            [slice(tap * d, tap * d + (n - 1) * s + 1, s) for tap in range(k)]
            for n, k, s, d in zip(output, self.kernel, g.stride, g.dilation, strict=True)
        ]
        return [image[(slice(None), *at)] for at in itertools.product(*per_axis)]


def by_group(y: Array, groups: int) -> Array:
    """View (b, *S, C) as (groups, M, C / groups)."""
    return y.reshape(math.prod(y.shape[:-1]), groups, y.shape[-1] // groups).transpose(1, 0, 2)


def _is_pointwise(kernel: Sequence[int], geometry: Geometry) -> bool:
    return all(k == 1 for k in kernel) and all(s == 1 for s in geometry.stride)
