"""The timed programs in tinygrad_cnn, written as its users write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from benchmarks.cases import Operation, Step, sequential
from tinygrad_cnn import models, nn, optim


def settings(threads: int) -> list[dict[str, Any]]:
    """The ways to run it; the library takes the threads that BLAS may use."""
    return [{}]


def step(case: Step, fast_math: bool = False) -> Callable[[], Any]:
    tc.set_fast_math(fast_math)
    model: nn.Module
    if " " in case.model:
        model = sequential(nn, case.model, *case.image[:2])
    elif case.model == "vgg_small":
        model = models.cnn("32 32 M 64 64 M 256", image_size=case.image[1])
    else:
        model = getattr(models, case.model)()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(0)
    images = tc.tensor(rng.normal(size=(case.batch, *case.image)).astype(np.float32))
    labels = rng.integers(0, 10, case.batch)

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


def operation(case: Operation, fast_math: bool = False) -> Callable[[], Any]:
    tc.set_fast_math(fast_math)
    rng = np.random.default_rng(0)
    x = _image(rng, case.shape)
    o = case.options
    parameters: list[tc.Tensor] = []
    function: Callable[[], tc.Tensor]
    if case.kind == "conv2d":
        w = _parameter(rng, (o["filters"], case.shape[1] // o["groups"], o["kernel"], o["kernel"]))
        b = _parameter(rng, (o["filters"],))
        parameters = [w, b]
        rest = {name: o[name] for name in ("stride", "padding", "dilation", "groups")}
        function = lambda: F.conv2d(x, w, b, **rest)  # noqa: E731  (one line per operation)
    elif case.kind == "linear":
        w, b = _parameter(rng, (o["filters"], case.shape[1])), _parameter(rng, (o["filters"],))
        parameters = [w, b]
        function = lambda: F.linear(x, w, b)  # noqa: E731
    elif case.kind == "batch_norm":
        w, b = _parameter(rng, case.shape[1:2]), _parameter(rng, case.shape[1:2])
        mean, var = np.zeros(case.shape[1], np.float32), np.ones(case.shape[1], np.float32)
        parameters = [w, b]
        function = lambda: F.batch_norm(x, mean, var, w, b, training=True)  # noqa: E731
    elif case.kind == "cross_entropy":
        labels = rng.integers(0, case.shape[1], case.shape[0])
        function = lambda: F.cross_entropy(x, labels)  # noqa: E731
    elif case.kind == "relu":
        function = lambda: F.relu(x)  # noqa: E731
    else:
        kernel, rest = o["kernel"], {name: value for name, value in o.items() if name != "kernel"}
        function = lambda: getattr(F, case.kind)(x, kernel, **rest)  # noqa: E731
    y = function()
    g = _image(rng, y.shape).data if y.ndim else np.ones((), np.float32)

    def run() -> None:
        for t in (x, *parameters):
            t.grad = None
        function().backward(g)

    return run


def _image(rng: np.random.Generator, shape: tuple[int, ...]) -> tc.Tensor:
    """Images lie channels-last, as every layer hands them on."""
    array = rng.normal(size=shape).astype(np.float32)
    if len(shape) == 4:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return tc.tensor(array, requires_grad=True)


def _parameter(rng: np.random.Generator, shape: tuple[int, ...]) -> tc.Tensor:
    return tc.tensor(rng.normal(size=shape).astype(np.float32), requires_grad=True)


def chain(op: str, length: int) -> Callable[[], Any]:
    """Forward and backward of a chain of operations on one element."""
    x = tc.tensor([[0.5]], requires_grad=True)

    def run() -> None:
        x.grad = None
        y = x
        for _ in range(length):
            if op == "add":
                y = y + x
            elif op == "mul":
                y = y * x
            elif op == "mul by a number":
                y = y * 1.001
            elif op == "matmul":
                y = y @ x
            elif op in ("sum", "mean"):
                y = getattr(y, op)(axis=1, keepdims=True)
            else:
                y = getattr(y, op)()
        y.backward(np.ones((1, 1), np.float32))

    return run
