"""Losses against loops over their definition; the laws of cross-entropy; gradients to the second order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing

REDUCTIONS = ("mean", "sum", "none")


def reduced(losses, reduction, divisor=None):
    losses = np.asarray(losses)
    total = losses.size if divisor is None else divisor
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / (total or 1.0)}[reduction]


def log_probabilities(row):
    top = max(row)
    return [v - top - math.log(math.fsum(math.exp(u - top) for u in row)) for v in row]


@st.composite
def labelled(draw):
    """Logits (N, C, ...), labels of which some do not count, weights, smoothing, reduction."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    batch, classes, rest = (
        draw(st.integers(0, 3)),
        draw(st.integers(1, 4)),
        draw(st.lists(st.integers(1, 3), max_size=2)),
    )
    z = rng.normal(size=(batch, classes, *rest)) * 3
    ignore_index = draw(st.sampled_from([-100, 0, -1]))
    y = rng.integers(0, classes, (batch, *rest))
    y[rng.random(y.shape) < 0.3] = ignore_index
    weight = draw(st.none() | st.just(rng.choice([0.0, 0.5, 2.0], classes)))
    return z, y, weight, ignore_index, draw(st.sampled_from([0.0, 0.25, 1.0])), draw(st.sampled_from(REDUCTIONS))


@given(labelled())
def test_cross_entropy_of_labels(case):
    z, y, weight, ignore_index, smoothing, reduction = case
    classes = z.shape[1]
    w = np.ones(classes) if weight is None else weight
    losses, divisor = np.zeros(y.shape), 0.0
    for at in np.ndindex(*y.shape):
        if y[at] != ignore_index:
            log_p = log_probabilities(z[(at[0], slice(None), *at[1:])].tolist())
            share = [(1 - smoothing) * (c == y[at]) + smoothing / classes for c in range(classes)]
            losses[at] = -sum(w[c] * share[c] * log_p[c] for c in range(classes))
            divisor += w[y[at]]
    options = {"ignore_index": ignore_index, "reduction": reduction}
    y_hat = F.cross_entropy(z, y, weight, label_smoothing=smoothing, **options)
    np.testing.assert_allclose(y_hat.data, reduced(losses, reduction, divisor), rtol=1e-12, atol=1e-14)
    if smoothing == 0:
        split = F.nll_loss(F.log_softmax(z, 1), y, weight, **options)
        np.testing.assert_allclose(split.data, y_hat.data, rtol=1e-12, atol=1e-14)


@given(labelled())
def test_the_fused_gradient_is_that_of_its_parts(case):
    """dz = (softmax - onehot) / N for plain labels, and in every row that does not count exactly 0."""
    z, y, weight, ignore_index, _, reduction = case
    options = {"ignore_index": ignore_index, "reduction": reduction}
    whole, parts = (tc.tensor(z, requires_grad=True) for _ in range(2))
    a, b = F.cross_entropy(whole, y, weight, **options), F.nll_loss(F.log_softmax(parts, 1), y, weight, **options)
    g = np.random.default_rng(0).integers(-3, 4, a.shape).astype(float)
    a.backward(g)
    b.backward(g)
    np.testing.assert_allclose(whole.grad.data, parts.grad.data, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(whole.grad.data.sum(1), 0, atol=1e-12)
    assert not np.moveaxis(whole.grad.data, 1, -1)[y == ignore_index].any()


def test_the_gradient_of_plain_labels():
    z = tc.tensor(np.array([[0.0, 0.0], [0.0, np.log(3)]]), requires_grad=True)
    F.cross_entropy(z, [0, 1]).backward()
    np.testing.assert_allclose(z.grad.data, [[-0.25, 0.25], [0.125, -0.125]], rtol=1e-15)


@pytest.mark.parametrize("shift", [1.0, -4.0, 1000.0, -1e6])
def test_logits_may_be_shifted_bit_for_bit(shift):
    """On a grid of eighths the sum is exact; then so are softmax, the loss and the gradient."""
    z = np.random.default_rng(0).integers(-40, 40, (5, 4)) / 8
    y = np.array([0, 1, 2, 3, 0])
    results = []
    for x in (z, z + shift):
        t = tc.tensor(x, requires_grad=True)
        loss = F.cross_entropy(t, y)
        loss.backward()
        results.append((F.softmax(x).data, F.log_softmax(x).data, loss.data, t.grad.data))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_classes_may_be_renamed():
    rng = np.random.default_rng(0)
    z, y, weight, order = rng.normal(size=(6, 4)), rng.integers(0, 4, 6), rng.random(4), rng.permutation(4)
    renamed = np.argsort(order)[y]
    np.testing.assert_allclose(
        F.cross_entropy(z, y, weight, label_smoothing=0.1).item(),
        F.cross_entropy(z[:, order], renamed, weight[order], label_smoothing=0.1).item(),
        rtol=1e-14,
    )


def test_constant_logits_cost_the_logarithm_of_the_classes():
    for value in (0.0, 1e4, -1e4):
        np.testing.assert_allclose(F.cross_entropy(np.full((3, 7), value), [0, 3, 6]).item(), np.log(7), rtol=1e-15)


def test_probabilities_that_are_unit_vectors_are_labels():
    rng = np.random.default_rng(0)
    z, y, weight = rng.normal(size=(4, 3, 2)), rng.integers(0, 3, (4, 2)), rng.random(3)
    p = np.moveaxis(F.one_hot(y, 3).data.astype(float), -1, 1)
    for options in ({"reduction": "sum"}, {"reduction": "none", "label_smoothing": 0.2}):
        a, b = F.cross_entropy(z, y, weight, **options), F.cross_entropy(z, p, weight, **options)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-14)


