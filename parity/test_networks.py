"""Random convolutional networks with skip connections: what one layer leaves in memory, the next must read aright."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick
from parity.layouts import LAYOUTS

# A layer takes a functional module, the image and its parameters, and gives the next image.
Layer = tuple[Callable[..., Any], list[tuple[int, ...]]]
PLAIN = ("relu", "tanh", "silu", "softplus")


def _layer(rng: np.random.Generator, channels: int, size: tuple[int, int]) -> tuple[Layer, int]:
    """A random layer for images of that many channels, its parameters' shapes, and the channels that it gives."""
    kind = pick(
        rng, ["conv", "conv", "conv", "depthwise", "transpose", "pool", "pool", "norm", "norm", "plain", "move"]
    )
    if kind == "conv":
        out, k, s = (int(rng.integers(low, high)) for low, high in ((1, 6), (1, 4), (1, 3)))
        p = k // 2
        return (lambda f, x, w, b: f.conv2d(x, w, b, s, p), [(out, channels, k, k), (out,)]), out
    if kind == "depthwise":
        return (lambda f, x, w: f.conv2d(x, w, padding=1, groups=channels), [(channels, 1, 3, 3)]), channels
    if kind == "transpose" and max(size) < 9:
        out = int(rng.integers(1, 4))
        return (lambda f, x, w: f.conv_transpose2d(x, w, stride=2, padding=1), [(channels, out, 3, 3)]), out
    if kind == "pool":
        name = pick(rng, ["max_pool2d", "avg_pool2d"])
        options = pick(rng, [(2, 1, 1), (3, 2, 1), (3, 1, 1), (1, 2)])
        return (lambda f, x: getattr(f, name)(x, *options), []), channels
    if kind == "norm":
        name = pick(rng, ["batch_norm", "group_norm", "skip"])
        if name == "skip":
            return (lambda f, x: x + f.avg_pool2d(x, 3, 1, 1), []), channels
        if name == "batch_norm":
            call = lambda f, x, w, b: f.batch_norm(x, None, None, w, b, training=True, eps=0.1)  # noqa: E731
        else:
            call = lambda f, x, w, b: f.group_norm(x, 1, w, b, eps=0.1)  # noqa: E731
        return (call, [(channels,), (channels,)]), channels
    if kind == "move":
        index = pick(rng, [np.s_[:, ::-1], np.s_[:, :, ::-1], np.s_[:, :, :, ::2], np.s_[::-1]])
        flips = [axis for axis, part in enumerate(index) if part == np.s_[::-1]] if isinstance(index, tuple) else [0]

        def moved(f: Any, x: Any) -> Any:
            return x[index] if isinstance(x, tc.Tensor) else (x.flip(flips) if flips else x[index])

        return (moved, []), channels
    name = pick(rng, PLAIN)
    return (lambda f, x: getattr(f, name)(x), []), channels


@pytest.mark.parametrize("part", range(3))
@cases(40)
def test_random_networks(rng: np.random.Generator, part: int) -> None:
    """Values and gradients of the loss in the images and in all parameters, to second order."""
    channels, size = int(rng.integers(1, 4)), (int(rng.integers(5, 9)), int(rng.integers(5, 9)))
    x = LAYOUTS[pick(rng, [k for k in LAYOUTS if k != "broadcast"])](normal(rng, 3, channels, *size))
    labels = rng.integers(0, 3, 3)
    arrays, layers = [x], []
    image = tc.tensor(x)
    for _ in range(int(rng.integers(2, 7))):
        (call, shapes), after = _layer(rng, channels, image.shape[2:])
        parameters = [normal(rng, *shape, scale=0.5) for shape in shapes]
        given = call(F, image, *parameters)
        if min(given.shape[2:]) < 2:
            continue
        image, channels = given, after
        layers.append((call, len(parameters)))
        arrays += parameters
    arrays.append(normal(rng, 3, image.size // 3, scale=0.3))
    summary = pick(rng, ["flatten", "mean"])
    if summary == "mean":
        arrays[-1] = arrays[-1][:, :channels]

    def network(f: Any, x: Any, *parameters: Any) -> Any:
        *rest, last = parameters
        for call, count in layers:
            x = call(f, x, *rest[:count])
            rest = rest[count:]
        x = x.flatten(1) if summary == "flatten" else x.mean((2, 3))
        return f.cross_entropy(f.linear(x, last), labels if f is F else torch.tensor(labels))

    agree(lambda *xs: network(F, *xs), lambda *ts: network(TF, *ts), *arrays, rtol=1e-8)
