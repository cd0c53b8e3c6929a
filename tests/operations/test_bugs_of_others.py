"""Bugs that shipped in other engines, each with the smallest call that would show it here.

Many are also met by the laws of the testing kit; here each has a name, and numbers that can be checked by hand.
"""

import itertools

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing
from tinygrad_cnn.testing import naive

inf, nan = np.inf, np.nan


def leaf(array):
    return tc.tensor(np.asarray(array, dtype=np.float64), requires_grad=True)


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def gradients(f, *inputs, g=None):
    leaves = [leaf(x) for x in inputs]
    y = f(*leaves)
    found = tc.grad(y, leaves, np.ones(y.shape) if g is None else g)
    return [d.data for d in found]


# ---- gradients that are gathered -------------------------------------------------------------------------------


def test_a_second_use_overwrites_the_gradient_of_the_first():
    """Shared weights, a diamond, one operand twice, twice into .grad: each sums."""
    w, x = leaf([[2.0]]), leaf([[3.0]])
    F.linear(F.linear(x, w), w).sum().backward()  # x w w
    assert (w.grad.item(), x.grad.item()) == (2 * 2 * 3, 4)
    a = leaf(3.0)
    b = a + a
    (b * b + a).backward()
    assert a.grad.item() == 8 * 3 + 1
    (a * a).backward()
    assert a.grad.item() == 8 * 3 + 1 + 6


@pytest.mark.parametrize("walk", ["backward", "grad", "create_graph", "func", "inputs", "checkpoint"])
def test_a_walk_that_recurses_or_enumerates_paths(walk):
    def chain(x):
        for _ in range(3000):  # three times the interpreter's limit, and 2**3000 paths
            x = (x + x) * 0.5
        return x

    x = leaf(1.0)
    if walk == "backward":
        chain(x).backward()
        slope = x.grad
    elif walk == "func":
        slope = tc.func.grad(chain)(x)
    elif walk == "inputs":
        chain(x).backward(inputs=[x])
        slope = x.grad
    elif walk == "checkpoint":
        (slope,) = tc.grad(tc.checkpoint(chain, x), x)
    else:
        (slope,) = tc.grad(chain(x), x, create_graph=walk == "create_graph")
    assert slope.item() == 1


@pytest.mark.parametrize("into", ["getitem", "setitem", "cat", "where", "add"])
def test_the_incoming_gradient_is_written_or_handed_on_to_two(into):
    """Then the gradient given changes, or that of another input when one is written."""
    a, b = leaf(np.arange(4.0)), leaf(np.arange(4.0))
    y, sums = {
        "getitem": lambda: (a[:] + b, (4, 4)),
        "setitem": lambda: (_written_into(a * 1.0, b), (2, 2)),
        "cat": lambda: (tc.cat([a, b]), (4, 4)),
        "where": lambda: (tc.where(np.array([True, False, True, False]), a, b), (2, 2)),
        "add": lambda: (a + b, (4, 4)),
    }[into]()
    g = np.ones(y.shape)
    g.flags.writeable = False
    y.backward(g)
    assert (a.grad.data.sum(), b.grad.data.sum()) == sums
    a.grad.data[...] = 7
    assert (b.grad.data.sum(), g.sum()) == (sums[1], g.size)


def _written_into(y, v):
    y[:2] = v[:2]
    return y


def test_a_gradient_of_no_axes_becomes_a_python_number():
    for f in (lambda x: x * x, lambda x: (x + np.ones(3)).sum(), lambda x: x.exp().sum()):
        x = leaf(2.0)
        for _ in range(2):  # also when it is added to what is there
            f(x).backward()
            assert type(x.grad.data) is np.ndarray
            assert (x.grad.shape, x.grad.dtype) == ((), np.float64)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_drift_to_another_dtype(dtype):
    """Through a mean, a padding of -inf, an integer mask, a Python number, a mixed operand."""
    for f in (
        lambda x: x.mean() * 2,
        lambda x: F.max_pool1d(x.reshape(1, 1, 4), 2, 2, 1),
        lambda x: x * np.array([1, 0, 1, 0]),
        lambda x: 0.5 * x / 3,
        lambda x: x.astype("float64") * np.ones(4),
        lambda x: x.std() + x.norm() + x.logsumexp(),
    ):
        x = tc.tensor(np.array([1.0, 2.0, 3.0, 5.0]), dtype=dtype, requires_grad=True)
        y = f(x)
        y.backward(np.ones(y.shape))
        assert x.grad.dtype == dtype


