"""Measuring a step in passing: norms of what flows by, and nothing of it kept.

A meter sees every array while it is warm and keeps a few numbers; `capture` would keep the arrays. It holds on to one
gradient only where a tensor has several readers and a picture may draw some of them as one: their sum is needed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from viz import measure
from viz.reading import RECTIFIERS
from viz.trace import Magnitude, Trace

Key = tuple[Any, ...]  # what names an operation in every step: path, calls, operation, number
Groups = dict[Key, dict[str, set[tuple[Key, int]]]]
SAMPLE = 4096  # values from which the usual size before a rectifier is estimated


def measured(array: np.ndarray) -> Magnitude:
    """What `measure.magnitude` says (its flow being the norm), in one pass where the numbers allow it."""
    flat = array.ravel("K")  # in the order of memory: no copy
    if flat.dtype == np.float32 and flat.size:
        with np.errstate(all="ignore"):
            square = float(np.dot(flat, flat))
        if 1e-30 < square < 1e36:  # else a square has underflowed or overflowed, or something is not finite
            norm = math.sqrt(square)
            return Magnitude(norm, norm, norm / math.sqrt(flat.size), max(float(flat.max()), -float(flat.min())))
        if square == 0 and not flat.any():
            return Magnitude(0.0, 0.0, 0.0, 0.0)
    return measure.magnitude(flat)


@dataclass
class Rectified:
    """A rectifier in one step: the share of active units, the highest value before it by channel, the usual size."""

    active: float
    highest: np.ndarray
    usual: float
    samples: int


@dataclass
class Pass:
    """What was measured of one forward and backward pass, by node of the tape."""

    names: dict[Any, Key] = field(default_factory=dict)  # node -> path, calls, operation, how many such came before
    counts: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    out: dict[Any, Magnitude] = field(default_factory=dict)
    rectified: dict[Any, Rectified] = field(default_factory=dict)
    at: dict[Any, Magnitude] = field(default_factory=dict)
    sent: dict[tuple[Any, int], Magnitude] = field(default_factory=dict)
    partial: dict[tuple[Any, str], Magnitude] = field(default_factory=dict)
    outside: dict[tuple[Any, int], Magnitude] = field(default_factory=dict)  # of inputs that nobody computed
    values: dict[Any, float] = field(default_factory=dict)  # of scalars
    before: dict[int, np.ndarray] = field(default_factory=dict)  # id(leaf) -> its values before any update
    totals: dict[int, np.ndarray] = field(default_factory=dict)  # id(leaf) -> its gradient in this pass
    leaves: dict[int, Any] = field(default_factory=dict)  # so that ids stay theirs
    exits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    arriving: dict[Any, list[tuple[Any, int, np.ndarray, Magnitude]]] = field(default_factory=lambda: defaultdict(list))
    inputs: dict[Any, tuple[Any, ...]] = field(default_factory=dict)  # and, of a step that keeps maps, the arrays
    outputs: dict[Any, np.ndarray] = field(default_factory=dict)
    upstream: dict[Any, np.ndarray] = field(default_factory=dict)
    downstream: dict[tuple[Any, int], np.ndarray] = field(default_factory=dict)
    root: Any = None
    again: bool = False  # a node was crossed twice: norms can not be added, so this pass was not measured right

    def visited(self) -> list[Any]:
        """The nodes that the gradient crossed, in the order of the tape."""
        return sorted(self.at, key=lambda node: node.seq)


class Meter:
    """Watches one step of training; `last` is what it measured of the last complete pass."""

    def __init__(self, model: Any, groups: Groups | None = None, *, keep: bool = False) -> None:
        self.model, self.keep = model, keep
        self.groups = groups or {}
        self._current, self._complete = Pass(), Pass()
        self._stack: ExitStack | None = None

    def start(self) -> None:
        """Begin to watch this thread."""
        self._stack = ExitStack()
        self._stack.enter_context(tape.observe(self._on_record, self._on_backward))
        for path, module in self.model.named_modules() if self.model is not None else ():
            self._stack.callback(module.register_forward_hook(self._leaving(path)).remove)

    def stop(self) -> None:
        """Leave no observer and no hook behind."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None

    @property
    def last(self) -> Pass | None:
        """The last pass that went forward and backward; None if there was none."""
        return next((p for p in (self._current, self._complete) if p.root is not None), None)

    # -- watching --

    def _on_record(self, node: Any, op: Any, args: tuple[Any, ...], options: dict[str, Any], out: Any) -> None:
        now = self._current
        if now.root is not None:  # a backward pass is over: this belongs to the next
            self._complete, self._current = now, Pass()
            now = self._current
        if node is None:
            return
        path = tape.STATE.get().path
        name = (path, _calls(path, now.exits), op.name)
        now.names[node] = (*name, now.counts[name])
        now.counts[name] += 1
        now.out[node] = measured(out.data)
        if op.name in RECTIFIERS:
            now.rectified[node] = _rectified(op.name, args[0], out.data)
        if self.keep:
            now.inputs[node], now.outputs[node] = args, out.data
        if out.data.size == 1:
            now.values[node] = float(out.data.reshape(()))
        for position, (parent, arg) in enumerate(zip(node.parents, args, strict=False)):
            if parent is None:
                array = arg.data if hasattr(arg, "grad_fn") else arg
                if isinstance(array, np.ndarray) and array.ndim and array.dtype.kind == "f":
                    now.outside[node, position] = measured(array)
            elif type(parent) is not tape.Node and id(parent) not in now.before:
                now.before[id(parent)] = parent.data.copy()
                now.leaves[id(parent)] = parent

    def _leaving(self, path: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            if tape.is_grad_enabled():  # a validation between two steps is no part of either
                self._current.exits[path] += 1

        return hook

    def _on_backward(self, node: Any, g: np.ndarray, grads: list[tuple[int, np.ndarray]]) -> None:
        now = self._current if node in self._current.names or self._complete.root is None else self._complete
        if now.root is None:
            now.root = node
        now.again = now.again or node in now.at
        arrived = now.arriving.pop(node, [])
        now.at[node] = arrived[0][3] if len(arrived) == 1 and arrived[0][2] is g else measured(g)
        if len(arrived) > 1:
            self._add_groups(now, node, arrived)
        if self.keep:
            now.upstream[node] = g
        for position, d in grads:
            if self.keep:
                now.downstream[node, position] = d
            magnitude = now.at[node] if d is g else measured(d)
            now.sent[node, position] = magnitude
            parent = node.parents[position]
            if type(parent) is tape.Node:
                now.arriving[parent].append((node, position, d, magnitude))
            elif parent is not None:
                key = id(parent)
                now.totals[key] = now.totals[key] + d if key in now.totals else d

    def _add_groups(self, now: Pass, node: Any, arrived: list[tuple[Any, int, np.ndarray, Magnitude]]) -> None:
        """The sums that the pictures of the first step asked for, by the readers' names."""
        if not self.groups:
            return
        wanted = self.groups.get(now.names[node], {})
        for group, readers in wanted.items():
            parts = [d for reader, position, d, _ in arrived if (now.names[reader], position) in readers]
            if len(parts) == len(arrived):
                now.partial[node, group] = now.at[node]
            elif len(parts) > 1:
                now.partial[node, group] = measured(np.sum(parts, axis=0))


def groups_of(trace: Trace, names: Mapping[int, Key]) -> Groups:
    """Where a tensor fans out: by its name, for each group of readers that a picture may draw as one, those readers."""
    by_id = {node.id: node for node in trace.nodes}
    found: Groups = {}
    for node in trace.nodes:
        if node.partial and node.id in names:
            edges = [edge for edge in trace.edges if edge.source == node.id and edge.target in names]
            found[names[node.id]] = {
                group: {(names[edge.target], edge.position) for edge in edges if group in by_id[edge.target].groups}
                for group in node.partial
            }
    return found


def _calls(path: str, exits: Mapping[str, int]) -> tuple[int, ...]:
    parts = path.split(".") if path else []
    return tuple(exits[".".join(parts[: i + 1])] for i in range(len(parts)))


def _rectified(op: str, source: Any, y: np.ndarray) -> Rectified:
    x = source.data if hasattr(source, "grad_fn") else np.asarray(source)
    active = np.count_nonzero(y > 0) if op == "relu" else np.count_nonzero((y > 0) & (y < 6))
    highest = x
    while highest.ndim > 2:
        highest = highest.max(axis=0 if highest.ndim == x.ndim else -1)
    channels = highest.max(axis=-1) if x.ndim > 2 else x.max(axis=0) if x.ndim == 2 else x
    some = x.ravel("K")[:: max(1, x.size // SAMPLE)]
    some = some[np.isfinite(some)].astype(np.float64)
    spread = np.abs(some if (channels > 0).any() else some - some.mean()) if some.size else some
    rank = int(0.99 * (spread.size - 1))
    usual = float(np.partition(spread, rank)[rank]) if some.size else 0.0
    return Rectified(active / max(y.size, 1), np.asarray(channels, dtype=np.float64), usual, len(x) if x.ndim else 1)
