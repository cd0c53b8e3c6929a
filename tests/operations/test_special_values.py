"""Values and slopes at zeros of both signs, infinities, NaN, the largest and the smallest numbers.

The numbers are PyTorch's, but where docs/conventions.md says otherwise.
"""

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F

inf, nan = np.inf, np.nan
POINTS = np.array([0.0, -0.0, inf, -inf, nan, 1e30, -1e30, 1e-310])

# At POINTS: the values, and the slopes.
TABLE = {
    tc.exp: ([1, 1, inf, 0, nan, inf, 0, 1], [1, 1, inf, 0, nan, inf, 0, 1]),
    tc.expm1: ([0, -0.0, inf, -1, nan, inf, -1, 1e-310], [1, 1, inf, 0, nan, inf, 0, 1]),
    tc.log: ([-inf, -inf, inf, nan, nan, 69.07755278982137, nan, -713.8013788281542],
             [inf, -inf, 0, -0.0, nan, 1e-30, -1e-30, inf]),
    tc.log1p: ([0, -0.0, inf, nan, nan, 69.07755278982137, nan, 1e-310], [1, 1, 0, -0.0, nan, 1e-30, -1e-30, 1]),
    tc.log2: ([-inf, -inf, inf, nan, nan, 99.65784284662087, nan, -1029.7977094150824],
              [inf, -inf, 0, -0.0, nan, 1.4426950408889634e-30, -1.4426950408889634e-30, inf]),
    tc.log10: ([-inf, -inf, inf, nan, nan, 30, nan, -310],
               [inf, -inf, 0, -0.0, nan, 4.342944819032518e-31, -4.342944819032518e-31, inf]),
    tc.sqrt: ([0, -0.0, inf, nan, nan, 1e15, nan, 1e-155], [inf, -inf, 0, nan, nan, 5e-16, nan, 5e154]),
    tc.rsqrt: ([inf, -inf, 0, nan, nan, 1e-15, nan, 1e155], [-inf, inf, -0.0, nan, nan, -5e-46, nan, -inf]),
    tc.reciprocal: ([inf, -inf, 0, -0.0, nan, 1e-30, -1e-30, inf], [-inf, -inf, -0.0, -0.0, nan, -1e-60, -1e-60, -inf]),
    tc.square: ([0, 0, inf, inf, nan, 1e60, 1e60, 0], [0, -0.0, inf, -inf, nan, 2e30, -2e30, 2e-310]),
    tc.sin: ([0, -0.0, nan, nan, nan, np.sin(1e30), np.sin(-1e30), 1e-310],
             [1, 1, nan, nan, nan, np.cos(1e30), np.cos(1e30), 1]),
    tc.atan: ([0, -0.0, np.pi / 2, -np.pi / 2, nan, np.pi / 2, -np.pi / 2, 1e-310], [1, 1, 0, 0, nan, 1e-60, 1e-60, 1]),
    tc.sinh: ([0, -0.0, inf, -inf, nan, inf, -inf, 1e-310], [1, 1, inf, inf, nan, inf, inf, 1]),
    tc.cosh: ([1, 1, inf, inf, nan, inf, inf, 1], [0, -0.0, inf, -inf, nan, inf, -inf, 1e-310]),
    tc.tanh: ([0, -0.0, 1, -1, nan, 1, -1, 1e-310], [1, 1, 0, 0, nan, 0, 0, 1]),
    tc.sigmoid: ([0.5, 0.5, 1, 0, nan, 1, 0, 0.5], [0.25, 0.25, 0, 0, nan, 0, 0, 0.25]),
    tc.erf: ([0, -0.0, 1, -1, nan, 1, -1, 1e-310 * 2 / np.sqrt(np.pi)],
             [2 / np.sqrt(np.pi), 2 / np.sqrt(np.pi), 0, 0, nan, 0, 0, 2 / np.sqrt(np.pi)]),
    tc.abs: ([0, 0, inf, inf, nan, 1e30, 1e30, 1e-310], [0, 0, 1, -1, nan, 1, -1, 1]),
    tc.sign: ([0, 0, 1, -1, nan, 1, -1, 1], [0] * 8),
    tc.floor: ([0, -0.0, inf, -inf, nan, 1e30, -1e30, 0], [0] * 8),
    tc.ceil: ([0, -0.0, inf, -inf, nan, 1e30, -1e30, 1], [0] * 8),
    tc.round: ([0, -0.0, inf, -inf, nan, 1e30, -1e30, 0], [0] * 8),
    F.relu: ([0, 0, inf, 0, nan, 1e30, 0, 1e-310], [0, 0, 1, 0, 1, 1, 0, 1]),
    F.leaky_relu: ([0, -0.0, inf, -inf, nan, 1e30, -1e28, 1e-310], [0.01, 0.01, 1, 0.01, 0.01, 1, 0.01, 1]),
    F.elu: ([0, -0.0, inf, -1, nan, 1e30, -1, 1e-310], [1, 1, 1, 0, 1, 1, 0, 1]),
    F.relu6: ([0, 0, 6, 0, nan, 6, 0, 1e-310], [0, 0, 0, 0, 0, 0, 0, 1]),
    F.hardtanh: ([0, -0.0, 1, -1, nan, 1, -1, 1e-310], [1, 1, 0, 0, 0, 0, 0, 1]),
    F.softplus: ([np.log(2), np.log(2), inf, 0, nan, 1e30, 0, np.log(2)], [0.5, 0.5, 1, 0, nan, 1, 0, 0.5]),
    F.silu: ([0, -0.0, inf, nan, nan, 1e30, -0.0, 5e-311], [0.5, 0.5, nan, nan, nan, 1, 0, 0.5]),
}  # fmt: skip


