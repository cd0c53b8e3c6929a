"""The tape: what was computed, in which order, and the walk back. Knows nodes and arrays, no Tensor.

Nodes are numbered when they are made, and can only be made after their parents: "newest first" is a topological order.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Set
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinygrad_cnn.core import memory, sources
from tinygrad_cnn.core.anomaly import checksums, refuse_nonfinite
from tinygrad_cnn.core.hooks import run_hooks
from tinygrad_cnn.core.memory import is_stale, owner, tick, writer, written
from tinygrad_cnn.core.modes import (
    STATE,
    State,
    detect_anomaly,
    enable_grad,
    is_grad_enabled,
    no_grad,
    observe,
    replaying,
    within,
)
from tinygrad_cnn.errors import TapeError

__all__ = [  # with what others need of `memory` and `modes`
    "STATE", "Gradients", "Node", "Place", "State", "detect_anomaly", "digests", "enable_grad", "is_grad_enabled",
    "kept", "no_grad", "observe", "owner", "replaying", "tick", "walk", "within", "written",
]  # fmt: skip

# A leaf is any object with `shape` and `dtype` that is not a Node; a place is a Node or a leaf.
Place = Any


class Operation(Protocol):
    """What the walk needs of an op: to turn one node's upstream gradient into its parents' gradients."""

    name: str

    def pull(self, node: Node, g: Any, create: bool, needed: Set[Place] | None) -> list[Any]: ...


class Node:
    """One recorded operation. Nothing reachable from a node refers back to its output, so no cycle arises.

    `parents` holds, by input position, the node that made the input, or the leaf itself, or None where no
    gradient is wanted. `saved` holds only what the rules name; it becomes None when backward has freed it.
    """

    __slots__ = (
        "op", "plan", "parents", "saved", "options", "seq", "shape", "dtype", "path",
        "is_view", "hooks", "retained", "source", "digests", "__weakref__",
    )  # fmt: skip

    def __init__(
        self,
        op: Any,
        plan: Any,
        parents: tuple[Place, ...],
        saved: tuple[Any, ...] | None,
        options: dict[str, Any],
        out: np.ndarray,
        path: str,
    ) -> None:
        self.op = op
        self.plan = plan
        self.parents = parents
        self.saved = saved
        self.options = options
        self.seq = tick()
        self.shape = out.shape
        self.dtype = out.dtype
        self.path = path
        self.is_view = False
        self.hooks: list[Callable[[Any], Any]] | None = None  # gradient in, gradient or None out
        self.retained: weakref.ref[Any] | None = None  # the Tensor that asked for `.grad`
        self.source: sources.Source | None = None  # the user's line; in anomaly mode and for observers
        self.digests: tuple[int, ...] | None = None  # of the saved arrays, in anomaly mode

    def __repr__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"<{self.op.name} -> {self.shape} {self.dtype}{where}>"


# ---- the walk --------------------------------------------------------------------------------------------------


class Gradients(NamedTuple):
    """What a walk found: gradients by place, and those of Tensors that asked to retain theirs."""

    places: dict[Place, Any]
    retained: list[tuple[Any, Any]]


def walk(
    roots: Iterable[tuple[Place, Any]],
    *,
    wanted: Iterable[Place] | None = None,
    keep: bool = False,
    create: bool = False,
    hooks: bool = True,
    since: int = 0,
) -> Gradients:
    """Send gradients from the roots to the leaves, or only to the wanted places, each node once, newest first.

    Gradients are arrays, or Tensors if `create`; then the rules are themselves recorded. Nodes are freed as they
    are consumed unless `keep`. A viewer walks without the user's `hooks`. Nodes not made `since` that moment are ends,
    as leaves are: they belong to another walk. Touches no leaf: the caller commits the result, all or nothing.
    """
    state = STATE.get()
    pending: dict[Place, Any] = {}
    heap: list[tuple[int, Node]] = []

    def send(place: Place, g: Any) -> None:
        if place in pending:
            pending[place] = pending[place] + g  # never +=: the other summand may be somebody else's memory
        else:
            pending[place] = g
            if type(place) is Node and place.seq > since:
                heappush(heap, (-place.seq, place))

    # An unrecorded walk shows observers its nodes, not the arithmetic inside the rules.
    STATE.set(state._replace(grad=create, path="", observers=state.observers if create else ()))
    try:
        for place, g in roots:
            send(place, g)
        targets = leading = needed = None
        if wanted is not None:
            targets = set(wanted)
            leading = _leading_to(targets, list(pending))
            needed = leading | targets
        found: dict[Place, Any] = {}
        retained: list[tuple[Any, Any]] = []
        while heap:
            node = heappop(heap)[1]
            g = pending.pop(node)
            if node.hooks and hooks:
                g = run_hooks(node.hooks, g, node)
            if state.anomaly:
                _check_gradient(node, g)
            if node.retained is not None and (tensor := node.retained()) is not None:
                retained.append((tensor, g))
            if targets is not None and node in targets:
                found[node] = g
            if leading is not None and node not in leading:
                continue
            if node.seq < memory.last_write:
                _check_saved(node)
            if node.digests and node.saved is not None:
                _check_digests(node)
            grads = node.op.pull(node, g, create, needed)
            for observer in state.observers:
                if observer.on_backward is not None:
                    observer.on_backward(node, g, [(i, d) for i, d in enumerate(grads) if d is not None])
            for parent, d in zip(node.parents, grads, strict=True):
                if d is not None:
                    send(parent, d)
            if not keep and node.plan.saves_arrays:
                node.saved = None
        if targets is not None:
            pending = {place: g for place, g in pending.items() if place in targets}
        if state.anomaly:
            for place, g in pending.items():
                _check_gradient(place, g)
        return Gradients(pending | found, retained)
    finally:
        STATE.set(state)


def _leading_to(targets: set[Place], roots: list[Place]) -> set[Place]:
    """The nodes under the roots that have a target strictly below them."""
    seen: set[Node] = set()
    stack = [root for root in roots if type(root) is Node]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent in node.parents if type(parent) is Node)
    leading: set[Place] = set()
    for node in sorted(seen, key=lambda n: n.seq):  # parents are older than their children
        if any(parent in targets or parent in leading for parent in node.parents if parent is not None):
            leading.add(node)
    return leading


def _check_saved(node: Node) -> None:
    """Put back what was overwritten since, where a recorded write kept it; else refuse."""
    for parent in node.parents:
        if parent is not None and type(parent) is not Node and memory.was_reshaped(parent, node.seq):
            raise TapeError(
                f"{node.op.name}: a leaf was given data of another shape, {parent.shape}, after the forward pass, so "
                "its gradient would not fit; call backward before assigning .data, or compute the output again"
            )
    if any(is_stale(array, node.seq) for _, array in _saved_arrays(node)):
        node.saved = tuple(
            tuple(_as_saved(node, name, v) for v in value) if type(value) is tuple else _as_saved(node, name, value)
            for name, value in zip(node.plan.saved_names, node.saved or (), strict=True)
        )


def _as_saved(node: Node, name: str, value: Any) -> Any:
    if not is_stale(value, node.seq):
        return value
    past = memory.as_it_was(value, node.seq)
    if past is None:
        raise _overwritten(node, name, value, writer(value))
    return past


def _overwritten(node: Node, name: str, array: np.ndarray, by: str) -> TapeError:
    return TapeError(
        f"{node.op.name}: {name!r} of shape {array.shape}, saved for backward, was overwritten in place after the "
        f"forward pass, by {by}, so the gradient would be wrong; write into a copy (x.clone()), or call backward "
        "before the update"
    )


def _saved_arrays(node: Node) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in zip(node.plan.saved_names, node.saved or (), strict=False):
        yield from ((name, a) for a in (value if type(value) is tuple else (value,)) if isinstance(a, np.ndarray))


def kept(root: Node) -> dict[int, Any]:
    """The memory that a node and all under it keep for backward: its owners by id, each once."""
    owners: dict[int, Any] = {}
    seen: set[Node] = set()
    stack: list[Place] = [root]
    while stack:
        node = stack.pop()
        if type(node) is Node and node not in seen:
            seen.add(node)
            stack.extend(node.parents)
            owners.update((id(memory), memory) for memory in (owner(array) for _, array in _saved_arrays(node)))
    return owners


def digests(node: Node) -> tuple[int, ...]:
    """Checksums of what a node saved, so that anomaly mode sees writes that went past the engine."""
    return checksums(array for _, array in _saved_arrays(node))


def _check_digests(node: Node) -> None:
    for (name, array), now, before in zip(_saved_arrays(node), digests(node), node.digests or (), strict=True):
        if now != before:
            made = sources.described(node.source)
            raise _overwritten(node, name, array, f"a write into the bare array that the tape can not see ({made})")


def _check_gradient(place: Place, g: Any) -> None:
    """What each rule gave was finite: so a hook made this, or the sum over several uses, or the caller."""
    array = np.asarray(g if isinstance(g, np.ndarray | np.generic) else g.data)
    if type(place) is Node:
        what = "the gradient of its output, summed over its uses or given by a hook or the caller, is"
        refuse_nonfinite(place.op.name, what, array, place.path, place.source)
    else:
        refuse_nonfinite("backward", "the gradient of a leaf, summed over its uses, is", array, "", None)
