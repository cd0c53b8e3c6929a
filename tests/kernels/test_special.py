"""erf, sigmoid and softplus: accuracy, limits, dtypes, complex step, and no floating point error anywhere."""

import math

import numpy as np
import pytest

from tinygrad_cnn.kernels.special import erf, sigmoid, softplus


def sigmoid_of(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus_of(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


FUNCTIONS = {"erf": (erf, math.erf), "sigmoid": (sigmoid, sigmoid_of), "softplus": (softplus, softplus_of)}
SLOPES = {
    erf: lambda x: 2 / math.sqrt(math.pi) * math.exp(-x * x),
    sigmoid: lambda x: sigmoid_of(x) * sigmoid_of(-x),
    softplus: sigmoid_of,
}
LIMITS = {erf: (-1, 1), sigmoid: (0, 1), softplus: (0, math.inf)}

each = pytest.mark.parametrize(("function", "reference"), FUNCTIONS.values(), ids=FUNCTIONS)


@each
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_accurate_to_a_few_ulp(function, reference, dtype):
    tiny = np.geomspace(1e-30, 1, 500)
    x = np.concatenate([np.linspace(-9, 9, 20001), tiny, -tiny]).astype(dtype)
    expected = np.array([reference(float(value)) for value in x])
    with np.errstate(all="raise"):
        y = function(x)
    assert y.dtype == dtype
    assert (abs(y - expected) <= 6 * np.spacing(abs(expected).astype(dtype))).all()


@each
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_limits(function, reference, dtype):
    below, above = LIMITS[function]
    with np.errstate(all="raise"):
        y = function(np.array([-np.inf, -1e4, 1e4, np.inf, np.nan], dtype))
        assert y.dtype == dtype
        expected = [below, below, min(1e4, above), above, np.nan]
        np.testing.assert_array_equal(y, np.array(expected, dtype))
        largest = np.finfo(dtype).max
        assert function(np.array([-largest, largest])).tolist() == [below, min(largest, above)]


@each
def test_zero_keeps_its_sign_or_its_value(function, reference):
    y = function(np.array([0.0, -0.0, 5e-324]))
    assert y.tolist() == [reference(0.0), reference(-0.0), reference(5e-324)]
    assert np.signbit(y[1]) == (function is erf)


@each
def test_complex_step_gives_the_slope(function, reference):
    x = np.concatenate([np.linspace(-8, 8, 101), [0.46875, -0.46875]])
    y = function(x + 1e-30j)
    np.testing.assert_allclose(y.imag / 1e-30, [SLOPES[function](v) for v in x], rtol=1e-13)
    np.testing.assert_allclose(y.real, function(x), rtol=1e-12)  # as near as complex log1p is


@each
def test_shapes_integers_and_lists(function, reference):
    assert function(0.5).shape == ()
    assert function(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert function([1, 2]).dtype == np.float64
    np.testing.assert_array_equal(function(np.array([1, 2], np.int8)), function(np.array([1.0, 2.0])))
    image = np.zeros((2, 3, 4, 5)).transpose(0, 3, 1, 2)
    assert function(image).strides == image.strides


@each
def test_leaves_the_callers_errstate_alone(function, reference):
    with np.errstate(all="raise", under="print"):
        before = np.geterr()
        function(np.array([-800.0, 0.0, 800.0]))
        assert np.geterr() == before
