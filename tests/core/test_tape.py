"""The walk: each node once, newest first, any depth, nothing left behind."""

import gc
import re
import weakref

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tape import Node


def leaf(values=(1.0, 2.0)):
    return tc.tensor(np.array(values, dtype=np.float64), requires_grad=True)


def test_fan_out_is_summed():
    a = leaf([3.0])
    b = a + a
    c = b + b
    c.backward()
    assert a.grad.tolist() == [4.0]


def test_input_used_twice_by_one_op():
    x = leaf([3.0])
    (x * x).backward()
    assert x.grad.tolist() == [6.0]


def test_every_node_is_visited_once_even_with_2_to_the_60_paths():
    x = leaf([1.0])
    y = x
    for _ in range(60):
        y = y + y
    visits = []
    with tape.observe(on_backward=lambda node, g, grads: visits.append(node)):
        y.backward()
    assert len(visits) == len(set(visits)) == 60
    assert x.grad.item() == 2.0**60


def test_order_is_newest_first():
    x = leaf()
    a, b = x.exp(), x.sin()
    order = []
    with tape.observe(on_backward=lambda node, g, grads: order.append(node.op.name)):
        (a * b).sum().backward()
    assert order == ["sum", "mul", "sin", "exp"]


def test_a_chain_of_100_000_ops_needs_no_recursion():
    x = leaf([0.5])
    y = x
    for _ in range(100_000):
        y = y + 1.0
    repr(y)
    y.backward()
    assert x.grad.item() == 1.0
    z = x
    for _ in range(100_000):
        z = z * 1.0
    del z  # dropping an unwalked chain must not recurse either


def test_backward_accumulates_and_zeroing_is_the_users():
    x = leaf()
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_second_backward_without_retain_graph_is_refused_and_changes_nothing():
    x = leaf()
    y = (x * x).sum()
    y.backward()
    before = x.grad.numpy().copy()
    with pytest.raises(tc.TapeError, match=r"mul.*retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), before)


def test_retain_graph_allows_a_second_backward():
    x = leaf()
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_create_graph_gives_second_and_third_derivatives():
    x = leaf([2.0])
    (first,) = tc.grad(x**4, x, create_graph=True)
    (second,) = tc.grad(first, x, create_graph=True)
    (third,) = tc.grad(second, x)
    assert (first.item(), second.item(), third.item()) == (32.0, 48.0, 48.0)


def test_backward_with_create_graph_accumulates_on_the_tape():
    x = leaf([2.0])
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    (second,) = tc.grad(x.grad, x)
    assert second.item() == 12.0


def test_grad_touches_no_grad_and_gives_intermediates():
    x = leaf()
    h = x * 3
    y = (h * h).sum()
    dx, dh = tc.grad(y, [x, h])
    assert x.grad is None
    with pytest.warns(UserWarning, match=r"computed by 'mul'.*retain_grad\(\)"):
        assert h.grad is None
    np.testing.assert_array_equal(dh.numpy(), 2 * h.numpy())
    np.testing.assert_array_equal(dx.numpy(), 3 * dh.numpy())


def test_grad_walks_only_where_an_input_lies():
    x, w = leaf(), leaf()
    frozen = w
    for _ in range(10):
        frozen = frozen * 2.0
    y = (x * 3 + frozen).sum()
    visited = []
    with tape.observe(on_backward=lambda node, g, grads: visited.append(node.op.name)):
        tc.grad(y, x)
    assert visited == ["sum", "add", "mul"]


def test_unused_input_is_named_or_none():
    x, unused = leaf(), tc.tensor([1.0], requires_grad=True, name="beta")
    with pytest.raises(tc.TapeError, match=r"inputs\[1\] \('beta'\).*allow_unused=True"):
        tc.grad(x.sum(), [x, unused])
    dx, none = tc.grad(x.sum(), [x, unused], allow_unused=True)
    assert none is None
    assert dx.tolist() == [1.0, 1.0]


def test_the_same_input_twice_gives_two_arrays():
    x = leaf()
    a, b = tc.grad((x * x).sum(), [x, x])
    assert not np.shares_memory(a.data, b.data)
    np.testing.assert_array_equal(a.data, b.data)


def test_backward_into_chosen_inputs_only():
    x, w = leaf(), leaf()
    (x * w).sum().backward(inputs=[w])
    assert x.grad is None
    assert w.grad.tolist() == [1.0, 2.0]


def test_no_two_gradients_share_memory():
    a, b = leaf(), leaf()
    upstream = np.ones(2)
    (a + b).backward(upstream)
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, upstream)
    a.grad.data[...] = 7
    assert b.grad.tolist() == [1.0, 1.0]
    assert upstream.tolist() == [1.0, 1.0]


