"""Bugs that autograd engines have had, in normalisation, dropout, indexing, and in the tape itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.core import gradients, tape
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.operations import dropout, normalization
from tinygrad_cnn.random_state import generator
from tinygrad_cnn.testing.mutants import walking
from tinygrad_cnn.testing.mutants.bugs_of_values import record_rule
from tinygrad_cnn.testing.mutants.mutant import Mutant, attribute, elsewhere, historic, record
from tinygrad_cnn.testing.mutants.rewriting import with_fast_rule, with_gradient


def bugs() -> Iterator[Mutant]:
    """All of them."""
    yield from _batch_norm()
    yield from _running_statistics()
    yield from _dropout()
    yield from _indexing()
    yield from _tape()


# ---- batch normalisation -----------------------------------------------------------------------------------------------


def _batch_norm() -> Iterator[Mutant]:
    name = "batch_norm"
    yield historic(name, "the mean taken for constant", "tinygrad#753", vjp=_rules(mean=0))
    yield historic(name, "the variance taken for constant", "tinygrad#753", vjp=_rules(var=0))
    yield historic(
        name, "both statistics taken for constant", "evaluation's rule in training", vjp=_rules(mean=0, var=0)
    )
    yield historic(name, "statistics saved as constants", "pytorch#4569: double backward, pytorch#198017",
                   aux={"mean": None, "var": None})  # fmt: skip
    yield historic(name, "eps outside the root", "pytorch_geometric#2917", body=_eps_outside)
    yield historic(name, "normalised by the unbiased variance", "tinygrad#807", body=_unbiased)
    yield historic(name, "E[x²] - E[x]²", "pytorch#40302", body=_one_pass)
    yield historic(name, "eps forgotten in the gradient", "pytorch#12013", vjp=_rules(eps=0))
    yield historic("standardize", "the mean taken for constant", "tinygrad#753",
                   vjp=lambda g, x, mean, var, axes, eps: _rules(mean=0)(g, x, None, mean, var, axes, eps)[0])  # fmt: skip


def _rules(**factors: float) -> Callable[..., Any]:
    """Batch norm's joint rule with some terms multiplied by 0."""
    of_mean, of_var, of_eps = (factors.get(word, 1) for word in ("mean", "var", "eps"))

    def rule(g: Tensor, x: Tensor, weight: Any, mean: Tensor, var: Tensor, axes: Any, eps: float) -> Any:
        inv_std = (var + eps * of_eps) ** -0.5
        z = (x - mean) * inv_std
        scale = inv_std if weight is None else weight.reshape(mean.shape) * inv_std
        centred = g - g.mean(axes, keepdims=True) * of_mean
        dx = scale * (centred - z * (g * z).mean(axes, keepdims=True) * of_var)
        return dx, (g * z).sum(axes), g.sum(axes)

    return rule


def _normalised(x: np.ndarray, inputs: Any, options: Any, centred: np.ndarray, std: np.ndarray) -> np.ndarray:
    shape = [1 if i in options["axes"] else n for i, n in enumerate(x.shape)]
    _, weight, bias = inputs
    y = centred / std * (1 if weight is None else weight.reshape(shape))
    return y if bias is None else y + bias.reshape(shape)


def _eps_outside(forward: Any, inputs: Any, options: Any) -> Any:
    _, mean, var = forward(*inputs, **options)
    x = inputs[0]
    return _normalised(x, inputs, options, x - mean, np.sqrt(var) + options["eps"]), mean, var


def _unbiased(forward: Any, inputs: Any, options: Any) -> Any:
    _, mean, var = forward(*inputs, **options)
    x = inputs[0]
    n = math.prod(x.shape[i] for i in options["axes"])
    return _normalised(x, inputs, options, x - mean, np.sqrt(var * (n / (n - 1)) + options["eps"])), mean, var


def _one_pass(forward: Any, inputs: Any, options: Any) -> Any:
    x, axes = inputs[0], options["axes"]
    mean = x.mean(axis=axes, keepdims=True)
    var = (x * x).mean(axis=axes, keepdims=True) - mean * mean
    return _normalised(x, inputs, options, x - mean, np.sqrt(var + options["eps"])), mean, var


