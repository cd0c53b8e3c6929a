"""Convolutions, transposed convolutions and their weight gradients in one to three dimensions; unfold and fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.convolution import Geometry
from tinygrad_cnn.operations import convolution, unfolding
from tinygrad_cnn.testing import naive
from tinygrad_cnn.testing.catalog.common import refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


class Windows:
    """A drawn geometry: kernel, stride, dilation, padding, and lengths of the image with every remainder."""

    def __init__(self, d: Draw, axes: int) -> None:
        most = {1: 4, 2: 3, 3: 2}[axes]
        self.kernel = tuple(d.integer(1, most) for _ in range(axes))
        self.stride = tuple(d.integer(1, 3) for _ in range(axes))
        self.dilation = tuple(d.integer(1, 2) for _ in range(axes))
        extents = [t * (k - 1) + 1 for k, t in zip(self.kernel, self.dilation, strict=True)]
        pads = [d.integer(0, 1) for _ in range(axes)]
        self.padding: Any = tuple(pads)
        if d.integer(0, 3) == 3:
            self.padding = tuple((p, d.integer(0, 2)) for p in pads)
        pairs = naive.as_pairs(self.padding, axes)
        self.size = tuple(max(1, e - sum(p)) + d.integer(0, 5 - axes) for e, p in zip(extents, pairs, strict=True))
        self.geometry = Geometry(self.stride, pairs, self.dilation, 1)

    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


def _conv_case(axes: int) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        w = Windows(d, axes)
        groups, inputs, outputs = d.integer(1, 2), d.integer(1, 2), d.integer(1, 2)
        x = d.ints((d.integer(0, 2) if axes < 3 else d.integer(1, 2), groups * inputs, *w.size))
        weight = d.ints((groups * outputs, inputs, *w.kernel))
        bias = (d.ints((groups * outputs,)),) if d.boolean() else ()
        return OpCase((x, weight, *bias), {**w.options(), "groups": groups}, d.seed)

    return case


def _transpose_case(axes: int) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        w = Windows(d, axes)
        groups, inputs, outputs = d.integer(1, 2), d.integer(1, 2), d.integer(1, 2)
        size = tuple(d.integer(1, 3) for _ in range(axes))
        pads = tuple(
            min(d.integer(0, 1), ((n - 1) * s + t * (k - 1)) // 2)
            for n, k, s, t in zip(size, w.kernel, w.stride, w.dilation, strict=True)
        )
        extra = tuple(d.integer(0, s - 1) for s in w.stride)
        x = d.ints((d.integer(0, 2) if axes < 3 else d.integer(1, 2), groups * inputs, *size))
        weight = d.ints((groups * inputs, outputs, *w.kernel))
        bias = (d.ints((groups * outputs,)),) if d.boolean() else ()
        options = {
            "stride": w.stride,
            "padding": pads,
            "output_padding": extra,
            "groups": groups,
            "dilation": w.dilation,
        }
        return OpCase((x, weight, *bias), options, d.seed)

    return case


def _weight_gradient_case(axes: int) -> Callable[[Draw], OpCase]:
    def case(d: Draw) -> OpCase:
        w = Windows(d, axes)
        groups, inputs, outputs = d.integer(1, 2), d.integer(1, 2), d.integer(1, 2)
        geometry = w.geometry._replace(groups=groups)
        batch = d.integer(0, 2) if axes < 3 else d.integer(1, 2)
        x = d.ints((batch, groups * inputs, *w.size))
        z = d.ints((batch, groups * outputs, *_output(w.size, w.kernel, geometry)))
        return OpCase((x, z), {"kernel": w.kernel, "geometry": geometry}, d.seed)

    return case


def _output(size: tuple[int, ...], kernel: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    per_axis = zip(size, kernel, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    return tuple(naive.window_count(*axis) for axis in per_axis)


def _weight_gradient(x: np.ndarray, z: np.ndarray, kernel: tuple[int, ...], geometry: Geometry) -> np.ndarray:
    """⟨conv(x, w), z⟩ is linear in w: its coefficients, one tap at a time."""
    stride, padding, dilation, groups = geometry
    inputs, outputs = x.shape[1] // groups, z.shape[1] // groups
    dw = np.zeros((z.shape[1], inputs, *kernel))
    for n, o, c in np.ndindex(len(x), z.shape[1], inputs):
        for tap in np.ndindex(*kernel):
            for position in np.ndindex(*z.shape[2:]):
                pixel = naive.tap_pixel(position, tap, stride, padding, dilation)
                if naive.is_inside(pixel, x.shape[2:]):
                    dw[o, c][tap] += x[n, o // outputs * inputs + c][pixel] * z[n, o][position]
    return dw


def _conv_errors(axes: int) -> Callable[[], Iterable[ErrorCase]]:
    name, ones = f"conv{axes}d", (1,) * axes

    def errors() -> Iterable[ErrorCase]:
        x, w = np.ones((2, 3, *[5] * axes)), np.ones((4, 3, *[3] * axes))
        yield ErrorCase((x[:, :1], w), {}, ShapeError, f"{name}: weight expects 3 input channels .* x has 1")
        yield ErrorCase((x[0], w), {}, ShapeError, f"{name}: x must have {axes + 2} axes")
        yield ErrorCase((x, w, np.ones(3)), {}, ShapeError, f"{name}: bias")
        yield ErrorCase(
            (x, np.ones((4, 3, *[7] * axes))), {}, ShapeError, f"{name}: along .* the kernel spans 7 pixels"
        )
        yield ErrorCase((x, w), {"stride": 0}, ValueError, f"{name}: stride must be at least 1, got 0")
        yield ErrorCase((x, w), {"dilation": -1}, ValueError, f"{name}: dilation must be at least 1")
        yield ErrorCase((x, w), {"padding": -1}, ValueError, f"{name}: padding must not be negative")
        yield ErrorCase((x, w), {"padding": "some"}, ValueError, f"{name}: padding 'some' is unknown")
        yield ErrorCase((x, w), {"stride": (*ones, 1)}, ValueError, f"{name}: stride must be")
        yield ErrorCase(
            (x, w[:, :1]), {"groups": 3}, ShapeError, f"{name}: groups = 3 must divide the 4 output channels"
        )
        yield ErrorCase((x, w.astype(np.float32)), {}, TypeError, f"{name}: x is float64, weight is float32")

    return errors


def _transpose_errors(axes: int) -> Callable[[], Iterable[ErrorCase]]:
    name = f"conv_transpose{axes}d"

    def errors() -> Iterable[ErrorCase]:
        x, w = np.ones((2, 3, *[4] * axes)), np.ones((3, 2, *[3] * axes))
        yield ErrorCase((x[:, :1], w), {}, ShapeError, f"{name}: weight expects 3 input channels .* x has 1")
        yield ErrorCase((x, w), {"groups": 2}, ShapeError, f"{name}: groups = 2 must divide the 3 input channels")
        yield ErrorCase((x, w), {"output_padding": 1}, ValueError, f"{name}: output_padding must be smaller")
        yield ErrorCase((x, w), {"padding": "same"}, ValueError, f"{name}: padding crops here")
        yield ErrorCase((x, w), {"padding": 4}, ShapeError, name)

    return errors


for _axes in (1, 2, 3):
    register_op(
        getattr(convolution, f"conv{_axes}d"),
        name=f"conv{_axes}d",
        case=_conv_case(_axes),
        kind="piecewise_linear",  # affine in x and weight, for the bias; exact on the grid
        ref=naive.conv,
        errors=_conv_errors(_axes),
    )
    register_op(
        getattr(convolution, f"conv_transpose{_axes}d"),
        name=f"conv_transpose{_axes}d",
        case=_transpose_case(_axes),
        kind="piecewise_linear",
        ref=naive.conv_transpose,
        errors=_transpose_errors(_axes),
    )
    register_op(
        f"conv{_axes}d_weight_gradient",
        case=_weight_gradient_case(_axes),
        kind="multilinear",
        ref=_weight_gradient,
        errors=refuses_objects(
            f"conv{_axes}d_weight_gradient", 2, kernel=(1,), geometry=Geometry((1,), ((0, 0),), (1,), 1)
        ),
    )

# ---- windows as columns ----------------------------------------------------------------------------------------------


def _unfold_case(d: Draw) -> OpCase:
    w = Windows(d, 2)
    x = d.ints((d.integer(0, 2), d.integer(1, 2), *w.size))
    return OpCase((x, w.kernel), {**w.options()}, d.seed)


def _unfold(x: np.ndarray, kernel_size: Any, **options: Any) -> np.ndarray:
    """Each tap is a convolution with a kernel of one 1."""
    taps = []
    for channel in np.moveaxis(x, 1, 0):
        for tap in np.ndindex(*kernel_size):
            one = np.zeros((1, 1, *kernel_size))
            one[0, 0][tap] = 1
            taps.append(naive.conv(channel[:, None], one, **options))
    y = np.stack(taps, 1)
    return y.reshape(*y.shape[:2], -1) if y.size else y.reshape(*y.shape[:2], y.shape[3] * y.shape[4])


def _fold_case(d: Draw) -> OpCase:
    w = Windows(d, 2)
    windows = int(np.prod(_output(w.size, w.kernel, w.geometry)))
    x = d.ints((d.integer(0, 2), d.integer(1, 2) * int(np.prod(w.kernel)), windows))
    return OpCase((x, w.size, w.kernel), {**w.options()}, d.seed)


def _fold(x: np.ndarray, output_size: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    pads = naive.as_pairs(padding, 2)
    output = _output(output_size, kernel_size, Geometry(stride, pads, dilation, 1))
    area = int(np.prod(kernel_size))
    y = np.zeros((len(x), x.shape[1] // area, *output_size))
    for n, c in np.ndindex(*y.shape[:2]):
        for t, tap in enumerate(np.ndindex(*kernel_size)):
            for j, position in enumerate(np.ndindex(*output)):
                pixel = naive.tap_pixel(position, tap, stride, pads, dilation)
                if naive.is_inside(pixel, output_size):
                    y[n, c][pixel] += x[n, c * area + t, j]
    return y


register_op(
    unfolding.unfold,
    name="unfold",
    case=_unfold_case,
    kind="multilinear",
    ref=_unfold,
    errors=lambda: [ErrorCase((np.ones((1, 1, 2, 2)), 3), {}, ShapeError, "unfold: along H the kernel spans 3 pixels")],
)
register_op(
    unfolding.fold,
    name="fold",
    case=_fold_case,
    kind="multilinear",
    ref=_fold,
    errors=lambda: [ErrorCase((np.ones((1, 4, 5)), (3, 3), 2), {}, ShapeError, "fold: x must have shape")],
)
