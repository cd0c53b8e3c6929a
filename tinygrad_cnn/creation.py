"""Tensors made from nothing: NumPy's names, the default dtype unless another is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.core.dtypes import as_dtype, get_default_dtype
from tinygrad_cnn.core.operators import _integers
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.random_state import generator


def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape given as `zeros(2, 3)` or `zeros((2, 3))`.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _made("zeros", np.zeros, _shape("zeros", shape), dtype, requires_grad)


def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape given as `ones(2, 3)` or `ones((2, 3))`."""
    return _made("ones", np.ones, _shape("ones", shape), dtype, requires_grad)


def empty(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory of a shape given as `empty(2, 3)` or `empty((2, 3))`, to be written before it is read."""
    return _made("empty", np.empty, _shape("empty", shape), dtype, requires_grad)


def full(shape: Any, fill_value: float, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A shape filled with one value; an integer value makes integers, as in PyTorch."""
    value = _number("full", "fill_value", fill_value)
    if dtype is None and value.dtype.kind in "iubc":
        dtype = value.dtype
    return _made("full", lambda n, d: np.full(n, value, d), _shape("full", (shape,)), dtype, requires_grad)


def zeros_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, dtype and memory order of x."""
    return _like("zeros_like", x, 0, dtype, requires_grad)


def ones_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, dtype and memory order of x."""
    return _like("ones_like", x, 1, dtype, requires_grad)


def full_like(x: Any, fill_value: float, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One value in the shape, dtype and memory order of x."""
    return _like("full_like", x, _number("full_like", "fill_value", fill_value), dtype, requires_grad)


def empty_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory in the shape, dtype and order of x, to be written before it is read."""
    return _like("empty_like", x, None, dtype, requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Evenly spaced values, `stop` excluded: integers from integers.

    >>> arange(4)
    tensor([0, 1, 2, 3])
    """
    bounds = [_number("arange", "start", start), _number("arange", "step", step)]
    if stop is not None:
        bounds.insert(1, _number("arange", "stop", stop))
    if not bounds[-1]:
        raise ValueError("arange: step must not be 0")
    if dtype is None:
        dtype = np.int64 if all(b.dtype.kind in "iub" for b in bounds) else get_default_dtype()
    first, last = (0, start) if stop is None else (start, stop)
    return _made("arange", lambda _, d: np.arange(first, last, step).astype(d), None, dtype, requires_grad)


def linspace(start: float, stop: float, steps: int, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """`steps` evenly spaced values from start to stop, both included."""
    (count,) = _shape("linspace", (steps,))
    first, last = _number("linspace", "start", start), _number("linspace", "stop", stop)
    return _made("linspace", lambda n, d: np.linspace(first, last, n, dtype=d), count, dtype, requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of n rows and m columns (n, if not given), zeros elsewhere."""
    shape = _shape("eye", (n, n if m is None else m))
    return _made("eye", lambda s, d: np.eye(*s, dtype=d), shape, dtype, requires_grad)


def rand(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform draws from [0, 1) with the thread's generator."""
    return _drawn("rand", generator().random, shape, dtype, requires_grad)


def randn(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal draws with the thread's generator."""
    return _drawn("randn", generator().standard_normal, shape, dtype, requires_grad)


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = None) -> Tensor:
    """Uniform integers from [low, high), or [0, low) if only one bound is given."""
    first, end = _integers("randint", (0, low) if high is None else (low, high))
    if first >= end:
        raise ValueError(f"randint: the range [{first}, {end}) is empty")
    draws = np.asarray(generator().integers(first, end, _shape("randint", (size,))))
    return Tensor(draws if dtype is None else draws.astype(as_dtype("randint", dtype)))


# ---- helpers ---------------------------------------------------------------------------------------------------


def _made(name: str, make: Callable[[Any, Any], np.ndarray], shape: Any, dtype: Any, requires_grad: bool) -> Tensor:
    dtype = get_default_dtype() if dtype is None else as_dtype(name, dtype)
    with np.errstate(all="ignore"):  # what is too large for the dtype becomes inf
        return Tensor(make(shape, dtype), requires_grad=requires_grad)


def _like(name: str, x: Any, value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    if not isinstance(x, Tensor | np.ndarray):
        raise TypeError(f"{name}: x must be a Tensor or an array, got {type(x).__name__}")
    array = np.empty_like(
        x.data if isinstance(x, Tensor) else x, dtype=None if dtype is None else as_dtype(name, dtype)
    )
    if value is not None:
        with np.errstate(all="ignore"):
            np.copyto(array, value, casting="unsafe")
    return Tensor(array, requires_grad=requires_grad)


def _drawn(name: str, draw: Callable[..., Any], shape: tuple[Any, ...], dtype: Any, requires_grad: bool) -> Tensor:
    """Drawn in float64 whatever the dtype, so that a seed gives the same numbers in each; np.asarray for 0-d."""
    wanted = get_default_dtype() if dtype is None else as_dtype(name, dtype)
    if wanted.kind != "f":
        raise TypeError(f"{name}: draws are real numbers, so the dtype must be floating, got {wanted}")
    return Tensor(np.asarray(draw(_shape(name, shape))).astype(wanted), requires_grad=requires_grad)


def _shape(name: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    lengths = _integers(name, shape)
    if any(n < 0 for n in lengths):
        raise ValueError(f"{name}: lengths must not be negative, got shape {lengths}")
    return lengths


def _number(name: str, role: str, value: Any) -> np.ndarray:
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.ndim or array.dtype.kind not in "fiubc":
        raise TypeError(f"{name}: {role} must be one number, got {value!r}")
    return array
