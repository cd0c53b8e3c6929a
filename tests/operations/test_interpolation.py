"""Resampling against loops; the gradient is the adjoint."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F


def nearest(x, output):
    for axis, m in enumerate(output, 2):
        x = np.take(x, [i * x.shape[axis] // m for i in range(m)], axis)
    return x


def bilinear(x, output, corners):
    for axis, m in enumerate(output, 2):
        n, rows = x.shape[axis], []
        for i in range(m):
            at = i * (n - 1) / max(m - 1, 1) if corners else max((i + 0.5) * n / m - 0.5, 0.0)
            left = min(math.floor(at), n - 1)
            share, right = at - left, min(left + 1, n - 1)
            rows.append((1 - share) * np.take(x, left, axis) + share * np.take(x, right, axis))
        x = np.stack(rows, axis)
    return x


sizes = st.integers(1, 7)


@given(st.integers(1, 3).flatmap(lambda d: st.tuples(*[st.tuples(sizes, sizes)] * d)), st.integers(0, 99))
def test_nearest(axes, seed):
    size, output = zip(*axes, strict=True)
    x = np.random.default_rng(seed).integers(-3, 4, (2, 2, *size)).astype(float)
    np.testing.assert_array_equal(F.interpolate(x, output).data, nearest(x, output))
    np.testing.assert_array_equal(F.interpolate(x.astype(int), output).data, nearest(x, output))


@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.booleans(), st.integers(0, 99))
def test_bilinear(size, output, corners, seed):
    x = np.random.default_rng(seed).normal(size=(2, 2, *size))
    y = F.interpolate(x, output, mode="bilinear", align_corners=corners)
    np.testing.assert_allclose(y.data, bilinear(x, output, corners), rtol=1e-12, atol=1e-14)


@given(
    st.tuples(sizes, sizes),
    st.tuples(sizes, sizes),
    st.sampled_from(["nearest", "bilinear", "corners"]),
    st.integers(0, 99),
)
def test_the_gradient_is_the_adjoint_and_its_gradient_the_resampling(size, output, mode, seed):
    options = {"mode": "bilinear", "align_corners": True} if mode == "corners" else {"mode": mode}
    rng = np.random.default_rng(seed)
    x = tc.tensor(rng.normal(size=(1, 2, *size)), requires_grad=True)
    y = F.interpolate(x, output, **options)
    g = tc.tensor(rng.normal(size=y.shape), requires_grad=True)
    (dx,) = tc.grad(y, x, g, create_graph=True)
    np.testing.assert_allclose((dx.data * x.data).sum(), (y.data * g.data).sum(), rtol=1e-12, atol=1e-12)
    v = rng.normal(size=x.shape)
    (dg,) = tc.grad(dx, g, v)
    np.testing.assert_allclose(dg.data, F.interpolate(v, output, **options).data, rtol=1e-12, atol=1e-14)


def test_factors():
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(F.interpolate(x, scale_factor=2).data, x.repeat(2, 2).repeat(2, 3))
    assert F.interpolate(x, scale_factor=(1.5, 2.4)).shape == (1, 1, 3, 7)
    # The step is 1 / factor, not the quotient of the lengths.
    y = F.interpolate(np.arange(5.0).reshape(1, 1, 1, 5) ** 2, scale_factor=(1, 1.3), mode="bilinear")
    positions = np.clip((np.arange(6) + 0.5) / 1.3 - 0.5, 0, 4)
    np.testing.assert_allclose(y.data.ravel(), np.interp(positions, np.arange(5), np.arange(5.0) ** 2), rtol=1e-14)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_constant_stays_and_an_unread_pixel_gets_zero(mode):
    x = tc.tensor(np.full((1, 1, 9, 9), 2.5), requires_grad=True)
    y = F.interpolate(x, 2, mode=mode)
    assert (y.data == 2.5).all()
    y.sum().backward()
    assert x.grad.data.sum() == 4
    assert (x.grad.data == 0).sum() >= 81 - 16


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_memory_order(mode, dtype):
    x = tc.tensor(np.moveaxis(np.ones((2, 5, 6, 3), dtype), -1, 1), requires_grad=True)
    y = F.interpolate(x, (7, 9), mode=mode)
    (dx,) = tc.grad(y, [x], y.detach())
    for image in (y, dx):
        assert image.dtype == dtype
        assert np.moveaxis(image.data, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_empty_batches_and_channels(mode, shape):
    x = tc.tensor(np.zeros(shape), requires_grad=True)
    y = F.interpolate(x, scale_factor=1.5, mode=mode)
    y.backward(np.zeros(y.shape))
    assert (y.shape, x.grad.shape) == ((*shape[:2], 6, 6), shape)
