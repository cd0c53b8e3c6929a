"""The memory law: after any write, backward gives the right number or raises TapeError; never a wrong number."""

import copy
import pickle
import re

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import Tensor
from tinygrad_cnn.core import memory


def leaf(*values):
    return tc.tensor(np.array(values, dtype=np.float64), requires_grad=True)


def test_update_between_forward_and_backward_is_noticed():
    p = leaf(1.0, 2.0)
    y = (p * p).sum()
    p.data -= 0.1
    with pytest.raises(tc.TapeError, match=r"mul: '[ab]' of shape \(2,\), saved for backward, was overwritten"):
        y.backward()
    assert p.grad is None


def test_update_by_a_tensor_records_nothing():
    p = leaf(1.0, 2.0)
    p.data -= tc.tensor(np.array([0.5, 0.5]))
    assert p.is_leaf
    assert p.tolist() == [0.5, 1.5]


def test_write_under_no_grad_is_noticed():
    p = leaf(1.0, 2.0)
    y = p.exp() * p
    with tc.no_grad():
        p += 1.0
    with pytest.raises(tc.TapeError, match="mul"):
        y.sum().backward()


def test_a_write_that_nothing_needs_is_allowed():
    p = leaf(1.0, 2.0)
    y = (p + 3.0).sum()  # d(p + 3) needs no values
    p.data -= 0.1
    y.backward()
    assert p.grad.tolist() == [1.0, 1.0]


def test_new_data_keeps_the_saved_array():
    p = leaf(1.0, 2.0)
    y = (p * p).sum()
    p.data = np.array([5.0, 5.0])
    y.backward()
    assert p.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("shape", [(1, 2), (3, 2), (2,), (4, 4)])
def test_new_data_of_another_shape_is_refused(shape):
    """Summed or stretched to it, the gradient would be of neither."""
    for old in ((1, 2), (3, 2)):
        p = tc.tensor(np.ones(old), requires_grad=True)
        y, unused = (p * np.ones((3, 2))).sum(), leaf(1.0)
        p.data = np.ones(shape)
        unused.data = np.ones(3)  # another's does not matter
        if shape == old:
            y.backward()
            assert p.grad.shape == old
        else:
            with pytest.raises(
                tc.TapeError, match=f"mul: a leaf was given data of another shape, {re.escape(str(shape))}"
            ):
                y.backward()
        (p * 2.0).sum().backward()
        assert p.grad.shape == shape


def test_new_data_of_another_dtype_gets_the_same_gradient_in_it():
    p = leaf(1.0, 2.0)
    y = (p * p).sum()
    p.data = np.array([5.0, 5.0], np.float32)
    y.backward()
    assert p.grad.dtype == np.float32
    assert p.grad.tolist() == [2.0, 4.0]


def test_new_data_may_be_numbers_a_tensor_or_an_array():
    p = tc.tensor([1.0, 2.0], requires_grad=True)
    p.data = [3, 4]
    assert (p.tolist(), p.dtype) == ([3.0, 4.0], np.float32)
    array = np.ones(2, np.float32)
    p.data = array
    assert p.data is array
    p.data = tc.tensor(array)
    assert p.data is array
    with pytest.raises(TypeError, match="needs a floating dtype, got int64"):
        p.data = np.array([1, 2])
    with pytest.raises(TypeError, match="data: a masked array"):
        p.data = np.ma.masked_array([1.0, 2.0], [True, False])


def test_a_leaf_that_no_longer_asks_gets_nothing():
    p, q = leaf(1.0), leaf(2.0)
    y = p * q
    p.requires_grad_(False)
    y.backward()
    assert p.grad is None
    assert q.grad.item() == 1.0


def test_recorded_backward_refuses_a_leaf_with_new_data():
    p = leaf(1.0, 2.0)
    y = (p * p * p).sum()
    p.data = np.array([5.0, 5.0])
    with pytest.raises(tc.TapeError, match="was given new data"):
        tc.grad(y, p, create_graph=True)


def test_in_place_arithmetic_is_recorded_and_right():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    h += 1.0
    h *= x
    h.sum().backward()
    np.testing.assert_array_equal(x.grad.data, 6 * x.data + 1)


def test_whoever_saved_the_old_values_keeps_them():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    y = h * h
    flat = h.reshape(2, 1)
    z = flat * flat  # through a view
    h += 1.0
    (w := h * h).retain_grad()
    h *= 2.0
    h[0] = 0.0
    dx, dy, dz = (tc.grad(out.sum(), x, retain_graph=True)[0].tolist() for out in (w, y, z))
    assert dy == dz == [18.0, 36.0]  # of 9 x**2
    assert dx == [24.0, 42.0]  # of (3 x + 1)**2
    (h.sum() + y.sum()).backward()
    assert x.grad.tolist() == [18.0, 42.0]