@pytest.mark.parametrize("f", TABLE, ids=lambda f: f.name)
def test_functions_of_one_variable(f):
    values, slopes = TABLE[f]
    for shift in range(len(POINTS)):  # so that every lane of a vectorised loop meets each of them
        x = tc.tensor(np.roll(POINTS, shift), requires_grad=True)
        y = f(x)
        y.backward(np.ones(x.shape))
        np.testing.assert_allclose(y.data, np.roll(values, shift), rtol=1e-13, atol=1e-320)
        np.testing.assert_allclose(x.grad.data, np.roll(slopes, shift), rtol=1e-13, atol=1e-320)


ODD = [tc.expm1, tc.log1p, tc.sqrt, tc.sin, tc.tan, tc.atan, tc.sinh, tc.tanh, tc.erf, tc.floor, tc.ceil, tc.round]


@pytest.mark.parametrize("f", ODD, ids=lambda f: f.name)
def test_minus_zero_stays_minus_zero(f):
    assert np.signbit(f(tc.tensor([-0.0])).data) == [True]


@pytest.mark.parametrize("n", [*range(1, 20), 31, 33, 63, 64, 65, 67])
def test_nan_stays_at_its_index_whatever_the_length(n):
    """Vectorised loops with another rule for NaN than their tails have shipped elsewhere."""
    for at in {0, n // 2, n - 1}:
        x = np.ones(n, np.float32)
        x[at] = nan
        for f in TABLE:
            np.testing.assert_array_equal(np.isnan(f(tc.tensor(x)).data), np.isnan(x))


# ---- rows ------------------------------------------------------------------------------------------------------

ROWS = {  # softmax, log_softmax, logsumexp
    (inf, 1.0, 2.0): ([nan] * 3, [nan] * 3, inf),
    (-inf, -inf, -inf): ([nan] * 3, [nan] * 3, -inf),
    (-inf, 0.0, 0.0): ([0, 0.5, 0.5], [-inf, -np.log(2), -np.log(2)], np.log(2)),
    (nan, 1.0, 2.0): ([nan] * 3, [nan] * 3, nan),
    (1e4, -1e4, 1e4): ([0.5, 0, 0.5], [-np.log(2), -2e4 - np.log(2), -np.log(2)], 1e4 + np.log(2)),
    (1e30, 0.0, -1e30): ([1, 0, 0], [0, -1e30, -2e30], 1e30),
    (1e-310, 0.0, -0.0): ([1 / 3] * 3, [-np.log(3)] * 3, np.log(3)),
}


@pytest.mark.parametrize("row", ROWS)
def test_softmax_and_logsumexp(row):
    x = tc.tensor(np.array(row))
    for y, expected in zip((F.softmax(x), F.log_softmax(x), x.logsumexp()), ROWS[row], strict=True):
        np.testing.assert_allclose(y.data, expected, rtol=1e-15)


def test_each_row_is_shifted_by_its_own_largest():
    """One shift for all rows makes the smaller rows 0 / 0."""
    x = tc.tensor(np.array([[0.0, 1.0], [1000.0, 1001.0], [-1e4, -1e4 + 1]]))
    np.testing.assert_allclose(F.softmax(x).data, np.tile(F.softmax(x[0]).data, (3, 1)), rtol=1e-12)
    np.testing.assert_allclose(F.log_softmax(x).data[2], F.log_softmax(x[0]).data, rtol=1e-9)


def test_logsumexp_of_nothing_but_minus_infinity_has_zero_gradient():
    x = tc.tensor(np.full(3, -inf), requires_grad=True)
    x.logsumexp().backward()
    np.testing.assert_array_equal(x.grad.data, [0, 0, 0])


@pytest.mark.parametrize(
    ("row", "label", "loss", "slope"),
    [
        ([0.0, -inf, 0.0], 0, np.log(2), [-0.5, 0, 0.5]),
        ([0.0, -inf, 0.0], 1, inf, [0.5, -1, 0.5]),
        ([1e4, -1e4, 0.0], 0, 0, [0, 0, 0]),
        ([1e4, -1e4, 0.0], 1, 2e4, [1, -1, 0]),
        ([-1e4, -1e4, -1e4], 2, np.log(3), [1 / 3, 1 / 3, -2 / 3]),
        ([nan, 0.0, 0.0], 1, nan, [nan, nan, nan]),
    ],
)
def test_cross_entropy(row, label, loss, slope):
    z = tc.tensor(np.array([row, [0.0, 0.0, 0.0]]), requires_grad=True)
    y = F.cross_entropy(z, [label, 0], reduction="none")
    y.backward(np.array([1.0, 0.0]))
    np.testing.assert_allclose(y.data, [loss, np.log(3)], rtol=1e-15)
    np.testing.assert_allclose(z.grad.data, [slope, [0, 0, 0]], rtol=1e-15)
    log_p = F.log_softmax(z.detach(), 1)
    np.testing.assert_allclose(F.nll_loss(log_p, [label, 0], reduction="none").data, y.data, rtol=1e-15)


def test_a_label_that_does_not_count_is_exactly_nothing():
    """Neither an infinite logit nor an infinite upstream gradient reaches through it."""
    for loss in (F.cross_entropy, F.nll_loss):
        z = tc.tensor(np.array([[inf, -inf, nan], [0.0, 0.0, 0.0]]), requires_grad=True)
        y = loss(z, [-100, 1], reduction="none")
        y.backward(np.array([inf, 1.0]))
        assert y.data[0] == 0
        np.testing.assert_array_equal(z.grad.data[0], [0, 0, 0])
        assert np.isfinite(z.grad.data).all()
        assert np.isfinite(loss(z, [-100, 1]).item())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("shape", "target"), [((2, 3), [-100, -100]), ((0, 3), np.zeros(0, int)), ((3,), -100)])