def test_truth_of_an_array_decides_whether_an_argument_was_given():
    """`if weight:`, `if axis:`, `if seed:`: 0 is a value, and an array of zeros is given."""
    zero = np.zeros((), np.float64)
    x = leaf(np.ones((2, 3)))
    assert x.sum(axis=0).shape == (3,)
    x.sum().backward(zero)
    assert not x.grad.data.any()
    y = F.cross_entropy(np.ones((2, 3)), [0, 1], weight=np.array([0.0, 0.0, 1.0]))
    assert y.item() == 0  # nothing counts; without the weight it would be log 3
    assert F.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), np.zeros(1), padding=0).item() == 9
    tc.manual_seed(0)
    first = tc.rand(3).tolist()
    tc.manual_seed(0)
    assert tc.rand(3).tolist() == first
    assert x.clip(0.0, None).shape == x.shape
    assert tc.zeros(2).clip(max=0.0).tolist() == [0, 0]
    with pytest.raises(ValueError, match="truth value"):
        bool(x)


# ---- windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: F.conv2d(x, np.ones((1, 1, 2, 2))),
        lambda x: F.avg_pool2d(x, 2, 1) * 4.0,
        lambda x: F.unfold(x, 2),
        lambda x: F.conv_transpose2d(x, np.ones((1, 1, 2, 2)))[:, :, 1:-1, 1:-1],
    ],
    ids=["conv2d", "avg_pool2d", "unfold", "conv_transpose2d"],
)
def test_overlapping_windows_assigned_instead_of_added(f):
    """Each pixel gets the number of windows that read it; an assignment leaves 1."""
    (dx,) = gradients(f, np.zeros((1, 1, 3, 3)))
    np.testing.assert_array_equal(dx[0, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_overlapping_columns_assigned_instead_of_added():
    np.testing.assert_array_equal(F.fold(np.ones((1, 4, 4)), (3, 3), 2).data[0, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_overlapping_max_pool_windows_assigned_instead_of_added():
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 1
    (dx,) = gradients(lambda x: F.max_pool2d(x, 2, 1), x)
    assert dx[0, 0, 1, 1] == 4
    assert dx.sum() == 4


@pytest.mark.parametrize(("n", "k", "s", "d"), [(5, 2, 2, 1), (6, 3, 2, 1), (7, 2, 3, 2), (8, 3, 4, 1), (4, 1, 2, 1)])
def test_pixels_that_no_window_reads(n, k, s, d):
    """A stride that leaves a remainder, or holes of a dilation: exactly 0 there, and in its place, not shifted."""
    read = np.zeros(n)
    for start in range(0, n - d * (k - 1), s):
        read[start : start + d * (k - 1) + 1 : d] += 1
    (dx,) = gradients(lambda x: F.conv1d(x, np.ones((1, 1, k)), stride=s, dilation=d), np.zeros((1, 1, n)))
    np.testing.assert_array_equal(dx[0, 0], read)
    if d == 1:
        (dx,) = gradients(lambda x: F.avg_pool1d(x, k, s) * float(k), np.zeros((1, 1, n)))
        np.testing.assert_array_equal(dx[0, 0], read)


def test_stride_and_dilation_exchanged():
    x, w = integers(1, 1, 9), np.array([[[1.0, 10.0]]])
    np.testing.assert_array_equal(F.conv1d(x, w, stride=3, dilation=2).data[0, 0], x[0, 0, :7:3] + 10 * x[0, 0, 2::3])


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_and_depthwise_are_separate_convolutions(groups):
    x, w = integers(2, 4, 5, 6), integers(8, 4 // groups, 3, 2, seed=1)
    g = integers(2, 8, 2, 3, seed=2)
    dx, dw = gradients(lambda x, w: F.conv2d(x, w, stride=2, padding=(1, 0), dilation=(2, 1), groups=groups), x, w, g=g)
    for i in range(groups):
        ins, outs = slice(i * 4 // groups, (i + 1) * 4 // groups), slice(i * 8 // groups, (i + 1) * 8 // groups)
        part = gradients(lambda x, w: F.conv2d(x, w, stride=2, padding=(1, 0), dilation=(2, 1)), x[:, ins], w[outs],
                         g=g[:, outs])  # fmt: skip
        np.testing.assert_array_equal(dx[:, ins], part[0])
        np.testing.assert_array_equal(dw[outs], part[1])


def test_weight_gradient_divided_by_the_batch():
    (dw,) = gradients(lambda w: F.conv2d(np.ones((5, 1, 3, 3)), w), np.zeros((1, 1, 3, 3)))
    np.testing.assert_array_equal(dw, np.full((1, 1, 3, 3), 5))


def test_a_max_pool_by_reshape_over_the_wrong_axes():
    """Right shapes, wrong numbers, and only for images that are not square."""
    x = integers(2, 3, 4, 6)
    expected = x.reshape(2, 3, 2, 2, 2, 3).max((3, 5))
    np.testing.assert_array_equal(F.max_pool2d(x, (2, 3)).data, expected)


@pytest.mark.parametrize("function", ["avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "conv2d", "batch_norm"])
def test_memory_order_changes_the_result(function):
    f = {
        "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
        "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 2),
        "conv2d": lambda x: F.conv2d(x, integers(4, 3, 3, 3, seed=1), stride=2),
        "batch_norm": lambda x: F.batch_norm(x, training=True),
    }[function]
    x = integers(2, 3, 5, 7)
    gapped = np.full((4, 6, 10, 14), nan)[::2, ::2, ::2, ::2]
    gapped[...] = x
    results = []
    for same in (
        x,
        np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
        gapped,
        np.flip(np.flip(x).copy()),
    ):
        t = tc.tensor(same, requires_grad=True)
        y = f(t)
        (dx,) = tc.grad(y, t, integers(*y.shape, seed=2))
        results.append((y.data, dx.data))
    for y, dx in results[1:]:
        np.testing.assert_allclose(y, results[0][0], rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(dx, results[0][1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("slices", ["transposed", "step", "negative", "broadcast"])
def test_an_upstream_gradient_in_odd_memory(slices):
    """Kernels that trusted the strides of g read out of bounds, or another element."""
    x, w = integers(2, 3, 5, 5), integers(4, 3, 3, 3, seed=1)
    g = {
        "transposed": integers(3, 3, 4, 2, seed=2).T,
        "step": integers(4, 8, 6, 6, seed=2)[::2, ::2, ::2, ::2],
        "negative": integers(2, 4, 3, 3, seed=2)[::-1, :, ::-1],
        "broadcast": np.broadcast_to(integers(1, 4, 1, 3, seed=2), (2, 4, 3, 3)),
    }[slices]
    for f in (lambda x, w: F.conv2d(x, w), lambda x, w: F.max_pool2d(F.conv2d(x, w, padding=1), 3, 1)):
        for a, b in zip(gradients(f, x, w, g=g), gradients(f, x, w, g=np.ascontiguousarray(g)), strict=True):
            np.testing.assert_array_equal(a, b)


# ---- ties, padding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.max(),
        lambda x: x.amax((0, 1)),
        lambda x: x.max(axis=1)[0].max(axis=0)[0],
        lambda x: F.max_pool2d(x.reshape(1, 1, 4, 4), 4),
        lambda x: F.adaptive_max_pool2d(x.reshape(1, 1, 4, 4), 1),
        lambda x: F.global_max_pool(x.reshape(1, 1, 4, 4)),
        lambda x: x.flatten().topk(1)[0],
        lambda x: x.logsumexp(),
    ],
)
def test_ties_counted_twice_or_dropped(f):
    """Of equal largest ones together get the gradient once."""
    (dx,) = gradients(f, np.zeros((4, 4)))
    np.testing.assert_allclose(dx.sum(), 1, rtol=1e-15)


def test_ties_between_two_arguments_dropped():
    for f in (tc.maximum, tc.minimum):
        x = leaf([1.0, -1.0])
        f(x, x).sum().backward()
        np.testing.assert_array_equal(x.grad.data, [1, 1])
    da, db = gradients(tc.maximum, [1.0], [1.0])
    assert da + db == 1


def test_pool_padding_wins_against_negative_pixels():
    y = F.max_pool2d(np.full((1, 1, 2, 2), -5.0), 2, 1, 1)
    assert (y.data == -5).all()


def test_pool_padding_wins_against_minus_infinity_and_its_index_leaves_the_image():
    x = np.full((1, 1, 3, 3), -inf)
    _, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert ((indices.data >= 0) & (indices.data < 9)).all()
    (dx,) = gradients(lambda x: F.max_pool2d(x, 3, 2, 1), x)
    assert dx.sum() == 4


def test_windows_of_nan_have_no_index_and_write_out_of_bounds():
    _, indices = F.max_pool2d(np.full((1, 1, 4, 4), nan), 2, return_indices=True)
    np.testing.assert_array_equal(indices.data[0, 0], [[0, 2], [8, 10]])


@pytest.mark.parametrize("n", range(1, 12))
def test_a_window_of_ceil_mode_outside_the_image(n):
    """It gave -inf, and a divisor of 0."""
    for k, s, p in itertools.product(range(1, 5), range(1, 6), range(3)):
        if p <= k // 2 and k <= n + 2 * p:
            x = np.ones((1, 1, n))
            assert (F.max_pool1d(x, k, s, p, ceil_mode=True).data == 1).all()
            assert (F.avg_pool1d(x, k, s, p, ceil_mode=True, count_include_pad=False).data == 1).all()


@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("ceil_mode", [True, False])
def test_the_divisor_of_average_pooling(ceil_mode, include_pad):
    """Wrong in several engines for one flag or another, mostly in the last window."""
    for n, k, s in itertools.product(range(2, 8), range(1, 4), range(1, 4)):
        for p in range(k // 2 + 1):
            if k <= n + 2 * p:
                x = integers(1, 1, n, n + 1)
                y = F.avg_pool2d(x, k, s, p, ceil_mode, include_pad)
                np.testing.assert_array_equal(y.data, naive.avg_pool(x, k, s, p, ceil_mode, include_pad))


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 2), (2, 0), (1, 3)])
def test_the_slice_that_undoes_padding_is_empty_when_there_is_none(before, after):
    """x[p:-p] is empty for p = 0."""
    for pads in (((before, after), (after, before)), ((0, 0), (before, after))):
        g = integers(3 + sum(pads[0]), 4 + sum(pads[1]))
        (dx,) = gradients(lambda x: F.pad(x, pads), np.zeros((3, 4)), g=g)  # noqa: B023
        np.testing.assert_array_equal(dx, g[pads[0][0] :, pads[1][0] :][:3, :4])


# ---- transposed convolution ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "s", "p", "d", "more"),
    [(3, 2, 1, 1, 1), (2, 3, 0, 1, 2), (3, 1, 2, 2, 0), (1, 2, 0, 1, 1), (3, 2, 1, 2, 1), (4, 2, 1, 1, 0)],
)
def test_transposed_convolution_is_not_the_adjoint(k, s, p, d, more):
    """Wrong for output_padding, dilation or padding; its gradient was right for the wrong function, and passed."""
    w, x = integers(2, 3, k), integers(1, 2, 4, seed=1)
    y = F.conv_transpose1d(x, w, stride=s, padding=p, output_padding=more, dilation=d).data
    matrix = np.zeros((3, y.shape[2], 2, 4))  # output channel and place, input channel and place
    for i, t in itertools.product(range(4), range(k)):
        place = i * s + t * d - p
        if 0 <= place < y.shape[2]:
            matrix[:, place, :, i] += w[:, :, t].T
    np.testing.assert_array_equal(y[0], np.tensordot(matrix, x[0], 2))
    assert y.shape[2] == 3 * s - 2 * p + d * (k - 1) + 1 + more
    z = integers(*y.shape, seed=2)
    back = F.conv1d(z, w, stride=s, padding=p, dilation=d).data[..., :4]
    assert (y * z).sum() == (x * back).sum()


# ---- broadcasting, reductions, indexing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 3), ()), ((2, 1, 3), (4, 1)), ((1,), (0, 1))]
)
def test_a_broadcast_gradient_is_not_reduced_or_over_the_wrong_axis(a, b):
    da, db = gradients(lambda a, b: a + b, np.zeros(a), np.zeros(b), g=integers(*np.broadcast_shapes(a, b)))
    g = integers(*np.broadcast_shapes(a, b))
    for d, shape in ((da, a), (db, b)):
        padded = (1,) * (g.ndim - len(shape)) + shape
        axes = tuple(i for i, n in enumerate(padded) if n == 1 != g.shape[i])
        np.testing.assert_array_equal(d, g.sum(axes, keepdims=True).reshape(shape))


def test_the_bias_gradient_of_a_convolution_sums_the_wrong_axes():
    g = integers(2, 3, 4, 5)
    (db,) = gradients(lambda b: F.conv2d(np.ones((2, 1, 4, 5)), np.ones((3, 1, 1, 1)), b), np.zeros(3), g=g)
    np.testing.assert_array_equal(db, g.sum((0, 2, 3)))


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1), (-1, 0), (0, 1, 2), ()])
@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "var", "std", "norm", "logsumexp", "prod"])
def test_reductions_over_tuples_of_axes_with_and_without_keepdims(name, keepdims, axis):
    if axis == () and name in ("var", "std"):
        return  # of one number there is no spread
    x = np.random.default_rng(0).permutation(24).reshape(2, 3, 4) / 8 + 0.5
    testing.gradcheck(lambda x: getattr(x, name)(axis, keepdims=keepdims), (x,))
    testing.gradcheck(lambda x: getattr(x, name)(), (np.array([0.5, 2.0]),))


