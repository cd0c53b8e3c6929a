"""Padding against np.pad, its adjoints exactly, and its memory order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.kernels.padding import extend, extend_gradient, pad

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
LIMITS = {"reflect": -1, "replicate": 3, "circular": 0}  # by how much the border may be wider than the array


def integers(shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape)


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), min_size=1, max_size=4), st.integers(0, 1))
def test_padding_by_minus_as_much_is_the_adjoint(pads, value):
    x = integers([3] * len(pads))
    y = pad(x, tuple(pads), value)
    grown = [(max(0, before), max(0, after)) for before, after in pads]
    cut = tuple(slice(max(0, -before), 3 - max(0, -after)) for before, after in pads)
    np.testing.assert_array_equal(y, np.pad(x[cut], grown, constant_values=value))
    g = integers(y.shape, seed=1)
    back = pad(g, tuple((-before, -after) for before, after in pads))
    assert back.shape == x.shape
    assert (pad(x, tuple(pads)) * g).sum() == (x * back).sum()


@given(st.data(), st.sampled_from(list(MODES)))
def test_borders_from_the_array_and_their_adjoint(data, mode):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    amounts = [st.integers(0, n + LIMITS[mode]) for n in shape]
    pads = tuple((data.draw(amount), data.draw(amount)) for amount in amounts)
    x = integers(shape)
    y = extend(x, pads, mode)
    np.testing.assert_array_equal(y, np.pad(x, pads, mode=MODES[mode]))
    g = integers(y.shape, seed=1)
    g.flags.writeable = False
    back = extend_gradient(g, pads, mode)
    assert back.shape == x.shape
    assert (y * g).sum() == (x * back).sum()


@pytest.mark.parametrize("mode", [None, *MODES])
def test_memory_order_is_kept(mode):
    image = np.moveaxis(np.zeros((2, 4, 5, 3), np.float32), -1, 1)
    pads = ((0, 0), (0, 0), (1, 2), (2, 0))
    y = pad(image, pads) if mode is None else extend(image, pads, mode)
    back = pad(y, tuple((-b, -a) for b, a in pads)) if mode is None else extend_gradient(y, pads, mode)
    for array in (y, back):
        assert np.moveaxis(array, 1, -1).flags.c_contiguous
        assert array.dtype == np.float32
