"""What two readers of the tape hand over to be assembled into a Trace: calls, where their inputs come from, gradients.

The recorder (capturing.py) sees operations while they run; the walk (walking.py) finds them on a finished tape.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from viz import measure
from viz.trace import Module, Step

ENOUGH = 256  # values that tell what is usual
RECTIFIERS = frozenset({"relu", "relu6"})  # ops whose gradient is zero wherever the output is


@dataclass(eq=False)
class Call:
    """One operation: its inputs come from an earlier call (its number), a leaf, or from outside (an array)."""

    op: Any
    node: Any
    sources: list[int | Leaf | Outside | None]
    shape: tuple[int, ...]
    dtype: str
    options: dict[str, Any]
    path: str = ""
    calls: list[int] = field(default_factory=list)
    inside: bool = False
    array: np.ndarray | None = None
    numbers: dict[int, Any] = field(default_factory=dict)  # inputs that are no arrays, by position

    @property
    def key(self) -> Any:
        """What its gradients are filed under: its node, or itself if it was not recorded."""
        return self.node if self.node is not None else self


@dataclass(eq=False)
class Leaf:
    """A Tensor that nobody computed: a parameter, or an input that wants a gradient."""

    tensor: Any
    values: np.ndarray
    name: str = ""
    parameter: bool = True

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The shape of its values."""
        return tuple(self.values.shape)


@dataclass(eq=False)
class Outside:
    """An array or constant that came from outside the tape."""

    array: np.ndarray | None
    shape: tuple[int, ...] = ()
    name: str = ""
    model_input: bool = False

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The shape, as far as it is known."""
        return tuple(self.array.shape) if self.array is not None else self.shape


@dataclass
class Gradients:
    """What a backward pass sent: by node the summed gradient at its output, by (node, position) what it sent on.

    Calls that were not recorded, and inputs from outside, stand for themselves; see completing.py.
    """

    at: dict[Any, np.ndarray] = field(default_factory=dict)
    sent: dict[tuple[Any, int], np.ndarray] = field(default_factory=dict)

    def on_backward(self, node: Any, g: np.ndarray, grads: Sequence[tuple[int, np.ndarray]]) -> None:
        """The observer's half: adds up, should several backward passes cross the same node."""
        self.at[node] = self.at[node] + g if node in self.at else g
        for position, d in grads:
            key = (node, position)
            self.sent[key] = self.sent[key] + d if key in self.sent else d

    def at_leaves(self) -> dict[int, np.ndarray]:
        """id of a leaf -> its gradient, added up over all uses."""
        totals: dict[int, np.ndarray] = {}
        for (node, position), d in self.sent.items():
            leaf = node.parents[position] if type(node) is tape.Node else None
            if leaf is not None and type(leaf) is not tape.Node:
                totals[id(leaf)] = totals[id(leaf)] + d if id(leaf) in totals else d
        return totals


@dataclass
class Activity:
    """Of a rectifier over the steps that were seen: the highest value before it, by channel, and what is usual."""

    highest: np.ndarray  # (channels,); where only the output is known, 0 for a silent channel
    usual: float  # how far values get from zero, or from their mean if no channel is active; 0 if not known
    samples: int
    steps: int = 1

    def joined(self, later: Activity) -> Activity:
        """This and a later step together."""
        if later.highest.shape != self.highest.shape:
            return later
        highest, usual = np.maximum(self.highest, later.highest), max(self.usual, later.usual)
        return Activity(highest, usual, self.samples + later.samples, self.steps + later.steps)


@dataclass
class Reading:
    """All that `assemble` needs."""

    calls: list[Call]
    gradients: Gradients
    loss: int | None = None  # numbers of calls
    output: int | None = None
    modules: list[Module] = field(default_factory=list)
    parameters: list[Leaf] = field(default_factory=list)  # of the model, used or not, in its order
    updates: Mapping[int, float] = field(default_factory=dict)  # id(tensor) -> update/weight
    activity: Mapping[tuple[Any, ...], Activity] = field(default_factory=dict)
    step: Step = field(default_factory=lambda: Step(0))
    title: str = ""
    backward: str = "full"


def activity_key(call: Call, ordinal: int) -> tuple[Any, ...]:
    """What identifies an operation from one step to the next."""
    return (call.path, tuple(call.calls), call.op.name, ordinal)


def ordinals(calls: Iterable[Call]) -> list[int]:
    """For each call, how many calls of the same op came before it in the same module call."""
    seen: dict[tuple[Any, ...], int] = defaultdict(int)
    numbers = []
    for call in calls:
        key = (call.path, tuple(call.calls), call.op.name)
        numbers.append(seen[key])
        seen[key] += 1
    return numbers


def activity_of(call: Call, before: np.ndarray | None, batched: bool) -> Activity | None:
    """What a rectifier did in one step, from the values before it or else from its output."""
    values = before if before is not None else call.array
    if call.op.name not in RECTIFIERS or values is None or not values.size:
        return None
    highest = measure.highest_by_channel(values, batched=batched)
    usual = _usual(before, highest, batched) if before is not None else 0.0
    return Activity(highest, usual, len(values) if batched else 1)


def _usual(before: np.ndarray, highest: np.ndarray, batched: bool) -> float:
    """The magnitude that 99% stay under in the active channels; if there are none, of the distances from the mean.

    Few values tell little of how far they may get: then it is taken to be larger.
    """
    finite = np.isfinite(before)
    if (highest > 0).any():
        channel = 1 if batched and before.ndim > 1 else 0
        chosen = np.abs(before.compress(highest > 0, axis=channel)[finite.compress(highest > 0, axis=channel)])
    else:
        chosen = np.abs(before[finite] - before[finite].mean()) if finite.any() else before[finite]
    return float(np.quantile(chosen, 0.99)) * math.sqrt(max(ENOUGH / chosen.size, 1.0)) if chosen.size else 0.0


def array_of(calls: Sequence[Call], source: Any) -> np.ndarray | None:
    """The values of an input of a call, where they are known."""
    if isinstance(source, int):
        return calls[source].array
    return source.values if isinstance(source, Leaf) else source.array if source is not None else None
