"""What Tensor's methods do beyond their records: options, defaults, NumPy's spellings."""

import numpy as np
import pytest

import tinygrad_cnn as tc

X = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 5.0]])
nan = np.nan


def leaf(array):
    return tc.tensor(np.array(array), requires_grad=True)


def test_cumsum_without_axis_runs_over_all_elements_as_in_numpy():
    x = leaf(X)
    for y in (x.cumsum(), np.cumsum(x)):
        np.testing.assert_array_equal(y.data, np.cumsum(X))
    x.cumsum().sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[6, 5, 4], [3, 2, 1]])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", range(4))
def test_topk(k, largest):
    x = leaf(X)
    values, indices = x.topk(k, largest=largest)
    expected = -np.sort(-X)[:, :k] if largest else np.sort(X)[:, :k]
    np.testing.assert_array_equal(values.data, expected)
    np.testing.assert_array_equal(np.take_along_axis(X, indices.data, 1), expected)
    values.sum().backward()
    assert x.grad.data.sum() == 2 * k
    assert set(x.grad.data.ravel()) <= {0.0, 1.0}


def test_sort_keeps_the_order_of_equals_and_counts_nan_as_largest():
    x = leaf([2.0, nan, 1.0, 2.0, -0.0, 0.0])
    values, indices = x.sort()
    assert indices.tolist() == [4, 5, 2, 0, 3, 1]
    np.testing.assert_array_equal(values.data, [-0.0, 0, 1, 2, 2, nan])
    values, indices = x.sort(descending=True)
    assert indices.tolist() == [1, 0, 3, 2, 4, 5]
    values.backward(np.arange(6.0))
    np.testing.assert_array_equal(x.grad.data, [1, 0, 3, 2, 4, 5])


def test_masked_fill_gives_what_it_overwrites_no_gradient_and_its_value_the_sum():
    x, value, mask = leaf(X), leaf(7.0), np.array([[True], [False]])
    y = x.masked_fill(mask, value)
    np.testing.assert_array_equal(y.data, [[7, 7, 7], [5, 4, 5]])
    y.backward(np.array([[1.0, 2.0, nan], [4.0, 5.0, 6.0]]))
    np.testing.assert_array_equal(x.grad.data, [[0, 0, 0], [4, 5, 6]])
    assert np.isnan(value.grad.item())
    assert x.masked_fill(np.zeros((2, 3), bool), np.inf).tolist() == X.tolist()


@pytest.mark.parametrize(
    ("shift", "axis"), [(1, None), (-2, -1), ((1, 2), (0, -1)), (1, (0, 1)), ((1, 3), (1, 1)), (7, 0)]
)
def test_roll_is_numpys(shift, axis):
    x = leaf(X)
    y = x.roll(shift, axis)
    np.testing.assert_array_equal(y.data, np.roll(X, shift, axis))
    y.backward(y.data)
    np.testing.assert_array_equal(x.grad.data, X)


@pytest.mark.parametrize("repeats", [(2,), (2, 3), (0, 1), (2, 1, 3)])
def test_tile_is_numpys(repeats):
    x = leaf(X)
    for y in (x.tile(*repeats), x.tile(repeats), np.tile(x, repeats)):
        np.testing.assert_array_equal(y.data, np.tile(X, repeats))
    x.tile(repeats).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.full(X.shape, np.prod(repeats)))


def test_split_into_pieces_of_one_size_or_several():
    x = leaf(X)
    assert [p.shape for p in x.split(2, axis=1)] == [(2, 2), (2, 1)]
    assert [p.shape for p in x.split([1, 0, 2], axis=-1)] == [(2, 1), (2, 0), (2, 2)]
    assert [p.shape for p in x.split(np.int64(1))] == [(1, 3), (1, 3)]
    x.split([1, 2], axis=1)[1].sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[0, 1, 1], [0, 1, 1]])


def test_numpys_functions_of_these_names():
    x = tc.tensor(abs(X) / 10)
    for f in (np.log2, np.log10, np.reciprocal, np.arctan, np.sinh, np.cosh, np.isinf, np.isnan, np.floor):
        y = f(x)
        assert isinstance(y, tc.Tensor)
        np.testing.assert_array_equal(y.data, f(x.data))


METHODS = "log2 log10 rsqrt reciprocal atan sinh cosh floor ceil round isnan isinf isfinite"


@pytest.mark.parametrize("name", METHODS.split())
def test_functions_are_methods_too(name):
    x = tc.tensor(X)
    np.testing.assert_array_equal(getattr(x, name)().data, getattr(tc, name)(x).data)


def test_reciprocal_of_integers_is_not_an_integer():
    assert tc.reciprocal(tc.tensor([2, 4])).tolist() == [0.5, 0.25]
