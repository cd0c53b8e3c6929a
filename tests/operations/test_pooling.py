"""Pools against nested loops; ties, NaN and padding; adaptive and global pools, unpooling, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tc
from tinygrad_cnn.functional import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool2d,
)
from tinygrad_cnn.testing import naive

MAX = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}
AVG = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def leaf(array):
    return tc.tensor(array, requires_grad=True)


@st.composite
def pools(draw):
    d = draw(st.integers(1, 3))
    per_axis = st.tuples(*[st.integers(1, 3)] * d)
    kernel, stride = draw(per_axis), draw(st.none() | per_axis)
    padding = tuple((draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in kernel)
    size = [k + draw(st.integers(0, 3)) for k in kernel]
    return d, size, (kernel, stride, padding), draw(st.booleans())


@given(pools(), st.integers(0, 99))
def test_max_pool(pool, seed):
    d, size, options, ceil_mode = pool
    x = leaf(integers(2, 2, *size, seed=seed))
    y, indices = MAX[d](x, *options, 1, ceil_mode, return_indices=True)
    expected, flat = naive.max_pool(x.data, *options, 1, ceil_mode)
    np.testing.assert_array_equal(y.data, expected)
    np.testing.assert_array_equal(indices.data, flat)
    g = leaf(integers(*y.shape, seed=seed + 1))
    (dx,) = tc.grad(y, [x], g, create_graph=True)
    routed = np.zeros((4, int(np.prod(size))))
    for row, at, values in zip(routed, flat.reshape(4, -1), g.data.reshape(4, -1), strict=True):
        np.add.at(row, at, values)
    np.testing.assert_array_equal(dx.data.reshape(4, -1), routed)
    v = integers(*x.shape, seed=seed + 2)
    (dg,) = tc.grad((dx * v).sum(), [g])
    np.testing.assert_array_equal(dg.data.reshape(4, -1), np.take_along_axis(v.reshape(4, -1), flat.reshape(4, -1), 1))


@given(pools(), st.booleans(), st.integers(0, 99))
def test_avg_pool(pool, include_pad, seed):
    d, size, options, ceil_mode = pool
    x = leaf(integers(2, 2, *size, seed=seed))
    y = AVG[d](x, *options, ceil_mode, include_pad)
    np.testing.assert_array_equal(y.data, naive.avg_pool(x.data, *options, ceil_mode, include_pad))
    g = leaf(integers(*y.shape, seed=seed + 1))
    (dx,) = tc.grad(y, [x], g, create_graph=True)
    np.testing.assert_allclose((y.data * g.data).sum(), (x.data * dx.data).sum(), rtol=0, atol=1e-12)
    v = integers(*x.shape, seed=seed + 2)
    (dg,) = tc.grad((dx * v).sum(), [g])
    np.testing.assert_array_equal(dg.data, AVG[d](v, *options, ceil_mode, include_pad).data)


def test_the_first_of_equal_maxima_gets_the_gradient():
    x = leaf(np.zeros((1, 1, 4, 4), np.float32))
    max_pool2d(x, 2).backward(np.ones((1, 1, 2, 2), np.float32))
    np.testing.assert_array_equal(x.grad.data[0, 0], np.kron(np.ones((2, 2)), [[1, 0], [0, 0]]))


def test_a_nan_is_the_maximum_and_gets_the_gradient():
    x = leaf(np.array([[[np.inf, np.nan, np.nan, 1.0]]]))
    y = max_pool1d(x, 4)
    assert np.isnan(y.item())
    y.backward(np.ones((1, 1, 1)))
    np.testing.assert_array_equal(x.grad.data, [[[0, 1, 0, 0]]])


def test_padding_never_wins():
    x = leaf(np.full((1, 1, 3, 3), -np.inf))
    y = max_pool2d(x, 3, 2, 1)
    assert (y.data == -np.inf).all()
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad.data[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("word", ["valid", "same", "same_lower"])
def test_padding_by_word(word):
    x = integers(1, 1, 5, 6)
    pads = {"valid": (0, 0), "same": (0, 1), "same_lower": (1, 0)}[word]
    np.testing.assert_array_equal(max_pool2d(x, 2, 1, word).data, naive.max_pool(x, 2, 1, (pads, pads))[0])


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (3, 2), (1, 1)])
@pytest.mark.parametrize("output", [1, 2, (3, 5), (None, 1), (6, 2)])
def test_adaptive_pools(size, output):
    x = leaf(integers(2, 3, *size))
    wanted = (output, output) if isinstance(output, int) else output
    wanted = tuple(n if m is None else m for n, m in zip(size, wanted, strict=True))
    bins = [[slice(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(size, wanted, strict=True)]
    for function, reduce in ((adaptive_avg_pool2d, np.mean), (adaptive_max_pool2d, np.max)):
        expected = [[reduce(x.data[:, :, rows, columns], axis=(2, 3)) for columns in bins[1]] for rows in bins[0]]
        y = function(x, output)
        np.testing.assert_allclose(y.data, np.moveaxis(expected, (0, 1), (2, 3)), rtol=1e-15, atol=1e-15)
        g = integers(*y.shape, seed=1)
        (dx,) = tc.grad(y, [x], tc.tensor(g))
        np.testing.assert_allclose((dx.data * x.data).sum(), (y.data * g).sum(), rtol=1e-12, atol=1e-12)


def test_adaptive_max_routes_to_the_first_of_equals():
    x = leaf(np.zeros((1, 1, 3, 3)))
    adaptive_max_pool2d(x, 2).backward(np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(x.grad.data[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 3), (0, 3, 4, 4)])
def test_global_pools(shape):
    x = leaf(integers(*shape))
    axes = tuple(range(2, len(shape)))
    for function, reduce in ((global_avg_pool, np.mean), (global_max_pool, np.max)):
        np.testing.assert_allclose(function(x).data, reduce(x.data, axis=axes), rtol=1e-15, atol=1e-16)
        assert function(x, keepdims=True).shape == (*shape[:2], *[1] * len(axes))
    global_max_pool(x).backward(np.ones(shape[:2]))
    first = x.data.reshape(*shape[:2], -1).argmax(2) if x.size else np.zeros((0, 3), int)
    np.testing.assert_array_equal(x.grad.data.reshape(*shape[:2], -1).argmax(2) if x.size else first, first)
    assert x.grad.data.sum() == shape[0] * shape[1]


def test_unpool_puts_maxima_back():
    x = leaf(np.random.default_rng(0).permutation(48).reshape(1, 2, 4, 6).astype(np.float64))
    y, indices = max_pool2d(x, 2, return_indices=True)
    z = max_unpool2d(y, indices, 2)
    np.testing.assert_array_equal(z.data, np.where(np.isin(x.data, y.data), x.data, 0))
    assert np.moveaxis(z.data, 1, -1).flags.c_contiguous
    g = integers(*z.shape)
    (dx,) = tc.grad(z, [x], tc.tensor(g))
    np.testing.assert_array_equal(dx.data, np.where(np.isin(x.data, y.data), g, 0))
    assert max_unpool2d(y, indices, 2, output_size=(5, 6)).shape == (1, 2, 5, 6)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_empty_batches_and_channels(shape):
    for pool in (max_pool2d, avg_pool2d):
        x = leaf(np.zeros(shape))
        y = pool(x, 2)
        y.backward(np.zeros(y.shape))
        assert (y.shape, x.grad.shape) == ((*shape[:2], 2, 2), shape)
    y, indices = max_pool2d(leaf(np.zeros(shape)), 2, return_indices=True)
    z = max_unpool2d(y, indices, 2)
    z.backward(np.zeros(z.shape))
    assert z.shape == shape


def test_unpool_of_a_pixel_written_twice_keeps_the_last_write_whatever_the_memory_order():
    y, indices = np.array([[[[-1.0, -4.0]]]]), np.array([[[[1, 1]]]])
    for a in (y, np.flip(np.flip(y).copy())):
        for i in (indices, np.flip(np.flip(indices).copy())):
            np.testing.assert_array_equal(max_unpool2d(a, i, 2).data, [[[[0, -4, 0, 0], [0, 0, 0, 0]]]])


def test_unpool_of_a_pixel_written_twice_is_still_adjoint():
    y, indices = leaf(np.array([[[[2.0, 3.0]]]])), np.array([[[[1, 1]]]])
    z = max_unpool2d(y, indices, (1, 2), (1, 1))
    np.testing.assert_array_equal(z.data, [[[[0, 3, 0]]]])
    (dy,) = tc.grad(z, [y], tc.tensor([[[[5.0, 7.0, 9.0]]]], dtype="float64"))
    np.testing.assert_array_equal(dy.data, [[[[0, 7]]]])


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_memory_order(pool, dtype):
    x = leaf(np.moveaxis(integers(2, 5, 6, 3).astype(dtype), -1, 1))
    y = pool(x, 2, padding=1, ceil_mode=True)
    assert y.dtype == dtype
    assert np.moveaxis(y.data, 1, -1).flags.c_contiguous
    (dx,) = tc.grad(y, [x], y.detach())
    assert dx.dtype == dtype
    assert np.moveaxis(dx.data, 1, -1).flags.c_contiguous


X = np.zeros((2, 3, 4, 4), np.float32)

ERRORS = [
    (lambda: max_pool2d(X[0], 2), tc.ShapeError, r"max_pool2d: x must have 4 axes.*x\[None\]"),
    (lambda: max_pool2d(X, 0), ValueError, r"kernel_size must be at least 1, got 0"),
    (lambda: max_pool2d(X, 2, 0), ValueError, r"stride must be at least 1"),
    (lambda: max_pool2d(X, 5), tc.ShapeError, r"along H the kernel spans 5 pixels"),
    (lambda: max_pool2d(X, 3, 1, 2), ValueError, r"padding must be at most half the kernel, 1 of 3 pixels, got 2"),
    (lambda: avg_pool2d(X, 2, 1, "full"), ValueError, r"'full' is unknown; the words are valid, same, same_lower"),
    (lambda: max_pool2d(X[:, :, :0], 1), tc.ShapeError, r"no pixels to pool"),
    (lambda: max_pool2d(X[:, :, :1, :1], 2, 1, 1, 2), tc.ShapeError, r"holds only padding"),
    (lambda: adaptive_avg_pool2d(X, 0), ValueError, r"output_size must be at least 1"),
    (lambda: adaptive_max_pool2d(X[:, :, :0], 1), tc.ShapeError, r"adaptive_max_pool2d: x has no pixels"),
    (lambda: global_avg_pool(X[0, 0]), tc.ShapeError, r"global_avg_pool: x must have axes \(N, C, ...\)"),
    (lambda: max_unpool2d(X, np.zeros((2, 3, 4, 3), int), 2), tc.ShapeError, r"indices must be integers of x's shape"),
    (
        lambda: max_unpool2d(X, np.full(X.shape, 64), 2),
        ValueError,
        r"indices\[0, 0, 0, 0\] = 64 lies outside planes of \(8, 8\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors_name_the_op_the_numbers_and_the_fix(call, error, message):
    with pytest.raises(error, match=message):
        call()