def test_repeated_indices_overwrite():
    for f in (lambda x: x[[0, 0, 2]], lambda x: x.take_along_axis(np.array([0, 0, 2]), 0),
              lambda x: F.embedding([0, 0, 2], x.reshape(3, 1))):  # fmt: skip
        (dx,) = gradients(f, np.zeros(3))
        np.testing.assert_array_equal(dx, [2, 0, 1])


def test_einsum_gradients_of_diagonals_and_of_letters_summed_alone():
    (dx,) = gradients(lambda x: tc.einsum("ii->i", x), np.zeros((2, 2)), g=np.array([3.0, 5.0]))
    np.testing.assert_array_equal(dx, [[3, 0], [0, 5]])
    (dx,) = gradients(lambda x: tc.einsum("ij->i", x), np.zeros((2, 3)), g=np.array([3.0, 5.0]))
    np.testing.assert_array_equal(dx, [[3, 3, 3], [5, 5, 5]])


# ---- normalisation ---------------------------------------------------------------------------------------------


def test_batch_norm_with_the_mean_detached():
    """Then dx is not orthogonal to a shift of x."""
    g = integers(4, 2, 3)
    (dx,) = gradients(lambda x: F.batch_norm(x, training=True), np.random.default_rng(0).normal(size=(4, 2, 3)), g=g)
    np.testing.assert_allclose(dx.sum((0, 2)), 0, atol=1e-13)
    testing.gradcheck(lambda x: F.batch_norm(x, training=True), (np.random.default_rng(0).normal(size=(4, 2, 3)),))


