"""Convolution, transposed convolution and their records: three views of one trilinear form.

<conv(x, w), g> is linear in x, w and g. Its derivatives are conv itself, the transposed convolution (in x)
and the weight gradient (in w), and the rules of each are the other two: closed under differentiation to any
order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.checks import as_tensor, choice, integer, refuse_mixed_dtypes
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.operators import OPS
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import convolution as kernels
from tinygrad_cnn.kernels.convolution import Geometry
from tinygrad_cnn.kernels.layout import Array
from tinygrad_cnn.kernels.reduction import channel_sum
from tinygrad_cnn.operations.geometry import AXES, check_fits, check_image, extents, paddings, per_axis
from tinygrad_cnn.operations.padding import MODES, pad


class _Family(NamedTuple):
    conv: Op
    transpose: Op
    weight_gradient: Op


def _family(d: int) -> _Family:
    """The three records in d dimensions. Option geometry: a `Geometry`; size and kernel: spatial lengths."""
    axes = (0, *range(2, d + 2))

    def transposed(x: Array, weight: Array, size: tuple[int, ...], geometry: Geometry) -> Array:
        shape = (x.shape[0], weight.shape[1] * geometry.groups, *size)
        return kernels.conv_input_gradient(x, weight, shape, geometry)

    conv: Op = op(
        f"conv{d}d",
        lambda x, weight, bias=None, *, geometry: kernels.conv(x, weight, geometry, bias),
        {
            "x": lambda g, weight, x_shape, geometry: transpose(g, weight, None, size=x_shape[2:], geometry=geometry),
            "weight": lambda g, x, weight_shape, geometry: weight_gradient(
                x, g, kernel=weight_shape[2:], geometry=geometry
            ),
            "bias": lambda g: g.sum(axes),
        },
        fast={
            "x": lambda g, weight, x_shape, geometry: kernels.conv_input_gradient(g, weight, x_shape, geometry),
            "weight": lambda g, x, weight_shape, geometry: kernels.conv_weight_gradient(x, g, weight_shape, geometry),
            "bias": lambda g: channel_sum(g),
        },
        doc=f"Cross-correlation of x (N, C, {AXES[d]}) with weight (O, C / groups, kernel), plus bias (O,).",
    )
    transpose: Op = op(
        f"conv_transpose{d}d",
        lambda x, weight, bias=None, *, size, geometry: _plus(transposed(x, weight, size, geometry), bias),
        {
            "x": lambda g, weight, geometry: conv(g, weight, None, geometry=geometry),
            "weight": lambda g, x, weight_shape, geometry: weight_gradient(
                g, x, kernel=weight_shape[2:], geometry=geometry
            ),
            "bias": lambda g: g.sum(axes),
        },
        fast={
            "x": lambda g, weight, geometry: kernels.conv(g, weight, geometry),
            "weight": lambda g, x, weight_shape, geometry: kernels.conv_weight_gradient(g, x, weight_shape, geometry),
            "bias": lambda g: channel_sum(g),
        },
        doc=f"The adjoint of conv{d}d in its input, giving images of the spatial lengths size.",
    )
    weight_gradient: Op = op(
        f"conv{d}d_weight_gradient",
        lambda x, z, *, kernel, geometry: kernels.conv_weight_gradient(
            x, z, (z.shape[1], x.shape[1] // geometry.groups, *kernel), geometry
        ),
        {
            "x": lambda g, z, x_shape, geometry: transpose(z, g, None, size=x_shape[2:], geometry=geometry),
            "z": lambda g, x, geometry: conv(x, g, None, geometry=geometry),
        },
        doc=f"The adjoint of conv{d}d in its weight, of x and an array z of the output's shape.",
    )
    return _Family(conv, transpose, weight_gradient)


def _plus(y: Array, bias: Array | None) -> Array:
    if bias is None:
        return y
    bias = bias.reshape(-1, *[1] * (y.ndim - 2))
    return np.add(y, bias, out=y if np.result_type(y, bias) == y.dtype else None)


_FAMILIES = {d: _family(d) for d in (1, 2, 3)}

# ---- convolution -----------------------------------------------------------------------------------------------


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """Cross-correlate sequences x (N, C, L) with weight (O, C / groups, k): `conv2d` in one dimension. Lectures A6.

    >>> conv1d([[[1.0, 2.0, 4.0, 8.0]]], [[[-1.0, 1.0]]])
    tensor([[[1., 2., 4.]]])
    """
    return _convolve("conv1d", 1, x, weight, bias, stride, padding, dilation, groups, padding_mode)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """Cross-correlate images x (N, C, H, W) with filters, the "convolution" of convolutional networks.

    weight (O, C / groups, kh, kw), bias (O,) -> (N, O, H', W') with H' = floor((H + before + after - dilation
    * (kh - 1) - 1) / stride) + 1: y[o] = bias[o] + sum over c, i, j of weight[o, c, i, j] * x[c, stride * h +
    dilation * i - before, ...]. The kernel is not turned; `convolve2d` turns it.

    stride, dilation: an int, or one per axis. padding: an int; one per axis; one (before, after) pair per
    axis; "valid" (none), "same" (ceil(n / stride) outputs, an odd pixel at the end), "same_lower" (at the
    start), "full". padding_mode: "zeros", "reflect", "replicate" or "circular".

    dx = conv_transpose2d(g, weight), dweight = x correlated with g, dbias = the sum of g over N, H', W';
    pixels that no window reads get 0. Lectures A1 to A7, A15 and B.

    Raises ShapeError where shapes do not fit, ValueError for options out of range, TypeError for mixed
    dtypes.

    >>> x = Tensor([[[[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [4.0, 0.0, 5.0]]]])
    >>> conv2d(x, [[[[1.0, 0.0], [0.0, 1.0]]]])
    tensor([[[[4., 0.],
              [0., 8.]]]])
    >>> conv2d(x, np.ones((1, 1, 3, 3), np.float32), stride=2, padding="same").shape
    (1, 1, 2, 2)
    """
    return _convolve("conv2d", 2, x, weight, bias, stride, padding, dilation, groups, padding_mode)


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """Cross-correlate volumes x (N, C, D, H, W) with weight (O, C / groups, kd, kh, kw): `conv2d` in three dimensions.

    >>> conv3d(np.ones((1, 2, 4, 5, 6)), np.ones((3, 2, 2, 2, 2)), padding=1).shape
    (1, 3, 5, 6, 7)
    """
    return _convolve("conv3d", 3, x, weight, bias, stride, padding, dilation, groups, padding_mode)


def convolve2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """Convolve images as mathematics does: `conv2d` with the kernel turned by 180 degrees. Lectures A1.

    >>> convolve2d([[[[0.0, 1.0, 0.0]]]], [[[[1.0, 2.0, 3.0]]]], padding=((0, 0), (1, 1)))
    tensor([[[[1., 2., 3.]]]])
    """
    weight = as_tensor("convolve2d", weight, "weight")
    check_image("convolve2d", weight, 2, "weight")
    turned = OPS["flip"](weight, axis=(2, 3))
    return _convolve("convolve2d", 2, x, turned, bias, stride, padding, dilation, groups, padding_mode)


def _convolve(
    name: str,
    d: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    padding_mode: str,
) -> Tensor:
    x, weight, bias = _operands(name, d, x, weight, bias, groups)
    outputs, inputs, *kernel = weight.shape
    if x.shape[1] != inputs * groups:
        raise ShapeError(
            f"{name}: weight expects {inputs * groups} input channels (weight.shape[1] × groups = "
            f"{inputs * groups}), x has {x.shape[1]} (x.shape = {x.shape})"
        )
    if outputs % groups:
        raise ShapeError(
            f"{name}: groups = {groups} must divide the {outputs} output channels (weight.shape = {weight.shape})"
        )
    _check_bias(name, bias, outputs, "weight.shape[0]")
    choice(name, "padding_mode", padding_mode, MODES)
    strides, dilations = per_axis(name, "stride", stride, d), per_axis(name, "dilation", dilation, d)
    pads = paddings(name, padding, x.shape[2:], kernel, strides, dilations)
    check_fits(name, x.shape[2:], kernel, dilations, pads)
    if padding_mode != "zeros":
        x, pads = pad(x, pads, padding_mode), ((0, 0),) * d
    return _FAMILIES[d].conv(x, weight, bias, geometry=Geometry(strides, pads, dilations, groups))


# ---- transposed convolution ------------------------------------------------------------------------------------


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Spread sequences x (N, C, L) by weight (C, O / groups, k): `conv_transpose2d` in one dimension.

    >>> conv_transpose1d([[[1.0, 2.0]]], [[[1.0, 10.0]]], stride=2)
    tensor([[[ 1., 10.,  2., 20.]]])
    """
    return _spread(1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Spread images x (N, C, H, W): every pixel stamps the kernel, scaled. The adjoint of `conv2d` in its input.

    weight (C, O / groups, kh, kw), bias (O,) -> (N, O, H', W') with H' = (H - 1) * stride - before - after +
    dilation * (kh - 1) + 1 + output_padding. stride, dilation, output_padding: an int, or one per axis;
    padding (an int, one per axis, or pairs) crops the result, output_padding lengthens it at the end, where
    no kernel may reach: 0.

    dx = conv2d(g, weight), dweight = g correlated with x, dbias = the sum of g. Lectures B (the "full"
    correlation with the turned kernel is this, at stride 1).

    Raises ShapeError where shapes do not fit, ValueError for options out of range, TypeError for mixed
    dtypes.

    >>> conv_transpose2d([[[[1.0, 2.0]]]], [[[[1.0, 1.0], [1.0, 1.0]]]])
    tensor([[[[1., 3., 2.],
              [1., 3., 2.]]]])
    """
    return _spread(2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Spread volumes x (N, C, D, H, W) by weight (C, O / groups, kd, kh, kw): `conv_transpose2d` in three dimensions.

    >>> conv_transpose3d(np.ones((1, 2, 2, 2, 2)), np.ones((2, 3, 3, 3, 3)), stride=2, padding=1).shape
    (1, 3, 3, 3, 3)
    """
    return _spread(3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def _spread(
    d: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    name = f"conv_transpose{d}d"
    x, weight, bias = _operands(name, d, x, weight, bias, groups)
    inputs, outputs, *kernel = weight.shape
    if x.shape[1] != inputs:
        raise ShapeError(
            f"{name}: weight expects {inputs} input channels (weight.shape[0]), x has {x.shape[1]} "
            f"(x.shape = {x.shape})"
        )
    if inputs % groups:
        raise ShapeError(f"{name}: groups = {groups} must divide the {inputs} input channels (x.shape = {x.shape})")
    _check_bias(name, bias, outputs * groups, "weight.shape[1] × groups")
    strides, dilations = per_axis(name, "stride", stride, d), per_axis(name, "dilation", dilation, d)
    extra = per_axis(name, "output_padding", output_padding, d, least=0)
    if isinstance(padding, str):
        raise ValueError(f"{name}: padding crops here, and has no word {padding!r}; give numbers")
    pads = paddings(name, padding, x.shape[2:], kernel, strides, dilations)
    for more, s, step in zip(extra, strides, dilations, strict=True):
        if more >= max(s, step):
            raise ValueError(
                f"{name}: output_padding must be smaller than stride or dilation, got {more} with stride {s} and "
                f"dilation {step}"
            )
    size = tuple(
        (n - 1) * s + extent - sum(pair) + more
        for n, s, extent, pair, more in zip(x.shape[2:], strides, extents(kernel, dilations), pads, extra, strict=True)
    )
    if min(size) < 1:
        raise ShapeError(
            f"{name}: padding {padding!r} crops everything: the output would be {size} (x.shape = {x.shape}, kernel "
            f"{tuple(kernel)})"
        )
    # With the end cropped by output_padding the windows tile the output, so that conv leads back to x's shape.
    tiled = tuple((before, after - more) for (before, after), more in zip(pads, extra, strict=True))
    return _FAMILIES[d].transpose(x, weight, bias, size=size, geometry=Geometry(strides, tiled, dilations, groups))


# ---- checks ----------------------------------------------------------------------------------------------------


def _operands(name: str, d: int, x: Any, weight: Any, bias: Any, groups: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    x, weight = as_tensor(name, x), as_tensor(name, weight, "weight")
    bias = None if bias is None else as_tensor(name, bias, "bias")
    check_image(name, x, d)
    if weight.ndim != d + 2 or 0 in weight.shape[2:]:
        shape = "(in, out / groups, kernel)" if "transpose" in name else "(out, in / groups, kernel)"
        raise ShapeError(
            f"{name}: weight must have shape {shape}, with a kernel of {d} ax{'is' if d == 1 else 'es'} of at least "
            f"1 pixel; weight.shape = {weight.shape}"
        )
    if "b" in (x.dtype.kind, weight.dtype.kind):
        raise TypeError(
            f"{name}: booleans are not summed; use .astype('float32') (x is {x.dtype}, weight {weight.dtype})"
        )
    integer(name, "groups", groups, least=1)
    refuse_mixed_dtypes(name, x=x, weight=weight, **({} if bias is None else {"bias": bias}))
    return x, weight, bias


def _check_bias(name: str, bias: Tensor | None, outputs: int, source: str) -> None:
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"{name}: bias must have shape ({outputs},) ({source}), bias.shape = {bias.shape}")
