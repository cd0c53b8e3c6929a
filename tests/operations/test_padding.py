"""pad, unfold and fold: spellings, exact adjoints to second order, errors."""

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn.operations.convolution import conv2d
from tinygrad_cnn.operations.padding import pad
from tinygrad_cnn.operations.unfolding import fold, unfold

NUMPY = {"constant": "constant", "zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


def leaf(array):
    return tc.tensor(array, requires_grad=True)


def check_linear(function, x):
    """<f(x), g> = <x, dx>, and the gradient of <dx, v> in g is f(v); all exact on integers."""
    x = leaf(x)
    y = function(x)
    g = leaf(integers(*y.shape, seed=1))
    (dx,) = tc.grad(y, [x], g, create_graph=True)
    assert (y.data * g.data).sum() == (x.data * dx.data).sum()
    v = integers(*x.shape, seed=2)
    (dg,) = tc.grad((dx * v).sum(), [g])
    np.testing.assert_array_equal(dg.data, function(v).data)


@pytest.mark.parametrize("mode", NUMPY)
def test_every_mode_is_numpys_and_linear(mode):
    x, pads = integers(2, 3, 4, 3), ((1, 3), (2, 0))
    np.testing.assert_array_equal(pad(x, pads, mode).data, np.pad(x, ((0, 0), (0, 0), *pads), mode=NUMPY[mode]))
    check_linear(lambda x: pad(x, pads, mode), x)


def test_spellings_and_the_method():
    x = integers(2, 3, 4)
    expected = np.pad(x, ((0, 0), (1, 2), (3, 4)), constant_values=7)
    for pads in (((1, 2), (3, 4)), [[1, 2], [3, 4]], (3, 4, 1, 2), np.array([[1, 2], [3, 4]])):
        np.testing.assert_array_equal(pad(x, pads, value=7).data, expected)
    np.testing.assert_array_equal(tc.tensor(x).pad(((1, 2), (3, 4)), value=7).data, expected)
    np.testing.assert_array_equal(pad(x, ()).data, x)
    np.testing.assert_array_equal(pad(x, (0, 0), "circular").data, x)


def test_negative_amounts_crop():
    x = integers(2, 3, 4)
    np.testing.assert_array_equal(pad(x, ((-1, -1), (-2, 1))).data, np.pad(x[:, 1:2, 2:], ((0, 0), (0, 0), (0, 1))))
    check_linear(lambda x: pad(x, ((-1, -1), (-2, 1))), x)


def test_a_repeated_corner_collects_from_all_copies():
    x = leaf(np.zeros((1, 1, 2, 2)))
    pad(x, (1, 1, 1, 1), "replicate").backward(np.ones((1, 1, 4, 4)))
    np.testing.assert_array_equal(x.grad.data[0, 0], [[4, 4], [4, 4]])


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": ((0, 1), (2, 1))}, {"dilation": 2, "padding": "same"}]
)
def test_unfold_makes_convolution_a_matrix_product(options):
    x, w = integers(2, 3, 6, 5), integers(4, 3, 2, 3, seed=1)
    y = conv2d(x, w, **options)
    product = tc.tensor(w).reshape(4, -1) @ unfold(x, (2, 3), **options)
    np.testing.assert_array_equal(product.data.reshape(y.shape), y.data)
    check_linear(lambda x: unfold(x, (2, 3), **options), x)


def test_fold_adds_overlaps():
    ones = np.ones((1, 1, 4, 4))
    windows = fold(unfold(ones, 3), (4, 4), 3)
    np.testing.assert_array_equal(windows.data[0, 0], np.outer([1, 2, 2, 1], [1, 2, 2, 1]))
    check_linear(lambda x: fold(x, (4, 4), 3), integers(2, 9, 4))


X = np.zeros((1, 2, 3, 3), np.float32)

ERRORS = [
    (lambda: pad(X, (1, 2, 3)), ValueError, r"pads must be one \(before, after\) pair per trailing axis"),
    (lambda: pad(X, ((1.5, 2),)), ValueError, r"pads must be"),
    (lambda: pad(X, 1), ValueError, r"pads must be"),
    (lambda: pad(X, ((1, 1),) * 5), tc.ShapeError, r"are for 5 axes, x has 4"),
    (lambda: pad(X, (1, 1), "mirror"), ValueError, r"mode must be one of 'constant', 'zeros', .* got 'mirror'"),
    (lambda: pad(X, (3, 0), "reflect"), tc.ShapeError, r"'reflect' can pad axis 3 of length 3 by at most 2"),
    (lambda: pad(X, (0, 4), "circular"), tc.ShapeError, r"by at most 3"),
    (lambda: pad(X[..., :0], (1, 0), "replicate"), tc.ShapeError, r"by at most 0"),
    (lambda: pad(X, (-1, 0), "reflect"), ValueError, r"takes no negative amounts"),
    (lambda: pad(X, (-2, -2)), tc.ShapeError, r"crop more than the 3 of axis 3"),
    (lambda: unfold(X[0], 2), tc.ShapeError, r"unfold: x must have 4 axes"),
    (lambda: unfold(X, 4), tc.ShapeError, r"unfold: along H the kernel spans 4 pixels"),
    (lambda: fold(np.zeros((1, 8, 5)), (3, 3), 2), tc.ShapeError, r"x must have shape \(N, C \* 4, 4\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors_name_the_op_the_numbers_and_the_fix(call, error, message):
    with pytest.raises(error, match=message):
        call()