def test_batch_norm_gradient_by_running_statistics():
    mean, var = np.array([1.0, 2.0]), np.array([4.0, 0.25])
    dx, dw, db = gradients(
        lambda x, w, b: F.batch_norm(x, mean, var, w, b, eps=1e-12), np.full((3, 2), 5.0), [3.0, 1.0], [0.0, 0.0]
    )
    np.testing.assert_allclose(dx, np.tile([1.5, 2.0], (3, 1)), rtol=1e-10)
    np.testing.assert_allclose(dw, [6, 18], rtol=1e-10)
    np.testing.assert_array_equal(db, [3, 3])


def test_the_variance_is_biased_for_normalising_and_unbiased_for_remembering():
    mean, var = np.zeros(1), np.ones(1)
    y = F.batch_norm(np.array([[0.0], [2.0]]), mean, var, training=True, momentum=0.25, eps=1e-12)
    np.testing.assert_allclose(y.data, [[-1], [1]], rtol=1e-10)
    np.testing.assert_allclose([mean[0], var[0]], [0.25 * 1, 0.75 * 1 + 0.25 * 2], rtol=1e-15)


def test_evaluation_and_empty_batches_change_running_statistics():
    mean, var = np.full(2, 3.0), np.full(2, 5.0)
    F.batch_norm(integers(4, 2), mean, var)
    with tc.no_grad():
        F.batch_norm(integers(4, 2), mean, var)
    x = leaf(np.zeros((0, 2)))
    F.batch_norm(x, mean, var, leaf([1.0, 1.0]), training=True).sum().backward()
    assert mean.tolist() == [3, 3]
    assert var.tolist() == [5, 5]
    assert x.grad.shape == (0, 2)


