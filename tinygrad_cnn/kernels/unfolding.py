"""Windows as columns (unfold, "im2col") and the sum of overlapping columns (fold), its adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .convolution import Geometry
from .layout import Array, channels_first, channels_last, taps, windows
from .padding import pad


def unfold(x: Array, kernel: Sequence[int], geometry: Geometry) -> Array:
    """Copy the windows of x (N, C, *S) into columns (N, C * prod(kernel), prod(output))."""
    padded = pad(channels_last(x), ((0, 0), *geometry.padding, (0, 0)))
    view = windows(padded, kernel, geometry.stride, geometry.dilation)  # (N, *output, *kernel, C)
    d = len(kernel)
    view = view.transpose(0, 1 + 2 * d, *range(1 + d, 1 + 2 * d), *range(1, 1 + d))
    return view.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(view.shape[2 + d :]))


def fold(columns: Array, size: Sequence[int], kernel: Sequence[int], geometry: Geometry) -> Array:
    """Add columns (N, C * prod(kernel), prod(output)) at their windows in zeros of (N, C, *size)."""
    batch, rows, _ = columns.shape
    channels, output = rows // math.prod(kernel), geometry.output_shape(size, kernel)
    columns = columns.reshape(batch, channels, math.prod(kernel), *output)
    x = np.zeros((batch, *size, channels), columns.dtype)
    for tap, pixels, outputs in taps(size, output, kernel, geometry.stride, geometry.padding, geometry.dilation):
        x[pixels] += np.moveaxis(columns[:, :, tap], 1, -1)[outputs]
    return channels_first(x)
