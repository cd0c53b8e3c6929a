"""Laws about the tape: fan-out, aliasing, memory, modes, and that all forms of an op's rules say the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.laws import ARRAY_LAWS, Law, LawEnv, same_bytes, walk_arrays
from tinygrad_cnn.testing.subjects import Grads
from tinygrad_cnn.testing.tensor_subjects import TensorSubject

TensorLaw = Callable[[LawEnv, TensorSubject], None]

_USES = 9  # engines were right for two uses of a tensor, and wrong for more


def recorded(env: LawEnv, subject: TensorSubject) -> None:
    """A recorded backward pass (the vjp on Tensors) gives what the unrecorded one gives (`fast`, or it on arrays)."""
    g = env.upstream()
    leaves = subject.leaves(env.inputs)
    grads = subject.pull(subject.outputs(leaves), leaves, g, create=True)
    expected = subject.grads(env.inputs, g)
    found = tuple(None if d is None else d.data for d in grads)
    env.compare_grads("recorded", "the recorded gradient is not the unrecorded one", found, expected, _slack(env))


def aux(env: LawEnv, subject: TensorSubject) -> None:
    """What a forward hands to its rules beside the output is what the function declared for it gives.

    Looks at every op that is called on the way.
    """
    calls: list[tuple[Op, tuple[Any, ...], dict[str, Any]]] = []

    def note(node: Any, op: Op, args: tuple[Any, ...], options: dict[str, Any], out: Tensor) -> None:
        if any(op.aux.values()):
            calls.append((op, args, options))

    with tape.observe(on_record=note):
        subject.outputs(subject.leaves(env.inputs))
    for op, args, options in calls:
        positional = tuple(a.data if isinstance(a, Tensor) else a for a in args)
        _, *values = op.forward(*positional, **options)
        named = {**dict(zip(op.inputs, positional, strict=False)), **options}
        for (name, function), value in zip(op.aux.items(), values, strict=True):
            if function is not None:
                with tape.no_grad():
                    expected = _call_by_name(function, named, positional)
                what = f"auxiliary output {name!r} of {op.name!r} is not the value of its function"
                env.compare("aux", what, None, value, getattr(expected, "data", expected), _slack(env))


def memory(env: LawEnv, subject: TensorSubject) -> None:
    """Returned gradients own their memory: not each other's, not an input's, not g's."""
    g = env.upstream()
    leaves = subject.leaves(env.inputs)
    grads = subject.pull(subject.outputs(leaves), leaves, g)
    held: list[tuple[str, np.ndarray]] = [("g", g)]
    held += [(f"input {subject.input_name(i)!r}", x) for i, x in enumerate(env.inputs) if isinstance(x, np.ndarray)]
    for arg, grad in enumerate(grads):
        if grad is None:
            continue
        other = next((name for name, array in held if array.size and np.shares_memory(grad, array)), None)
        if other is not None:
            env.fail("memory", f"the gradient shares memory with {other}", arg)
            return
        held.append((f"the gradient of {subject.input_name(arg)!r}", grad))


def saved(env: LawEnv, subject: TensorSubject) -> None:
    """No backward pass writes into what the forward saved."""
    nodes: list[Any] = []

    def note(node: Any, *_: Any) -> None:
        if node is not None:
            nodes.append(node)

    leaves = subject.leaves(env.inputs)
    with tape.observe(on_record=note):
        outputs = subject.outputs(leaves)
    before = [(node, [a.tobytes() for a in walk_arrays(node.saved)]) for node in nodes]
    subject.pull(outputs, leaves, env.upstream(), keep=True)
    for node, contents in before:
        if [a.tobytes() for a in walk_arrays(node.saved)] != contents:
            env.fail("saved", f"the backward pass overwrites what {node.op.name!r} saved for it")
            return