@pytest.mark.parametrize("norm", [F.batch_norm, F.instance_norm])
def test_a_checkpointed_batch_updates_running_statistics_twice(norm):
    x = integers(4, 2, 3)
    results = []
    for wrap in (lambda f, t: f(t), tc.checkpoint):
        mean, var = np.zeros(2), np.ones(2)
        options = {"training": True} if norm is F.batch_norm else {}
        wrap(lambda t: norm(t, mean, var, **options), leaf(x)).sum().backward()  # noqa: B023
        results.append((mean.tolist(), var.tolist()))
    assert results[0] == results[1]


def test_one_value_per_channel_gives_nan():
    with pytest.raises(ValueError, match="more than one value per channel"):
        F.batch_norm(np.ones((1, 3, 1, 1)), training=True)
    np.testing.assert_array_equal(F.batch_norm(np.ones((1, 3)), np.ones(3), np.ones(3)).data, np.zeros((1, 3)))


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
def test_variance_in_one_pass_loses_everything_to_a_large_mean(offset):
    """E[x²] - E[x]² gave 0.0 for 1e-4 in float32; and epsilon belongs under the root."""
    x = np.random.default_rng(0).normal(size=(64, 1, 32)).astype(np.float32) * np.float32(0.25) + np.float32(offset)
    y, exact = (F.batch_norm(a, training=True).data for a in (x, x.astype(np.float64)))
    np.testing.assert_allclose(y, exact, atol=1e-2)
    np.testing.assert_allclose(F.batch_norm(np.array([[-1e-3], [1e-3]]), training=True, eps=1e-6).data[1], 0.5**0.5)


