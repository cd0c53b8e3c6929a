"""Optimisers that give every weight a step of its own, by the size of its past gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.optim.optimizer import Group, Optimizer, State


class Adam(Optimizer):
    """Steps of the mean gradient over its root mean square, both running averages. Kingma and Ba 2014.

    With g' = g + weight_decay * w: m ← β₁ m + (1 - β₁) g', v ← β₂ v + (1 - β₂) g'², and
    w ← w - lr * m̂ / (√v̂ + eps), where m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) undo the start at 0. With amsgrad
    v̂ never falls (Reddi et al. 2018).

    >>> import tinygrad_cnn as tc
    >>> w = tc.tensor([4.0, -200.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([   3.5, -199.5], requires_grad=True)
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise ValueError(f"{self._name}: betas must be two numbers, got {betas!r}")
        options = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def _update(self, p: np.ndarray, g: np.ndarray, state: State, options: Group) -> None:
        lr, (beta1, beta2), decay = options["lr"], options["betas"], options["weight_decay"]
        if decay and self._decoupled:
            p *= 1 - lr * decay
        elif decay:
            g = g + decay * p
        t = state["step"] = state.get("step", 0) + 1
        m, v = _array(state, "exp_avg", p), _array(state, "exp_avg_sq", p)
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * (g * g)
        if options["amsgrad"]:
            largest = _array(state, "max_exp_avg_sq", p)
            v = np.maximum(largest, v, out=largest)
        root = np.sqrt(v, out=np.empty_like(v))
        root /= math.sqrt(1 - beta2**t)
        root += options["eps"]
        np.divide(m, root, out=root)
        root *= lr / (1 - beta1**t)
        p -= root


class AdamW(Adam):
    """`Adam` with weight decay apart from the gradient: first w ← w - lr * weight_decay * w.

    Loshchilov and Hutter 2017.
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """w ← w - lr * g' / (√v + eps) with v ← alpha * v + (1 - alpha) * g'², g' = g + weight_decay * w. Hinton 2012.

    centered takes v less the squared running mean of g'; momentum applies to the steps, without lr.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def _update(self, p: np.ndarray, g: np.ndarray, state: State, options: Group) -> None:
        alpha, momentum = options["alpha"], options["momentum"]
        if options["weight_decay"]:
            g = g + options["weight_decay"] * p
        state["step"] = state.get("step", 0) + 1
        v = _array(state, "square_avg", p)
        v *= alpha
        v += (1 - alpha) * (g * g)
        if options["centered"]:
            mean = _array(state, "grad_avg", p)
            mean += (1 - alpha) * (g - mean)
            v = v - mean * mean
        step = g / (np.sqrt(v) + options["eps"])
        if momentum:
            velocity = _array(state, "momentum_buffer", p)
            velocity *= momentum
            velocity += step
            step = velocity
        p -= options["lr"] * step


class Adagrad(Optimizer):
    """w ← w - lr / (1 + (t - 1) * lr_decay) * g' / (√s + eps), s the sum of all g'². Duchi et al. 2011."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def _update(self, p: np.ndarray, g: np.ndarray, state: State, options: Group) -> None:
        if options["weight_decay"]:
            g = g + options["weight_decay"] * p
        t = state["step"] = state.get("step", 0) + 1
        total = _array(state, "sum", p, options["initial_accumulator_value"])
        total += g * g
        p -= options["lr"] / (1 + (t - 1) * options["lr_decay"]) * g / (np.sqrt(total) + options["eps"])


def _array(state: State, name: str, like: np.ndarray, start: float = 0.0) -> np.ndarray:
    """An array of a parameter's state, made when first asked for."""
    if name not in state:
        state[name] = np.full_like(like, start)
    return state[name]
