"""Max and sum pooling against nested loops, and their adjoints, exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.kernels.pooling import (
    Window,
    counts,
    flat_indices,
    gather_winners,
    max_pool,
    scatter_winners,
    sum_pool,
    sum_pool_gradient,
)
from tinygrad_cnn.testing import naive


@st.composite
def problems(draw, dtypes=(np.float64,), dilated=True, special=False):
    """An image with many ties and a window, in one to three dimensions."""
    d = draw(st.integers(1, 3))
    per_axis = st.tuples(*[st.integers(1, 3)] * d)
    kernel, stride = draw(per_axis), draw(per_axis)
    dilation = draw(per_axis) if dilated else (1,) * d
    padding = tuple((draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in kernel)
    size = tuple(step * (k - 1) + 1 + draw(st.integers(0, 4)) for k, step in zip(kernel, dilation, strict=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(-2, 3, (draw(st.integers(0, 2)), draw(st.integers(0, 2)), *size))
    x = x.astype(draw(st.sampled_from(dtypes)))
    if special:
        x = np.where(rng.random(x.shape) < 0.5, -np.inf, x)
        x = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    x.flags.writeable = False
    return x, Window(kernel, stride, padding, dilation, draw(st.booleans()))


def integers(shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


def check_max_pool(x, window):
    y, winners = max_pool(x, window)
    assert y.dtype == x.dtype
    assert (winners.dtype, winners.shape, winners.strides) == (
        np.uint8,
        y.shape,
        tuple(s // y.itemsize for s in y.strides),
    )
    assert np.moveaxis(y, 1, -1).flags.c_contiguous
    expected, indices = naive.max_pool(x, *window)
    np.testing.assert_array_equal(y, expected)
    flat = flat_indices(winners, x.shape, window)
    assert flat.dtype == np.int64
    np.testing.assert_array_equal(flat, indices)


@given(problems([np.float64, np.float32, np.float16, np.int8, np.int64, np.uint16]))
def test_max_pool_equals_nested_loops(problem):
    check_max_pool(*problem)


@given(problems(special=True))
def test_first_nan_wins_and_padding_never_does(problem):
    check_max_pool(*problem)


def test_window_of_minus_infinity_has_a_real_winner():
    window = Window((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    x = np.full((1, 1, 4, 4), -np.inf)
    y, winners = max_pool(x, window)
    assert (y == -np.inf).all()
    np.testing.assert_array_equal(flat_indices(winners, x.shape, window)[0, 0], [[0, 1], [4, 5]])


@given(problems([np.float64, np.float32]))
def test_scatter_and_gather_are_adjoint(problem):
    x, window = problem
    y, winners = max_pool(x, window)
    g = integers(y.shape).astype(x.dtype)
    dx = scatter_winners(g, winners, x.shape, window)
    assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
    assert np.moveaxis(dx, 1, -1).flags.c_contiguous
    assert dx.sum() == g.sum()  # padding receives nothing
    np.testing.assert_array_equal(gather_winners(x, winners, window), y)
    v = integers(x.shape, seed=1)
    assert (dx * v).sum() == (g * gather_winners(v, winners, window)).sum()


@given(problems([np.float64]))
def test_scatter_adds_where_windows_overlap(problem):
    x, window = problem
    y, winners = max_pool(x, window)
    g = integers(y.shape)
    expected = np.zeros(x.shape)
    flat = flat_indices(winners, x.shape, window)
    for n, c in np.ndindex(*x.shape[:2]):
        np.add.at(expected[n, c].reshape(-1), flat[n, c].ravel(), g[n, c].ravel())
    np.testing.assert_array_equal(scatter_winners(g, winners, x.shape, window), expected)


def test_infinite_gradients_stay_with_the_winner():
    window = Window((2,), (2,), ((0, 0),), (1,))
    _, winners = max_pool(np.array([[[1.0, 2.0, 4.0, 3.0]]]), window)
    dx = scatter_winners(np.array([[[np.inf, np.nan]]]), winners, (1, 1, 4), window)
    np.testing.assert_array_equal(dx, [[[0, np.inf, np.nan, 0]]])


def test_codes_grow_with_the_window():
    x = np.zeros((1, 1, 300))
    x[..., 280] = 1
    window = Window((300,), (1,), ((0, 0),), (1,))
    _, winners = max_pool(x, window)
    assert winners.dtype == np.uint16
    assert winners.item() == 280
    assert gather_winners(x, winners, window).item() == 1


@given(problems([np.float64, np.float32, np.int64, np.complex128]))
def test_sum_pool_and_its_gradient_are_adjoint(problem):
    x, window = problem
    y = sum_pool(x, window)
    g = integers(y.shape).astype(x.dtype)
    dx = sum_pool_gradient(g, x.shape, window)
    assert (y.dtype, dx.dtype, dx.shape) == (x.dtype, x.dtype, x.shape)
    assert np.moveaxis(y, 1, -1).flags.c_contiguous
    assert np.moveaxis(dx, 1, -1).flags.c_contiguous
    assert (y * g).sum() == (x * dx).sum()


@given(problems(dilated=False), st.booleans())
def test_sum_over_count_is_the_average(problem, include_pad):
    x, window = problem
    count = counts(x.shape[2:], window, include_pad)
    assert count.shape == window.output_shape(x.shape[2:])
    expected = naive.avg_pool(x, *window[:3], window.ceil_mode, include_pad)
    np.testing.assert_array_equal(sum_pool(x, window) / count, expected)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ((5, 2, 2, 0, 0, 1), (2, 3)),
        ((4, 2, 2, 0, 0, 1), (2, 2)),
        ((4, 2, 2, 1, 1, 1), (3, 3)),
        ((5, 2, 4, 1, 1, 1), (2, 2)),  # a third window would start at 8 - 1 = 7, past the image
        ((2, 1, 3, 0, 0, 1), (1, 1)),  # likewise at 3
        ((7, 2, 3, 0, 0, 3), (2, 2)),
    ],
)
def test_output_sizes(arguments, output):
    size, kernel, stride, before, after, dilation = arguments
    for ceil_mode, expected in zip((False, True), output, strict=True):
        window = Window((kernel,), (stride,), ((before, after),), (dilation,), ceil_mode)
        assert window.output_shape((size,)) == (expected,)