# ---- softmax, dropout ------------------------------------------------------------------------------------------


def test_softmax_shifts_along_the_wrong_axis_or_by_one_number_for_all():
    x = np.array([[0.0, 1000.0], [1.0, 1001.0]])
    np.testing.assert_allclose(F.softmax(x, 0).data, np.array([[1, 1], [np.e, np.e]]) / (1 + np.e), rtol=1e-12)
    np.testing.assert_array_equal(F.softmax(x, 1).data, [[0, 1], [0, 1]])
    assert np.isfinite(F.log_softmax(x * 10, 1).data).all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_sigmoid_tanh_and_losses_overflow(size):
    for f in (tc.sigmoid, tc.tanh, F.softplus, F.silu, F.gelu):
        x = leaf([size])
        y = f(x)
        y.backward()
        assert np.isfinite(y.data).all()
        assert np.isfinite(x.grad.data).all()
    z = leaf([[size, -size, 0.0]])
    loss = F.cross_entropy(z, [1])
    loss.backward()
    assert np.isfinite(loss.item())
    np.testing.assert_allclose(z.grad.data.sum(), 0, atol=1e-15)


def test_dropout_reads_its_mask_off_the_output():
    """Of an input of 0 it can not tell: the gradient must still be scaled by 1 / (1 - p), not by p."""
    tc.manual_seed(0)
    x = leaf(np.zeros(1000))
    F.dropout(x, 0.25).sum().backward()
    assert set(np.unique(x.grad.data)) == {0.0, 1 / 0.75}
    assert 700 < (x.grad.data > 0).sum() < 800


@pytest.mark.parametrize("dropout", [F.dropout, F.dropout2d])
def test_dropout_of_all_divides_by_zero(dropout):
    x = leaf(np.full((1, 2, 2, 2), inf))
    y = dropout(x, 1.0)
    y.sum().backward()
    assert not y.data.any()
    assert not x.grad.data.any()


def test_dropout_in_evaluation_or_of_nothing_is_not_the_identity():
    x = leaf(np.arange(5.0))
    for y in (F.dropout(x, 0.0), F.dropout(x, 0.9, training=False)):
        (dx,) = tc.grad(y, x, np.arange(5.0))
        np.testing.assert_array_equal(y.data, x.data)
        np.testing.assert_array_equal(dx.data, np.arange(5.0))


def test_dropout_repeats_itself_or_not():
    """The same seed gives the same bits, the next call others, and the mean stays."""
    x = np.ones(10_000)
    tc.manual_seed(3)
    a, b = F.dropout(x, 0.3).data, F.dropout(x, 0.3).data
    tc.manual_seed(3)
    np.testing.assert_array_equal(F.dropout(x, 0.3).data, a)
    assert (a != b).any()
    assert abs(a.mean() - 1) < 0.03


# ---- NaN that was not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "slope"),
    [
        (lambda x: tc.where(x > 0, x.log(), 0.0), 0.0, nan),  # the slope of log is inf, of the branch not chosen 0
        (lambda x: tc.where(x > 0, tc.where(x > 0, x, 1.0).log(), 0.0), 0.0, 0),
        (lambda x: tc.where(x > 0, x, 0.0), -inf, 0),
        (lambda x: tc.where(x.isfinite(), x, 0.0), nan, 0),
        (lambda x: x.clip(-1.0, 1.0), inf, 0),
        (lambda x: F.relu(x), -inf, 0),
        (lambda x: F.elu(x), inf, 1),
        (lambda x: F.leaky_relu(x), -inf, 0.01),
        (lambda x: x.expand_dims(0).norm(), 0.0, 0),
        (lambda x: tc.stack([x, x]).std(), 2.0, 0),
        (lambda x: tc.abs(x), 0.0, 0),
        (lambda x: x**2, 0.0, 0),
        (lambda x: x**1, 0.0, 1),
        (lambda x: x**0, 0.0, 0),
        (lambda x: tc.stack([x, x * 0.0 + 3.0]).prod(), 0.0, 3),
    ],
)
def test_infinity_times_zero_from_what_was_not_selected(f, x, slope):
    """`where` gives the branch not chosen a gradient of exactly 0; what that branch makes of it is its own."""
    (dx,) = gradients(f, x)
    np.testing.assert_array_equal(dx, slope)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 67])
