"""The convolution family: spellings of padding, closure under differentiation, errors before any computing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tc
from tinygrad_cnn.operations.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    convolve2d,
)
from tinygrad_cnn.operations.padding import pad
from tinygrad_cnn.testing import naive

CONV = {1: conv1d, 2: conv2d, 3: conv3d}
TRANSPOSE = {1: conv_transpose1d, 2: conv_transpose2d, 3: conv_transpose3d}


def integers(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def leaf(array):
    return tc.tensor(array, requires_grad=True)


def inner(a, b):
    return (np.asarray(a) * np.asarray(b)).sum()


@st.composite
def options(draw):
    """d, kernel, stride, padding, dilation, groups and an image size that they fit."""
    d = draw(st.integers(1, 3))
    per_axis = st.tuples(*[st.integers(1, 3)] * d)
    kernel, stride, dilation = draw(per_axis), draw(per_axis), draw(per_axis)
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * d))
    size = [
        max(1, step * (k - 1) + 1 - sum(pads)) + draw(st.integers(0, 2))
        for k, step, pads in zip(kernel, dilation, padding, strict=True)
    ]
    return d, kernel, stride, padding, dilation, draw(st.integers(1, 2)), size


@given(options(), st.integers(0, 99))
def test_conv_is_the_naive_one_and_its_gradients_are_adjoint(given_options, seed):
    d, kernel, stride, padding, dilation, groups, size = given_options
    x, w = leaf(integers(2, 2 * groups, *size, seed=seed)), leaf(integers(groups, 2, *kernel, seed=seed + 1))
    b = leaf(integers(groups, seed=seed + 2))
    y = CONV[d](x, w, b, stride, padding, dilation, groups)
    expected = naive.conv(x.data, w.data, b.data, stride, padding, dilation, groups)
    np.testing.assert_array_equal(y.data, expected)
    g = integers(*y.shape, seed=seed + 3)
    dx, dw, db = tc.grad(y, [x, w, b], tc.tensor(g))
    linear = inner(y.data - b.data.reshape(-1, *[1] * d), g)
    assert linear == inner(x, dx) == inner(w, dw)
    np.testing.assert_array_equal(db.data, g.sum((0, *range(2, d + 2))))


@given(options(), st.integers(0, 2), st.integers(0, 99))
def test_transposed_conv_is_the_naive_one_and_its_gradients_are_adjoint(given_options, more, seed):
    d, kernel, stride, padding, dilation, groups, size = given_options
    extra = tuple(min(more, max(s, step) - 1) for s, step in zip(stride, dilation, strict=True))
    x, w = leaf(integers(2, 2 * groups, *size, seed=seed)), leaf(integers(2 * groups, 1, *kernel, seed=seed + 1))
    b = leaf(integers(groups, seed=seed + 2))
    grown = [
        (n - 1) * s + step * (k - 1) + 1 + e - sum(pads)
        for n, s, step, k, e, pads in zip(size, stride, dilation, kernel, extra, padding, strict=True)
    ]
    if min(grown) < 1:
        with pytest.raises(tc.ShapeError, match="crops everything"):
            TRANSPOSE[d](x, w, b, stride, padding, extra, groups, dilation)
        return
    y = TRANSPOSE[d](x, w, b, stride, padding, extra, groups, dilation)
    assert y.shape == (2, groups, *grown)
    expected = naive.conv_transpose(x.data, w.data, b.data, stride, padding, extra, groups, dilation)
    np.testing.assert_array_equal(y.data, expected)
    g = integers(*y.shape, seed=seed + 3)
    dx, dw, db = tc.grad(y, [x, w, b], tc.tensor(g))
    linear = inner(y.data - b.data.reshape(-1, *[1] * d), g)
    assert linear == inner(x, dx) == inner(w, dw)
    np.testing.assert_array_equal(db.data, g.sum((0, *range(2, d + 2))))


@pytest.mark.parametrize("transposed", [False, True])
@given(options(), st.integers(0, 99))
def test_second_order_is_the_same_trilinear_form(transposed, given_options, seed):
    """With f = <conv(x, w), g>: the gradient of <df/dx, u> in w is the weight gradient at u, and so on."""
    d, kernel, stride, padding, dilation, groups, size = given_options
    weight = (2 * groups, 2) if transposed else (groups, 2)
    function = TRANSPOSE[d] if transposed else CONV[d]
    extra = (0,) if transposed else ()

    def compute(x, w):
        if transposed:
            return function(x, w, None, stride, 0, *extra, groups, dilation)
        return function(x, w, None, stride, padding, dilation, groups)

    x, w = leaf(integers(1, 2 * groups, *size, seed=seed)), leaf(integers(*weight, *kernel, seed=seed + 1))
    y = compute(x, w)
    g = leaf(integers(*y.shape, seed=seed + 2))
    dx, dw = tc.grad(y, [x, w], g, create_graph=True)
    u, v = integers(*x.shape, seed=seed + 3), integers(*w.shape, seed=seed + 4)
    # What each of the three is the gradient of, evaluated at u or v in place of x or w.
    at_u, at_v = leaf(u), leaf(v)
    from_u, from_v = compute(at_u, w.detach()), compute(x.detach(), at_v)
    dw_at_u = tc.grad(compute(at_u, w), [w], g.detach())[0]
    dx_at_v = tc.grad(compute(x, at_v), [x], g.detach())[0]
    in_w, in_g = tc.grad((dx * u).sum(), [w, g], retain_graph=True)
    np.testing.assert_array_equal(in_w.data, dw_at_u.data)
    np.testing.assert_array_equal(in_g.data, from_u.data)
    in_x, in_g = tc.grad((dw * v).sum(), [x, g])
    np.testing.assert_array_equal(in_x.data, dx_at_v.data)
    np.testing.assert_array_equal(in_g.data, from_v.data)


@pytest.mark.parametrize(
    ("n", "k", "s", "dilation"), list(itertools.product([1, 5, 6], [1, 2, 3, 4], [1, 2, 3], [1, 2]))
)
def test_same_keeps_the_size_at_any_stride(n, k, s, dilation):
    x, w = integers(1, 1, n), integers(1, 1, k, seed=1)
    total = max(0, (-(-n // s) - 1) * s + dilation * (k - 1) + 1 - n)
    for word, before in (("same", total // 2), ("same_lower", total - total // 2)):
        y = conv1d(x, w, None, s, word, dilation)
        assert y.shape == (1, 1, -(-n // s))
        np.testing.assert_array_equal(y.data, conv1d(x, w, None, s, ((before, total - before),), dilation).data)


SPELLINGS = [
    (1, ((1, 1), (1, 1))),
    ((1, 2), ((1, 1), (2, 2))),
    ([1, 2], ((1, 1), (2, 2))),
    (np.array([1, 2]), ((1, 1), (2, 2))),
    (((0, 1), (2, 3)), ((0, 1), (2, 3))),
    ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
    ("valid", ((0, 0), (0, 0))),
    ("same", ((0, 1), (1, 1))),
    ("same_lower", ((1, 0), (1, 1))),
    ("full", ((1, 1), (2, 2))),
]


@pytest.mark.parametrize(("padding", "pairs"), SPELLINGS, ids=[str(p) for p, _ in SPELLINGS])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_in_every_spelling_and_mode(padding, pairs, mode):
    x, w = integers(2, 2, 4, 5), integers(3, 2, 2, 3, seed=1)
    y = conv2d(x, w, None, 1, padding, padding_mode=mode)
    np.testing.assert_array_equal(y.data, naive.conv(pad(x, pairs, mode).data, w))


def test_full_with_the_turned_kernel_is_the_input_gradient():
    x, w = leaf(integers(1, 2, 5, 5)), integers(3, 2, 3, 3, seed=1)
    y = conv2d(x, w)
    g = integers(*y.shape, seed=2)
    (dx,) = tc.grad(y, [x], tc.tensor(g))
    swapped = np.swapaxes(w, 0, 1)
    np.testing.assert_array_equal(dx.data, convolve2d(g, swapped, padding="full").data)


def test_convolve2d_is_mathematics_convolution():
    x, w = integers(1, 1, 4, 4), integers(1, 1, 3, 2, seed=1)
    full = np.zeros((6, 5))
    for i, j in np.ndindex(4, 4):
        full[i : i + 3, j : j + 2] += x[0, 0, i, j] * w[0, 0]
    np.testing.assert_array_equal(convolve2d(x, w, padding="full").data[0, 0], full)


def test_the_lecture_images():
    image = [[1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0]]
    image = np.array([*image, [0, 0, 1, 0, 1, 0]])[None, None]
    diagonal = np.array([[[[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]]])
    expected = np.array([[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]])
    np.testing.assert_array_equal(conv2d(image, diagonal).data[0, 0], expected)
    np.testing.assert_array_equal(conv2d(image, diagonal, stride=2).data[0, 0], expected[::2, ::2])


@pytest.mark.parametrize("shape", [(0, 2, 5, 5), (2, 0, 5, 5)])
def test_empty_batches_and_channels(shape):
    x, w, b = (
        leaf(np.zeros(shape, np.float32)),
        leaf(np.ones((3, shape[1], 2, 2), np.float32)),
        leaf(np.ones(3, np.float32)),
    )
    y = conv2d(x, w, b)
    assert y.shape == (shape[0], 3, 4, 4)
    assert (y.data == 1).all()
    y.backward(np.ones(y.shape, np.float32))
    assert (x.grad.shape, w.grad.shape) == (x.shape, w.shape)
    assert (w.grad.data == 0).all()
    assert (b.grad.data == 16 * shape[0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_memory_order(dtype):
    x, w = leaf(integers(2, 3, 5, 6, dtype=dtype)), leaf(integers(4, 3, 3, 3, dtype=dtype))
    y = conv2d(x, w, leaf(np.ones(4, dtype)), padding=1)
    z = conv_transpose2d(y, w)
    for image in (y, z):
        assert image.dtype == dtype
        assert np.moveaxis(image.data, 1, -1).flags.c_contiguous
    z.backward(np.ones(z.shape, dtype))
    assert x.grad.dtype == w.grad.dtype == dtype


X, W = np.zeros((2, 4, 5, 5), np.float32), np.zeros((6, 2, 3, 3), np.float32)

ERRORS = [
    (
        lambda: conv2d(X[0], W),
        tc.ShapeError,
        r"conv2d: x must have 4 axes \(N, C, H, W\), x.shape = \(4, 5, 5\).*x\[None\]",
    ),
    (lambda: conv2d(X, W[0]), tc.ShapeError, r"weight must have shape \(out, in / groups, kernel\)"),
    (lambda: conv2d(X, W[..., :0]), tc.ShapeError, r"at least 1 pixel; weight.shape = \(6, 2, 3, 0\)"),
    (
        lambda: conv2d(X[:, :1], W),
        tc.ShapeError,
        r"weight expects 2 input channels .* x has 1 \(x.shape = \(2, 1, 5, 5\)\)",
    ),
    (lambda: conv2d(X, W[:5], groups=2), tc.ShapeError, r"groups = 2 must divide the 5 output channels"),
    (lambda: conv2d(X, W, groups=0), ValueError, r"groups must be an integer of at least 1, got 0"),
    (lambda: conv2d(X, W, np.zeros(5, np.float32), groups=2), tc.ShapeError, r"bias must have shape \(6,\)"),
    (lambda: conv2d(X, W.astype(float), groups=2), TypeError, r"x is float32, weight is float64.*astype"),
    (lambda: conv2d(X, W, stride=0, groups=2), ValueError, r"stride must be at least 1, got 0"),
    (lambda: conv2d(X, W, stride=(1, 2, 3), groups=2), ValueError, r"stride must be an int or 2 of them.*\(1, 2, 3\)"),
    (lambda: conv2d(X, W, stride=1.5, groups=2), ValueError, r"stride must be an int"),
    (lambda: conv2d(X, W, stride=True, groups=2), ValueError, r"stride must be an int"),
    (lambda: conv2d(X, W, dilation=-1, groups=2), ValueError, r"dilation must be at least 1, got -1"),
    (lambda: conv2d(X, W, padding=-1, groups=2), ValueError, r"padding must not be negative"),
    (lambda: conv2d(X, W, padding=(1, 2, 3), groups=2), ValueError, r"padding must be an int, 2 ints"),
    (lambda: conv2d(X, W, padding="big", groups=2), ValueError, r"padding 'big' is unknown; the words are valid, same"),
    (
        lambda: conv2d(X, W, padding_mode="mirror", groups=2),
        ValueError,
        r"padding_mode must be one of 'zeros', .* got 'mirror'",
    ),
    (
        lambda: conv2d(X, W, dilation=3, groups=2),
        tc.ShapeError,
        r"along H the kernel spans 7 pixels .* has 5 \(0 \+ 5 \+ 0\)",
    ),
    (
        lambda: conv2d(X, W, padding=5, padding_mode="reflect", groups=2),
        tc.ShapeError,
        r"axis 2 of length 5 by at most 4",
    ),
    (lambda: conv1d(X[0], W[0][:, :1].repeat(5, 1), padding=(1, 2)), ValueError, r"write \(\(1, 2\),\)"),
    (lambda: conv_transpose2d(X, W), tc.ShapeError, r"weight expects 6 input channels \(weight.shape\[0\]\), x has 4"),
    (lambda: conv_transpose2d(X, W[:4], groups=3), tc.ShapeError, r"groups = 3 must divide the 4 input channels"),
    (
        lambda: conv_transpose2d(X, W[:4], stride=2, output_padding=2),
        ValueError,
        r"output_padding must be smaller than stride",
    ),
    (lambda: conv_transpose2d(X, W[:4], output_padding=-1), ValueError, r"output_padding must be at least 0"),
    (lambda: conv_transpose2d(X, W[:4], padding=4), tc.ShapeError, r"crops everything: the output would be \(-1, -1\)"),
    (lambda: conv_transpose2d(X, W[:4], padding="same"), ValueError, r"has no word 'same'"),
    (lambda: conv_transpose2d(X, W[:4], np.zeros(3, np.float32)), tc.ShapeError, r"bias must have shape \(2,\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors_name_the_op_the_numbers_and_the_fix(call, error, message):
    with pytest.raises(error, match=message):
        call()
    with tc.no_grad(), pytest.raises(error, match=message):
        call()
