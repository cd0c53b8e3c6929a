"""Which calls of a reading a picture shows, and where in them the model begins and ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from viz.reading import Call, Leaf, Outside, Reading

SQUASHING = frozenset({"softmax", "log_softmax", "sigmoid", "tanh"})


@dataclass(frozen=True)
class Extent:
    """Numbers of calls, in the order in which they ran."""

    kept: list[int]  # what the loss depends on
    batch: int | None  # the batch's length
    batched: set[int]  # calls that depend on the model's input and have that length along the first axis
    output: int | None  # whose gradient is the reference


def extent_of(reading: Reading) -> Extent:
    """The extent of a reading; without a model, the net's part of the calls is guessed and marked as `inside`."""
    calls, kept = reading.calls, _needed(reading)
    if not any(call.inside for call in calls):
        _guess_model(calls, kept)
    batch, batched = _batch(calls, kept)
    last = reading.output if reading.output is not None else _last(reading, kept, batched)
    return Extent(kept, batch, batched, _before_squashing(calls, last))


def is_model_input(source: Any) -> bool:
    """Whether this is what the model was given, and not a parameter or a constant."""
    return (isinstance(source, Leaf) and not source.parameter) or (isinstance(source, Outside) and source.model_input)


def _needed(reading: Reading) -> list[int]:
    """The calls that the loss depends on; all of them if there is no loss."""
    if reading.loss is None:
        return list(range(len(reading.calls)))
    seen, stack = {reading.loss}, [reading.loss]
    while stack:
        for source in reading.calls[stack.pop()].sources:
            if isinstance(source, int) and source not in seen:
                seen.add(source)
                stack.append(source)
    return sorted(seen)


def _guess_model(calls: Sequence[Call], kept: Sequence[int]) -> None:
    """Without a module, the net is what lies between the first array from outside and the last parameter read."""
    arrays = ((i, s) for i in kept for s in calls[i].sources if isinstance(s, Outside) and len(s.dimensions) > 1)
    first, data = next(arrays, (0, None))
    readers = [i for i in kept if any(isinstance(s, Leaf) and s.parameter for s in calls[i].sources)]
    if data is None or not readers or readers[-1] < first:
        return
    data.model_input = True
    depends: set[int] = set()
    for i in kept:
        if i <= readers[-1] and any(s is data or s in depends for s in calls[i].sources if s is not None):
            depends.add(i)
            calls[i].inside = True


def _batch(calls: Sequence[Call], kept: Sequence[int]) -> tuple[int | None, set[int]]:
    fed = [s for i in kept for s in calls[i].sources if isinstance(s, Leaf | Outside) and is_model_input(s)]
    shapes = [source.dimensions for source in fed]
    batch = next((shape[0] for shape in shapes if shape), None)
    depends: set[int] = set()
    for i in kept:
        if any(is_model_input(s) or (isinstance(s, int) and s in depends) for s in calls[i].sources):
            depends.add(i)
    return batch, {i for i in depends if batch is not None and calls[i].shape[:1] == (batch,)}


def _last(reading: Reading, kept: Sequence[int], batched: set[int]) -> int | None:
    """The last call of the model; without one, the last of more than one element."""
    inside = [i for i in kept if reading.calls[i].inside]
    several = [i for i in kept if math.prod(reading.calls[i].shape) > 1]
    candidates = [i for i in inside if i in batched] or inside or several
    return candidates[-1] if candidates else reading.loss


def _before_squashing(calls: Sequence[Call], output: int | None) -> int | None:
    """A softmax or sigmoid at the end belongs to the loss.

    A confident one hardly lets a gradient through, and the loss that is made for it gives it all the more.
    """
    while output is not None and calls[output].op.name in SQUASHING:
        source = calls[output].sources[0]
        if not isinstance(source, int):
            break
        output = source
    return output
