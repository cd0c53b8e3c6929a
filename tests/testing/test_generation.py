"""What the strategies draw: everything that they promise, and nothing that an operation refuses."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing
from tinygrad_cnn.testing.random_graphs import EXACT

QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("values", ["ints", "distinct", "ties", "smooth", "extreme"])
def test_tensors_have_the_values_and_the_layout_that_were_asked_for(values):
    @QUICK
    @given(testing.tensors((3, 4), values=values, layout="strided"), testing.tensors((3, 4), values=values))
    def holds(strided, any_layout):
        assert strided.requires_grad
        assert strided.data.strides == (8 * 8 * 2, 8 * 2)
        for x in (strided.data, any_layout.data):
            assert x.shape == (3, 4)
            if values in ("ints", "ties"):
                assert (x == np.round(x)).all()
            if values == "distinct":
                assert len(set(x.ravel().tolist())) == 12
                assert (x != np.round(x)).all()

    holds()
    if values == "extreme":
        find(testing.tensors((3,), values="extreme"), lambda t: np.isnan(t.data).any() and np.isinf(t.data).any())


def test_tensors_of_any_shape_are_empty_or_single_at_times():
    find(testing.tensors(), lambda t: t.size == 0 and t.ndim == 2)
    find(testing.tensors(), lambda t: t.ndim == 0)
    find(testing.tensors((2, 2), layout="any"), lambda t: t.data.strides[0] < 0)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_geometries_fit(axes):
    conv, pool = getattr(F, f"conv{axes}d"), getattr(F, f"max_pool{axes}d")

    @QUICK
    @given(testing.conv_geometry(axes), testing.pool_geometry(axes))
    def holds(c, p):
        conv(np.ones(c.x), np.ones(c.weight), **c.options)
        pool(np.ones(p.x), **p.options)

    holds()


def test_geometries_reach_the_remainders_groups_and_empty_batches():
    find(testing.conv_geometry(), lambda g: g.options["groups"] == 2 and g.x[0] == 0)
    find(testing.conv_geometry(), lambda g: (g.x[2] + 2 * g.options["padding"][0] - g.weight[2]) % 3 == 2)
    assert find(testing.conv_geometry(max_kernel=5), lambda g: g.weight[2] == 5).weight == (1, 1, 5, 1)


def test_shapes_broadcast_and_indices_index():
    @QUICK
    @given(testing.broadcast_shapes(3), st.data())
    def holds(shapes, data):
        whole = np.broadcast_shapes(*shapes)
        assert len(shapes) == 3
        array = np.ones(whole)
        array[data.draw(testing.index_for(whole))]

    holds()
    find(testing.broadcast_shapes(2), lambda shapes: 0 in shapes[0])


def test_graphs_fan_out_and_alias():
    @QUICK
    @given(testing.graphs(8))
    def holds(graph):
        readers = [i for step in graph.steps for i in set(step.operands)]
        assert max(readers.count(i) for i in readers) > 1
        assert any(len(step.operands) == 2 and len(set(step.operands)) == 1 for step in graph.steps)
        assert len(graph.steps) <= 8

    holds()


def test_the_source_of_a_graph_is_the_graph():
    @QUICK
    @given(testing.graphs(6))
    def holds(graph):
        namespace = {"tc": tc}
        exec(repr(graph), namespace)
        inputs = [np.arange(9.0).reshape(3, 3) / 9 + i for i in range(graph.inputs)]
        np.testing.assert_array_equal(namespace["graph"](*inputs).data, graph(*inputs).data)

    holds()


def test_graphs_have_the_derivative_that_gradcheck_finds():
    @settings(QUICK, max_examples=20)
    @given(testing.graphs(8))
    def holds(graph):
        rng = np.random.default_rng(0)
        testing.gradcheck(graph, [rng.uniform(-1, 1, (3, 3)) for _ in range(graph.inputs)])

    holds()


@pytest.mark.parametrize("ops", [EXACT, ("mul", "add", "relu")])
def test_the_order_in_which_a_graph_is_built_changes_no_bit(ops):
    @QUICK
    @given(testing.graphs(10, ops=ops), st.integers(0, 9))
    def holds(graph, seed):
        def gradients(order):
            inputs = [tc.tensor(np.arange(4.0).reshape(2, 2) - i, requires_grad=True) for i in range(graph.inputs)]
            graph.run(inputs, order).backward(np.array([[1.0, -2.0], [3.0, 5.0]]))
            return [None if x.grad is None else x.grad.data for x in inputs]

        for a, b in zip(gradients(range(len(graph.steps))), gradients(graph.orders(seed)), strict=True):
            np.testing.assert_array_equal(a, b)

    holds()


def play(examples=30):
    game = settings(QUICK, max_examples=examples, stateful_step_count=30, phases=[hypothesis.Phase.generate])
    run_state_machine_as_test(testing.EngineMachine, settings=game)


def test_the_engine_plays_as_the_naive_one():
    play()


@pytest.mark.parametrize(
    ("op", "vjp"),
    [
        ("mul", (lambda g, b: g * b, lambda g, a: 2 * g * a)),
        ("add", (lambda g: g, None)),
        ("sum", lambda g, x_shape, axis, keepdims: tc.ops()["broadcast_to"](2 * g, shape=x_shape)),
    ],
)
def test_the_machine_notices_a_wrong_engine(op, vjp):
    with testing.patched(op, vjp=vjp), pytest.raises(AssertionError):
        play(100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: testing.tensors(values="big"), "values must be one of ints, .*got 'big'"),
        (lambda: testing.tensors(layout="K"), "layout must be one of C, .*got 'K'"),
        (lambda: testing.graphs(1), "max_nodes must be at least 2"),
        (lambda: testing.graphs(ops=["frobnicate"]), r"no operations \['frobnicate'\]"),
    ],
)
def test_wrong_words_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
