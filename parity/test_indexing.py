"""Indexing: slices with any step, integers, None, Ellipsis, integer arrays with repeats, masks; and assignment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS


def _torch_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_torch_index(i) for i in index)
    return torch.tensor(index) if isinstance(index, np.ndarray) else index


def _get(t: torch.Tensor, index: Any) -> torch.Tensor:
    """PyTorch has no negative steps: the axis is flipped first."""
    parts = list(index) if isinstance(index, tuple) else [index]
    axis = 0
    consumed = sum(_axes_taken(p) for p in parts)
    for i, p in enumerate(parts):
        if isinstance(p, slice) and p.step is not None and p.step < 0:
            places = range(*p.indices(t.shape[axis]))
            t = t.flip(axis)
            n = t.shape[axis]
            start = n - 1 - places.start if len(places) else 0
            parts[i] = slice(start, start + (len(places) - 1) * -p.step + 1 if len(places) else start, -p.step)
        axis += t.ndim - consumed if p is Ellipsis else _axes_taken(p)
    return t[tuple(_torch_index(p) for p in parts)]


def _axes_taken(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1


def _slice(rng: np.random.Generator, n: int) -> slice:
    start, stop = (None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 3)) for _ in range(2))
    return slice(start, stop, pick(rng, [None, 1, 2, 3, -1, -2]))


def _index(rng: np.random.Generator, shape: tuple[int, ...], advanced: bool) -> Any:
    """A random index of an array of this shape: slices with integers, or with arrays of one shape, or with a mask.

    Integers and arrays are not mixed, for to NumPy, and so here, an integer is an array of no axes; there it is not.
    """
    parts: list[Any] = []
    common = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))
    ellipsis_at = int(rng.integers(0, len(shape) + 2))
    axis = 0
    taken = int(rng.integers(0, len(shape) + 1))
    arrays = masked = False
    while axis < taken:
        n = shape[axis]
        if axis == ellipsis_at:
            parts.append(Ellipsis)
            # For nothing it still parts arrays in NumPy, and so here; there it does not.
            axis += int(rng.integers(advanced, taken - axis + 1))
            ellipsis_at = -1
            continue
        kind = pick(rng, ["slice", "slice", "none", *(["array", "array", "mask"] if advanced else ["int"])])
        if kind == "none":
            parts.append(None)
            continue
        if kind == "int" and n:
            parts.append(int(rng.integers(-n, n)))
        elif kind == "array" and n and not masked:
            parts.append(rng.integers(-n, n, common))
            arrays = True
        elif kind == "mask" and not arrays and not masked:
            parts.append(rng.random(n) < 0.5)
            masked = True
        else:
            parts.append(_slice(rng, n))
        axis += 1
    if Ellipsis in [p for p in parts if not isinstance(p, np.ndarray)]:  # the axes after it are the last ones
        return _after_ellipsis(parts, shape)
    return tuple(parts) if len(parts) != 1 or rng.random() < 0.5 else parts[0]


def _after_ellipsis(parts: list[Any], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Integers and masks made for an axis in front are cut to the axis they now meet."""
    at = next(i for i, p in enumerate(parts) if p is Ellipsis)
    behind = sum(_axes_taken(p) for p in parts[at + 1 :])
    axis = len(shape) - behind
    fitted = list(parts[: at + 1])
    for p in parts[at + 1 :]:
        n = shape[axis] if axis < len(shape) else 0
        if isinstance(p, np.ndarray) and p.dtype == bool:
            p = np.resize(p, n)
        elif isinstance(p, np.ndarray | int):
            p = slice(None) if n == 0 else p % n
        axis += _axes_taken(p)
        fitted.append(p)
    return tuple(fitted)


@cases(400)
def test_basic(rng: np.random.Generator) -> None:
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(0, 5, rng.integers(1, 5))))
    index = _index(rng, x.shape, advanced=False)
    np.testing.assert_array_equal(_get(torch.tensor(x.copy()), index).numpy(), x[index])
    agree(lambda x: x[index] ** 2, lambda t: _get(t, index) ** 2, x)


@cases(400)
def test_advanced(rng: np.random.Generator) -> None:
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(1, 5, rng.integers(1, 5))))
    index = _index(rng, x.shape, advanced=True)
    agree(lambda x: x[index] ** 2, lambda t: _get(t, index) ** 2, x)


