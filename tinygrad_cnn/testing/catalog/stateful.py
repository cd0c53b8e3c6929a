"""Functions with a state or a draw: batch normalisation with running statistics, dropout with its own mask.

The functions under test put state and seed back, so that they are functions; their laws look at what changes outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations import dropout, normalization
from tinygrad_cnn.random_state import generator
from tinygrad_cnn.testing import naive
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.laws import LawEnv
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op

# ---- batch normalisation -------------------------------------------------------------------------------------------


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, **options: Any) -> Tensor:
    mean, var = (np.array(s.data if isinstance(s, Tensor) else s) for s in (mean, var))
    return normalization.batch_norm(x, mean, var, weight, bias, **options)


def _batch_norm_case(d: Draw) -> OpCase:
    channels = d.integer(1, 3)
    x = d.smooth((d.integer(2, 3), channels, *d.shape(max_dims=2, max_side=3))) + d.choice((0.0, 10.0))
    statistics = d.smooth((channels,)), d.positive((channels,))
    if d.integer(0, 3) == 3:
        statistics = np.zeros(channels), np.ones(channels)  # those of a module that was not trained yet
    parameters = d.smooth((channels,)), d.smooth((channels,)), *statistics
    options = {"training": d.boolean(), "momentum": d.choice((0.1, 1.0)), "eps": d.choice((1e-5, 0.1))}
    return OpCase((x, *parameters), options, d.seed)


def _reference(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    training: bool,
    momentum: float,
    eps: float,
) -> np.ndarray:
    if training:
        return naive.batch_norm(x, weight, bias, eps)
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        y[:, c] = (x[:, c] - mean[c]) / math.sqrt(var[c] + eps) * weight[c] + bias[c]
    return y


def statistics(env: LawEnv) -> None:
    """Training moves them by momentum, the variance unbiased; evaluation, an empty batch or a replay does not."""
    x, weight, bias, *before = env.inputs

    def run(batch: np.ndarray) -> None:
        normalization.batch_norm(batch, after[0], after[1], weight, bias, **options)

    options: dict[str, Any] = dict(env.subject.kwargs)  # type: ignore[attr-defined]  # of a function of Tensors
    expected = list(before)
    if options["training"]:
        momentum, axes = options["momentum"], (0, *range(2, x.ndim))
        seen = x.mean(axes), x.var(axes, ddof=1)
        expected = [(1 - momentum) * old + momentum * new for old, new in zip(before, seen, strict=True)]
    after = [old.copy() for old in before]
    run(x)
    for what, found, wanted in zip(("mean", "variance"), after, expected, strict=True):
        env.compare("statistics", f"the running {what} is another", None, found, wanted, 1e-12)
    with tape.replaying():
        run(x)
    run(x[:0])
    for what, found, wanted in zip(("mean", "variance"), after, expected, strict=True):
        env.compare("statistics", f"a replay or an empty batch moves the running {what}", None, found, wanted, 1e-12)


def _batch_norm_errors() -> Iterable[ErrorCase]:
    x, one, options = np.ones((1, 2)), np.ones(2), {"training": True, "momentum": 0.1, "eps": 1e-5}
    yield ErrorCase((x, one, one, one, one), options, ValueError, "batch_norm: in training .* more than one value")
    yield ErrorCase((x, one, one, one, one), options | {"eps": 0.0}, ValueError, "batch_norm: eps must be a number")
    yield ErrorCase((x, one, one, one[:1], one), options, ShapeError, "batch_norm: running_mean must have shape")


register_op(
    _batch_norm,
    name="batch_norm_statistics",
    case=_batch_norm_case,
    kind="analytic",
    ref=_reference,
    laws=(statistics,),
    errors=_batch_norm_errors,
    nondiff=(3, 4),
)

# ---- dropout -------------------------------------------------------------------------------------------------------


def _dropout(x: Any, p: float, training: bool, seed: int) -> Tensor:
    bits = generator().bit_generator
    before = bits.state
    bits.state = np.random.default_rng(seed).bit_generator.state
    try:
        return dropout.dropout(x, p, training)
    finally:
        bits.state = before


def _dropout_case(d: Draw) -> OpCase:
    options = {"p": d.choice((0.5, 0.0, 0.75, 1.0)), "training": d.integer(0, 3) > 0, "seed": d.integer(0, 99)}
    return OpCase((d.ints(d.shape(min_side=0)),), options, d.seed)


def mask(env: LawEnv) -> None:
    """Each element is silenced or scaled by 1 / (1 - p), whatever its value; as often as p says; anew in each call."""
    p, training, seed = (env.subject.kwargs[word] for word in ("p", "training", "seed"))  # type: ignore[attr-defined]
    ones = np.ones(10_000)
    y = _dropout(ones, p, training, seed).data
    kept = y != 0
    if not training:
        env.compare("mask", "evaluation changes the values", None, y, ones)
        return
    env.compare("mask", "what is kept is not scaled by 1 / (1 - p)", None, y, kept / (1 - p) if p < 1 else 0 * ones)
    spread = 6.5 * math.sqrt(ones.size * p * (1 - p))  # a chance of 1e-10
    if abs(kept.sum() - (1 - p) * ones.size) > spread:
        env.fail("mask", f"{kept.sum()} of {ones.size} elements are kept for p = {p}")
    with tape.replaying():
        env.compare("mask", "a replay of the call draws another mask", None, _dropout(ones, p, training, seed).data, y)
    x = Tensor(np.zeros(100), requires_grad=True)
    pulled = Tensor(np.ones(100), requires_grad=True)
    for t in (x, pulled):
        _dropout(t, p, training, seed).sum().backward()
    assert x.grad is not None
    assert pulled.grad is not None
    env.compare("mask", "the gradient depends on the values", None, x.grad.data, pulled.grad.data)
    if 0 < p < 1 and (dropout.dropout(ones, p).data == dropout.dropout(ones, p).data).all():
        env.fail("mask", "two calls draw the same mask")


register_op(
    _dropout,
    name="dropout_draws",
    case=_dropout_case,
    kind="multilinear",
    laws=(mask,),
    errors=lambda: [
        ErrorCase((np.ones(2), p, True, 0), {}, ValueError, r"dropout: p must be a number in \[0, 1\]")
        for p in (-0.1, 1.5)
    ],
)
