"""Gradients asked for: `backward` adds them to the leaves, `grad` returns them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.hooks import run_hooks
from tinygrad_cnn.core.operators import Operators
from tinygrad_cnn.core.tape import Place
from tinygrad_cnn.errors import ShapeError, TapeError

if TYPE_CHECKING:
    from tinygrad_cnn.core.tensor import Tensor

_lock = threading.RLock()  # adding up recorded gradients runs operations, and so observers


def backward(
    output: Tensor,
    gradient: Any,
    retain_graph: bool | None,
    create_graph: bool,
    inputs: Sequence[Tensor] | Tensor | None,
) -> None:
    """See `Tensor.backward`."""
    targets = None if inputs is None else _listed("backward", "inputs", inputs)
    wanted = None if targets is None else [_place("backward", t) for t in targets]
    keep = create_graph if retain_graph is None else retain_graph
    with np.errstate(all="ignore"):  # inf and NaN are results here, not events
        roots = [_root("backward", output, gradient, create_graph)]
        try:
            _accumulate(roots, targets, wanted, keep, create_graph)
        except Exception as error:
            _explain_what_is_left(error, keep)
            raise


def _accumulate(
    roots: list[tuple[Place, Any]],
    targets: list[Tensor] | None,
    wanted: list[Place] | None,
    keep: bool,
    create_graph: bool,
) -> None:
    found = tape.walk(roots, wanted=wanted, keep=keep, create=create_graph)
    if targets is None:
        reached = dict(found.places)
    else:
        reached = {t: found.places[p] for t, p in zip(targets, wanted or (), strict=True) if p in found.places}
    reached.update(found.retained)  # one that is also a target gets its gradient once
    leaf_gradients = [
        (t, _hooked(t, g, create_graph) if t._node is None else g) for t, g in reached.items() if t.requires_grad
    ]
    del found, reached
    _commit(leaf_gradients, create_graph)


def grad(
    outputs: Sequence[Tensor] | Tensor,
    inputs: Sequence[Tensor] | Tensor,
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the outputs with respect to the inputs, always a tuple; touches no `.grad`.

    `grad_outputs` weights the outputs and may be left out for outputs of one element. With `create_graph` the
    gradients are themselves on the tape. An input that the outputs do not depend on is an error, or None if
    `allow_unused`.

    >>> import tinygrad_cnn as tc
    >>> x = tc.tensor(3.0, requires_grad=True)
    >>> (dx,) = tc.grad(x**3, x, create_graph=True)
    >>> dx
    tensor(27., grad_fn=mul)
    >>> tc.grad(dx, x)
    (tensor(18.),)
    """
    ys = _listed("grad", "outputs", outputs)
    xs = _listed("grad", "inputs", inputs)
    weights = _weights(ys, grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    places = [_place("grad", x) for x in xs]
    roots = [_root("grad", y, w, create_graph) for y, w in zip(ys, weights, strict=True)]
    with np.errstate(all="ignore"):
        try:
            found = tape.walk(roots, wanted=places, keep=keep, create=create_graph).places
            for place in list(found):
                if type(place) is not tape.Node and place._hooks:
                    found[place] = _hooked(place, found[place], create_graph)
        except Exception as error:
            _explain_what_is_left(error, keep)
            raise
    missing = [i for i, place in enumerate(places) if place not in found]
    if missing and not allow_unused:
        listed = ", ".join(f"inputs[{i}]" + (f" ({xs[i].name!r})" if xs[i].name else "") for i in missing)
        shapes = ", ".join(str(xs[i].shape) for i in missing)
        raise TapeError(
            f"grad: the outputs do not depend on {listed} of shape {shapes}; pass allow_unused=True to get None for it"
        )
    results: list[Tensor | None] = []
    taken: set[int] = set()
    for x, place in zip(xs, places, strict=True):
        g = found.get(place)
        if g is not None and not create_graph:
            # The same input listed twice gets two arrays; memory is never shared with anybody else's.
            g = x._wrap(_copied(g, x.data) if id(g) in taken else _owned(g, x.data, 2), None)
            taken.add(id(found[place]))
        results.append(g)
    return tuple(results)


# ---- helpers ---------------------------------------------------------------------------------------------------


def _root(name: str, output: Tensor, gradient: Any, create: bool) -> tuple[Place, Any]:
    place = _place(name, output, "output")
    if gradient is None:
        if output.size != 1:
            raise ValueError(
                f"{name}: the output has shape {output.shape}, so its gradient must be given; or reduce it to one "
                "number, for instance with .sum()"
            )
        array = np.ones_like(output.data)
        return place, output._wrap(array, None) if create else array
    given: Any = gradient if isinstance(gradient, Operators) else None
    array = np.asarray(gradient if given is None else given._data)
    if array.shape != output.shape:
        raise ShapeError(f"{name}: the gradient has shape {array.shape}, the output {output.shape}; they must be equal")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: the gradient must be real numbers, got dtype {array.dtype}")
    if create:
        given = output._wrap(array, None) if given is None else given
        return place, given if given.dtype == output.dtype else given.astype(output.dtype)
    return place, array.astype(output.dtype, copy=False)


def _place(name: str, tensor: Tensor, role: str = "input") -> Place:
    if tensor._node is not None:
        return tensor._node
    if not tensor._requires_grad:
        label = f" {tensor.name!r}" if tensor.name else ""
        why = (
            "it was computed from nothing that requires grad, or under tc.no_grad()"
            if role == "output"
            else "create it with requires_grad=True"
        )
        raise TapeError(f"{name}: the {role}{label} of shape {tensor.shape} does not require grad; {why}")
    return tensor


def _listed(name: str, role: str, tensors: Any) -> list[Tensor]:
    listed = list(tensors) if isinstance(tensors, list | tuple) else [tensors]
    for t in listed:
        if not isinstance(t, Operators):
            raise TypeError(f"{name}: {role} must be Tensors, got {type(t).__name__}")
    if not listed:
        raise ValueError(f"{name}: {role} is empty")
    return listed


def _weights(ys: list[Tensor], grad_outputs: Any) -> list[Any]:
    if grad_outputs is None:
        return [None] * len(ys)
    weights = list(grad_outputs) if isinstance(grad_outputs, list | tuple) else [grad_outputs]
    if len(weights) != len(ys):
        raise ValueError(f"grad: {len(weights)} grad_outputs for {len(ys)} outputs; give one each")
    return weights


def _hooked(leaf: Tensor, g: Any, create: bool) -> Any:
    if not leaf._hooks:
        return g
    with tape.enable_grad() if create else tape.no_grad():
        return run_hooks(leaf._hooks, g, leaf)


def _explain_what_is_left(error: Exception, keep: bool) -> None:
    """After an exception in a rule or hook; a TapeError speaks for itself."""
    if not isinstance(error, TapeError):
        freed = "" if keep else "; part of the graph is freed, so compute the output again before the next backward"
        error.add_note(f"backward stopped here: no .grad has changed{freed}")


def _commit(gradients: list[tuple[Tensor, Any]], create: bool) -> None:
    """Add the gradients to `.grad`, all of them, each in memory of its own."""
    ready: list[tuple[Tensor, Any]] = []
    while gradients:
        tensor, g = gradients.pop()
        ready.append((tensor, g if create else _owned(g, tensor.data, 1)))
    with _lock:
        totals = [g if t._grad is None else (t._grad if create else t._grad._data) + g for t, g in ready]
        for (tensor, _), total in zip(ready, totals, strict=True):
            tensor._grad = total if create else tensor._wrap(np.asarray(total), None)  # 0-d sums are scalars


def _owned(g: Any, like: np.ndarray, references: int) -> np.ndarray:
    """The gradient itself if nobody else can reach its memory, else a copy; `references` are the caller's own."""
    if isinstance(g, np.ndarray) and g.base is None and sys.getrefcount(g) <= _ALONE + references:
        return g
    return _copied(g, like)


def _copied(g: Any, like: np.ndarray) -> np.ndarray:
    copy = np.empty_like(like)
    np.copyto(copy, g)
    return copy


def _calibrated() -> int:
    """How many references Python counts inside `_owned` for an array that only its caller holds, less that one."""

    def inside(g: Any) -> int:
        return sys.getrefcount(g)

    def caller() -> int:
        alone = np.empty(1)
        return inside(alone)

    return caller() - 1


_ALONE = _calibrated()