@pytest.mark.parametrize(
    "index",
    [
        0, -1, slice(None), slice(None, None, -1), slice(-2, None, -2), Ellipsis, None, (Ellipsis, 1), (),
        (1, Ellipsis, None), (slice(None), None, 2), np.array([0, 0, 2, 0]), np.array([[1, 1], [2, -3]]),
        (np.array([0, 0]), np.array([1, 1])),
        (np.array([0, 2]), slice(None), np.array([1, 1])), (slice(1, 2), np.array([3, 3, 0])), (0, np.array([1, 1])),
        (np.array([[0], [1]]), np.array([1, 1, 2])), np.array([True, False, True]), (slice(None), np.array([True] * 4)),
        np.zeros(3, bool), np.array([], int), (None, np.array([2, 2])), (Ellipsis, np.array([4, 4, 1])),
        np.arange(60).reshape(3, 4, 5) % 3 == 0, np.arange(12).reshape(3, 4) % 5 == 0, (2, 3, 4), slice(5, 1), True,
    ],
    ids=repr,
)  # fmt: skip
def test_kinds(index: Any) -> None:
    for layout in LAYOUTS.values():
        x = layout(normal(np.random.default_rng(0), 3, 4, 5))
        agree(lambda x: x[index] ** 2, lambda t: _get(t, index) ** 2, x)
        agree(lambda x: x[index].sum() * x, lambda t: _get(t, index).sum() * t, x)


def test_spellings_of_an_index() -> None:
    """A list and a Tensor mean what an array means."""
    x = normal(np.random.default_rng(0), 3, 4)
    agree(lambda x: x[[0, 2, 2]], lambda t: t[[0, 2, 2]], x)
    agree(lambda x: x[[True, False, True]], lambda t: t[[True, False, True]], x)
    agree(lambda x: x[tc.tensor([0, 2, 2])], lambda t: t[torch.tensor([0, 2, 2])], x)
    agree(lambda x: x[x > 0], lambda t: t[t > 0], x)
    agree(lambda x: x[np.int64(1), tc.tensor(2)], lambda t: t[1, 2], x)
    agree(lambda x: tc.stack(list(x)), lambda t: torch.stack(list(t)), x)


@cases(300)
def test_assignment(rng: np.random.Generator) -> None:
    """A value that broadcasts; what it overwrites gets gradient 0. Repeats are left out: who wins is nobody's rule."""
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(1, 5, rng.integers(1, 4))))
    index = _index(rng, x.shape, advanced=False)
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(p, slice) and p.step is not None and p.step < 0 for p in parts):
        return  # not there
    shape = x[index].shape
    kept = shape[int(rng.integers(0, len(shape) + 1)) :]
    value = normal(rng, *(1 if rng.random() < 0.3 else n for n in kept))

    def write(x: Any, v: Any) -> Any:
        y = x * x
        y[index] = v * v
        return y * y

    agree(write, write, x, value)
    agree(lambda x: write(x, 2.0), lambda t: write(t, 2.0), x)


@pytest.mark.parametrize(
    "index",
    [np.array([2, 0]), np.array([True, False, True]), (slice(None), np.array([3, 1, 0])),
     (np.array([0, 2]), np.array([1, 1])), (np.array([[0], [2]]), np.array([3, 1])),
     np.arange(12).reshape(3, 4) % 5 == 0, Ellipsis, None],
    ids=repr,
)  # fmt: skip
def test_assignment_by_arrays(index: Any) -> None:
    x = normal(np.random.default_rng(0), 3, 4)
    value = normal(np.random.default_rng(1), *x[index].shape)
    there = _torch_index(index)

    def write(x: Any, v: Any, i: Any) -> Any:
        y = x * x
        y[i] = v * v
        return y * y

    agree(lambda x, v: write(x, v, index), lambda t, v: write(t, v, there), x, value)


@cases(100)
def test_take_along_axis(rng: np.random.Generator) -> None:
    x = LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *rng.integers(1, 5, rng.integers(1, 4))))
    axis = int(rng.integers(-x.ndim, x.ndim))
    shape = list(x.shape)
    shape[axis] = int(rng.integers(0, 6))
    indices = rng.integers(0, x.shape[axis], shape)
    agree(lambda x, i: x.take_along_axis(i, axis) ** 2, lambda t, i: t.gather(axis, i) ** 2, x, indices)


@cases(60)
def test_masked_fill(rng: np.random.Generator) -> None:
    x = normal(rng, *rng.integers(1, 4, 3))
    mask = rng.random(x.shape[int(rng.integers(0, 4)) :]) < 0.4
    agree(
        lambda m, x: (x * x).masked_fill(m, -np.inf), lambda m, t: (t * t).masked_fill(m, -torch.inf), mask, x, order=1
    )
    agree(lambda m, x: (x * x).masked_fill(m, 3.0), lambda m, t: (t * t).masked_fill(m, 3.0), mask, x)
