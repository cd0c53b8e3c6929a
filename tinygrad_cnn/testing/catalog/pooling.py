"""Max and average pooling in one to three dimensions, their adjoints, and unpooling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.pooling import Window
from tinygrad_cnn.operations import pooling, unpooling
from tinygrad_cnn.testing import naive
from tinygrad_cnn.testing.catalog.common import refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _options(d: Draw, axes: int, dilations: bool, kernels: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Lengths of an image, and a pool that fits it; in some, windows of 2 that tile the image, as most pools do."""
    if d.integer(0, 3) == 3:
        size = tuple(2 * d.integer(1, 4 - axes) for _ in range(axes))
        plain: dict[str, Any] = {"kernel_size": (2,) * axes, "stride": None, "padding": (0,) * axes, "ceil_mode": False}
        return size, (plain | {"dilation": (1,) * axes} if dilations else plain)
    kernel = tuple(d.choice(kernels) for _ in range(axes))
    stride = d.choice((None, tuple(d.integer(1, 3) for _ in range(axes))))
    dilation = tuple(d.integer(1, 2) if dilations else 1 for _ in range(axes))
    extents = [t * (k - 1) + 1 for k, t in zip(kernel, dilation, strict=True)]
    padding = tuple(d.integer(0, 1) if e > 1 and t == 1 else 0 for e, t in zip(extents, dilation, strict=True))
    size = tuple(max(e - 2 * p, 1) + d.integer(0, 5 - axes) for e, p in zip(extents, padding, strict=True))
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": d.boolean()}
    return size, (options | {"dilation": dilation} if dilations else options)


def _max_case(axes: int) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        size, options = _options(d, axes, True, (2, 1, 3) if axes < 3 else (2, 1))
        batch = d.integer(0, 2) if axes < 3 else d.integer(1, 2)
        return OpCase((d.grid((batch, d.integer(1, 2), *size)),), options, d.seed)

    return case


def _avg_case(axes: int) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        size, options = _options(d, axes, False, (2, 1, 4) if axes < 3 else (2, 1))
        batch = d.integer(0, 2) if axes < 3 else d.integer(1, 2)
        x = d.ints((batch, d.integer(1, 2), *size))
        return OpCase((x,), options | {"count_include_pad": d.boolean()}, d.seed)

    return case


def _errors(name: str, axes: int) -> Callable[[], Iterable[ErrorCase]]:
    def errors() -> Iterable[ErrorCase]:
        x = np.ones((2, 3, *[4] * axes))
        yield ErrorCase((x[0], 2), {}, ShapeError, f"{name}: x must have {axes + 2} axes")
        yield ErrorCase((x, 5), {}, ShapeError, f"{name}: along .* the kernel spans 5 pixels")
        yield ErrorCase((x, 2), {"padding": 2}, ValueError, f"{name}: padding must be at most half the kernel")
        yield ErrorCase((x, 0), {}, ValueError, f"{name}: kernel_size must be at least 1")
        yield ErrorCase((x, 2), {"stride": 0}, ValueError, f"{name}: stride must be at least 1")

    return errors


def _window(d: Draw, axes: int, dilations: bool) -> tuple[tuple[int, ...], Window]:
    size, o = _options(d, axes, dilations, (2, 1))
    kernel = o["kernel_size"]
    dilation = o.get("dilation", (1,) * axes)
    pads = naive.as_pairs(o["padding"], axes)
    return size, Window(kernel, o["stride"] or kernel, pads, dilation, o["ceil_mode"])


def _avg_gradient_case(axes: int) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        size, window = _window(d, axes, False)
        shape = (d.integer(1, 2), d.integer(1, 2), *_positions(size, window))
        return OpCase((d.ints(shape),), {"size": size, "window": window, "include_pad": d.boolean()}, d.seed)

    return case


def _positions(size: tuple[int, ...], window: Window) -> tuple[int, ...]:
    pools = list(naive.pool_windows(np.zeros((1, 1, *size)), *window))
    return tuple(1 + max(axis) for axis in zip(*(position for position, *_ in pools), strict=True))


def _avg_gradient(x: np.ndarray, size: tuple[int, ...], window: Window, include_pad: bool) -> np.ndarray:
    y = np.zeros((*x.shape[:2], *size))
    for n, c in np.ndindex(*x.shape[:2]):
        for position, pixels, padded in naive.pool_windows(y, *window):
            for pixel in pixels:
                y[n, c][pixel] += x[n, c][position] / (padded if include_pad else len(pixels))
    return y


