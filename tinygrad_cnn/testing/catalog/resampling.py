"""Images of another size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.interpolation import interpolate
from tinygrad_cnn.testing.catalog.common import refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _case(d: Draw) -> OpCase:
    bilinear = d.boolean()
    axes = 2 if bilinear else d.integer(1, 3)
    image = d.ints((d.integer(0, 2), d.integer(1, 2), *(d.integer(1, 3) for _ in range(axes))))
    kwargs: dict[str, Any] = {"mode": "bilinear", "align_corners": d.boolean()} if bilinear else {"mode": "nearest"}
    if d.boolean() and not kwargs.get("align_corners"):
        return OpCase((image,), kwargs | {"scale_factor": d.choice((2, 1))}, d.seed)
    return OpCase((image,), kwargs | {"size": tuple(d.integer(1, 5) for _ in range(axes))}, d.seed)


def _sources(n: int, m: int, step: float, offset: float, mode: str) -> list[dict[int, float]]:
    """For each of m pixels, the pixels it reads along an axis of length n, with their weights."""
    sources = []
    for i in range(m):
        if mode == "nearest":
            sources.append({min(math.floor(i * step), n - 1): 1.0})
            continue
        place = max((i + offset) * step - offset, 0.0)
        first = min(math.floor(place), n - 1)
        weights = {first: 1.0}
        if first + 1 < n:
            weights = {first: 1 - (place - first), first + 1: place - first}
        sources.append(weights)
    return sources


def _read(
    size: tuple[int, ...], output: tuple[int, ...], steps: tuple[float, ...], offset: float, mode: str
) -> Iterable[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """(pixel written, pixel read, weight), one after the other."""
    axes = [_sources(*axis, offset, mode) for axis in zip(size, output, steps, strict=True)]
    for position in np.ndindex(*output):
        reads: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
        for sources, i in zip(axes, position, strict=True):
            reads = [((*pixel, j), w * v) for pixel, w in reads for j, v in sources[i].items()]
        for pixel, weight in reads:
            yield position, pixel, weight


def _interpolate(
    x: np.ndarray, mode: str, size: Any = None, scale_factor: Any = None, align_corners: bool | None = None
) -> np.ndarray:
    output = size or tuple(n * scale_factor for n in x.shape[2:])
    steps = tuple(n / m for n, m in zip(x.shape[2:], output, strict=True))
    if align_corners:
        steps = tuple((n - 1) / max(m - 1, 1) for n, m in zip(x.shape[2:], output, strict=True))
    y = np.zeros((*x.shape[:2], *output))
    for position, pixel, weight in _read(x.shape[2:], output, steps, 0.0 if align_corners else 0.5, mode):
        y[_pixel(position)] += weight * x[_pixel(pixel)]
    return y


def _pixel(position: tuple[int, ...]) -> Any:
    """The index of a pixel in all images and channels."""
    return (slice(None), slice(None), *position)


def _gradient_case(d: Draw) -> OpCase:
    mode = d.choice(("nearest", "bilinear"))
    size, output = ((d.integer(1, 3), d.integer(1, 3)) for _ in range(2))
    steps = tuple(n / m for n, m in zip(size, output, strict=True))
    kwargs = {"size": size, "steps": steps, "offset": 0.5, "mode": mode}
    return OpCase((d.ints((d.integer(1, 2), 1, *output)),), kwargs, d.seed)


def _gradient(x: np.ndarray, size: tuple[int, ...], steps: tuple[float, ...], offset: float, mode: str) -> np.ndarray:
    y = np.zeros((*x.shape[:2], *size))
    for position, pixel, weight in _read(size, x.shape[2:], steps, offset, mode):
        y[_pixel(pixel)] += weight * x[_pixel(position)]
    return y


def _errors() -> Iterable[ErrorCase]:
    x = np.ones((1, 1, 2, 2))
    yield ErrorCase((x,), {}, ValueError, "interpolate: give either size or scale_factor")
    yield ErrorCase((x,), {"size": 2, "mode": "cubic"}, ValueError, "interpolate: mode must be one of .* got 'cubic'")
    yield ErrorCase(
        (x[0],), {"size": 2, "mode": "bilinear"}, ShapeError, 'interpolate: for mode "bilinear" x must have axes'
    )
    yield ErrorCase((x,), {"scale_factor": 0.1}, ShapeError, "interpolate: scale_factor 0.1 leaves no pixel")
    yield ErrorCase((x,), {"size": 0}, ValueError, "interpolate: size must be at least 1")


register_op(interpolate, name="interpolate", case=_case, kind="multilinear", ref=_interpolate, errors=_errors)
register_op(
    "interpolate_gradient",
    case=_gradient_case,
    kind="multilinear",
    ref=_gradient,
    errors=refuses_objects("interpolate_gradient", size=(1,), steps=(1.0,), offset=0.5, mode="nearest"),
)