def test_the_old_values_are_right_in_second_order_and_in_memory_of_any_order():
    x = tc.tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    for h in (x * 2.0, (x.transpose(2, 0, 1) * 2.0).transpose(1, 2, 0) * 1.0):
        y = h.exp().log() ** 3 + h[:, ::2, ::-1].sum() * h * h
        expected = tc.grad(tc.grad(y.sum(), x, create_graph=True)[0].sum(), x, retain_graph=True)[0].tolist()
        h[...] = -1.0
        found = tc.grad(tc.grad(y.sum(), x, create_graph=True)[0].sum(), x)[0]
        np.testing.assert_array_equal(found.data, expected)


def test_a_constant_written_while_recording_is_remembered_too():
    x, c = leaf(1.0, 2.0), tc.tensor(np.array([3.0, 4.0]))
    y = (x * c).sum()
    c += 1.0
    y.backward()
    assert x.grad.tolist() == [3.0, 4.0]


def test_a_write_under_no_grad_after_a_recorded_one_is_still_refused():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    before = h * h
    with tc.no_grad():
        h += 1.0
    h = h.detach()
    h += x
    after = h * h
    with pytest.raises(tc.TapeError, match="'add' in place"):
        before.sum().backward()
    tc.grad(after.sum(), x, retain_graph=True)
    h.data -= 1.0
    with pytest.raises(tc.TapeError, match=r"an update of \.data"):
        after.sum().backward()


def test_old_values_outlive_a_later_write_of_another_kind():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    before = h * h
    h += 1.0
    between = h * h
    with tc.no_grad():
        h += 1.0
    h.data -= 1.0
    before.sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]
    with pytest.raises(tc.TapeError, match="saved for backward, was overwritten"):
        between.sum().backward()


def test_old_values_die_with_those_who_need_them():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    h += 1.0  # nobody saved h
    assert not memory._pasts
    y = h * h
    h += 1.0
    assert len(memory._pasts) == 1
    y.sum().backward()  # frees what it saved
    h += 1.0
    assert not memory._pasts
    y = h * h
    h += 1.0
    del h, y
    assert not memory._pasts


def test_a_write_into_a_batch_copies_no_data_set():
    data = tc.tensor(np.ones((1000, 100)))
    x = tc.tensor(np.ones(100), requires_grad=True)
    batch = data[10:20]
    y = (batch * x).sum()
    batch -= 1.0
    assert sum(p.values.nbytes for p in memory._pasts[id(memory.owner(data.data))]) == batch.data.nbytes
    y.backward()
    assert x.grad.tolist() == [10.0] * 100
    z = (data * x).sum()  # all of it was saved, a part is overwritten
    batch -= 1.0
    with pytest.raises(tc.TapeError, match="mul: 'a'"):
        z.backward()
    column = data[:, :1]
    column += 1.0  # spread over all of the memory: nothing is kept
    assert sum(p.values.nbytes for p in memory._pasts[id(memory.owner(data.data))]) == 2 * batch.data.nbytes


def test_the_values_of_memory_in_any_order_are_kept_byte_by_byte():
    for order in ((0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3), (0, 1, 2, 3)):
        array = np.empty_like(np.zeros((2, 3, 4, 5)).transpose(order))
        array[...] = np.arange(120.0).reshape(array.shape)
        c, x = tc.tensor(array), leaf(2.0)
        parts = [c, c[:, ::-1], c[..., 1], c.transpose(3, 2, 1, 0)[::2], c[:0]]
        values = [p.data.copy() for p in parts]
        outs = [p * x for p in parts]
        c += 1.0
        for out, value in zip(outs, values, strict=True):
            g = np.random.default_rng(0).integers(-3, 4, out.shape).astype(float)
            (dx,) = tc.grad(out, x, g)
            assert dx.item() == (g * value).sum()


def test_old_values_of_many_writes_are_bounded():
    array = np.ones(2)
    buffer, x = tc.tensor(array), leaf(1.0, 2.0)
    first = (x * buffer).sum()
    for _ in range(100):
        buffer += 1.0
    assert len(next(iter(memory._pasts.values()))) == memory._PASTS_KEPT
    with pytest.raises(tc.TapeError, match="mul: 'b'"):
        first.backward()


def test_item_assignment_is_recorded():
    x, v = leaf(1.0, 2.0, 3.0), leaf(10.0)
    h = x * 2.0
    h[1] = v[0]
    (h * h).sum().backward()
    assert x.grad.tolist() == [8.0, 0.0, 24.0]
    assert v.grad.tolist() == [20.0]


def test_item_assignment_makes_a_constant_part_of_the_tape():
    buffer = tc.zeros(3, dtype="float64")
    x = leaf(2.0)
    buffer[0] = x[0] * x[0]
    buffer.sum().backward()
    assert x.grad.tolist() == [4.0]