def test_a_gradient_that_is_a_saved_input_is_copied():
    a, b = leaf(), leaf([3.0, 4.0])
    (a * b).sum().backward(retain_graph=True)
    assert not np.shares_memory(a.grad.data, b.data)


def test_retain_grad_and_its_absence():
    x = leaf()
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward()
    assert h.grad.tolist() == [4.0, 8.0]
    with pytest.raises(tc.TapeError, match="requires no gradient"):
        tc.tensor([1.0]).retain_grad()


def test_a_failing_rule_leaves_all_as_it_was_and_names_the_op():
    def rule(g, x):
        raise KeyError("boom")

    bad = tc.op("bad_rule", lambda x: x * 1.0, rule)
    x, w = leaf(), leaf()
    y = (bad(x) * w).sum()
    with pytest.raises(KeyError, match="boom") as caught:
        y.backward()
    assert any("bad_rule" in note for note in caught.value.__notes__)
    assert x.grad is None
    assert w.grad is None
    assert tc.is_grad_enabled()


def test_non_scalar_and_wrong_gradients_are_refused():
    x = leaf()
    with pytest.raises(ValueError, match=r"shape \(2,\).*\.sum\(\)"):
        (x * 2).backward()
    with pytest.raises(tc.ShapeError, match=r"\(3,\).*\(2,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(tc.TapeError, match="does not require grad"):
        tc.tensor([1.0]).backward()


def test_a_training_loop_leaves_nothing_behind_without_the_garbage_collector():
    w = tc.tensor(np.ones((4, 3)), requires_grad=True)
    x = np.ones((5, 4))

    def step():
        loss = ((x @ w).relu() ** 2).mean()
        loss.backward()
        w.data -= 0.001 * w.grad.data
        w.grad = None
        ((x @ w).tanh()).sum()  # a forward without backward
        (g,) = tc.grad((w * w * w).sum(), w, create_graph=True)
        tc.grad(g.sum(), w)

    step()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(300):
            step()
        after = len(gc.get_objects())
        nodes = sum(isinstance(o, Node) for o in gc.get_objects())
    finally:
        gc.enable()
    assert after - before < 50
    assert nodes == 0


def test_live_memory_after_forward_is_what_the_rules_name():
    x = tc.tensor(np.ones(1000), requires_grad=True)
    h = x.exp()
    out = h * 2.0
    node = out.grad_fn
    assert node.saved == (2.0,)  # d(h * 2) needs the 2, not h
    assert node.parents[0].saved[0] is h.data  # exp keeps its output
    array = weakref.ref(out.data)
    del out  # nobody named its values: the array dies at once, the node lives on
    assert array() is None


def test_only_inputs_that_want_a_gradient_are_saved_for():
    x = tc.tensor(np.ones(3))
    w = tc.tensor(np.ones(3), requires_grad=True)
    assert len((x * w).grad_fn.saved) == 1  # x, for dw
    assert (x * w).grad_fn.parents[0] is None


def test_structure_stays_after_backward_for_the_viewer():
    x = leaf()
    y = x.exp().sum()
    y.backward()
    assert y.grad_fn.parents[0].op.name == "exp"
    assert y.grad_fn.parents[0].parents[0] is x


def test_hooks_on_leaf_and_intermediate():
    x = leaf()
    h = x * 1.0
    seen = []
    handle = h.register_hook(lambda g: seen.append(g.tolist()))
    h.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    y = h.sum()
    del h  # hooks live on the node
    y.backward(retain_graph=True)
    assert seen == [[1.0, 1.0]]
    assert x.grad.tolist() == [11.0, 11.0]
    handle.remove()
    handle.remove()
    y.backward()
    assert len(seen) == 1


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("place", ["leaf", "between"])
def test_a_hook_that_raises_leaves_all_as_it_was(place, create_graph):
    def hook(g):
        raise KeyError("mine")

    a, b = leaf(), leaf()
    (a * b).sum().backward()
    before = [a.grad, b.grad]
    h = a * b
    h.retain_grad()
    handle = (b if place == "leaf" else h).register_hook(hook)
    loss = h.sum()
    for attempt in (lambda: loss.backward(retain_graph=True, create_graph=create_graph),
                    lambda: tc.grad(loss, [a, b], retain_graph=True, create_graph=create_graph)):  # fmt: skip
        with pytest.raises(KeyError, match="mine") as caught:
            attempt()
        whose = r"a leaf of shape \(2,\)" if place == "leaf" else r"<mul -> \(2,\) float64>"
        assert re.fullmatch(f"in a hook on the gradient of {whose}", caught.value.__notes__[0])
        assert caught.value.__notes__[1:] == ["backward stopped here: no .grad has changed"]
        assert [a.grad, b.grad] == before
        assert tc.is_grad_enabled()
    handle.remove()
    loss.backward()  # the graph was kept: once more
    np.testing.assert_array_equal(a.grad.data, 2 * b.data)
    np.testing.assert_array_equal(h.grad.data, [1, 1])


def test_after_a_hook_has_raised_a_graph_that_was_not_kept_is_gone():
    def hook(g):
        raise KeyError

    a = leaf()
    handle = a.register_hook(hook)
    loss = (a * a).sum()
    with pytest.raises(KeyError) as caught:
        loss.backward()
    assert "part of the graph is freed, so compute the output again" in caught.value.__notes__[-1]
    handle.remove()
    with pytest.raises(tc.TapeError, match="was freed by an earlier backward"):
        loss.backward()
    assert a.grad is None


def test_a_total_that_can_not_be_formed_leaves_all_as_it_was():
    a, b = leaf([1.0]), leaf([1.0])
    a.grad, b.grad = np.array([1.0]), np.array([1e308])
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match="add"):
        (a + b * 1.7e308).sum().backward(create_graph=True)  # b's gradient overflows when it is added
    assert (a.grad.item(), b.grad.item()) == (1.0, 1e308)