def test_nothing_to_count_is_zero_with_zero_gradient(shape, target, reduction):
    for loss in (F.cross_entropy, F.nll_loss):
        for weight in (None, np.ones(3)):
            z = tc.tensor(np.ones(shape), requires_grad=True)
            y = loss(z, target, weight, reduction=reduction)
            y.backward(np.ones(y.shape))
            assert not y.data.any()
            assert z.grad.shape == shape
            assert not z.grad.data.any()
            assert not np.signbit(y.data).any()


@pytest.mark.parametrize(
    ("x", "p", "loss", "slope"),
    [
        (0.0, 1.0, np.log(2), -0.5),
        (1e4, 1.0, 0, 0),
        (1e4, 0.0, 1e4, 1),
        (-1e4, 1.0, 1e4, -1),
        (-800.0, 0.0, 0, 0),
        (-40.0, 0.0, np.log1p(np.exp(-40)), 1 / (1 + np.exp(40))),
        (inf, 1.0, 0, 0),
        (-inf, 0.0, 0, 0),
        (inf, 0.0, inf, 1),
        (inf, 0.5, inf, 0.5),
        (nan, 0.0, nan, nan),
    ],
)
def test_binary_cross_entropy(x, p, loss, slope):
    z = tc.tensor([x], dtype="float64", requires_grad=True)
    y = F.binary_cross_entropy_with_logits(z, np.array([p]))
    y.backward()
    np.testing.assert_allclose(y.data, loss, rtol=1e-15)
    np.testing.assert_allclose(z.grad.data, [slope], rtol=1e-14)


@pytest.mark.parametrize(
    ("x", "p", "loss", "dx", "dp"),
    [
        (-1.0, 0.0, 0, 0, -inf),
        (-inf, 0.0, 0, 0, nan),
        (-inf, 0.5, inf, -0.5, inf),
        (-1.0, 1.0, 1, -1, 2),
        (0.0, 1.0, 0, -1, 1),
    ],
)
def test_kl_div(x, p, loss, dx, dp):
    a, b = (tc.tensor([v], dtype="float64", requires_grad=True) for v in (x, p))
    y = F.kl_div(a, b)
    y.backward()
    np.testing.assert_array_equal([y.item(), a.grad.item(), b.grad.item()], [loss, dx, dp])


