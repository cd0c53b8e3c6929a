"""Training steps in MyGrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.cases import Operation, Step


def settings(threads: int) -> list[dict[str, Any]]:
    """There is nothing to choose."""
    return [{}]


def step(case: Step) -> Callable[[], Any]:
    if case.model not in MODELS:
        raise NotImplementedError(f"{case.name} is not written for MyGrad")
    rng = np.random.default_rng(0)
    shapes, model = MODELS[case.model]
    parameters = {name: _drawn(rng, shape) for name, shape in shapes.items()}
    parameters |= {name + ".bias": mg.tensor(np.zeros(shape[0], np.float32)) for name, shape in shapes.items()}
    velocity = {name: np.zeros_like(p.data) for name, p in parameters.items()}
    images = rng.normal(size=(case.batch, *case.image)).astype(np.float32)
    labels = rng.integers(0, 10, case.batch)

    def run() -> None:
        softmax_crossentropy(model(parameters, images), labels).backward()
        for name, p in parameters.items():
            velocity[name] *= 0.9
            velocity[name] += p.grad
            p.data -= 0.01 * velocity[name]
            p.null_grad()

    return run


def operation(case: Operation) -> Callable[[], Any]:
    raise NotImplementedError("only training steps are compared with MyGrad")


def _drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> mg.Tensor:
    return mg.tensor((rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))


def _conv(p: dict[str, Any], name: str, x: Any, padding: int) -> Any:
    return conv_nd(x, p[name], stride=1, padding=padding) + p[name + ".bias"].reshape(1, -1, 1, 1)


def _linear(p: dict[str, Any], name: str, x: Any) -> Any:
    return mg.matmul(x, p[name].T) + p[name + ".bias"]


def _vgg_small(p: dict[str, Any], x: Any) -> Any:
    for i in range(1, 5):
        x = relu(_conv(p, f"conv{i}", x, 1))
        x = max_pool(x, (2, 2), 2) if i in (2, 4) else x
    return _linear(p, "fc2", relu(_linear(p, "fc1", x.reshape(len(x), -1))))


def _lenet5(p: dict[str, Any], x: Any) -> Any:
    x = max_pool(relu(_conv(p, "conv1", x, 2)), (2, 2), 2)
    x = max_pool(relu(_conv(p, "conv2", x, 0)), (2, 2), 2).reshape(len(x), -1)
    return _linear(p, "fc3", relu(_linear(p, "fc2", relu(_linear(p, "fc1", x)))))


_LENET5 = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}
_VGG_SMALL = {"conv1": (32, 3, 3, 3), "conv2": (32, 32, 3, 3), "conv3": (64, 32, 3, 3), "conv4": (64, 64, 3, 3),
              "fc1": (256, 4096), "fc2": (10, 256)}  # fmt: skip

MODELS: dict[str, tuple[dict[str, tuple[int, ...]], Callable[[dict[str, Any], Any], Any]]] = {
    "lenet5": (_LENET5, _lenet5),
    "vgg_small": (_VGG_SMALL, _vgg_small),
}
