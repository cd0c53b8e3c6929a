"""Tensors made from nothing: dtypes, gradients asked for, and errors that name the function."""

import numpy as np
import pytest

import tinygrad_cnn as tc

LIKE = tc.tensor(np.ones((2, 3)))
MAKERS = {
    "zeros": lambda **k: tc.zeros(2, 3, **k),
    "ones": lambda **k: tc.ones((2, 3), **k),
    "empty": lambda **k: tc.empty(2, 3, **k),
    "full": lambda **k: tc.full((2, 3), 1.5, **k),
    "arange": lambda **k: tc.arange(0.0, 1.0, 0.25, **k),
    "linspace": lambda **k: tc.linspace(0, 1, 3, **k),
    "eye": lambda **k: tc.eye(2, 3, **k),
    "rand": lambda **k: tc.rand(2, 3, **k),
    "randn": lambda **k: tc.randn((2, 3), **k),
    "zeros_like": lambda **k: tc.zeros_like(LIKE, **k),
    "ones_like": lambda **k: tc.ones_like(LIKE, **k),
    "full_like": lambda **k: tc.full_like(LIKE, 2, **k),
    "empty_like": lambda **k: tc.empty_like(LIKE, **k),
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_takes_a_dtype_and_requires_grad(name):
    make = MAKERS[name]
    assert make().dtype == ("float64" if name.endswith("_like") else "float32")
    assert not make().requires_grad
    x = make(dtype="float16", requires_grad=True)
    assert (x.dtype, x.requires_grad, x.is_leaf) == (np.float16, True, True)
    (x * 2).sum().backward()
    assert x.grad.shape == x.shape
    with pytest.raises(TypeError, match=f"^{name}: 'bogus' is no dtype of numbers"):
        make(dtype="bogus")
    with pytest.raises(TypeError, match=r"only floating Tensors have gradients|must be floating"):
        make(dtype="int32", requires_grad=True)


def test_values():
    assert tc.arange(4).tolist() == [0, 1, 2, 3]
    assert (tc.arange(4).dtype, tc.arange(4.0).dtype, tc.arange(5, 0, -2).tolist()) == ("int64", "float32", [5, 3, 1])
    assert tc.full((2,), 7).dtype == np.int64
    assert tc.full_like(LIKE, 7).tolist() == [[7.0] * 3] * 2
    assert tc.eye(2, 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert tc.empty(2, 0).shape == (2, 0)
    assert tc.randint(3, 5, (100,), dtype="uint8").dtype == np.uint8
    assert set(tc.randint(3, 5, (100,)).tolist()) == {3, 4}
    assert tc.rand().shape == ()
    nhwc = np.ones((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    for make in (tc.zeros_like, tc.empty_like, lambda x: tc.full_like(x, 2.0)):
        assert make(nhwc).data.strides == nhwc.strides


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tc.zeros(-1), ValueError, r"zeros: lengths must not be negative, got shape \(-1,\)"),
        (lambda: tc.zeros(2.5), TypeError, r"zeros: expected integers, got \(2\.5,\)"),
        (lambda: tc.full((2,), "a"), TypeError, "full: fill_value must be one number, got 'a'"),
        (lambda: tc.full((2,), [1, 2]), TypeError, r"full: fill_value must be one number, got \[1, 2\]"),
        (lambda: tc.arange("a"), TypeError, "arange: start must be one number, got 'a'"),
        (lambda: tc.arange(0, 10, 0), ValueError, "arange: step must not be 0"),
        (lambda: tc.linspace(0, 1, -1), ValueError, "linspace: lengths must not be negative"),
        (lambda: tc.linspace(0, 1, 2.5), TypeError, "linspace: expected integers"),
        (lambda: tc.eye(-1), ValueError, "eye: lengths must not be negative"),
        (lambda: tc.eye((2, 2)), TypeError, "eye: expected integers"),
        (lambda: tc.rand(2, dtype=int), TypeError, "rand: draws are real numbers, so the dtype must be floating"),
        (lambda: tc.randint(5, 0), ValueError, r"randint: the range \[5, 0\) is empty"),
        (lambda: tc.randint(0.5), TypeError, "randint: expected integers"),
        (lambda: tc.zeros_like([1.0]), TypeError, "zeros_like: x must be a Tensor or an array, got list"),
        (lambda: tc.tensor([1.0], dtype="bogus"), TypeError, "tensor: 'bogus' is no dtype"),
        (lambda: LIKE.astype("bogus"), TypeError, "astype: 'bogus' is no dtype of numbers or booleans; give a name"),
        (lambda: LIKE.astype("U3"), TypeError, "astype: 'U3' is no dtype of numbers"),
        (lambda: LIKE.astype(None), TypeError, "astype: None is no dtype"),
        (lambda: tc.set_default_dtype("bogus"), TypeError, "set_default_dtype: 'bogus' is no dtype"),
    ],
)
def test_misuse_names_the_function_and_what_was_given(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_sizes_beyond_memory_leave_the_engine_as_it_was():
    for call in (lambda: tc.zeros(2**60), lambda: tc.ones(2**31, 2**31), lambda: tc.arange(10**16)):
        with pytest.raises((MemoryError, ValueError)):
            call()
    assert tc.ones(2).sum().item() == 2