def _running_statistics() -> Iterator[Mutant]:
    name = "batch_norm_statistics"

    def instead(bug: str, seen: str, function: Callable[..., Any]) -> Mutant:
        changed = partial(function, normalization.batch_norm)
        return elsewhere(name, bug, seen, partial(attribute, normalization, "batch_norm", changed))

    yield instead("the running variance is biased", "tinygrad#807", _biased)
    yield instead("momentum the other way round", "two conventions", _momentum_reversed)
    yield instead("evaluation moves the statistics", "equinox 863bb64: the flag does not arrive", _moved_in_evaluation)
    yield instead("evaluation uses the batch's statistics", "tensorflow#14271, tinygrad#6200", _batch_in_evaluation)
    yield instead("an empty batch makes the statistics NaN", "pytorch#12013", _nan_for_nothing)
    yield instead("a replay moves the statistics again", "chainer: _will_recompute guards against it", _moved_by_replay)
    yield instead("evaluation before any training step fails", "equinox#1010", _fails_before_training)
    yield instead("one value per channel gives NaN", "pytorch#1381, Flux#2716", _nan_for_one)


def _biased(original: Any, x: Any, mean: Any, var: Any, *rest: Any, **options: Any) -> Any:
    before = var.copy()
    y = original(x, mean, var, *rest, **options)
    count = math.prod(n for i, n in enumerate(x.shape) if i != 1)
    if options.get("training") and count > 1:
        momentum = options["momentum"]
        batch = (var - (1 - momentum) * before) / momentum
        var[...] = (1 - momentum) * before + momentum * batch * (count - 1) / count
    return y


def _momentum_reversed(original: Any, *args: Any, **options: Any) -> Any:
    return original(*args, **{**options, "momentum": 1 - options["momentum"]})


def _moved_in_evaluation(original: Any, x: Any, mean: Any, var: Any, *rest: Any, **options: Any) -> Any:
    y = original(x, mean, var, *rest, **options)
    if not options["training"]:
        mean *= 1 - options["momentum"]
    return y


def _batch_in_evaluation(original: Any, x: Any, mean: Any, var: Any, *rest: Any, **options: Any) -> Any:
    return original(x, mean if options["training"] else None, var if options["training"] else None, *rest, **options)


def _nan_for_nothing(original: Any, x: Any, mean: Any, var: Any, *rest: Any, **options: Any) -> Any:
    y = original(x, mean, var, *rest, **options)
    if options["training"] and 0 in x.shape:
        mean += np.nan
    return y


def _moved_by_replay(original: Any, *args: Any, **options: Any) -> Any:
    state = tape.STATE.get()
    token = tape.STATE.set(state._replace(replaying=False))
    try:
        return original(*args, **options)
    finally:
        tape.STATE.reset(token)


def _fails_before_training(original: Any, x: Any, mean: Any, var: Any, *rest: Any, **options: Any) -> Any:
    fresh = not np.any(mean) and np.all(var == 1)
    return original(x, mean, var * np.nan if fresh and not options["training"] else var, *rest, **options)


def _nan_for_one(original: Any, x: Any, mean: Any, var: Any, *rest: Any, **options: Any) -> Any:
    count = math.prod(n for i, n in enumerate(x.shape) if i != 1)
    return x * np.nan if options["training"] and count == 1 else original(x, mean, var, *rest, **options)


# ---- dropout -----------------------------------------------------------------------------------------------------------


def _dropout() -> Iterator[Mutant]:
    yield historic("dropout", "the mask read off the output", "kaldi#3890",
                   vjp=lambda g, y, scale: record("where")(y == 0, 0.0, g * scale))  # fmt: skip
    yield historic("dropout", "a new mask in the backward pass", "trident#89",
                   vjp=lambda g, mask, scale: record("where")(np.roll(mask, 1), g * scale, 0.0))  # fmt: skip
    yield historic("dropout", "the gradient not scaled", "Megatron-LM#411",
                   vjp=lambda g, mask: record("where")(mask, g, 0.0))  # fmt: skip
    yield historic("dropout", "inf · 0 for what is dropped", "mask multiplied", body=lambda f, xs, o:
                   xs[0] * o["mask"] * o["scale"])  # fmt: skip

    def instead(bug: str, seen: str, function: Callable[..., Any]) -> Mutant:
        changed = partial(function, dropout.dropout)
        return elsewhere("dropout_draws", bug, seen, partial(attribute, dropout, "dropout", changed))

    yield instead("0 / 0 for p = 1", "tinygrad#11322",
                  lambda f, x, p=0.5, training=True: f(x, p, training) * (np.nan if training and p == 1 else 1))  # fmt: skip
    yield instead("p out of range passes", "tinygrad#11322",
                  lambda f, x, p=0.5, training=True: f(x, min(max(p, 0), 1), training))  # fmt: skip
    yield instead("scaled by 1 / p", "theanets#123",
                  lambda f, x, p=0.5, training=True: f(x, p, training) * ((1 - p) / p if training and 0 < p < 1 else 1))  # fmt: skip
    yield instead("p is the probability to keep", "two conventions",
                  lambda f, x, p=0.5, training=True: f(x, 1 - p, training))  # fmt: skip
    yield instead("drops in evaluation too", "axon#367, Paddle#37305",
                  lambda f, x, p=0.5, training=True: f(x, p, True))  # fmt: skip
    yield instead("the same mask in every call", "the seed put back after each call", _same_mask)
    yield instead("a replay draws another mask", "chainer: _will_recompute guards against it", _new_mask_in_replay)


