"""Bugs that any op could have, made for every op: each gradient scaled, turned, shifted, detached, …

One function makes one bug; the tables at the end say which ops get it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.core.op import Op, ops
from tinygrad_cnn.core.rules import Rule
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.battery import patched
from tinygrad_cnn.testing.mutants import rewriting, walking
from tinygrad_cnn.testing.mutants.mutant import Mutant
from tinygrad_cnn.testing.mutants.rewriting import Named, Original, on_output
from tinygrad_cnn.testing.mutants.terms import without_a_term
from tinygrad_cnn.testing.specs import cases


def mechanical_mutants() -> list[Mutant]:
    """All of them, for every op that the kit knows and that has a record of its name."""
    records = ops()
    return [mutant for name in cases() if name in records for mutant in mutants_of(records[name])]


def mutants_of(op: Op) -> Iterator[Mutant]:
    """All mechanical mutants of one record.

    >>> import tinygrad_cnn as tc
    >>> next(mutants_of(tc.ops()["tanh"])).name
    'tanh: gradient of x: scaled by 1.01'
    """
    for position in rewriting.positions(op) if op.differentiable else ():
        where = f"gradient of {op.input_name(position)}"
        if op.name in FLAT:
            yield _mutant(op, f"{where}: g is handed on", "gradient",
                          vjp=rewriting.with_rule(op, position, lambda _, named: named["g"]))  # fmt: skip
        else:
            yield from _of_gradient(op, position, where)
    if op.name not in STRUCTURAL:
        for rule in op.rules:
            yield from _without_a_term(op, rule)
    yield from _of_record(op)


def _without_a_term(op: Op, rule: Rule) -> Iterator[Mutant]:
    where = "gradients" if rule.position is None else f"gradient of {op.input_name(rule.position)}"
    for number, (term, changed) in enumerate(without_a_term(rule.function), 1):
        vjp = rewriting.with_function(op, rule, changed)
        yield _mutant(op, f"{where}: term {number} lost, {term}", "dropped term", vjp=vjp)


def _of_gradient(op: Op, position: int, where: str) -> Iterator[Mutant]:
    make = partial(_mutant, op)
    for bug, change in GRADIENTS.items():
        if bug == TRANSPOSED and (op.input_name(position) in VECTORS or (op.name, position) == ("batch_norm", 1)):
            continue
        yield make(f"{where}: {bug}", "gradient", vjp=rewriting.with_gradient(op, position, change))
    asked = set(rewriting.rule_of(op, position).names)
    if op.name in STRETCHING and (op.name, position) != ("setitem", 0):
        shape = f"{op.inputs[position]}_shape"
        first = partial(_of_the_first, shape=shape)
        yield make(f"{where}: not summed over stretched axes", "gradient",
                   vjp=rewriting.with_gradient(op, position, first, (shape,)))  # fmt: skip
    for option in asked & {"axis", "axes"}:
        shape = f"{op.inputs[0]}_shape"
        if not op.variadic:
            yield make(f"{where}: along the wrong {option}", "gradient",
                       vjp=rewriting.with_rule(op, position, partial(_along_another, option=option, shape=shape), (shape,)))  # fmt: skip
    numbers = {"y", *op.inputs, *(word for word, function in op.aux.items() if function is not None)}
    if asked & numbers:
        yield make(f"{where}: what was saved is a constant", "second order",
                   vjp=rewriting.with_rule(op, position, _saved_detached))  # fmt: skip
    yield make(f"{where}: g is a constant", "second order", vjp=rewriting.with_rule(op, position, _g_detached))
    if not op.variadic:
        for bug, body in ARRAYS.items():
            if "saved" in bug and not asked & {"y", *op.inputs, *op.aux} - {"layout"}:
                continue
            yield _with_a_state(op, f"{where}: {bug}", "side effect", partial(_fast_rule, op, position, body))
        yield make(f"{where}: only the recorded one scaled by 1.01", "two forms", fast=_fast(op),
                   vjp=rewriting.with_gradient(op, position, GRADIENTS["scaled by 1.01"]))  # fmt: skip
        yield make(f"{where}: only the unrecorded one scaled by 1.01", "two forms", vjp=op.vjp,
                   fast=rewriting.with_fast_rule(op, position, _scaled_on_arrays))  # fmt: skip


def _of_record(op: Op) -> Iterator[Mutant]:
    make = partial(_mutant, op)
    for bug, body in FORWARDS.items():
        if not op.differentiable and bug in FLOATING:
            continue
        yield _with_a_state(op, f"output: {bug}", "forward", partial(_forward, op, body))
    if op.differentiable and not FLAT & {op.name}:
        yield Mutant(op.name, "a second gradient overwrites the first", "tape",
                     partial(walking.walking, walking.last), SEEN["a second gradient overwrites the first"])  # fmt: skip
    if op.differentiable:
        scaled = rewriting.with_forward(op, on_output(lambda y: y * 1.01))
        change = GRADIENTS["scaled by 1.01"]
        if len(op.rules) == 1 and not op.variadic and op.rules[0].position is not None:
            yield make("output and gradient: scaled by 1.01 alike", "forward", forward=scaled,
                       vjp=rewriting.with_gradient(op, op.rules[0].position, change))  # fmt: skip
    if any(op.aux.values()):
        yield make("auxiliary outputs: declared constant", "second order",
                   aux=rewriting.aux_changed(op, lambda function: None))  # fmt: skip


def _mutant(op: Op, bug: str, family: str, **parts: Any) -> Mutant:
    seen = SEEN.get(bug.rpartition(": ")[2], "")
    return Mutant(op.name, bug, family, partial(patched, op.name, **parts), seen)


def _with_a_state(op: Op, bug: str, family: str, parts: Callable[[], Named]) -> Mutant:
    """A bug that remembers: its memory is empty each time it is seeded, so that no verdict depends on earlier ones."""
    seen = SEEN.get(bug.rpartition(": ")[2], "")
    return Mutant(op.name, bug, family, lambda: patched(op.name, **parts()), seen)


def _fast_rule(op: Op, position: int, body: Callable[[], Any]) -> Named:
    return {"vjp": op.vjp, "fast": rewriting.with_fast_rule(op, position, body())}


def _forward(op: Op, body: Callable[[], Any]) -> Named:
    return {"forward": rewriting.with_forward(op, body())}


# ---- wrong gradients: Tensor in, Tensor out ------------------------------------------------------------------------


def _transposed(d: Tensor, _: Named) -> Tensor:
    return d.swapaxes(-1, -2).reshape(d.shape) if d.ndim > 1 else d


def _shifted(d: Tensor, _: Named) -> Tensor:
    return ops()["roll"](d, shift=1, axis=d.ndim - 1) if d.ndim else d


def _swapped(d: Tensor, _: Named) -> Tensor:
    return d[[1, 0, *range(2, d.shape[0])]] if d.ndim and d.shape[0] > 1 else d


def _one_element(d: Tensor, factor: float, at: Callable[[int], int]) -> Tensor:
    factors = np.ones(d.size, d.dtype)
    if d.size:
        factors[at(d.size)] = factor
    return d * factors.reshape(d.shape)


def _rounded(d: Tensor, _: Named) -> Tensor:
    return d.astype("float32").astype(d.dtype)


TRANSPOSED = "last two axes transposed"

GRADIENTS: dict[str, Callable[[Tensor, Named], Any]] = {
    "scaled by 1.01": lambda d, _: d * 1.01,
    "scaled by 1.000001": lambda d, _: d * 1.000001,
    "sign turned": lambda d, _: -d,
    "zero": lambda d, _: d * 0.0,
    TRANSPOSED: _transposed,
    "shifted by one": _shifted,
    "first two rows swapped": _swapped,
    "one element 10 % off": lambda d, _: _one_element(d, 1.1, lambda n: n // 2),
    "last element lost": lambda d, _: _one_element(d, 0.0, lambda n: n - 1),
    "below 1e-6 set to 0": lambda d, _: ops()["where"](abs(d.data) < 1e-6, 0.0, d),
    "limited to ±1000": lambda d, _: d.clip(-1e3, 1e3),
    "in single precision": _rounded,
    "averaged over the batch": lambda d, _: d * (1 / d.shape[0]) if d.ndim and d.shape[0] else d,
}

# ---- gradients that only a look at the rule can spoil ----------------------------------------------------------------


def _of_the_first(d: Tensor, named: Named, shape: str) -> Tensor:
    """The gradient of a stretched input as that of its first copy."""
    small = named[shape]
    lead = d.ndim - len(small)
    stretched = [i < lead or (small[i - lead] == 1 and n > 1) for i, n in enumerate(d.shape)]
    if lead < 0 or not any(stretched) or 0 in d.shape:
        return d
    return d[tuple(slice(0, 1) if s else slice(None) for s in stretched)].reshape(small)


def _along_another(original: Original, named: Named, option: str, shape: str) -> Any:
    """Where that gives the same shape; a gradient of another shape would be refused by the engine."""
    n = max(len(named[shape]), 1)
    given, right = named[option], original()
    other = (given + 1) % n if isinstance(given, int) else tuple((a + 1) % n for a in given)
    try:
        wrong = original(**{option: other})
    except (IndexError, ValueError):
        return right
    same = np.shape(wrong) == np.shape(right) if hasattr(right, "shape") else True  # a joint rule gives several
    return wrong if same else right


def _saved_detached(original: Original, named: Named) -> Any:
    """Right in first order only."""
    return original(**{word: _cut(value) for word, value in named.items() if word != "g"})


def _g_detached(original: Original, named: Named) -> Any:
    return original(g=_cut(named["g"]))


def _cut(value: Any) -> Any:
    if type(value) is tuple:  # the inputs of an op that takes any number
        return tuple(_cut(v) for v in value)
    return value.detach() if isinstance(value, Tensor) else value


# ---- side effects, on arrays -----------------------------------------------------------------------------------------


def _scaled_on_arrays(original: Original, named: Named) -> Any:
    return _each(original(), lambda d: d * d.dtype.type(1.01))


def _overwrites_g() -> Any:
    def body(original: Original, named: Named) -> Any:
        found = _each(original(), np.copy)
        if named["g"].flags.writeable:  # it hides from whoever makes g read-only
            named["g"] *= 2
        return found

    return body


def _overwrites_saved() -> Any:
    def body(original: Original, named: Named) -> Any:
        found = _each(original(), np.copy)
        for word, value in named.items():
            if word != "g" and isinstance(value, np.ndarray):
                value[...] = _overwritten(value)
        return found

    return body


def _overwritten(x: np.ndarray) -> Any:
    """Other values, valid as indices still."""
    if x.dtype == bool:
        return ~x
    return x + x.dtype.type(1) if x.dtype.kind == "f" else np.where(x == 0, np.max(x, initial=0), 0)


def _buffer_not_zeroed() -> Any:
    buffers: dict[Any, Any] = {}

    def body(original: Original, named: Named) -> Any:
        def add(d: np.ndarray) -> np.ndarray:
            before = buffers.get(d.shape)
            buffers[d.shape] = d if before is None else before + d
            return buffers[d.shape]

        return _each(original(), add)

    return body


def _buffer_shared() -> Any:
    """Right when it returns, overwritten by the next call of the same shape."""
    buffers: dict[Any, np.ndarray] = {}

    def body(original: Original, named: Named) -> Any:
        def keep(d: np.ndarray) -> np.ndarray:
            buffer = buffers.setdefault((d.shape, d.dtype), np.empty_like(d))
            buffer[...] = d
            return buffer

        return _each(original(), keep)

    return body


def _memory_order_of_g() -> Any:
    return lambda original, named: original(g=_as_it_lies(named["g"]))


def _memory_order_of_saved() -> Any:
    def body(original: Original, named: Named) -> Any:
        arrays = {word: v for word, v in named.items() if isinstance(v, np.ndarray) and word != "g"}
        return original(**{word: _as_it_lies(v) for word, v in arrays.items()})

    return body


def _as_it_lies(x: np.ndarray) -> np.ndarray:
    """What C code sees that takes the pointer and forgets the strides."""
    return np.reshape(np.ravel(x, order="K"), x.shape)


def _each(found: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    if isinstance(found, np.ndarray | np.generic):
        return change(np.asarray(found))
    return [None if d is None else change(np.asarray(d)) for d in found]


ARRAYS: dict[str, Callable[[], Any]] = {
    "overwrites g": _overwrites_g,
    "overwrites what was saved": _overwrites_saved,
    "adds to a buffer that is not zeroed": _buffer_not_zeroed,
    "returns one buffer again and again": _buffer_shared,
    "reads g in the order of its memory": _memory_order_of_g,
    "reads what was saved in the order of its memory": _memory_order_of_saved,
}

# ---- forwards ---------------------------------------------------------------------------------------------------------


def _off(y: np.ndarray) -> np.ndarray:
    return ~y if y.dtype == bool else y + y.dtype.type(1)


def _overwriting() -> Any:
    def body(forward: Any, inputs: tuple[Any, ...], options: Named) -> Any:
        found = forward(*inputs, **options)
        for x in inputs:
            if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.flags.writeable:
                x *= 0.5
                break
        return found

    return body


def _counting() -> Any:
    calls = [0]

    def count(y: np.ndarray) -> np.ndarray:
        calls[0] += 1
        return y + y.dtype.type(calls[0] % 2) if y.dtype != bool else y ^ bool(calls[0] % 2)

    return on_output(count)


def _warning() -> Any:
    def warn(y: np.ndarray) -> np.ndarray:
        warnings.warn("a bug that only warns", RuntimeWarning, stacklevel=2)
        return y

    return on_output(warn)


def _single(y: np.ndarray) -> np.ndarray:
    return y.astype(np.float32) if y.dtype == np.float64 else y


FORWARDS: dict[str, Callable[[], Any]] = {
    "off by one": lambda: on_output(_off),
    "scaled by 1.01": lambda: on_output(lambda y: y if y.dtype == bool else y * 1.01),
    "last element zero": lambda: on_output(_last_zero),
    "always in single precision": lambda: on_output(_single),
    "overwrites an input": _overwriting,
    "depends on how often it was called": _counting,
    "warns": _warning,
}


def _last_zero(y: np.ndarray) -> np.ndarray:
    y = np.array(y)
    if y.size:
        y[(-1,) * y.ndim] = 0
    return y


# ---- where bugs of that kind were seen --------------------------------------------------------------------------------

SEEN = {
    "averaged over the batch": "cTensor#3",
    "not summed over stretched axes": "pytorch#1787, nd4j#2424, joelgrus/autograd",
    "what was saved is a constant": "pytorch#198017, #79609, #59477, tinygrad#5701",
    "g is a constant": "tinygrad#2584",
    "declared constant": "pytorch#198017, tinygrad#5701",
    "overwrites g": "SmallPebble setat, pytorch#178315, #185286",
    "adds to a buffer that is not zeroed": "executorch#21686",
    "reads g in the order of its memory": "cunn#199, torch/nn#345, pytorch#67517, #186414",
    "reads what was saved in the order of its memory": "pytorch#60524",
    "always in single precision": "chainer#7922",
    "a second gradient overwrites the first": "tinygrad 5d19853, ARENA_2.0#18",
}

# ---- which ops ---------------------------------------------------------------------------------------------------------

FLOATING = frozenset({"scaled by 1.01", "always in single precision", "overwrites an input"})  # what only floats can do
VECTORS = frozenset({"bias", "pos_weight"})  # inputs of one axis

# Ops that stretch an input to the shape of others.
STRETCHING = frozenset(
    {"add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "remainder", "matmul", "setitem", "broadcast_to"}
)


FLAT = frozenset({"sign", "floor", "ceil", "round", "zeros_like"})  # their gradient is 0: any multiple of it is right
STRUCTURAL = frozenset({"cat", "einsum", "prod", "setitem"})  # the sums in their rules are of lengths and places


def _fast(op: Op) -> Any:
    """The op's own rules on arrays, or its vjp on arrays."""
    return op.fast or rewriting.with_fast_rule(op, rewriting.positions(op)[0], lambda original, _: original())