def test_a_single_sample_needs_no_batch_axis():
    z, p = np.array([1.0, 2.0, 0.5]), np.array([0.25, 0.5, 0.25])
    for reduction in REDUCTIONS:
        for target, batch in ((2, [2]), (p, p[None])):
            one, many = (F.cross_entropy(a, b, reduction=reduction) for a, b in ((z, target), (z[None], batch)))
            assert one.shape == ()
            assert one.item() == many.item()
        assert F.nll_loss(z, 2, reduction=reduction).item() == -0.5


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_by_entry(reduction):
    rng = np.random.default_rng(0)
    a, b, p = rng.normal(size=(4, 3)) * 3, rng.normal(size=(4, 3)), rng.uniform(0.1, 0.9, (4, 3))
    d, s = a - b, 1 / (1 + np.exp(-a))
    weight, pos_weight = rng.random((4, 1)), rng.random(3)
    huber = np.where(abs(d) <= 0.7, d * d / 2, 0.7 * (abs(d) - 0.35))
    binary = -pos_weight * p * np.log(s) - (1 - p) * np.log(1 - s)
    for y, expected in (
        (F.mse_loss(a, b, reduction=reduction), d * d),
        (F.l1_loss(a, b, reduction=reduction), abs(d)),
        (F.huber_loss(a, b, reduction, 0.7), huber),
        (F.binary_cross_entropy_with_logits(a, p, reduction=reduction), -p * np.log(s) - (1 - p) * np.log(1 - s)),
        (F.binary_cross_entropy_with_logits(a, p, weight, reduction=reduction, pos_weight=pos_weight), weight * binary),
        (F.kl_div(a, p, reduction=reduction), p * (np.log(p) - a)),
        (F.kl_div(a, np.log(p), reduction=reduction, log_target=True), p * (np.log(p) - a)),
    ):
        np.testing.assert_allclose(y.data, reduced(expected, reduction), rtol=1e-12)
    divergence = F.kl_div(a, p, reduction="batchmean").item()
    np.testing.assert_allclose(divergence, (p * (np.log(p) - a)).sum() / 4, rtol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, p: F.cross_entropy(x, p, np.array([0.5, 1.0, 2.0]), label_smoothing=0.25),
        lambda x, p: F.nll_loss(x * p, [0, 2], np.array([0.5, 1.0, 2.0])),
        lambda x, p: F.mse_loss(x, p),
        lambda x, p: F.huber_loss(x, p, "none", 0.5),
        lambda x, p: F.binary_cross_entropy_with_logits(x, p, np.array([2.0, 1.0, 0.5]), pos_weight=np.array([3.0])),
        lambda x, p: F.binary_cross_entropy_with_logits(x, p, reduction="none"),
        lambda x, p: F.kl_div(x, p),
        lambda x, p: F.kl_div(x, p.log(), log_target=True, reduction="none"),
    ],
)
def test_gradients_and_their_gradients(f):
    rng = np.random.default_rng(0)
    inputs = (rng.normal(size=(2, 3)) * 2, rng.uniform(0.3, 0.7, (2, 3)))
    testing.gradcheck(f, inputs)
    testing.gradgradcheck(f, inputs)


def test_weights_may_have_gradients_where_they_broadcast():
    x, p = np.array([[0.5, -1.0]]), np.array([[1.0, 0.25]])
    testing.gradcheck(
        lambda w, v: F.binary_cross_entropy_with_logits(x, p, w, pos_weight=v), (np.array([2.0, 0.5]), np.array([3.0]))
    )


@pytest.mark.parametrize("f", [F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits, F.kl_div])
def test_of_nothing_the_mean_is_nan_and_the_gradient_empty(f):
    x = tc.tensor(np.zeros((0, 3)), requires_grad=True)
    for reduction, expected in (("mean", np.nan), ("sum", 0.0), ("none", np.zeros((0, 3)))):
        y = f(x, np.zeros((0, 3)), reduction=reduction)
        np.testing.assert_array_equal(y.data, expected)
        (dx,) = tc.grad(y, x, np.ones(y.shape))
        assert dx.shape == (0, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_stay(dtype):
    x, p = np.ones((2, 3), dtype), np.full((2, 3), 0.25, dtype)
    for f in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits, F.kl_div, F.cross_entropy):
        for reduction in REDUCTIONS:
            a = tc.tensor(x, requires_grad=True)
            y = f(a, p, reduction=reduction)
            y.sum().backward()
            assert y.dtype == a.grad.dtype == dtype
    for f in (F.cross_entropy, F.nll_loss):
        a = tc.tensor(x, requires_grad=True)
        f(a, [0, 1], [1.0, 2.0, 3.0]).backward()
        assert a.grad.dtype == dtype


def test_python_numbers_as_weights_take_the_dtype_of_the_input():
    for dtype in ("float32", "float64"):
        x = np.array([0.5, -1.0], dtype)
        y, expected = (
            F.binary_cross_entropy_with_logits(x, x * 0 + 1, w, pos_weight=v)
            for w, v in ((2.0, [3, 0.5]), (np.array(2.0, dtype), np.array([3, 0.5], dtype)))
        )
        assert y.dtype == dtype
        assert y.item() == expected.item()