def _new_mask_in_replay(original: Any, *args: Any, **options: Any) -> Any:
    if tape.STATE.get().replaying:
        generator().random()
    return original(*args, **options)


def _same_mask(original: Any, *args: Any, **options: Any) -> Any:
    bits = generator().bit_generator
    before = bits.state
    bits.state = np.random.default_rng(0).bit_generator.state
    try:
        return original(*args, **options)
    finally:
        bits.state = before


# ---- indexing ----------------------------------------------------------------------------------------------------------


def _indexing() -> Iterator[Mutant]:
    bug = "an element picked twice keeps the last gradient"
    seen = "HIPS#39, pytorch#1528, #80204, pytensor#2242, MyGrad#270"
    yield historic("getitem", bug, seen, record="scatter", body=_assigned)
    yield historic("embedding", bug, seen, record="scatter", body=_assigned)
    yield historic("take_along_axis", bug, seen, record="put_along_axis", body=_put)
    setitem = record("setitem")
    yield historic("setitem", "writes into the incoming gradient", "SmallPebble setat: the gradient of b is 0 instead of 1",
                   vjp=setitem.vjp, fast=with_fast_rule(setitem, 0, _cleared_in_place))  # fmt: skip
    yield historic("setitem", "what was overwritten keeps its gradient", "g passed on",
                   vjp=(lambda g: g, record_rule("setitem", 1)))  # fmt: skip
    yield historic("setitem", "the gradient of the value of the first place only", "broadcast not summed", vjp=with_gradient(
        setitem, 1, lambda d, named: d if d.ndim == 0 or d.shape[0] < 2 else d * (np.arange(d.shape[0]) == 0).reshape(
            -1, *[1] * (d.ndim - 1)).astype(d.dtype)))  # fmt: skip
    yield historic("put_along_axis", "the second of two equal indices lost", "MLX 3236476, TF#6294", body=_put)


def _assigned(forward: Any, inputs: Any, options: Any) -> Any:
    out = np.zeros(options["shape"], inputs[0].dtype)
    out[options["index"]] = inputs[0]
    return out


def _put(forward: Any, inputs: Any, options: Any) -> Any:
    x, axis = inputs[0], options["axis"]
    out = np.zeros((*x.shape[:axis], options["length"], *x.shape[axis + 1 :]), x.dtype)
    np.put_along_axis(out, options["indices"], x, axis)
    return out


def _cleared_in_place(original: Any, named: Any) -> Any:
    named["g"][named["index"]] = 0
    return named["g"]


# ---- the tape ----------------------------------------------------------------------------------------------------------


def _tape() -> Iterator[Mutant]:
    """Where gradients meet; that a second one overwrites the first is made for every op, in `mechanical`."""

    def joined(op: str, bug: str, seen: str, join: walking.Join, again: bool = False) -> Mutant:
        return elsewhere(op, bug, seen, partial(walking.walking, join, again=again), family="tape")

    yield joined("tanh", "a second gradient is lost", "tinygrad#119: an `if grad is None`", walking.first)
    for count in (2, 3, 7):
        yield joined("mul", f"of more than {count} gradients the rest is lost",
                     "mxnet#17989: only certain repeat counts", walking.at_most(count))  # fmt: skip
    yield joined("add", "gradients added up in place", "pytorch#178315, #185286", walking.in_place)
    for op in ("softmax", "gelu"):
        yield joined(op, "a node sends on again what it has sent before", "micrograd#2, #64, tinygrad#120, #165",
                     lambda old, new, _: old + new, again=True)  # fmt: skip
    yield elsewhere("add", "gradients share memory", "Oneflow#9497, MyGrad views",
                    partial(attribute, gradients, "_owned", lambda g, like, references: g), family="tape")  # fmt: skip