@pytest.mark.parametrize(
    ("d", "loss", "slope", "curvature"),
    [(0.0, 0, 0, 1), (-0.0, 0, 0, 1), (2.0, 2, 2, 0), (-2.0, 2, -2, 0), (1e30, 2e30, 2, 0), (inf, inf, 2, 0),
     (-inf, inf, -2, 0), (1e-310, 0, 1e-310, 1), (nan, nan, nan, 0)],
)  # fmt: skip
def test_huber(d, loss, slope, curvature):
    """At the joint, |d| = delta, the second derivative is the line's."""
    x = tc.tensor([d], dtype="float64", requires_grad=True)
    y = F.huber_loss(x, np.zeros(1), delta=2.0)
    (dx,) = tc.grad(y, x, create_graph=True)
    (dxx,) = tc.grad(dx, x, allow_unused=True)
    np.testing.assert_array_equal([y.item(), dx.item(), dxx.item()], [loss, slope, curvature])


# ---- images ----------------------------------------------------------------------------------------------------


def test_max_pool_of_nothing_but_minus_infinity():
    """Padding is -inf too, and does not win: it would have no pixel to send the gradient to."""
    for padding in (0, 1):
        x = tc.tensor(np.full((1, 2, 4, 4), -inf), requires_grad=True)
        y, indices = F.max_pool2d(x, 2, 2, padding, return_indices=True)
        y.backward(np.ones(y.shape))
        assert (y.data == -inf).all()
        assert indices.data.min() >= 0
        assert indices.data.max() < 16
        assert x.grad.data.sum() == y.size


def test_max_pool_of_nothing_but_nan():
    x = tc.tensor(np.full((1, 1, 4, 4), nan), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    y.backward(np.ones(y.shape))
    assert np.isnan(y.data).all()
    np.testing.assert_array_equal(indices.data[0, 0], [[0, 2], [8, 10]])
    np.testing.assert_array_equal(x.grad.data[0, 0], np.kron(np.ones((2, 2)), [[1, 0], [0, 0]]))


def test_other_pools_of_special_values():
    x = np.array([[[[inf, 1.0, nan], [2.0, -inf, 3.0], [4.0, 5.0, 6.0]]]])
    np.testing.assert_array_equal(F.avg_pool2d(x, 2, 1).data[0, 0], [[nan, nan], [-inf, -inf]])
    np.testing.assert_array_equal(F.adaptive_max_pool2d(x, 2).data[0, 0], [[inf, nan], [5, 6]])
    assert np.isnan(F.global_max_pool(x).item())
    assert np.isnan(F.global_avg_pool(x).item())


def test_a_nan_reaches_only_the_outputs_that_read_it():
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 0, 0] = nan
    w = np.ones((1, 1, 3, 3))
    for y in (F.conv2d(x, w, padding=1), F.avg_pool2d(x, 3, 1, 1), F.max_pool2d(x, 3, 1, 1)):
        assert np.argwhere(np.isnan(y.data[0, 0])).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_resampling_does_not_read_a_pixel_of_weight_zero():
    """0 * inf is NaN."""
    x = np.array([[[[1.0, inf, 2.0, nan]]]])
    np.testing.assert_array_equal(F.interpolate(x, (2, 4), mode="bilinear").data[0, 0], np.tile(x[0, 0], (2, 1)))
    np.testing.assert_array_equal(F.interpolate(x, (1, 8)).data[0, 0, 0], np.repeat(x, 2))


@pytest.mark.parametrize("scale", [0.0, 1e-310, 1e-200, 1.0, 1e150])
@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_normalisation_of_constants_and_of_tiny_and_huge_spreads(name, scale):
    normalise = {
        "batch": lambda x: F.batch_norm(x, training=True),
        "layer": lambda x: F.layer_norm(x, 4),
        "group": lambda x: F.group_norm(x, 1),
        "instance": F.instance_norm,
    }[name]
    x = tc.tensor(np.random.default_rng(0).normal(size=(4, 2, 4)) * scale, requires_grad=True)
    y = normalise(x)
    y.backward(np.arange(32.0).reshape(4, 2, 4))
    assert np.isfinite(y.data).all()
    assert np.isfinite(x.grad.data).all()
    if scale < 1e-100:
        assert np.abs(y.data).max() < 1e-100
    else:
        np.testing.assert_allclose((y.data**2).mean(), 1, rtol=1e-4)
