"""Images of another size: nearest and bilinear resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, choice, flag
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import interpolation as kernels
from tinygrad_cnn.operations.geometry import AXES, per_axis

_RULES = {"nearest": kernels.nearest, "bilinear": kernels.linear}
MODES = tuple(_RULES)

# Option steps: how far apart in the image neighbouring pixels of the result lie, one per spatial axis; see the kernels.
_interpolate: Op = op(
    "interpolate",
    lambda x, *, size, steps, offset, mode: kernels.resample(x, _taps(x.shape[2:], size, steps, offset, mode)),
    lambda g, x_shape, steps, offset, mode: _interpolate_gradient(
        g, size=x_shape[2:], steps=steps, offset=offset, mode=mode
    ),
    doc="Images resampled to another size; each pixel reads the nearest one, or the mean of its neighbours.",
)
_interpolate_gradient: Op = op(
    "interpolate_gradient",
    lambda x, *, size, steps, offset, mode: kernels.resample_gradient(
        x, size, _taps(size, x.shape[2:], steps, offset, mode)
    ),
    lambda g, x_shape, steps, offset, mode: _interpolate(g, size=x_shape[2:], steps=steps, offset=offset, mode=mode),
    doc="Each pixel added to those it was read from: the adjoint of interpolate.",
)


def _taps(size: Sequence[int], output: Sequence[int], steps: Sequence[float], offset: float, mode: str) -> list[Any]:
    return [_RULES[mode](n, m, step, offset) for n, m, step in zip(size, output, steps, strict=True)]


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """Resample images x (N, C, *S) to spatial lengths `size`, or floor(S * scale_factor); either for all axes, or each.

    Step is S / size, or 1 / scale_factor. "nearest", in 1 to 3 dimensions, reads the pixel at floor(i * step);
    "bilinear", in 2, the weighted mean of the pixels around (i + 1/2) * step - 1/2: the images' edges coincide. With
    align_corners the centres of their corner pixels do: i * (S - 1) / (size - 1). The gradient goes back to the pixels
    read, with the same weights.

    Raises ShapeError where shapes do not fit, ValueError unless one of size and scale_factor is given, and positive.

    >>> interpolate([[[1.0, 2.0]]], size=4)
    tensor([[[1., 1., 2., 2.]]])
    >>> interpolate([[[[0.0, 4.0]]]], scale_factor=(1, 2), mode="bilinear")
    tensor([[[[0., 1., 3., 4.]]]])
    """
    name = "interpolate"
    x = as_tensor(name, x)
    choice(name, "mode", mode, MODES)
    if align_corners is not None:
        flag(name, "align_corners", align_corners)
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f'{name}: align_corners is an option of mode "bilinear", mode is "nearest"; leave it out')
    ranks = (2,) if mode == "bilinear" else (1, 2, 3)
    d = x.ndim - 2
    if d not in ranks or 0 in x.shape[2:]:
        wanted = " or ".join(f"(N, C, {AXES[r]})" for r in ranks)
        raise ShapeError(f'{name}: for mode "{mode}" x must have axes {wanted}, with pixels; x.shape = {x.shape}')
    if mode == "bilinear" and x.dtype.kind not in "fc":
        raise TypeError(f"{name}: bilinear means need a floating dtype, got {x.dtype}; use x.astype('float32')")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{name}: give either size or scale_factor, got size={size!r}, scale_factor={scale_factor!r}")
    if size is not None:
        output = per_axis(name, "size", size, d)
        steps = tuple(n / m for n, m in zip(x.shape[2:], output, strict=True))
    else:
        factors = _factors(name, scale_factor, d)
        output = tuple(math.floor(n * factor) for n, factor in zip(x.shape[2:], factors, strict=True))
        if min(output) < 1:
            raise ShapeError(f"{name}: scale_factor {scale_factor!r} leaves no pixel of {x.shape[2:]}: {output}")
        steps = tuple(_step(*axis, mode) for axis in zip(x.shape[2:], output, factors, strict=True))
    if align_corners:
        steps = tuple((n - 1) / (m - 1) if m > 1 else 0.0 for n, m in zip(x.shape[2:], output, strict=True))
    return _interpolate(x, size=output, steps=steps, offset=0.0 if align_corners else 0.5, mode=mode)


def _step(n: int, m: int, factor: float, mode: str) -> float:
    # An axis that keeps its length, or (nearest) doubles it, does just that, whatever the factor: as PyTorch's images.
    return n / m if m == n or (m == 2 * n and mode == "nearest") else 1 / factor


def _factors(name: str, scale_factor: Any, d: int) -> tuple[float, ...]:
    given = scale_factor if isinstance(scale_factor, list | tuple) else (scale_factor,) * d
    numbers = all(isinstance(f, int | float | np.integer | np.floating) and not isinstance(f, bool) for f in given)
    if len(given) != d or not numbers or not all(0 < f < math.inf for f in given):
        raise ValueError(
            f"{name}: scale_factor must be a positive number or {d} of them, one per spatial axis ({AXES[d]}), got "
            f"{scale_factor!r}"
        )
    return tuple(float(f) for f in given)