def fanout(env: LawEnv, subject: TensorSubject) -> None:
    """G5: the gradients of f(x), called several times with g, 2g, …, add up; two backward calls accumulate 2 B(g)."""
    g = env.upstream()
    one = subject.grads(env.inputs, g)
    factors = range(1, _USES + 1)
    twice = tuple(None if d is None else 2 * d for d in one)
    leaves = subject.leaves(env.inputs)
    outputs = [y for _ in factors for y in subject.outputs(leaves)]
    weights = np.concatenate([n * np.ravel(g) for n in factors])
    added = (None if d is None else d / sum(factors) for d in subject.pull(outputs, leaves, weights))
    env.compare_grads("fanout", f"f(x) used {_USES} times has another gradient", tuple(added), one, _slack(env))
    leaves = subject.leaves(env.inputs)
    outputs = subject.outputs(leaves)
    if len(outputs) == 1 and outputs[0].requires_grad:
        for _ in range(2):
            outputs[0].backward(g, retain_graph=True)
        found = tuple(_accumulated(leaf) for leaf in leaves)
        env.compare_grads("fanout", "two backward calls accumulate something else", found, twice)


def alias(env: LawEnv, subject: TensorSubject) -> None:
    """G6: one Tensor as two arguments gets the sum of both gradients."""
    for a in env.wanted:
        for b in env.wanted:
            x, other = env.inputs[a], env.inputs[b]
            if a >= b or x.shape != other.shape or x.dtype != other.dtype:
                continue
            doubled = tuple(x.copy() if i == b else array for i, array in enumerate(env.inputs))
            try:
                apart = subject.grads(doubled, env.upstream(doubled))
            except ValueError:
                continue  # the op refuses this value there (an option of its own range)
            parts = [d if d is not None else np.zeros(x.shape) for d in (apart[a], apart[b])]
            leaves = subject.leaves(doubled)
            leaves[b] = leaves[a]
            found = subject.pull(subject.outputs(leaves), leaves, env.upstream(doubled))[a]
            what = f"one Tensor as {subject.input_name(a)!r} and {subject.input_name(b)!r} does not get both gradients"
            env.compare(
                "alias", what, a, np.zeros(x.shape) if found is None else found, parts[0] + parts[1], _slack(env)
            )
            return


def modes(env: LawEnv, subject: TensorSubject) -> None:
    """G11: the same value with and without recording; gradients of some inputs alone equal those of all together."""
    g = env.upstream()
    y = subject.value(env.inputs)
    leaves = subject.leaves(env.inputs)
    outputs = subject.outputs(leaves)
    if len(outputs) == 1 and not same_bytes(outputs[0].data, y):
        env.fail("modes", "recording changes the output")
        return
    together: Grads = subject.pull(outputs, leaves, g)
    if len(env.wanted) < 2:
        return
    for arg in env.wanted:
        alone = TensorSubject(subject.fn, subject.kwargs, (arg,), subject.name)
        found = alone.grads(env.inputs, g)[arg]
        zero = np.zeros(np.shape(env.inputs[arg]))
        a, b = (zero if d is None else d for d in (found, together[arg]))
        if not env.compare("modes", "another gradient when it alone is wanted", arg, a, b, _slack(env)):
            return


def _slack(env: LawEnv) -> float:
    return 0.0 if env.exact else 1e3 * float(np.finfo(env.upstream().dtype).eps)


def _accumulated(leaf: Any) -> np.ndarray | None:
    return leaf.grad.data if isinstance(leaf, Tensor) and leaf.grad is not None else None


def _call_by_name(function: Callable[..., Any], named: dict[str, Any], positional: tuple[Any, ...]) -> Any:
    """A function of some of an op's inputs and options, called with Tensors, as the engine would."""
    words = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    tensors = {word: Tensor(v) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v for word, v in named.items()}
    if all(word in named for word in words):
        return function(**{word: tensors[word] for word in words})
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    return function(*(Tensor(x) if isinstance(x, np.ndarray) else x for x in positional[: len(needed)]))


def _on_tensors(law: TensorLaw) -> Law:
    def run(env: LawEnv) -> None:
        if isinstance(env.subject, TensorSubject):
            law(env, env.subject)

    run.__name__, run.__doc__ = law.__name__, law.__doc__
    return run


_TENSOR_LAWS = (recorded, aux, memory, saved, fanout, alias, modes)
CHECKS: dict[str, Law] = {**ARRAY_LAWS, **{law.__name__: _on_tensors(law) for law in _TENSOR_LAWS}}
