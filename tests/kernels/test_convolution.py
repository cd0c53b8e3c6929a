"""Convolution and its two adjoints against nested loops, on integers stored as floats: exact in any order."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygrad_cnn.kernels.convolution import (
    Geometry,
    conv,
    conv_input_gradient,
    conv_weight_gradient,
    output_size,
)
from tinygrad_cnn.testing import naive

DTYPES = [np.float64, np.float32, np.float16, np.complex128, np.int64]


def integers(rng, shape, dtype=np.float64, bound=4):
    values = rng.integers(-bound, bound + 1, shape).astype(dtype)
    if values.dtype.kind == "c":
        values += 1j * rng.integers(-bound, bound + 1, shape)
    values.flags.writeable = False  # no kernel may write to its arguments
    return values


@st.composite
def problems(draw, dtypes=DTYPES, least_padding=-1):
    """x, w, g and the geometry of a small convolution in one to three dimensions."""
    d = draw(st.integers(1, 3))
    per_axis = st.tuples(*[st.integers(1, 3)] * d)
    kernel, stride, dilation = draw(per_axis), draw(per_axis), draw(per_axis)
    pad = st.integers(least_padding, 2)
    padding = draw(st.tuples(*[st.tuples(pad, pad)] * d))
    size = tuple(
        max(1, step * (k - 1) + 1 - sum(pads) + draw(st.integers(0, 4)), -min(pads), -sum(pads))
        for k, step, pads in zip(kernel, dilation, padding, strict=True)
    )
    groups, inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(0, 2)), draw(st.integers(0, 2))
    geometry = Geometry(stride, padding, dilation, groups)
    batch = draw(st.integers(0, 2))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from(dtypes))
    x = integers(rng, (batch, groups * inputs, *size), dtype)
    w = integers(rng, (groups * outputs, inputs, *kernel), dtype)
    g = integers(rng, (batch, groups * outputs, *geometry.output_shape(size, kernel)), dtype)
    return x, w, g, geometry


@given(problems())
def test_conv_equals_nested_loops(problem):
    x, w, _, geometry = problem
    y = conv(x, w, geometry)
    expected = naive.conv(x, w, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)


@given(problems([np.float64, np.float32, np.complex128]))
def test_gradients_are_adjoint(problem):
    x, w, g, geometry = problem
    dx = conv_input_gradient(g, w, x.shape, geometry)
    dw = conv_weight_gradient(x, g, w.shape, geometry)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    assert dx.dtype == dw.dtype == x.dtype
    form = (conv(x, w, geometry) * g).sum()
    assert form == (x * dx).sum()
    assert form == (w * dw).sum()


@given(problems([np.float64, np.float16, np.int64], least_padding=0), st.data())
def test_input_gradient_is_the_transposed_convolution(problem, data):
    _, w, g, geometry = problem
    d = w.ndim - 2
    limits = [max(s, step) - 1 for s, step in zip(geometry.stride, geometry.dilation, strict=True)]
    extra = tuple(data.draw(st.integers(0, limit)) for limit in limits)
    assume(
        all(
            (n - 1) * s + step * (k - 1) + 1 + more > sum(pads)
            for n, s, step, k, more, pads in zip(
                g.shape[2:],
                geometry.stride,
                geometry.dilation,
                w.shape[2:],
                extra,
                geometry.padding,
                strict=True,
            )
        )
    )
    expected = naive.conv_transpose(
        g, w, None, geometry.stride, geometry.padding, extra, geometry.groups, geometry.dilation
    )
    channels = w.shape[1] * geometry.groups
    y = conv_input_gradient(g, w, (len(g), channels, *expected.shape[2:]), geometry)
    assert y.ndim == d + 2
    np.testing.assert_array_equal(y, expected)


@given(problems([np.float64]), st.data())
def test_weight_gradient_uses_no_more_windows_than_g_has(problem, data):
    x, w, g, geometry = problem
    g = g[(..., *[slice(data.draw(st.integers(0, n))) for n in g.shape[2:]])]
    whole = np.zeros((*g.shape[:2], *geometry.output_shape(x.shape[2:], w.shape[2:])))
    whole[(..., *map(slice, g.shape[2:]))] = g
    cropped = conv_weight_gradient(x, g, w.shape, geometry)
    np.testing.assert_array_equal(cropped, conv_weight_gradient(x, whole, w.shape, geometry))


def test_pixels_that_no_window_reads_get_zero():
    geometry = Geometry((3, 2), ((0, 0), (1, 0)), (1, 2), 1)  # leaves a row between windows and a last row
    w, size = np.ones((1, 1, 2, 2)), (6, 5)
    g = np.ones((1, 1, *geometry.output_shape(size, (2, 2))))
    dx = conv_input_gradient(g, w, (1, 1, *size), geometry)[0, 0]
    rows, columns = [1, 1, 0, 1, 1, 0], [0, 2, 0, 1, 0]  # how many windows read each
    np.testing.assert_array_equal(dx, np.outer(rows, columns))


def test_gradients_of_a_nan_upstream_reach_only_its_window():
    g = np.zeros((1, 1, 2, 2))
    g[0, 0, 1, 1] = np.nan
    dx = conv_input_gradient(g, np.ones((1, 1, 2, 2)), (1, 1, 4, 4), Geometry((2, 2), ((0, 0),) * 2, (1, 1), 1))
    assert np.isnan(dx[0, 0, 2:, 2:]).all()
    assert (dx[0, 0, :2] == 0).all()
    assert (dx[0, 0, :, :2] == 0).all()


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "every second": lambda x: np.repeat(x, 2, -1)[..., ::2],
}


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("channels", [1, 4])
def test_memory_order_changes_no_bit(arrange, channels):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, channels, 6, 1)), rng.normal(size=(2 * channels, channels, 3, 1))
    geometry = Geometry((2, 1), ((1, 1), (0, 0)), (1, 1), 1)
    y = conv(x, w, geometry)
    dx, dw = conv_input_gradient(y, w, x.shape, geometry), conv_weight_gradient(x, y, w.shape, geometry)
    np.testing.assert_array_equal(conv(arrange(x), arrange(w), geometry), y)
    np.testing.assert_array_equal(conv_input_gradient(arrange(y), arrange(w), x.shape, geometry), dx)
    np.testing.assert_array_equal(conv_weight_gradient(arrange(x), arrange(y), w.shape, geometry), dw)


@given(problems([np.float32]))
def test_images_are_channels_last_in_memory(problem):
    x, w, g, geometry = problem
    for image in (conv(x, w, geometry), conv_input_gradient(g, w, x.shape, geometry)):
        assert np.moveaxis(image, 1, -1).flags.c_contiguous


def test_mixed_types_promote():
    x, w = np.ones((1, 1, 2), np.float32), np.ones((1, 1, 2), np.float64)
    geometry = Geometry((1,), ((0, 0),), (1,), 1)
    assert conv(x, w, geometry).dtype == np.float64
    assert conv_input_gradient(conv(x, x, geometry), w, x.shape, geometry).dtype == np.float64


@given(*[st.integers(1, 5)] * 3, st.integers(0, 3), st.integers(0, 3), st.integers(1, 3))
def test_output_size_counts_the_windows_that_fit(size, kernel, stride, before, after, dilation):
    last_start = before + size + after - dilation * (kernel - 1) - 1
    if last_start >= 0:
        assert output_size(size, kernel, stride, before, after, dilation) == len(range(0, last_start + 1, stride))