def test_an_input_that_also_retains_its_gradient_gets_it_once():
    x = leaf()
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward(inputs=[h])
    assert h.grad.tolist() == [4.0, 8.0]
    (x * x).sum().backward(inputs=[x, x])
    assert x.grad.tolist() == [2.0, 4.0]


def test_gradients_are_arrays_also_of_numbers():
    x = tc.tensor(2.0, requires_grad=True)
    for total in (4.0, 8.0):
        (x * x).backward()
        assert type(x.grad.data) is np.ndarray
        assert x.grad.item() == total
    x.grad.data[...] = 0.0


def test_a_retained_gradient_is_the_tensors_whatever_was_written_into_it():
    x = leaf()
    h = x * 2
    h.retain_grad()
    seen = []
    h.register_hook(lambda g: seen.append(g.tolist()))  # of the old value
    h *= 3
    (h * h).sum().backward()
    assert h.grad.tolist() == [12.0, 24.0]
    assert seen == [[36.0, 72.0]]


def test_observer_sees_each_gradient_before_it_is_summed():
    x = leaf([3.0])
    sent = []
    with tape.observe(on_backward=lambda node, g, grads: sent.extend((p, d.tolist()) for p, d in grads)):
        (x * x).backward()
    assert sent == [(0, [3.0]), (1, [3.0])]
    assert x.grad.item() == 6.0


def test_observer_sees_unrecorded_ops_too():
    seen = []
    with tape.observe(on_record=lambda node, op, args, options, out: seen.append((op.name, node))):
        tc.exp(tc.tensor([1.0]))
    assert seen == [("exp", None)]


def test_module_path_is_recorded():
    x = leaf()
    with tape.within("features.conv1"):
        y = x * 2
    assert y.grad_fn.path == "features.conv1"
    assert (x * 2).grad_fn.path == ""
