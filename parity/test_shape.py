"""Operations that move elements: reshaping in every memory order, transposing, joining, splitting, tiling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS


def _array(rng: np.random.Generator, least_axes: int = 0, least_length: int = 0) -> np.ndarray:
    shape = rng.integers(least_length, 5, rng.integers(least_axes, 5))
    return LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape))


def _factors(rng: np.random.Generator, n: int) -> tuple[int, ...]:
    """Some shape of n elements."""
    if n == 0:
        return tuple(rng.permutation([0, *rng.integers(0, 4, rng.integers(0, 3))]).tolist())
    shape = [1] * int(rng.integers(0, 2))
    while n > 1:
        f = pick(rng, [f for f in range(2, n + 1) if n % f == 0])
        shape.append(f)
        n //= f
    return tuple(int(i) for i in rng.permutation(shape))


@cases(150)
def test_reshape(rng: np.random.Generator) -> None:
    x = _array(rng)
    shape: tuple[int, ...] = _factors(rng, x.size)
    if x.size and shape and rng.random() < 0.4:
        i = int(rng.integers(len(shape)))
        shape = (*shape[:i], -1, *shape[i + 1 :])
    agree(lambda x: x.reshape(*shape) * x.sum(), lambda t: t.reshape(shape) * t.sum(), x)
    agree(lambda x: x.reshape(shape), lambda t: t.reshape(shape), x)


@cases(60)
def test_flatten_squeeze_expand(rng: np.random.Generator) -> None:
    x = _array(rng, least_axes=1)
    first, last = sorted(int(i) for i in rng.integers(0, x.ndim, 2))
    agree(lambda x: x.flatten(first, last - x.ndim), lambda t: t.flatten(first, last), x)
    axis = int(rng.integers(-x.ndim - 1, x.ndim + 1))
    agree(lambda x: x.expand_dims(axis), lambda t: t.unsqueeze(axis), x)
    y = np.expand_dims(x, axis)
    agree(lambda x: x.squeeze(axis), lambda t: t.squeeze(axis), y)
    agree(lambda x: x.squeeze(), lambda t: t.squeeze(), y)


@cases(80)
def test_transpose(rng: np.random.Generator) -> None:
    x = _array(rng, least_axes=1)
    order = tuple(int(i) - (x.ndim if rng.random() < 0.5 else 0) for i in rng.permutation(x.ndim))
    agree(lambda x: x.transpose(order) ** 2, lambda t: t.permute(order) ** 2, x)
    agree(lambda x: x.permute(*order), lambda t: t.permute(*order), x)
    a, b = (int(i) for i in rng.integers(-x.ndim, x.ndim, 2))
    agree(lambda x: x.swapaxes(a, b), lambda t: t.swapaxes(a, b), x)
    agree(lambda x: x.T, lambda t: t.permute(*range(t.ndim)[::-1]), x)


@cases(80)
def test_broadcast_to(rng: np.random.Generator) -> None:
    x = _array(rng)
    ones = tuple(1 if rng.random() < 0.4 else n for n in x.shape)
    x = np.asarray(x[tuple(slice(0, n) for n in ones)])
    lead = rng.integers(1, 3, rng.integers(0, 3))
    shape = (*map(int, lead), *(int(rng.integers(1, 4)) if n == 1 else n for n in x.shape))
    agree(lambda x: x.broadcast_to(shape) ** 2, lambda t: t.broadcast_to(shape) ** 2, x)


@cases(80)
def test_flip_and_roll(rng: np.random.Generator) -> None:
    x = _array(rng, least_axes=1)
    axes = tuple(int(i) for i in rng.permutation(x.ndim)[: rng.integers(1, x.ndim + 1)])
    agree(lambda x: x.flip(axes) ** 2, lambda t: t.flip(axes) ** 2, x)
    shifts = tuple(int(s) for s in rng.integers(-7, 8, len(axes)))
    agree(lambda x: x.roll(shifts, axes) ** 2, lambda t: t.roll(shifts, axes) ** 2, x)
    agree(lambda x: x.roll(shifts[0], axes[0]), lambda t: t.roll(shifts[0], axes[0]), x)
    agree(lambda x: x.roll(shifts[0]), lambda t: t.roll(shifts[0]), x)


@cases(60)
def test_tile(rng: np.random.Generator) -> None:
    x = _array(rng)
    counts = tuple(int(n) for n in rng.integers(0, 3, rng.integers(1, 5)))
    agree(lambda x: x.tile(*counts) ** 2, lambda t: t.tile(counts) ** 2, x)


@cases(100)
def test_cat_and_stack(rng: np.random.Generator) -> None:
    x = _array(rng, least_axes=1)
    axis = int(rng.integers(-x.ndim, x.ndim))
    parts = [x]
    for _ in range(int(rng.integers(0, 4))):
        shape = list(x.shape)
        shape[axis] = int(rng.integers(0, 4))
        parts.append(LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape)))
    agree(lambda *xs: tc.cat(xs, axis) ** 2, lambda *ts: torch.cat(ts, axis) ** 2, *parts)
    same = [normal(rng, *x.shape) for _ in parts]
    axis = int(rng.integers(-x.ndim - 1, x.ndim + 1))
    agree(lambda *xs: tc.stack(xs, axis) ** 2, lambda *ts: torch.stack(ts, axis) ** 2, *same)
    agree(lambda x: tc.cat([x, x], axis=0), lambda t: torch.cat([t, t]), x)  # the same one twice


@cases(60)
def test_split(rng: np.random.Generator) -> None:
    x = _array(rng, least_axes=1, least_length=1)
    axis = int(rng.integers(-x.ndim, x.ndim))
    size = int(rng.integers(1, 4))
    agree(lambda x: x.split(size, axis), lambda t: t.split(size, axis), x)
    cuts = np.sort(rng.integers(0, x.shape[axis] + 1, rng.integers(0, 3)))
    sizes = np.diff([0, *cuts, x.shape[axis]]).tolist()
    agree(lambda x: x.split(sizes, axis), lambda t: t.split(sizes, axis), x)
    agree(lambda x: x.split(sizes, axis)[0], lambda t: t.split(sizes, axis)[0], x)  # the other pieces get 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_movements_of_images(layout: str) -> None:
    """Between a convolution and a linear layer: the gradient must come back right in any memory order."""
    x = LAYOUTS[layout](normal(np.random.default_rng(0), 2, 3, 4, 5))
    agree(lambda x: x.flatten(1).exp() @ np.eye(60), lambda t: t.flatten(1).exp(), x)
    agree(lambda x: x.transpose(0, 2, 3, 1).reshape(8, 15).sin().reshape(2, 4, 5, 3).transpose(0, 3, 1, 2) * x,
          lambda t: t.sin() * t, x)  # fmt: skip
    agree(lambda x: x.reshape(6, 20).T.reshape(2, 3, 4, 5) * x, lambda t: t.reshape(6, 20).T.reshape(2, 3, 4, 5) * t, x)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clone_detach_astype(layout: str) -> None:
    x = LAYOUTS[layout](normal(np.random.default_rng(0), 3, 4, 2))
    agree(lambda x: x.clone() * x.detach(), lambda t: t.clone() * t.detach(), x)
    agree(lambda x: (x.astype("float32") ** 2).astype("float64"), lambda t: (t.float() ** 2).double(), x, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (2, 0, 3)])
def test_smallest_shapes(shape: tuple[int, ...]) -> None:
    x = normal(np.random.default_rng(0), *shape)
    agree(lambda x: x.reshape(-1 if x.size else x.shape), lambda t: t.reshape(-1 if t.numel() else t.shape), x)
    agree(lambda x: x.flatten(), lambda t: t.flatten(), x)
    agree(lambda x: x.squeeze(), lambda t: t.squeeze(), x)
    agree(lambda x: x.tile(2), lambda t: t.tile(2), x)
    agree(lambda x: x.reshape(math.prod(shape), 1), lambda t: t.reshape(math.prod(shape), 1), x)
    agree(lambda x: x.broadcast_to((3, *shape)), lambda t: t.broadcast_to((3, *shape)), x)
    agree(lambda x: x.flip(), lambda t: t.flip(tuple(range(t.ndim))), x)
