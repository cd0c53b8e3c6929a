"""Tensors made from nothing: NumPy's names, the default dtype unless another is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.core.operators import _integers
from tinygrad_cnn.core.tensor import Tensor, get_default_dtype
from tinygrad_cnn.random_state import generator


def _dtype(dtype: Any) -> np.dtype[Any]:
    return get_default_dtype() if dtype is None else np.dtype(dtype)


def _shape(name: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    lengths = _integers(name, shape)
    if any(n < 0 for n in lengths):
        raise ValueError(f"{name}: lengths must not be negative, got shape {lengths}")
    return lengths


def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape given as `zeros(2, 3)` or `zeros((2, 3))`.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return Tensor(np.zeros(_shape("zeros", shape), _dtype(dtype)), requires_grad=requires_grad)


def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape given as `ones(2, 3)` or `ones((2, 3))`."""
    return Tensor(np.ones(_shape("ones", shape), _dtype(dtype)), requires_grad=requires_grad)


def full(shape: Any, fill_value: float, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A shape filled with one value; an integer value makes integers, as in PyTorch."""
    if dtype is None and isinstance(fill_value, bool | int):
        dtype = np.asarray(fill_value).dtype
    return Tensor(np.full(_shape("full", (shape,)), fill_value, _dtype(dtype)), requires_grad=requires_grad)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """Evenly spaced values, `stop` excluded: integers from integers.

    >>> arange(4)
    tensor([0, 1, 2, 3])
    """
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return Tensor(values.astype(_dtype(dtype) if dtype is not None or values.dtype.kind == "f" else values.dtype))


def linspace(start: float, stop: float, steps: int, dtype: Any = None) -> Tensor:
    """`steps` evenly spaced values from start to stop, both included."""
    return Tensor(np.linspace(start, stop, steps, dtype=_dtype(dtype)))


def eye(n: int, m: int | None = None, dtype: Any = None) -> Tensor:
    """Ones on the diagonal, zeros elsewhere."""
    return Tensor(np.eye(n, m, dtype=_dtype(dtype)))


def rand(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform draws from [0, 1) with the thread's generator."""
    return Tensor(generator().random(_shape("rand", shape)).astype(_dtype(dtype)), requires_grad=requires_grad)


def randn(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal draws with the thread's generator."""
    return Tensor(
        generator().standard_normal(_shape("randn", shape)).astype(_dtype(dtype)), requires_grad=requires_grad
    )


def randint(low: int, high: int | None = None, size: Any = ()) -> Tensor:
    """Uniform integers from [low, high), or [0, low) if only one bound is given."""
    low, high = (0, low) if high is None else (low, high)
    return Tensor(np.asarray(generator().integers(low, high, _shape("randint", (size,)))))


def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros in the shape, dtype and memory order of x; a constant."""
    return Tensor(np.zeros_like(x.data if isinstance(x, Tensor) else x, dtype=dtype))


def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones in the shape, dtype and memory order of x; a constant."""
    return Tensor(np.ones_like(x.data if isinstance(x, Tensor) else x, dtype=dtype))
