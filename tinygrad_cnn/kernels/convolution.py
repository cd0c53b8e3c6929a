"""Convolution in any number of dimensions, as products of matrices.

One trilinear form, <conv(x, w), g>, has three derivatives, and they are the three kernels of this file:

    conv(x, w)                  y[n, o, p] = sum_ct x[n, c, stride * p + dilation * t - before] * w[o, c, t]
    conv_input_gradient(g, w)   the adjoint in x: the transposed convolution
    conv_weight_gradient(x, g)  the adjoint in w

It is cross-correlation: the kernel is not turned. A copy of windows to rows ("im2col", cheap in channels-last
memory) makes each a product (M, K) @ (K, O) with tall M = N * prod(output), the orientation that BLAS is
fastest in. Arguments are taken as valid; operations check them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .layout import Array, Pairs, channels_first, channels_last, taps, windows
from .padding import pad


class Geometry(NamedTuple):
    """Where the windows of a convolution lie; one entry per spatial axis."""

    stride: tuple[int, ...]
    padding: Pairs  # (before, after); a negative amount crops
    dilation: tuple[int, ...]
    groups: int

    def output_shape(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """Number of windows along each spatial axis."""
        per_axis = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(output_size(n, k, s, before, after, d) for n, k, s, (before, after), d in per_axis)


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Windows that fit: floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """Correlate x (N, C, *S) with w (O, C / groups, *K); returns (N, O, *output), channels-last in memory."""
    output = geometry.output_shape(x.shape[2:], w.shape[2:])
    rows = _columns(x, w.shape[2:], output, geometry)
    y = _matmul_by_group(rows, _weight_matrices(w, geometry.groups))
    return channels_first(y.reshape(x.shape[0], *output, w.shape[0]))


def conv_input_gradient(g: Array, w: Array, x_shape: Sequence[int], geometry: Geometry) -> Array:
    """Adjoint of conv in x, g (N, O, *output) -> (N, C, *S) = x_shape; pixels that no window reads get 0."""
    batch, channels, *size = x_shape
    output, kernel = g.shape[2:], w.shape[2:]
    rows = channels_last(g).reshape(batch * math.prod(output), w.shape[0])
    dx = np.zeros((batch, *size, channels), np.result_type(g, w))
    weights = _weights_by_tap(w, geometry.groups)
    for tap, pixels, outputs in taps(size, output, kernel, geometry.stride, geometry.padding, geometry.dilation):
        share = _matmul_by_group(rows, weights[tap]).reshape(batch, *output, channels)
        dx[pixels] += share[outputs]
    return channels_first(dx)


def conv_weight_gradient(x: Array, g: Array, w_shape: Sequence[int], geometry: Geometry) -> Array:
    """Adjoint of conv in w, x (N, C, *S) and g (N, O, *output) -> (O, C / groups, *K) = w_shape."""
    out_channels, in_channels, *kernel = w_shape
    groups = geometry.groups
    columns = _split(_columns(x, kernel, g.shape[2:], geometry), groups)
    rows = _split(channels_last(g).reshape(columns.shape[1], out_channels), groups)
    dw = columns.transpose(0, 2, 1) @ rows  # (groups, prod(K) * C / groups, O / groups)
    dw = dw.reshape(groups, *kernel, in_channels, out_channels // groups)
    return dw.transpose(0, dw.ndim - 1, dw.ndim - 2, *range(1, dw.ndim - 2)).reshape(w_shape)


def _columns(x: Array, kernel: Sequence[int], output: Sequence[int], geometry: Geometry) -> Array:
    """One row per window, ordered by group, tap and channel: (N * prod(output), prod(K) * C)."""
    padded = pad(channels_last(x), ((0, 0), *geometry.padding, (0, 0)))
    view = windows(padded, kernel, geometry.stride, geometry.dilation)
    view = view[(slice(None), *map(slice, output))]  # a transposed convolution may use fewer windows than fit
    d, groups, channels = len(kernel), geometry.groups, x.shape[1]
    view = view.reshape(*view.shape[:-1], groups, channels // groups)  # a view still: only an axis is split
    view = view.transpose(*range(1 + d), 1 + 2 * d, *range(1 + d, 1 + 2 * d), 2 + 2 * d)
    return view.reshape(x.shape[0] * math.prod(output), math.prod(kernel) * channels)


def _weight_matrices(w: Array, groups: int) -> Array:
    """(O, C / groups, *K) -> (groups, prod(K) * C / groups, O / groups), rows ordered as `_columns`."""
    out_channels, in_channels, *kernel = w.shape
    w = w.reshape(groups, out_channels // groups, in_channels, *kernel)
    w = w.transpose(0, *range(3, w.ndim), 2, 1)
    return w.reshape(groups, math.prod(kernel) * in_channels, out_channels // groups)


def _weights_by_tap(w: Array, groups: int) -> Array:
    """(O, C / groups, *K) -> contiguous (prod(K), groups, O / groups, C / groups)."""
    out_channels, in_channels, *kernel = w.shape
    w = w.reshape(groups, out_channels // groups, in_channels, math.prod(kernel))
    return np.ascontiguousarray(w.transpose(3, 0, 1, 2))


def _matmul_by_group(rows: Array, matrices: Array) -> Array:
    """(M, groups * K) times (groups, K, J), group by group: (M, groups * J)."""
    groups, _, width = matrices.shape
    if groups == 1:
        return np.matmul(rows, matrices[0])
    out = np.empty((rows.shape[0], groups * width), np.result_type(rows, matrices))
    np.matmul(_split(rows, groups), matrices, out=_split(out, groups))
    return out


def _split(rows: Array, groups: int) -> Array:
    """View (M, groups * K) as (groups, M, K)."""
    return rows.reshape(rows.shape[0], groups, rows.shape[1] // groups).transpose(1, 0, 2)
