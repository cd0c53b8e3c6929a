"""Clipping gradients between `backward` and `step`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.checks import flag, number
from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor


def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients in place so that their joint norm is at most max_norm; returns the norm they had.

    Scaled by max_norm / (norm + 1e-6) if that is below 1. norm_type is the p of the p-norm; math.inf takes the largest
    absolute value. Pascanu et al. 2013.

    Raises ValueError for a max_norm below 0; RuntimeError if the norm is NaN or infinite and error_if_nonfinite.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> w.sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0)
    tensor(1.4142135)
    >>> w.grad
    tensor([0.7071063, 0.7071063])
    """
    max_norm = number("clip_grad_norm_", "max_norm", max_norm, least=0)
    norm_type = number("clip_grad_norm_", "norm_type", norm_type, above=0)
    flag("clip_grad_norm_", "error_if_nonfinite", error_if_nonfinite)
    gradients = _gradients("clip_grad_norm_", parameters)
    if not gradients:
        return Tensor(0.0)
    with np.errstate(all="ignore"):  # inf and NaN are results here, not events
        total = float(np.linalg.norm([_norm(g, norm_type) for g in gradients], norm_type))
        if error_if_nonfinite and not math.isfinite(total):
            raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total}; nothing was changed")
        scale = max_norm / (total + 1e-6)
        if not scale >= 1:  # NaN scales too: a gradient that is lost should look so everywhere
            for g in gradients:
                g *= scale
                tape.written(g)
    return Tensor(np.asarray(total, np.result_type(*{g.dtype for g in gradients})))


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Limit each element of each gradient to [-clip_value, clip_value], in place."""
    number("clip_grad_value_", "clip_value", clip_value, least=0)
    for g in _gradients("clip_grad_value_", parameters):
        np.clip(g, -clip_value, clip_value, out=g)
        tape.written(g)


def _norm(g: np.ndarray, norm_type: float) -> float:
    """In float64, so that squares of float32 gradients neither overflow nor vanish."""
    return float(np.linalg.norm(g.ravel("K").astype(np.float64), norm_type)) if g.size else 0.0


def _gradients(name: str, parameters: Iterable[Tensor] | Tensor) -> list[np.ndarray]:
    listed: list[Tensor] = [parameters] if isinstance(parameters, Tensor) else _listed(name, parameters)
    unique = {id(p): p.grad.data for p in listed if p.grad is not None}
    return list(unique.values())


def _listed(name: str, parameters: Any) -> list[Tensor]:
    listed = list(parameters) if isinstance(parameters, Iterable) else [parameters]
    for p in listed:
        if not isinstance(p, Tensor):
            hint = "; pass model.parameters()" if hasattr(p, "parameters") else ""
            raise TypeError(f"{name}: parameters must be Tensors, got {type(p).__name__}{hint}")
    return listed
