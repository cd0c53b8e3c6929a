"""Tensors made from nothing: PyTorch's values, shapes and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc


@pytest.mark.parametrize(
    "text",
    [
        "m.zeros(2, 3)", "m.zeros((2, 3))", "m.ones(2)", "m.ones((2, 0))", "m.zeros(())", "m.full((2, 3), 1.5)",
        "m.full((2,), 7)", "m.full((), True)", "m.eye(3)", "m.eye(2, 4)", "m.arange(5)", "m.arange(2, 9, 3)",
        "m.arange(0.0, 1.0, 0.25)", "m.arange(3, 0, -1)", "m.arange(2.5)", "m.linspace(-1.0, 1.0, 7)",
        "m.linspace(0, 3, 4)", "m.linspace(1.0, 2.0, 1)", "m.tensor(1.5)", "m.tensor(3)", "m.tensor(True)",
        "m.tensor([[1.0, 2.0], [3.0, 4.0]])", "m.tensor([1, 2])", "m.tensor([True, False])", "m.tensor([1, 2.5])",
        "m.tensor([])", "m.tensor(np.arange(3.0))", "m.tensor(np.arange(3))", "m.tensor(np.ones(2, np.float32))",
        "m.zeros_like(m.ones(2, 3))", "m.ones_like(m.arange(3))", "m.zeros_like(m.tensor([True]))",
    ],
)  # fmt: skip
def test_values_and_dtypes(text: str) -> None:
    ours, theirs = (eval(text, {"m": m, "np": np}) for m in (tc, torch))
    theirs = theirs.numpy()
    assert (ours.shape, ours.dtype, ours.requires_grad) == (theirs.shape, theirs.dtype, False)
    np.testing.assert_allclose(ours.data, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_dtypes_that_are_asked_for(name: str) -> None:
    for make in (
        lambda m, d: m.zeros(2, dtype=d),
        lambda m, d: m.full((2,), 1, dtype=d),
        lambda m, d: m.arange(3, dtype=d),
        lambda m, d: m.tensor([1, 2], dtype=d),
        lambda m, d: m.eye(2, dtype=d),
    ):
        ours, theirs = make(tc, name), make(torch, getattr(torch, name)).numpy()
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours.data, theirs)


def test_the_default_dtype() -> None:
    tc.set_default_dtype("float64")
    torch.set_default_dtype(torch.float64)
    try:
        for text in ("m.tensor(0.1)", "m.ones(2)", "m.arange(0.0, 1.0, 0.1)", "m.tensor([1]) / 3"):
            ours, theirs = (eval(text, {"m": m}) for m in (tc, torch))
            theirs = theirs.numpy()
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours.data, theirs)
    finally:
        tc.set_default_dtype("float32")
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "text",
    [
        "i / 2", "i * 2.5", "i + 1", "i * i", "i.sum()", "b.sum()", "b * 1.5", "b * 2", "f * 2", "1 / f", "f**2",
        "f > 0", "f + b", "m.exp(i)", "m.sqrt(i)", "i**2", "m.where(b, f, 0.0)", "f.argmax()", "b & b", "i // 2",
        "i % 2", "abs(i)", "-i", "i == i", "m.cat([f, f])", "i.prod()", "m.relu(i)", "i.amax()",
    ],
)  # fmt: skip
def test_dtypes_of_results(text: str) -> None:
    """Of int64, bool and float32 operands, where NumPy's promotion and PyTorch's are the same."""
    arrays = np.array([1, 2, 3]), np.array([True, False, True]), np.array([0.5, -1.0, 2.0], np.float32)
    ours, theirs = (eval(text, {"m": m} | dict(zip("ibf", map(m.tensor, arrays), strict=True))) for m in (tc, torch))
    theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours.data, theirs, rtol=1e-6, atol=1e-7)
