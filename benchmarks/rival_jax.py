"""The training steps in JAX, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.cases import Operation, Step

Parameters = dict[str, Any]


def settings(threads: int) -> list[dict[str, Any]]:
    """XLA takes all cores; the images lie as it likes them, channels-last."""
    return [{"layout": "NHWC, jit"}]


def step(case: Step, layout: str) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    model, parameters = MODELS[case.model](rng)
    channels, *size = case.image
    images = jnp.asarray(rng.normal(size=(case.batch, *size, channels)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 10, case.batch))

    def loss(p: Parameters) -> Any:
        log_p = jax.nn.log_softmax(model(p, images))
        return -log_p[jnp.arange(case.batch), labels].mean()

    @jax.jit
    def update(p: Parameters, velocity: Parameters) -> tuple[Parameters, Parameters]:
        g = jax.grad(loss)(p)
        velocity = jax.tree.map(lambda v, d: 0.9 * v + d, velocity, g)
        return jax.tree.map(lambda a, v: a - 0.01 * v, p, velocity), velocity

    state = [parameters, jax.tree.map(jnp.zeros_like, parameters)]

    def run() -> None:
        state[:] = update(*state)
        jax.block_until_ready(state)

    return run


def operation(case: Operation, layout: str) -> Callable[[], Any]:
    raise NotImplementedError("only training steps are compared with JAX")


# ---- models ----------------------------------------------------------------------------------------------------


def _conv(p: Parameters, name: str, x: Any, padding: int, stride: int = 1) -> Any:
    y = lax.conv_general_dilated(
        x, p[name + ".weight"], (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + p[name + ".bias"] if name + ".bias" in p else y


def _pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _linear(p: Parameters, name: str, x: Any) -> Any:
    return x @ p[name + ".weight"] + p[name + ".bias"]


def _norm(p: Parameters, name: str, x: Any) -> Any:
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) * lax.rsqrt(var + 1e-5) * p[name + ".weight"] + p[name + ".bias"]


def _drawn(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]], bias: bool = True) -> Parameters:
    p: Parameters = {}
    for name, shape in shapes.items():
        p[name + ".weight"] = jnp.asarray(rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])), jnp.float32)
        if bias or len(shape) == 2:
            p[name + ".bias"] = jnp.zeros(shape[-1])
    return p


def vgg_small(rng: np.random.Generator) -> tuple[Callable[[Parameters, Any], Any], Parameters]:
    widths = [3, 32, 32, 64, 64]
    shapes = {f"conv{i}": (3, 3, widths[i - 1], widths[i]) for i in range(1, 5)}

    def model(p: Parameters, x: Any) -> Any:
        for i in range(1, 5):
            x = jax.nn.relu(_conv(p, f"conv{i}", x, 1))
            x = _pool(x) if i in (2, 4) else x
        return _linear(p, "fc2", jax.nn.relu(_linear(p, "fc1", x.reshape(len(x), -1))))

    return model, _drawn(rng, {**shapes, "fc1": (4096, 256), "fc2": (256, 10)})


def lenet5(rng: np.random.Generator) -> tuple[Callable[[Parameters, Any], Any], Parameters]:
    def model(p: Parameters, x: Any) -> Any:
        x = _pool(jax.nn.relu(_conv(p, "conv1", x, 2)))
        x = _pool(jax.nn.relu(_conv(p, "conv2", x, 0))).reshape(len(x), -1)
        return _linear(p, "fc3", jax.nn.relu(_linear(p, "fc2", jax.nn.relu(_linear(p, "fc1", x)))))

    shapes = {"conv1": (5, 5, 1, 6), "conv2": (5, 5, 6, 16), "fc1": (400, 120), "fc2": (120, 84), "fc3": (84, 10)}
    return model, _drawn(rng, shapes)


def resnet8(rng: np.random.Generator) -> tuple[Callable[[Parameters, Any], Any], Parameters]:
    blocks = {"layer1": (16, 16, 1), "layer2": (16, 32, 2), "layer3": (32, 64, 2)}
    shapes = {"conv1": (3, 3, 3, 16)}
    for name, (inputs, outputs, stride) in blocks.items():
        shapes |= {f"{name}.conv1": (3, 3, inputs, outputs), f"{name}.conv2": (3, 3, outputs, outputs)}
        if stride != 1:
            shapes[f"{name}.downsample"] = (1, 1, inputs, outputs)
    p = _drawn(rng, {**shapes, "fc": (64, 10)}, bias=False)
    for name, shape in shapes.items():
        p |= {f"{name}.bn.weight": jnp.ones(shape[-1]), f"{name}.bn.bias": jnp.zeros(shape[-1])}

    def unit(p: Parameters, name: str, x: Any, padding: int, stride: int = 1) -> Any:
        return _norm(p, f"{name}.bn", _conv(p, name, x, padding, stride))

    def model(p: Parameters, x: Any) -> Any:
        x = jax.nn.relu(unit(p, "conv1", x, 1))
        for name, (_, _, stride) in blocks.items():
            y = jax.nn.relu(unit(p, f"{name}.conv1", x, 1, stride))
            shortcut = unit(p, f"{name}.downsample", x, 0, stride) if stride != 1 else x
            x = jax.nn.relu(unit(p, f"{name}.conv2", y, 1) + shortcut)
        return _linear(p, "fc", x.mean((1, 2)))

    return model, p


MODELS = {"vgg_small": vgg_small, "lenet5": lenet5, "resnet8": resnet8}
