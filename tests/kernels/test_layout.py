"""Channels-last memory, windows as views, and the taps of a window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cnn.kernels.layout import channels_first, channels_last, taps, windows
from tinygrad_cnn.kernels.reduction import channel_sum


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 1, 1, 5), (1, 2, 3, 4, 5), (0, 3, 4, 4)])
def test_a_round_trip_copies_nothing(shape):
    memory = channels_last(np.arange(np.prod(shape)).reshape(shape))
    assert memory.shape == (shape[0], *shape[2:], shape[1])
    assert memory.flags.c_contiguous
    image = channels_first(memory)
    np.testing.assert_array_equal(image, np.arange(np.prod(shape)).reshape(shape))
    again = channels_last(image)
    assert again.__array_interface__["data"] == memory.__array_interface__["data"]


@given(st.data())
def test_windows_are_what_slices_see(data):
    d = data.draw(st.integers(1, 3))
    kernel, stride, dilation = (data.draw(st.tuples(*[st.integers(1, 3)] * d)) for _ in range(3))
    size = [step * (k - 1) + 1 + data.draw(st.integers(0, 3)) for k, step in zip(kernel, dilation, strict=True)]
    batch, channels = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    x = np.arange(batch * channels * np.prod(size)).reshape(batch, *size, channels)
    view = windows(x, kernel, stride, dilation)
    assert np.may_share_memory(view, x) or view.size == 0
    for output in np.ndindex(*view.shape[1 : 1 + d]):
        cut = tuple(
            slice(o * s, o * s + step * (k - 1) + 1, step)
            for o, s, k, step in zip(output, stride, kernel, dilation, strict=True)
        )
        np.testing.assert_array_equal(view[(slice(None), *output)], x[(slice(None), *cut)])


def test_windows_trust_no_stride_of_a_single_channel():
    image = np.arange(20.0).reshape(1, 1, 4, 5)  # as (1, 4, 5, 1) contiguous already, with a lying last stride
    view = windows(channels_last(image), (2, 2), (1, 1), (1, 1))
    np.testing.assert_array_equal(view[0, 0, 0, :, :, 0], [[0, 1], [5, 6]])


def test_windows_refuse_to_leave_the_buffer():
    with pytest.raises(ValueError, match=r"incompatible with shape"):
        windows(np.zeros((1, 1, 1)), (3,), (1,), (1,))
    with pytest.raises(ValueError, match=r"contiguous"):
        windows(np.zeros((1, 8, 1))[:, ::2], (2,), (1,), (1,))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.complex128])
def test_channel_sum(dtype):
    x = np.random.default_rng(0).integers(-9, 9, (5, 3, 4, 2)).astype(dtype)
    for image in (x, channels_first(channels_last(x)), x[:0], x[:, :0]):
        np.testing.assert_array_equal(channel_sum(image), image.sum((0, 2, 3)))
    assert channel_sum(np.full((70000, 1), 2, np.float16)).item() == 140000


@given(*[st.integers(1, 4)] * 4, st.integers(-1, 3), st.integers(1, 3))
def test_taps_name_every_pixel_that_a_window_reads(size, output, kernel, stride, before, dilation):
    found = set()
    for tap, (_, pixels), (_, outputs) in taps([size], [output], [kernel], [stride], ((before, 0),), [dilation]):
        read, by = range(size)[pixels], range(output)[outputs]
        found |= {(tap, pixel, o) for pixel, o in zip(read, by, strict=True)}
    expected = {
        (tap, o * stride + tap * dilation - before, o)
        for tap in range(kernel)
        for o in range(output)
        if 0 <= o * stride + tap * dilation - before < size
    }
    assert found == expected
