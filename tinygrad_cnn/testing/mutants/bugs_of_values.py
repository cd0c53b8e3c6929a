"""Bugs that autograd engines have had, in arithmetic, activations, reductions, softmax and losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_cnn.core.op import ops
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.mutants.mutant import Mutant, historic, record
from tinygrad_cnn.testing.mutants.rewriting import on_output, with_gradient, with_rule


def bugs() -> Iterator[Mutant]:
    """All of them."""
    yield from _ties_and_kinks()
    yield from _infinities()
    yield from _reductions()
    yield from _softmax_and_losses()
    yield from _broadcasting()


def where(condition: Any, a: Any, b: Any) -> Tensor:
    return record("where")(condition, a, b)


# ---- ties and kinks ----------------------------------------------------------------------------------------------------


def _ties_and_kinks() -> Iterator[Mutant]:
    yield historic("maximum", "equal arguments both get the whole gradient", "NNlib.jl#86, Theano#4568",
                   vjp=(lambda g, a, b: where(a >= b, g, 0.0), lambda g, a, b: where(b >= a, g, 0.0)))  # fmt: skip
    yield historic("maximum", "equal arguments get nothing", "MyGrad maximum",
                   vjp=(lambda g, a, b: where(a > b, g, 0.0), lambda g, a, b: where(b > a, g, 0.0)))  # fmt: skip
    yield historic("maximum", "the first of equal arguments gets all", "tinygrad#226: one of four conventions in use",
                   vjp=(lambda g, a, b: where(a >= b, g, 0.0), lambda g, a, b: where(b > a, g, 0.0)))  # fmt: skip
    yield historic("mul", "one Tensor as both arguments gets one gradient", "warp#1294, pytorch#181146",
                   vjp=lambda g, a, b: (g * b, g * a * (0.0 if _is_one(a, b) else 1.0)))  # fmt: skip
    yield historic("relu", "1 at 0", "tinygrad 2020: x >= 0", vjp=lambda g, x: where(x >= 0, g, 0.0))
    yield historic("relu", "a half at 0", "tinygrad c46edbf: relu as max(x; 0)",
                   vjp=lambda g, x: where(x == 0, g * 0.5, where(x > 0, g, 0.0)))  # fmt: skip
    yield historic("relu6", "1 at 6", "tinygrad#18029, pytorch#184572: relu(x) - relu(x - 6)",
                   vjp=lambda g, x: where(x > 0, g, 0.0) - where(x > 6, g, 0.0))  # fmt: skip
    yield historic("relu6", "inf - inf", "tinygrad#18028: relu(x) - relu(x - 6)",
                   body=lambda f, xs, o: np.maximum(xs[0], 0) - np.maximum(xs[0] - 6, 0))  # fmt: skip
    yield historic("clip", "0 at the bounds", "HIPS clip", vjp={
        "x": lambda g, x, min, max: where(_inside(x, min, max), g, 0.0)})  # fmt: skip
    yield historic("abs", "1 at 0", "micrograd_c#4", vjp=lambda g, x: where(x >= 0, g, -g))
    for name, sign in (("amax", 1), ("amin", -1)):
        yield historic(
            name, "each of equals gets all", "minitorch max, CrypTen#90, tensorflow#51681", vjp=_equals_get_all
        )
        yield historic(name, "equals get nothing", "ties dropped", vjp=_only_without_ties)
        yield historic(name, "ties counted in half precision", "tinygrad#12296", vjp=_counted_in_half)
        yield historic(name, "ignores NaN", "pytorch#195075", body=_ignoring_nan(sign))
        first = name[1:]
        yield historic(first, "the last of equals gets all", "argmax with >=", body=_last_extreme(sign))
        yield historic(first, "ignores NaN", "pytorch#7645", body=_nan_extreme(sign))


def _is_one(a: Any, b: Any) -> bool:
    first, second = (t.data if isinstance(t, Tensor) else np.asarray(t) for t in (a, b))
    return np.shares_memory(first, second)


def _inside(x: Tensor, low: Any, high: Any) -> Any:
    return ((x > low) if low is not None else x == x) & ((x < high) if high is not None else x == x)


def _kept(t: Tensor, x: Tensor, axis: Any) -> Tensor:
    return t.reshape(tuple(1 if i in axis else n for i, n in enumerate(x.shape)))


def _equals_get_all(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    return where(x == _kept(y, x, axis), _kept(g, x, axis), 0.0)


def _only_without_ties(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    ties = (x == _kept(y, x, axis)).astype(x.dtype)
    return where(ties.sum(axis, keepdims=True) > 1, 0.0, ties * _kept(g, x, axis))


def _counted_in_half(g: Tensor, x: Tensor, y: Tensor, axis: Any) -> Tensor:
    ties = (x == _kept(y, x, axis)) | record("isnan")(x)
    count = np.sum(ties.data.astype(np.float16), axis=axis, keepdims=True, dtype=np.float16)
    return ties.astype(x.dtype) * (_kept(g, x, axis) / count.astype(x.dtype))


def _ignoring_nan(sign: int) -> Any:
    reduce = np.fmax if sign > 0 else np.fmin
    return lambda f, xs, o: reduce.reduce(xs[0], axis=o["axis"], keepdims=o["keepdims"])


def _chosen(x: np.ndarray, indices: np.ndarray, axis: int, keepdims: bool) -> Any:
    values = np.take_along_axis(x, indices, axis)
    return (values, indices) if keepdims else (values.squeeze(axis), indices.squeeze(axis))


def _last_extreme(sign: int) -> Any:
    def body(forward: Any, inputs: Any, options: Any) -> Any:
        x, axis = inputs[0], options["axis"]
        last = x.shape[axis] - 1 - np.argmax(np.flip(sign * x, axis), axis=axis, keepdims=True)
        return _chosen(x, last, axis, options["keepdims"])

    return body


def _nan_extreme(sign: int) -> Any:
    def body(forward: Any, inputs: Any, options: Any) -> Any:
        x, axis = inputs[0], options["axis"]
        best = np.argmax(np.where(np.isnan(x), -np.inf, sign * x), axis=axis, keepdims=True)
        return _chosen(x, best, axis, options["keepdims"])

    return body


# ---- infinities, NaN, removable singularities --------------------------------------------------------------------------


def _infinities() -> Iterator[Mutant]:
    yield historic("relu", "its value multiplied by a mask", "MyGrad relu: relu(-inf) is NaN",
                   body=lambda f, xs, o: xs[0] * (xs[0] > 0))  # fmt: skip
    yield historic("relu", "its gradient multiplied by a mask", "MyGrad relu: inf · 0 is NaN",
                   vjp=lambda g, x: g * (x > 0).astype(x.dtype))  # fmt: skip
    yield historic("relu", "hides NaN", "Paddle#65999", body=lambda f, xs, o: np.where(xs[0] > 0, xs[0], 0))
    yield historic("relu", "hides NaN after the last whole block of four", "pytorch#195075: by length",
                   body=lambda f, xs, o: _nan_hidden_in_tail(f(xs[0]), 4))  # fmt: skip
    yield historic("sqrt", "0 at 0 where the slope is infinite", "MyGrad#379",
                   vjp=lambda g, y: where(y == 0, 0.0, g * 0.5 / y))  # fmt: skip
    yield historic("var", "unbiased, 0 for one value instead of NaN", "MyGrad#379: unbiased std of one",
                   body=lambda f, xs, o: np.nan_to_num(f(xs[0], **o)))  # fmt: skip
    yield historic("elu", "NaN from the branch that is not chosen", "pytorch#187297",
                   vjp=lambda g, x, alpha: g * ((x > 0) + (x <= 0) * (alpha * record("exp")(x))))  # fmt: skip
    yield historic("where", "its gradient multiplied by the condition", "HIPS#151, tinygrad#12409", vjp={
        "a": lambda g, condition: g * condition, "b": lambda g, condition: g * (1 - condition)})  # fmt: skip
    yield historic("where", "a condition of integers weighs the gradient", "jax#10993: an unsigned predicate", vjp={
        "a": _weighed(lambda c: c), "b": _weighed(lambda c: 1 - c)})  # fmt: skip
    yield historic("where", "a blend of both branches", "jnp.where before it selected",
                   body=lambda f, xs, o: xs[0] * xs[1] + (1 - xs[0]) * xs[2])  # fmt: skip
    yield historic("sigmoid", "exp(x) / (1 + exp(x)) overflows", "tinygrad#8238",
                   body=lambda f, xs, o: np.exp(xs[0]) / (1 + np.exp(xs[0])))  # fmt: skip
    yield historic("tanh", "(exp(2x) - 1) / (exp(2x) + 1) overflows", "tinygrad#8238",
                   body=lambda f, xs, o: (np.exp(2 * xs[0]) - 1) / (np.exp(2 * xs[0]) + 1))  # fmt: skip
    yield historic("pow", "b y / a at a = 0", "tinygrad#155, #9217, mlx#505",
                   vjp=(lambda g, a, b, y: g * b * y / a, record_rule("pow", 1)))  # fmt: skip
    yield historic("pow", "y log(a) at a = 0", "tinygrad#9226",
                   vjp=(record_rule("pow", 0), lambda g, a, b, y: g * y * record("log")(a)))  # fmt: skip
    yield historic("norm", "0 / 0 at 0", "HIPS#151, #183, #268, #570, #586, #617, pytorch#2421",
                   vjp=lambda g, x, y, axis: _kept(g, x, axis) * x / _kept(y, x, axis))  # fmt: skip
    yield historic("std", "0 / 0 without spread", "HIPS#268", vjp=_std_rule)
    yield historic("prod", "y / x with zeros", "tinygrad#17404",
                   vjp=lambda g, x, y, axis: _kept(g * y, x, axis) / x)  # fmt: skip
    yield historic("log1p", "log(1 + x) loses small x", "naive spelling", body=lambda f, xs, o: np.log(1 + xs[0]))
    yield historic("expm1", "exp(x) - 1 loses small x", "naive spelling", body=lambda f, xs, o: np.exp(xs[0]) - 1)


def _weighed(weight: Any) -> Any:
    """Selected by booleans, multiplied by anything else."""

    def rule(g: Tensor, condition: Any) -> Tensor:
        c = condition.data if isinstance(condition, Tensor) else np.asarray(condition)
        chosen = np.asarray(weight(c.astype(g.dtype)), g.dtype)
        return g * chosen if c.dtype != bool else where(chosen != 0, g, 0.0)

    return rule


def _nan_hidden_in_tail(y: np.ndarray, block: int) -> np.ndarray:
    flat = y.reshape(-1).copy()
    tail = flat[flat.size // block * block :]
    tail[np.isnan(tail)] = 0
    return flat.reshape(y.shape)


def record_rule(name: str, position: int) -> Any:
    """A rule of the record as it is."""
    return ops()[name].rules[position].function


def _std_rule(g: Tensor, x: Tensor, y: Tensor, axis: Any, correction: float) -> Tensor:
    n = math.prod(x.shape[i] for i in axis)
    return _kept(g / y, x, axis) * (x - x.mean(axis, keepdims=True)) * (1 / (n - correction))


# ---- reductions --------------------------------------------------------------------------------------------------------


def _reductions() -> Iterator[Mutant]:
    yield historic("sum", "reduced axes put back at the end", "cs249r_book#1867", vjp=_axes_at_the_end)
    yield historic("sum", "only the first of several axes", "pytorch#1813",
                   body=lambda f, xs, o: f(xs[0], axis=o["axis"][:1], keepdims=o["keepdims"]))  # fmt: skip
    yield historic("mean", "divided by the first axis", "nd4j#2424", vjp=_mean_over(lambda s, a: s[0]))
    yield historic("mean", "divided by one of several axes", "cs249r_book#1867", vjp=_mean_over(_one_axis))
    yield historic("mean", "divided by all elements", "tt-metal#40008", vjp=_mean_over(lambda s, a: math.prod(s)))
    yield historic("var", "E[x²] - E[x]²", "pytorch#40302: 0.0 instead of 1e-4", body=_one_pass)
    yield historic("var", "the mean taken for zero", "tinygrad#753", vjp=lambda g, x, axis, correction:
                   _kept(g, x, axis) * x * (2 / (math.prod(x.shape[i] for i in axis) - correction)))  # fmt: skip
    yield historic("var", "correction forgotten in the gradient", "pytorch_geometric#2917",
                   vjp=with_rule(record("var"), 0, lambda original, named: original(correction=0)))  # fmt: skip
    yield historic("cumsum", "summed from the wrong end", "cumsum of g", vjp=lambda g, axis: g.cumsum(axis))
    yield historic("logsumexp", "not shifted by the largest", "NNlib.jl#68", body=lambda f, xs, o:
                   np.log(np.sum(np.exp(xs[0]), axis=o["axis"], keepdims=o["keepdims"])))  # fmt: skip
    yield historic("logsumexp", "-inf - -inf", "optax#1762", vjp=lambda g, x, y, axis:
                   _kept(g, x, axis) * record("exp")(x - _kept(y, x, axis)))  # fmt: skip


def _axes_at_the_end(g: Tensor, x_shape: Any, axis: Any) -> Tensor:
    kept = [n for i, n in enumerate(x_shape) if i not in axis]
    at_end = (*kept, *[1] * (len(x_shape) - len(kept)))
    fits = all(n in (1, m) for n, m in zip(at_end, x_shape, strict=True))
    right = tuple(1 if i in axis else n for i, n in enumerate(x_shape))
    return g.reshape(at_end if fits else right).broadcast_to(x_shape)


def _mean_over(count: Any) -> Any:
    def rule(g: Tensor, x_shape: Any, axis: Any) -> Tensor:
        kept = tuple(1 if i in axis else n for i, n in enumerate(x_shape))
        divisor = count(x_shape, axis) if x_shape else 1
        return (g.reshape(kept) * (1 / max(divisor, 1))).broadcast_to(x_shape)

    return rule


def _one_axis(shape: Any, axis: Any) -> int:
    return shape[axis[0]] if axis else 1


def _one_pass(forward: Any, inputs: Any, options: Any) -> Any:
    x, axis, keepdims = inputs[0], options["axis"], options["keepdims"]
    n = math.prod(x.shape[i] for i in axis)
    mean = np.mean(x, axis=axis, keepdims=keepdims)
    free = n - options["correction"]
    return (np.mean(x * x, axis=axis, keepdims=keepdims) - mean * mean) * (n / free if free > 0 else np.nan)


# ---- softmax and losses ------------------------------------------------------------------------------------------------


def _softmax_and_losses() -> Iterator[Mutant]:
    yield historic(
        "softmax", "shifted by the largest of all rows", "SmallPebble softmax", body=_softmax(lambda x, a: x.max())
    )
    yield historic("softmax", "not shifted", "NNlib.jl#68, dynet#218", body=_softmax(lambda x, a: 0))
    yield historic("softmax", "summed over another axis", "crysx_nn#7", body=_softmax_along_another)
    yield historic("softmax", "the sum dropped from the gradient", "y g", vjp=lambda g, y: y * g)
    yield historic("softmax", "y (1 - y) g, the diagonal alone", "sigmoid's rule", vjp=lambda g, y: g * y * (1 - y))
    yield historic("log_softmax", "the log of softmax", "crysx_nn#7", body=lambda f, xs, o:
                   np.log(record("softmax").forward(xs[0], axis=o["axis"])))  # fmt: skip
    yield historic("log_softmax", "the sum of g dropped", "g - softmax", vjp=lambda g, y: g - record("exp")(y))
    yield historic("cross_entropy", "the log of probabilities", "pytorch#11752", body=_log_of_probabilities)
    yield historic("cross_entropy", "0 · -inf for a class that is not the target", "optax#1762", body=_zero_times_inf)
    yield historic("cross_entropy", "not divided by the batch", "reduction mean", vjp=with_rule(
        record("cross_entropy"), 0, lambda original, named: original(divisor=1.0)))  # fmt: skip
    yield historic("cross_entropy", "ignored rows get a gradient", "softmax - 0", vjp={
        "logits": lambda g, p, target, reduction, divisor: _upstream(g, reduction, divisor) * (p - target),
        "target": record_rule("cross_entropy", 1)})  # fmt: skip
    yield historic("cross_entropy", "NaN with nothing to count", "0 / 0", body=_nothing_is_nan)
    yield historic("cross_entropy", "probabilities saved as a constant", "silently wrong in second order",
                   aux={"p": None})  # fmt: skip
    yield historic("binary_cross_entropy_with_logits", "the log of a sigmoid", "DirectML#739", body=_log_of_sigmoid)
    yield historic("nll_loss", "0 · inf for what does not count", "pytorch#11752", body=_nll_zero_times_inf)


def _softmax(shift: Any) -> Any:
    def body(forward: Any, inputs: Any, options: Any) -> Any:
        x, axis = inputs[0], options["axis"]
        e = np.exp(x - shift(x, axis)) if x.size else x
        return e / e.sum(axis=axis, keepdims=True)

    return body


def _softmax_along_another(forward: Any, inputs: Any, options: Any) -> Any:
    return forward(inputs[0], axis=(options["axis"] + 1) % inputs[0].ndim)


def _log_of_probabilities(forward: Any, inputs: Any, options: Any) -> Any:
    x, target = inputs
    p = record("softmax").forward(x, axis=1)
    losses = -np.where(target == 0, 0, target * np.log(p)).sum(axis=1)
    return (losses if options["reduction"] == "none" else losses.sum() / options["divisor"]), p


def _zero_times_inf(forward: Any, inputs: Any, options: Any) -> Any:
    x, target = inputs
    log_p = record("log_softmax").forward(x, axis=1)
    losses = -(target * log_p).sum(axis=1)
    return (losses if options["reduction"] == "none" else losses.sum() / options["divisor"]), np.exp(log_p)


def _upstream(g: Tensor, reduction: str, divisor: float) -> Tensor:
    return g.expand_dims(1) if reduction == "none" else g / divisor


def _nothing_is_nan(forward: Any, inputs: Any, options: Any) -> Any:
    loss, p = forward(*inputs, **options)
    return (loss * np.nan if not np.any(inputs[1]) and options["reduction"] == "mean" else loss), p


def _log_of_sigmoid(forward: Any, inputs: Any, options: Any) -> Any:
    x, target, pos_weight = inputs
    p = 1 / (1 + np.exp(-x))
    return -(target * np.log(p) * (1 if pos_weight is None else pos_weight) + (1 - target) * np.log(1 - p))


def _nll_zero_times_inf(forward: Any, inputs: Any, options: Any) -> Any:
    labels, weight = options["labels"], options["weight"]
    losses = -weight * np.take_along_axis(inputs[0], np.expand_dims(labels, 1), 1).squeeze(1)
    return losses if options["reduction"] == "none" else losses.sum() / options["divisor"]


# ---- broadcasting and dtypes -------------------------------------------------------------------------------------------


def _broadcasting() -> Iterator[Mutant]:
    seen = "pytorch#1787, nd4j#2424, burn#181, tt-metal#40008, Odyssey#2080"
    for name in ("add", "mul", "maximum"):
        for position in (0, 1):
            shape = f"{record(name).inputs[position]}_shape"
            for bug, reduce in (("averaged over stretched axes", _averaged), ("summed over another axis", _other_axis)):
                spoilt: Any = lambda d, named, s=shape, r=reduce: r(d, named[s])  # noqa: E731  (one bug, one line)
                rule = with_gradient(record(name), position, spoilt, (shape,))
                yield historic(name, f"gradient of {record(name).inputs[position]} {bug}", seen, vjp=rule)
    matmul = record("matmul")
    yield historic("matmul", "batches not summed but the first taken", "joelgrus/autograd", vjp=with_gradient(
        matmul, 0, lambda d, named: _first_batch(d, named["a_shape"]), ("a_shape",)))  # fmt: skip
    yield historic("matmul", "b instead of its transpose", "the right shape for square matrices",
                   vjp=with_rule(matmul, 0, _not_transposed))  # fmt: skip
    yield historic("linear", "the bias gradient of the last batch only", "g[-1]", vjp={
        "x": record_rule("linear", 0), "weight": record_rule("linear", 1),
        "bias": lambda g: g.reshape(-1, g.shape[-1])[-1:].sum(0)})  # fmt: skip
    yield historic("einsum", "operands in another order", "mxnet#18102", vjp=_einsum_rule)
    for name in ("mul", "conv2d", "max_pool2d", "batch_norm"):
        bug = "float64 becomes float32"
        yield historic(name, bug, "chainer#7922, HIPS#199", body=on_output(lambda y: y.astype(np.float32)))
    yield historic("max_pool1d", "integers become floats", "tinygrad#7726", body=on_output(lambda y: y * 1.0))
    yield historic("mul", "the gradient of a 0-d input is a Python float", "MyGrad 2.0.1", vjp=(
        lambda g, a, b: (g * b).item() if g.ndim == 0 else g * b, record_rule("mul", 1)))  # fmt: skip
    yield historic("mul", "gradients are always float64", "HIPS#163, hw1#20", vjp=(
        lambda g, b: (g * b).astype("float64"), record_rule("mul", 1)))  # fmt: skip


def _stretched(shape: Any, small: Any) -> list[int]:
    lead = len(shape) - len(small)
    return [i for i, n in enumerate(shape) if i < lead or (small[i - lead] == 1 and n > 1)]


def _averaged(d: Tensor, small: Any) -> Tensor:
    count = math.prod(d.shape[i] for i in _stretched(d.shape, small))
    return d * (1 / count) if count else d


def _other_axis(d: Tensor, small: Any) -> Tensor:
    """Of two axes of one length, the other one is summed."""
    stretched = _stretched(d.shape, small)
    kept = [i for i in range(d.ndim) if i not in stretched]
    pair = next(((i, j) for i in stretched for j in kept if d.shape[i] == d.shape[j] > 1), None)
    return d if pair is None else d.swapaxes(*pair)


def _first_batch(d: Tensor, a_shape: Any) -> Tensor:
    if d.ndim <= len(a_shape) or 0 in d.shape:
        return d
    return d[(0,) * (d.ndim - len(a_shape))]


def _not_transposed(original: Any, named: Any) -> Tensor:
    b = named["b"]
    square = b.ndim > 1 and len(named["a_shape"]) > 1 and b.shape[-1] == b.shape[-2]
    return original(b=b.mT) if square else original()


def _einsum_rule(g: Tensor, xs: Any, equation: str) -> Any:
    """g and the other operands the other way round, where their shapes allow it."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    for i, term in enumerate(terms):
        others = [*xs[:i], *xs[i + 1 :]]
        shapes = [x.shape for x in (g, *others)]
        subscripts = ",".join([output, *terms[:i], *terms[i + 1 :]])
        operands = (g, *others) if shapes != shapes[::-1] else (*others[::-1], g)
        yield record("einsum")(*operands, equation=f"{subscripts}->{term}")
