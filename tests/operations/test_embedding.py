"""Rows of a table, and unit vectors."""

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (2, 0, 3)])
def test_rows_are_looked_up_and_collect_the_gradient_of_every_place(shape):
    indices = np.random.default_rng(0).integers(0, 4, shape)
    w = tc.tensor(np.arange(12.0).reshape(4, 3), requires_grad=True)
    y = F.embedding(indices, w)
    np.testing.assert_array_equal(y.data, w.data[indices])
    g = np.random.default_rng(1).integers(-3, 4, y.shape).astype(float)
    y.backward(g)
    expected = np.zeros((4, 3))
    for at in np.ndindex(*shape):
        expected[indices[at]] += g[at]
    np.testing.assert_array_equal(w.grad.data, expected)


@pytest.mark.parametrize("padding_idx", [1, -3])
def test_the_row_for_padding_gets_no_gradient_not_even_a_nan(padding_idx):
    w = tc.tensor(np.ones((4, 2)), requires_grad=True)
    F.embedding([0, 1, 1, 0], w, padding_idx).backward(np.array([[1.0, 2.0], [np.inf, np.nan], [3.0, 4.0], [5.0, 6.0]]))
    np.testing.assert_array_equal(w.grad.data, [[6, 8], [0, 0], [0, 0], [0, 0]])


def test_gradients_to_the_second_order():
    testing.gradcheck(lambda w: F.embedding([2, 0, 2], w), (np.arange(6.0).reshape(3, 2),))
    testing.gradgradcheck(lambda w: F.embedding([2, 0, 2], w, 0) ** 2, (np.arange(6.0).reshape(3, 2),))


def test_indices_changed_later_do_not_reach_the_tape():
    indices, w = np.array([0, 1]), tc.tensor(np.ones((3, 1)), requires_grad=True)
    y = F.embedding(indices, w)
    indices[:] = 2
    y.sum().backward()
    np.testing.assert_array_equal(w.grad.data, [[1], [1], [0]])


def test_one_hot():
    y = F.one_hot(np.array([[0, 2], [1, 1]]))
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y.data, np.eye(3)[[[0, 2], [1, 1]]])
    assert F.one_hot(tc.tensor(np.array([1])), 5).tolist() == [[0, 1, 0, 0, 0]]
    assert F.one_hot(np.zeros((0, 2), int), 4).shape == (0, 2, 4)
    assert F.one_hot(1).tolist() == [0, 1]