def test_leaf_and_views_refuse_recorded_writes():
    x = leaf(1.0, 2.0)
    with pytest.raises(tc.TapeError, match=r"leaf of shape \(2,\) requires grad"):
        x += 1.0
    with pytest.raises(tc.TapeError, match="leaf"):
        x[0] = 5.0
    view = (x * 1.0).reshape(2, 1)
    with pytest.raises(tc.TapeError, match="view made by 'reshape'"):
        view += 1.0
    with pytest.raises(tc.TapeError, match="view made by 'getitem'"):
        x[:1] += 1.0
    assert x.tolist() == [1.0, 2.0]


def test_a_part_is_updated_by_assigning_it():
    x = leaf(1.0, 2.0, 3.0)
    h = x * 2.0
    with pytest.raises(tc.TapeError, match=r"view made by 'getitem'.*for x\[i\] \+= y write x\[i\] = x\[i\] \+ y"):
        h[:2] += 1.0
    h[:2] = h[:2] * x[:2] + 1.0
    h.sum().backward()
    assert x.grad.tolist() == [4.0, 8.0, 2.0]
    c = tc.zeros(3)
    c[1] += 5.0  # no gradient, no tape
    assert c.tolist() == [0.0, 5.0, 0.0]


def test_a_base_used_after_a_write_through_its_view_is_refused():
    x = leaf(1.0, 2.0)
    h = x * 2.0
    view = h.reshape(2, 1)
    with tc.no_grad():
        view += 1.0
    with pytest.raises(tc.TapeError, match="was overwritten in place, by 'add' in place, after 'mul' had computed it"):
        h * 2.0


def test_a_constant_that_aliases_a_recorded_write_is_refused():
    constant = tc.zeros(2, dtype="float64")
    other = constant.detach()
    constant += leaf(1.0, 2.0)
    with pytest.raises(tc.TapeError, match="recorded in-place operation"):
        other * 2.0


def test_numpy_views_are_read_only_and_data_is_writable():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 3.0
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 3.0
    x.data[0] = 3.0
    assert x.tolist() == [3.0, 2.0]


def test_in_place_needs_shape_and_dtype_to_fit():
    x = tc.tensor([1.0, 2.0])
    with pytest.raises(tc.ShapeError, match=r"add in place: the result has shape \(3, 2\), the Tensor \(2,\)"):
        x += np.ones((3, 2), np.float32)
    n = tc.tensor([1, 2])
    with pytest.raises(TypeError, match="does not fit into int64"):
        n += 0.5
    assert x.tolist() == [1.0, 2.0]


def test_read_only_memory_is_refused_by_name():
    x = tc.tensor(np.broadcast_to(np.ones(1), (3,)))
    with pytest.raises(ValueError, match=r"add in place: the Tensor's memory is read-only.*x\.clone\(\)"):
        x += 1.0


def test_deepcopy_and_pickle_of_leaves_only():
    x = tc.tensor([1.0, 2.0], requires_grad=True, name="w")
    (x * x).sum().backward()
    twin = copy.deepcopy(x)
    assert twin.requires_grad
    assert twin.name == "w"
    assert twin.grad.tolist() == [2.0, 4.0]
    assert not np.shares_memory(twin.data, x.data)
    back = pickle.loads(pickle.dumps(x))
    assert back.tolist() == x.tolist()
    assert back.requires_grad
    y = x * 2
    for attempt in (copy.deepcopy, pickle.dumps):
        with pytest.raises(tc.TapeError, match=r"computed by 'mul'.*x\.detach\(\)"):
            attempt(y)


def test_index_arrays_changed_later_do_not_reach_the_tape():
    x = leaf(1.0, 2.0, 3.0)
    index = np.array([0, 0, 2])
    y = x[index].sum()
    index[:] = 1
    y.backward()
    assert x.grad.tolist() == [2.0, 0.0, 1.0]


def test_tensor_keeps_the_memory_of_an_array():
    array = np.ones(3)
    assert Tensor(array).data is array


def test_writing_into_returned_indices_does_not_reach_the_tape():
    for call in (lambda x: x.sort(), lambda x: x.topk(3)):
        x = leaf(1.0, 3.0, 2.0)
        values, indices = call(x)
        indices[...] = 0
        values.sum().backward()
        assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_two_arrays_over_one_foreign_buffer_are_one_memory():
    buffer = bytearray(np.ones(3).tobytes())
    x = tc.tensor(np.frombuffer(buffer), requires_grad=True)
    y = (x * x).sum()
    other = tc.tensor(np.frombuffer(buffer))
    other += 1.0
    with pytest.raises(tc.TapeError, match="mul"):
        y.backward()


def test_the_table_of_writes_forgets_memory_that_died():
    before = len(memory._writes)
    for _ in range(100):
        a = tc.tensor(np.zeros(2))
        a += 1.0
    assert len(memory._writes) <= before + 1