def test_nan_is_lost_depending_on_the_length(n):
    for at in range(0, n, max(n // 4, 1)):
        x = np.zeros(n, np.float32)
        x[at] = nan
        t = tc.tensor(x)
        for y in (
            t.max(),
            t.min(),
            t.amax(),
            t.amin(),
            t.sum(),
            t.max(axis=0)[0],
            F.global_max_pool(t.reshape(1, 1, n)),
        ):
            assert np.isnan(y.item())
        assert t.argmax().item() == t.argmin().item() == at
        for y in (
            F.relu(t),
            tc.maximum(t, 0.0),
            tc.minimum(0.0, t),
            t.clip(-1, 1),
            F.max_pool1d(t.reshape(1, 1, n), 1),
        ):
            np.testing.assert_array_equal(np.isnan(y.data).ravel(), np.isnan(x))


# ---- the tape --------------------------------------------------------------------------------------------------


def test_the_same_tensor_as_both_arguments():
    for f, expected in (
        (lambda a, b: a * b, 2 * np.arange(1.0, 4.0)),
        (lambda a, b: a - b, np.zeros(3)),
        (lambda a, b: a / b, np.zeros(3)),
        (lambda a, b: tc.where(np.array([True, False, True]), a, b), np.ones(3)),
        (lambda a, b: tc.cat([a, b]), np.full(3, 2.0)),
    ):
        x = leaf(np.arange(1.0, 4.0))
        f(x, x).sum().backward()
        np.testing.assert_array_equal(x.grad.data, expected)
    x = leaf(integers(1, 1, 2, 2))
    F.conv2d(x, x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 2 * x.data)


def test_fan_out_counts_only_some_uses():
    for uses in range(1, 8):
        x = leaf(integers(1, 2, 4, 4))
        w = leaf(integers(2, 2, 3, 3))
        sum(F.conv2d(x, w, padding=1).sum() for _ in range(uses)).backward()
        once = gradients(lambda x, w: F.conv2d(x, w, padding=1), x.data, w.data)
        np.testing.assert_array_equal(x.grad.data, uses * once[0])
        np.testing.assert_array_equal(w.grad.data, uses * once[1])


def test_a_gradient_buffer_that_is_not_cleared():
    """The second backward pass must not find the sums of the first, nor those of other calls."""
    x, w = leaf(integers(2, 3, 6, 6)), leaf(integers(4, 3, 3, 3, seed=1))
    y = F.max_pool2d(F.conv2d(x, w, stride=1, padding=1), 3, 2)
    g = integers(*y.shape, seed=2)
    first = [d.data.copy() for d in tc.grad(y, [x, w], g, retain_graph=True)]
    gradients(lambda x, w: F.conv2d(x, w), integers(2, 3, 6, 6, seed=3), integers(4, 3, 3, 3, seed=4))
    for a, b in zip(first, tc.grad(y, [x, w], g), strict=True):
        np.testing.assert_array_equal(a, b.data)


@pytest.mark.parametrize(
    ("f", "shapes"),
    [
        (lambda x, w: F.conv2d(x, w, stride=2, padding=1) ** 2, ((1, 2, 4, 5), (2, 2, 3, 2))),
        (lambda x, w: F.conv_transpose2d(x, w, stride=2) ** 2, ((1, 2, 3, 2), (2, 1, 2, 3))),
        (lambda x: F.max_pool2d(x, 2, 1) ** 2, ((1, 2, 3, 4),)),
        (lambda x, w: F.batch_norm(x, None, None, w, training=True) ** 2, ((4, 2), (2,))),
        (lambda x: F.layer_norm(x, 3) ** 2, ((2, 3),)),
        (lambda x: F.softmax(x) ** 2, ((2, 3),)),
        (lambda x: F.cross_entropy(x, [0, 2]) ** 2, ((2, 3),)),
        (lambda x: x.std() ** 2, ((2, 3),)),
        (lambda x: x.sort()[0] ** 2, ((5,),)),
        (lambda x: x.topk(2)[0] ** 2, ((5,),)),
        (lambda x: x.norm(1) ** 3, ((2, 3),)),
        (lambda x: x.prod(1) ** 2, ((2, 3),)),
        (lambda x: F.interpolate(x, 5, mode="bilinear") ** 2, ((1, 1, 3, 2),)),
        (lambda a, b: tc.einsum("ij,jk->ik", a, b) ** 2, ((2, 3), (3, 2))),
    ],
)
def test_second_derivatives_silently_wrong(f, shapes):
    """A saved intermediate taken as a constant is right once and wrong twice."""
    rng = np.random.default_rng(0)
    testing.gradgradcheck(f, tuple(rng.permutation(np.prod(s)).reshape(s) / 4 - 1.3 for s in shapes))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_])
