"""No operation warns, whatever the numbers and whatever the caller asked of NumPy; nor changes what was asked."""

import contextlib

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import testing

CASES = testing.cases()
SPECIAL = {
    "float16": [0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, -65504.0, 6e-8, 1.0, -1.0, 0.5],
    "float32": [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, 1e-40, -1e-40, 3.4e38, 1.0, -1.0, 0.5],
    "float64": [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, 1e-310, -1e-310, 1.7e308, 1.0, -1.0, 0.5],
}


def special(array, dtype, shift):
    """An array of the same shape and memory order, full of special numbers."""
    numbers = np.roll(np.array(SPECIAL[dtype], dtype), shift)
    filled = np.empty_like(array, dtype=dtype)
    filled[...] = np.resize(numbers, array.shape)
    return filled


def differentiated(function, inputs, kwargs):
    """Forward, backward, and the gradient of the gradient."""
    leaves = [tc.tensor(a, requires_grad=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a for a in inputs]
    outputs = function(*leaves, **kwargs)
    y = outputs[0] if isinstance(outputs, tuple) else outputs
    xs = [x for x in leaves if isinstance(x, tc.Tensor) and x.requires_grad]
    if not xs or not isinstance(y, tc.Tensor) or not y.requires_grad:
        return
    g = np.ones(y.shape)
    tc.grad(y, xs, g, retain_graph=True, allow_unused=True)
    dxs = [d for d in tc.grad(y, xs, g, create_graph=True, allow_unused=True) if d is not None and d.requires_grad]
    if dxs:
        tc.grad(dxs, xs, [np.ones(d.shape) for d in dxs], allow_unused=True)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(("doc_", "test_"))])
def test_no_warning_from_special_numbers_in_any_order_of_derivative(name):
    spec = CASES[name]
    before = np.geterr()
    for dtype in ("float16", "float32", "float64"):
        for seed in range(4):
            case = spec.case(testing.Draw.seeded(seed))
            inputs = [special(a, dtype, seed) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
                      for a in case.args]  # fmt: skip
            with np.errstate(all="raise"):
                strict = np.geterr()
                with contextlib.suppress(ValueError):  # a value that the operation does not take
                    differentiated(spec.function, inputs, case.kwargs)
                assert np.geterr() == strict
    assert np.geterr() == before


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**2.5, lambda x: x ** (-x), lambda x: 2.0**x, lambda x: x % 0.3, lambda x: x // 0.0,
        lambda x: x / 0.0, lambda x: x * 1e300, lambda x: x.astype("float16").astype("int8"), lambda x: x.astype(bool),
        lambda x: x.mean(axis=()), lambda x: x[:0].mean(), lambda x: x[:0].sum(), lambda x: x.var(correction=len(x)),
        lambda x: x.std(), lambda x: x.norm(), lambda x: x.logsumexp(), lambda x: x.softmax(), lambda x: x.prod(),
        lambda x: x.sort()[0], lambda x: x.topk(3)[0], lambda x: tc.einsum("i,j->ij", x, x), lambda x: x @ x,
        lambda x: x.clip(-1, 1), lambda x: x.max(0)[0], lambda x: x.argmax(), lambda x: x.cumsum(),
        lambda x: tc.where(x > 0, x, 0.0), lambda x: np.exp(x), lambda x: np.add(x, 1e308), lambda x: x < 1e400,
        lambda x: F.layer_norm(x, x.shape), lambda x: F.cross_entropy(x, np.array(0)), lambda x: F.mse_loss(x, x * 2),
        lambda x: x.tolist(), repr, lambda x: f"{x}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", SPECIAL)
def test_no_warning_from_methods_and_numbers_beside_them(f, dtype):
    x = tc.tensor(np.array(SPECIAL[dtype], dtype), requires_grad=True)
    with np.errstate(all="raise"):
        y = f(x)
        if isinstance(y, tc.Tensor) and y.requires_grad:
            y.backward(np.ones(y.shape))


def test_no_warning_from_in_place_operations_updates_and_conversions():
    x = tc.tensor(np.array(SPECIAL["float32"], np.float32))
    with np.errstate(all="raise"):
        x *= 1e30
        x += x
        x /= 0.0
        x[...] = 1e300
        x.grad = tc.tensor(np.array(SPECIAL["float32"], np.float32))
        w = tc.tensor(x.data.copy(), requires_grad=True)
        for _ in range(2):  # the second adds to what is there
            (w * 1e30).sum().backward()
        tc.tensor([1e300, -1e300], dtype="float32")
        tc.tensor(np.array([1e300]), dtype="float16")
        y = tc.ones(2)
        y += np.array([1e300, 1.0])
        assert y.tolist() == [np.inf, 2.0]
        for call in (
            lambda: tc.full((2,), 1e300),
            lambda: tc.full_like(y, 1e300),
            lambda: tc.arange(1e300, 3e300, 1e300),
            lambda: tc.linspace(0, 1e300, 3),
        ):
            assert call().dtype == np.float32
