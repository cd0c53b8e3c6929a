"""Convolution and its two adjoints against nested loops, on integers stored as floats: exact in any order."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tinygrad_cnn.kernels import convolution
from tinygrad_cnn.kernels.convolution import (
    Geometry,
    conv,
    conv_input_gradient,
    conv_weight_gradient,
    output_size,
)
from tinygrad_cnn.kernels.paths import PATHS, choose, set_fast_math
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


# ---- every path on the same cases (law C13) ----------------------------------------------------------------------


EXACT = [name for name, path in PATHS.items() if path.exact]


@st.composite
def problems_of(draw, path):
    """A problem that the path can do: Winograd needs float32, three rows, stride 1; depthwise a group a channel."""
    x, w, g, geometry = draw(problems([np.float32] if path == "winograd" else [np.float64, np.float32]))
    size, kernel, groups = list(x.shape[2:]), list(w.shape[2:]), geometry.groups
    inputs, outputs = w.shape[1], len(w) // groups
    if path == "winograd":
        stride, dilation = (1, *geometry.stride[1:]), (1, *geometry.dilation[1:])
        geometry = geometry._replace(stride=stride, dilation=dilation)
        kernel[0], size[0] = 3, draw(st.integers(max(1, 3 - sum(geometry.padding[0]), -min(geometry.padding[0])), 9))
    if path == "depthwise":
        inputs = outputs = 1
    elif path != "columns":
        groups = 1
    geometry = geometry._replace(groups=groups)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = integers(rng, (len(x), groups * inputs, *size), x.dtype)
    w = integers(rng, (groups * outputs, inputs, *kernel), x.dtype)
    g = integers(rng, (len(x), len(w), *geometry.output_shape(size, kernel)), x.dtype)
    return x, w, g, geometry


@pytest.fixture(params=[1 << 21, 256], ids=["one block", "many blocks"])
def block_size(request, monkeypatch):
    monkeypatch.setattr(convolution, "_BLOCK", request.param)


@pytest.mark.parametrize("path", EXACT)
@pytest.mark.usefixtures("block_size")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_path_equals_nested_loops(path, data):
    x, w, g, geometry = data.draw(problems_of(path))
    y, dw = conv(x, w, geometry, path=path), conv_weight_gradient(x, g, w.shape, geometry, path=path)
    expected = naive.conv(x, w, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dw, conv_weight_gradient(x, g, w.shape, geometry, path="columns"))
    assert (y * g).sum() == (w * dw).sum()


@pytest.mark.parametrize("path", [*EXACT, "shifts"])
@pytest.mark.usefixtures("block_size")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_path_of_the_input_gradient(path, data):
    x, w, g, geometry = data.draw(problems_of(path))
    geometry = geometry._replace(stride=(1,) * len(geometry.stride))
    g = integers(np.random.default_rng(0), (*g.shape[:2], *geometry.output_shape(x.shape[2:], w.shape[2:])), x.dtype)
    dx = conv_input_gradient(g, w, x.shape, geometry, path=path)
    assert (conv(x, w, geometry, path="columns") * g).sum() == (x * dx).sum()
    np.testing.assert_array_equal(dx, conv_input_gradient(g, w, x.shape, geometry, path="shifts"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@np.errstate(invalid="ignore")  # as the engine calls kernels
def test_what_is_not_finite_stays_in_its_windows(path, bad):
    rng = np.random.default_rng(0)
    channels, groups = (2, 2) if path == "depthwise" else (2, 1)
    x, w, g = (
        integers(rng, shape, np.float32).copy()
        for shape in ((2, channels, 9, 8), (2, channels // groups, 3, 3), (2, 2, 9, 8))
    )
    geometry = Geometry((1, 1), ((1, 1),) * 2, (1, 1), groups)
    x[1, 1, 4, 3] = g[0, 1, 5, 5] = bad
    for ours, plain in (
        (conv(x, w, geometry, path=path), conv(x, w, geometry, path="columns")),
        *(
            (kernel(*arguments, geometry, path=path), kernel(*arguments, geometry, path="columns"))
            for kernel, arguments in (
                (conv_input_gradient, (g, w, x.shape)),
                (conv_weight_gradient, (x, g, w.shape)),
            )
        ),
    ):
        np.testing.assert_array_equal(ours, plain)
    assert np.isfinite(conv(x, w, geometry, path=path)[1, :, :3]).all()


def test_a_path_that_does_not_apply_is_refused():
    x, w = np.ones((1, 2, 5, 5)), np.ones((2, 2, 3, 3))
    with pytest.raises(ValueError, match="'depthwise' does not apply"):
        conv(x, w, Geometry((1, 1), ((0, 0),) * 2, (1, 1), 1), path="depthwise")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rows", [20, 7])
def test_single_precision_stays_within_the_stated_bounds(path, rows):
    rng = np.random.default_rng(0)
    groups = 32 if path == "depthwise" else 1
    x = np.maximum(rng.normal(size=(4, 32, rows, 20)), 0).astype(np.float32)
    w = rng.normal(size=(32, 32 // groups, 3, 3)).astype(np.float32)
    geometry = Geometry((1, 1), ((1, 1),) * 2, (1, 1), groups)
    g = rng.normal(size=(4, 32, rows, 20)).astype(np.float32)
    bound = (8 if PATHS[path].exact else 64) * 2.0**-24  # plain products reach 6
    for kernel, arguments in (
        (conv, (x, w)),
        (lambda g, w, **options: conv_input_gradient(g, w, x.shape, **options), (g, w)),
        (lambda x, g, **options: conv_weight_gradient(x, g, w.shape, **options), (x, g)),
    ):
        exact = kernel(*(a.astype(np.float64) for a in arguments), geometry=geometry, path="columns")
        scale = kernel(*(abs(a).astype(np.float64) for a in arguments), geometry=geometry, path="columns")
        assert (np.abs(kernel(*arguments, geometry=geometry, path=path) - exact) <= bound * scale).all()


def test_fast_math_is_off_until_asked_for():
    def path():
        return choose((64, 64, 3, 3), Geometry((1, 1), ((1, 1),) * 2, (1, 1), 1), (16, 16), np.dtype("f4"))[0]

    assert path().exact
    with set_fast_math(True):
        assert path().name == "fast winograd"
        with set_fast_math(False):
            assert path().exact
        assert not path().exact
    assert path().exact
    set_fast_math(True)
    set_fast_math(False)
    assert path().exact


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [2, 32])
@np.errstate(invalid="ignore")  # as the engine calls kernels
def test_a_weight_that_is_not_finite_spoils_only_the_pixels_it_multiplies(bad, channels):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(channels, channels, 3, 3)).astype(np.float32)
    g = rng.normal(size=(1, channels, 7, 6)).astype(np.float32)
    geometry = Geometry((1, 1), ((1, 1),) * 2, (1, 1), 1)
    clean = conv_input_gradient(g, w, g.shape, geometry)
    w[1, 0, 0, 0] = bad
    dx = conv_input_gradient(g, w, g.shape, geometry)
    spoilt = ~np.isfinite(dx)
    # Tap (0, 0) reads pixel (i - 1, j - 1) for output (i, j): pixels of the last row and column it never sees.
    assert spoilt[0, 0, :-1, :-1].all()
    assert spoilt.sum() == 6 * 5
    np.testing.assert_allclose(dx[~spoilt], clean[~spoilt], rtol=1e-4, atol=1e-4)
