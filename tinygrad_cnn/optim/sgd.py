"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.optim.optimizer import Group, Optimizer, State


class SGD(Optimizer):
    """w ← w - lr * g, with momentum if asked for. Lectures D7.

    With g' = g + weight_decay * w: the velocity is v ← momentum * v + (1 - dampening) * g', starting at g', and
    w ← w - lr * v, or with nesterov w ← w - lr * (g' + momentum * v). Sutskever et al. 2013.

    >>> import tinygrad_cnn as tc
    >>> w = tc.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8, 1.6], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        *,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def _checked(self, group: Group) -> Group:
        group = super()._checked(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum above 0 and dampening 0, got momentum={group['momentum']}, "
                f"dampening={group['dampening']}"
            )
        return group

    def _update(self, p: np.ndarray, g: np.ndarray, state: State, options: Group) -> None:
        momentum, dampening = options["momentum"], options["dampening"]
        if options["weight_decay"]:
            g = g + options["weight_decay"] * p
        if momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = np.empty_like(p)
                np.copyto(velocity, g)
            else:
                velocity *= momentum
                velocity += (1 - dampening) * g if dampening else g
            g = g + momentum * velocity if options["nesterov"] else velocity
        p -= options["lr"] * g