for _axes in (1, 2, 3):
    register_op(
        getattr(pooling, f"max_pool{_axes}d"),
        name=f"max_pool{_axes}d",
        case=_max_case(_axes),
        kind="piecewise_linear",
        ref=lambda x, **options: naive.max_pool(x, **options)[0],
        errors=_errors(f"max_pool{_axes}d", _axes),
    )
    register_op(
        getattr(pooling, f"avg_pool{_axes}d"),
        name=f"avg_pool{_axes}d",
        case=_avg_case(_axes),
        kind="multilinear",
        ref=naive.avg_pool,
        errors=_errors(f"avg_pool{_axes}d", _axes),
    )
    register_op(
        f"avg_pool{_axes}d_gradient",
        case=_avg_gradient_case(_axes),
        kind="multilinear",
        ref=_avg_gradient,
        errors=refuses_objects(f"avg_pool{_axes}d_gradient", size=(1,), window=None, include_pad=True),
    )

# ---- winners ---------------------------------------------------------------------------------------------------------


def _winners_case(scatter: bool) -> Callable[[Draw], OpCase]:
    """Codes of winning taps, any that lie inside the image."""

    def case(d: Draw) -> OpCase:
        size, window = _window(d, 2, True)
        output = _positions(size, window)
        shape = (d.integer(1, 2), d.integer(1, 2))
        winners = np.zeros((*shape, *output), np.uint8)
        for n, c in np.ndindex(*shape):
            for position in np.ndindex(*output):
                inside = [code for code, _ in _taps(position, size, window)]
                winners[n, c][position] = d.rng.choice(inside)
        if scatter:
            return OpCase((d.ints(winners.shape), winners), {"size": size, "window": window}, d.seed)
        return OpCase((d.ints((*shape, *size)), winners), {"window": window}, d.seed)

    return case


def _taps(position: tuple[int, ...], size: tuple[int, ...], window: Window) -> list[tuple[int, tuple[int, ...]]]:
    """The code and the pixel of each tap of a window that lies inside the image."""
    pixels = (
        naive.tap_pixel(position, tap, window.stride, window.padding, window.dilation)
        for tap in np.ndindex(*window.kernel)
    )
    return [(code, pixel) for code, pixel in enumerate(pixels) if naive.is_inside(pixel, size)]


def _scatter_winners(x: np.ndarray, winners: np.ndarray, size: tuple[int, ...], window: Window) -> np.ndarray:
    y = np.zeros((*x.shape[:2], *size))
    for n, c in np.ndindex(*x.shape[:2]):
        for position in np.ndindex(*x.shape[2:]):
            y[n, c][dict(_taps(position, size, window))[int(winners[n, c][position])]] += x[n, c][position]
    return y


def _gather_winners(x: np.ndarray, winners: np.ndarray, window: Window) -> np.ndarray:
    y = np.zeros(winners.shape)
    for n, c in np.ndindex(*x.shape[:2]):
        for position in np.ndindex(*winners.shape[2:]):
            pixel = dict(_taps(position, x.shape[2:], window))[int(winners[n, c][position])]
            y[n, c][position] = x[n, c][pixel]
    return y


register_op(
    "scatter_winners",
    case=_winners_case(True),
    kind="multilinear",
    ref=_scatter_winners,
    errors=refuses_objects("scatter_winners", 2, size=(1,), window=None),
)
register_op(
    "gather_winners",
    case=_winners_case(False),
    kind="multilinear",
    ref=_gather_winners,
    errors=refuses_objects("gather_winners", 2, window=None),
)


def _unpool_case(d: Draw) -> OpCase:
    shape = (d.integer(0, 2), d.integer(1, 2), d.integer(1, 2), d.integer(1, 3))
    indices = d.labels(shape, shape[2] * shape[3] * 4)
    return OpCase((d.ints(shape), indices, 2), {}, d.seed)


def _unpool(x: np.ndarray, indices: np.ndarray, kernel_size: int) -> np.ndarray:
    y = np.zeros((*x.shape[:2], kernel_size * x.shape[2], kernel_size * x.shape[3]))
    for i in np.ndindex(*x.shape):
        y[i[:2]].reshape(-1)[indices[i]] = x[i]
    return y


register_op(
    unpooling.max_unpool2d,
    name="max_unpool2d",
    case=_unpool_case,
    kind="multilinear",
    ref=_unpool,
    errors=lambda: [
        ErrorCase(
            (np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 9), 2),
            {},
            ValueError,
            r"max_unpool2d: indices\[0, 0, 0, 0\] = 9",
        )
    ],
)
