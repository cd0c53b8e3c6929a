"""LeNet-5's training step in HIPS autograd, with the convolution of its own example (`autograd.scipy.signal`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as np
import numpy
from autograd import grad
from autograd.scipy.signal import convolve

from benchmarks.cases import Operation, Step


def settings(threads: int) -> list[dict[str, Any]]:
    """There is nothing to choose."""
    return [{}]


def step(case: Step) -> Callable[[], Any]:
    if case.model != "lenet5":
        raise NotImplementedError("only LeNet-5 is compared with HIPS autograd")
    rng = numpy.random.default_rng(0)
    shapes = [(1, 6, 5, 5), (6, 16, 5, 5), (400, 120), (120, 84), (84, 10)]
    weights = [(rng.normal(size=s) / 20).astype(numpy.float32) for s in shapes]
    biases = [numpy.zeros((1, s[1], *[1] * (len(s) - 2)), numpy.float32) for s in shapes]
    parameters = [*weights, *biases]
    velocity = [numpy.zeros_like(p) for p in parameters]
    images = rng.normal(size=(case.batch, 1, 32, 32)).astype(numpy.float32)  # 28 x 28 and the padding
    onehot = numpy.eye(10, dtype=numpy.float32)[rng.integers(0, 10, case.batch)]

    def loss(parameters: list[Any]) -> Any:
        w, b = parameters[:5], parameters[5:]
        x = images
        for i in range(2):
            x = np.maximum(convolve(x, w[i], axes=([2, 3], [2, 3]), dot_axes=([1], [0]), mode="valid") + b[i], 0)
            n, c, height, width = x.shape
            x = np.max(np.max(x.reshape(n, c, height // 2, 2, width // 2, 2), axis=5), axis=3)
        x = x.reshape(len(x), -1)
        for i in range(2, 5):
            x = np.dot(x, w[i]) + b[i]
            x = np.maximum(x, 0) if i < 4 else x
        x = x - np.max(x, axis=1, keepdims=True)
        return -np.mean(np.sum(onehot * (x - np.log(np.sum(np.exp(x), axis=1, keepdims=True))), axis=1))

    gradient = grad(loss)

    def run() -> None:
        for p, v, g in zip(parameters, velocity, gradient(parameters), strict=True):
            v *= 0.9
            v += g
            p -= 0.01 * v

    return run


def operation(case: Operation) -> Callable[[], Any]:
    raise NotImplementedError("only a training step is compared with HIPS autograd")
