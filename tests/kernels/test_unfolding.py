"""unfold against slices, and fold as its adjoint, exactly."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.kernels.convolution import Geometry
from tinygrad_cnn.kernels.unfolding import fold, unfold


@given(st.data())
def test_columns_are_windows_and_fold_is_the_adjoint(data):
    d = data.draw(st.integers(1, 3))
    kernel, stride, dilation = (data.draw(st.tuples(*[st.integers(1, 3)] * d)) for _ in range(3))
    padding = data.draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * d))
    size = [step * (k - 1) + 1 + data.draw(st.integers(0, 3)) for k, step in zip(kernel, dilation, strict=True)]
    batch, channels = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    rng, geometry = np.random.default_rng(0), Geometry(stride, padding, dilation, 1)
    x = rng.integers(-9, 10, (batch, channels, *size)).astype(np.float64)
    columns = unfold(x, kernel, geometry)
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    output = [range(n) for n in geometry.output_shape(size, kernel)]
    assert columns.shape == (batch, channels * np.prod(kernel), np.prod([len(r) for r in output]))
    for column, position in enumerate(itertools.product(*output)):
        cut = tuple(
            slice(o * s, o * s + step * (k - 1) + 1, step)
            for o, s, k, step in zip(position, stride, kernel, dilation, strict=True)
        )
        expected = padded[(..., *cut)].reshape(columns.shape[:2])
        np.testing.assert_array_equal(columns[:, :, column], expected)
    g = rng.integers(-9, 10, columns.shape).astype(np.float64)
    back = fold(g, size, kernel, geometry)
    assert back.shape == x.shape
    assert (columns * g).sum() == (x * back).sum()
