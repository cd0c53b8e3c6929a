"""The memory law for every operation of the kit: overwrite any input, and backward is right or refuses."""

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing

CASES = testing.cases()
NAMES = [name for name, spec in CASES.items() if spec.kind != "stochastic"]


def call(spec, seed):
    """A call with float64 arrays, the places of its floating inputs, and a function of Tensors with one output."""
    case = spec.case(testing.Draw.seeded(seed))
    arrays = [np.array(a, dtype=np.float64, order="K") if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
              for a in case.args]  # fmt: skip
    places = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray) and a.dtype == np.float64 and a.size]

    def run(inputs):
        y = spec.function(*inputs, **case.kwargs)
        return y[0] if isinstance(y, tuple) else y

    return arrays, places, run


def gradients(run, leaves, inputs, overwrite=lambda: None):
    """None if the function has no gradient; `overwrite` is called between forward and backward."""
    y = run(inputs)
    if not isinstance(y, tc.Tensor) or not y.requires_grad:
        return None
    upstream = np.random.default_rng(1).integers(-3, 4, y.shape).astype(y.dtype)
    overwrite()
    found = tc.grad(y, leaves, upstream, allow_unused=True)
    return [None if g is None else g.data.copy() for g in found]


def same(a, b):
    for x, y in zip(a, b, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", NAMES)
def test_an_update_of_any_input_is_harmless_or_refused(name):
    for seed in range(3):
        arrays, places, run = call(CASES[name], seed)
        for place in places:

            def leaves(arrays=arrays, places=places):
                return [tc.tensor(a.copy("K"), requires_grad=True) if i in places else a for i, a in enumerate(arrays)]

            inputs = leaves()
            expected = gradients(run, [inputs[i] for i in places], inputs)
            if expected is None:
                continue
            inputs = leaves()
            written = inputs[place]

            def update(written=written):
                written.data += 1.0

            try:
                found = gradients(run, [inputs[i] for i in places], inputs, update)
            except tc.TapeError as error:
                assert "saved for backward, was overwritten in place" in str(error)  # noqa: PT017  (or no error at all)
                assert "an update of .data" in str(error)  # noqa: PT017
            else:
                same(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_write_into_any_input_leaves_the_gradient_as_it_was(name):
    for seed in range(3):
        arrays, places, run = call(CASES[name], seed)
        leaves = [tc.tensor(arrays[i], requires_grad=True) for i in places]
        if not leaves:
            continue

        def computed(arrays=arrays, places=places, leaves=leaves):
            inputs = list(arrays)
            for i, leaf in zip(places, leaves, strict=True):
                inputs[i] = leaf.clone()
            return inputs

        inputs = computed()
        expected = gradients(run, leaves, inputs)
        if expected is None:
            continue
        for place in places:
            inputs = computed()

            def write(inputs=inputs, place=place):
                inputs[place][...] = inputs[place] * 2.0 + 1.0

            same(gradients(run, leaves, inputs, write), expected)


def _assigned(x, index):
    h = x * 1.0
    h[index] = 0.0
    return h


W, IMAGES = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(2, 3, 4, 4))
LABELS, WINNERS = np.array([0, 1, 2, 0]), F.max_pool2d(IMAGES, 2, return_indices=True)[1].data
CONSTANTS = {  # a function of a constant and a leaf, and both
    "indices": (lambda c, x: x[c], np.array([0, 2, 2]), W),
    "a boolean index": (lambda c, x: x[c], np.array([True, False, True, False]), W),
    "assigned indices": (lambda c, x: _assigned(x, c), np.array([0, 2]), W),
    "embedding": (F.embedding, np.array([0, 2, 2]), W),
    "take_along_axis": (lambda c, x: x.take_along_axis(c, 0), np.zeros((1, 3), int), W),
    "labels": (lambda c, x: F.cross_entropy(x, c), LABELS, W),
    "labels of nll_loss": (lambda c, x: F.nll_loss(x.log_softmax(1), c), LABELS, W),
    "class weights": (lambda c, x: F.cross_entropy(x, LABELS, c), np.array([1.0, 2.0, 3.0]), W),
    "probabilities": (lambda c, x: F.cross_entropy(x, c), np.full((4, 3), 0.25), W),
    "targets": (lambda c, x: F.mse_loss(x, c), np.zeros((4, 3)), W),
    "a mask": (lambda c, x: x.masked_fill(c, 0.0), W > 0, W),
    "a condition": (lambda c, x: tc.where(c, x, 0.0), W > 0, W),
    "a bound": (lambda c, x: x.clip(c, None), np.zeros(3), W),
    "a running mean": (lambda c, x: F.batch_norm(x, c, np.ones(3)), np.zeros(3), W),
    "a running variance": (lambda c, x: F.batch_norm(x, np.zeros(3), c), np.ones(3), W),
    "a filter": (lambda c, x: F.conv2d(x, c), np.ones((2, 3, 2, 2)), IMAGES),
    "winners": (lambda c, x: F.max_unpool2d(x, c, 2), WINNERS, F.max_pool2d(IMAGES, 2).data),
    "a matrix": (lambda c, x: x @ c, np.ones((3, 2)), W),
    "an operand of einsum": (lambda c, x: tc.einsum("ij,j->i", x, c), np.ones(3), W),
    "an exponent": (lambda c, x: (x * x + 1) ** c, np.full(3, 2.0), W),
    "a divisor": (lambda c, x: x / c, np.full(3, 2.0), W),
    "a modulus": (lambda c, x: x % c, np.full(3, 0.7), W),
}


@pytest.mark.parametrize("write", ["under no_grad", "while recording", "new data"])
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_that_is_overwritten(name, write):
    """What it was counts, or backward is refused; no array among the options escapes."""
    f, values, at = CONSTANTS[name]

    def gradient(overwrite):
        c, x = tc.tensor(values.copy()), tc.tensor(at.copy(), requires_grad=True)
        y = f(c, x)
        new = ~values if values.dtype == bool else values + 1 if values.dtype == float else np.zeros_like(values) + 1
        if overwrite and write == "new data":
            c.data = new
        elif overwrite:
            with tc.no_grad() if write == "under no_grad" else tc.enable_grad():
                c[...] = new
        y.backward(np.arange(1.0, 1 + y.size).reshape(y.shape))
        return x.grad.data

    expected = gradient(False)
    try:
        found = gradient(True)
    except tc.TapeError as error:
        assert write == "under no_grad", error  # noqa: PT017  (or no error at all)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_write_past_the_engine_is_found_in_anomaly_mode(name):
    arrays, places, run = call(CASES[name], 0)
    for place in places:
        inputs = [tc.tensor(a.copy("K"), requires_grad=True) if i in places else a for i, a in enumerate(arrays)]
        with np.errstate(all="ignore"), tc.detect_anomaly():
            try:
                y = run(inputs)
            except FloatingPointError:
                return
            if not isinstance(y, tc.Tensor) or not y.requires_grad:
                return
            saves = [a for a in _saved(y.grad_fn) if np.shares_memory(a, inputs[place].data)]
            if not saves:
                continue
            inputs[place].data[...] += 1.0
            with pytest.raises(tc.TapeError, match="a write into the bare array that the tape can not see"):
                y.backward(np.ones(y.shape))


def _saved(root):
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if getattr(node, "saved", None) is not None:
            nodes.extend(node.parents)
            for value in node.saved:
                yield from (a for a in (value if isinstance(value, tuple) else (value,)) if isinstance(a, np.ndarray))