def test_integers_take_part_without_a_gradient_or_a_float64(dtype):
    x = tc.tensor(np.ones(3, np.float32), requires_grad=True)
    y = x * np.array([2, 0, 1]).astype(dtype)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.data, np.array([2, 0, 1]).astype(dtype))


# ---- nothing, and too much -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "shape"),
    [
        (lambda x, w, b: F.conv2d(x, w, b, padding=1), (0, 3, 4, 4)),
        (lambda x, w, b: F.conv_transpose2d(x, w, b[:3] * 1.0, stride=2), (0, 3, 4, 4)),
        (lambda x, w, b: F.linear(x.reshape(0, 48), w.reshape(3, 27)[:, :24].tile(1, 2), b), (0, 3, 4, 4)),
        (lambda x, w, b: F.batch_norm(x, None, None, b, b, training=True), (0, 3, 4, 4)),
        (lambda x, w, b: F.group_norm(x, 3, b, b), (0, 3, 4, 4)),
        (lambda x, w, b: F.layer_norm(x, (4, 4)) * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.instance_norm(x, None, None, b, b), (0, 3, 4, 4)),
        (lambda x, w, b: F.max_pool2d(x, 2) * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.avg_pool2d(x, 3, 2, 1) * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.adaptive_avg_pool2d(x, 3) * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.adaptive_max_pool2d(x, 3) * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.global_avg_pool(x) * b, (0, 3, 4, 4)),
        (lambda x, w, b: F.interpolate(x, 7, mode="bilinear") * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.pad(x, (1, 1), "reflect") * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.unfold(x, 2) * b.sum(), (0, 3, 4, 4)),
        (lambda x, w, b: F.dropout(F.relu(x)) * b.reshape(3, 1, 1), (0, 3, 4, 4)),
        (lambda x, w, b: F.cross_entropy(x * b.reshape(3, 1, 1), np.zeros((0, 4, 4), int)), (0, 3, 4, 4)),
        (lambda x, w, b: F.mse_loss(x * b.reshape(3, 1, 1), np.zeros((0, 3, 4, 4))), (0, 3, 4, 4)),
        (lambda x, w, b: F.softmax(x * b.reshape(3, 1, 1), 1), (0, 3, 4, 4)),
    ],
)
def test_an_empty_batch_breaks_or_leaves_nan_in_the_parameters(f, shape):
    x, w, b = leaf(np.zeros(shape)), leaf(integers(3, 3, 3, 3)), leaf(np.ones(3))
    y = f(x, w, b)
    y.backward(np.ones(y.shape))
    assert x.grad.shape == shape
    for parameter in (w, b):
        assert parameter.grad is None or not parameter.grad.data.any()


def test_a_kernel_larger_than_the_input_is_an_invalid_memory_size():
    with pytest.raises(tc.ShapeError, match=r"along W the kernel spans 9 pixels .* has 4 \(0 \+ 4 \+ 0\)"):
        F.conv2d(np.ones((1, 1, 9, 4)), np.ones((1, 1, 2, 9)))
    with pytest.raises(tc.ShapeError, match=r"along H the kernel spans 4294967297 pixels"):
        F.conv2d(np.ones((1, 1, 9, 4)), np.ones((1, 1, 2, 1)), dilation=2**32)


def test_sizes_beyond_32_bits_overflow():
    with pytest.raises((MemoryError, ValueError)):
        F.pad(np.ones((1, 1, 2, 2)), (2**40, 2**40))
    x, geometry = np.broadcast_to(np.float32(1), (1, 1, 2**20, 2**20)), (2**20, 2**20)
    with pytest.raises(tc.ShapeError, match=r"1099511627776"):
        F.fold(np.ones((1, 1, 3)), geometry, 1)
    assert F.max_pool2d(x[:, :, :4, :4], 2, 2**40).shape == (1, 1, 1, 1)
    assert tc.ones(2).sum().item() == 2  # the engine goes on
