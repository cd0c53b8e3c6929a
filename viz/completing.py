"""What a step did not compute, because training does not need it, but a picture does.

The gradient at the model's input: without it nothing is known of the first layer's gain. And, on a tape that already
stands, the outputs that no rule has saved. Only operations of the engine are run again: they depend on nothing but
their inputs and options, and leave nothing behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from viz.reading import Call, Gradients, Outside, array_of

_ADDED = ("bias",)  # inputs that no other input's gradient depends on


def fill_in_outputs(calls: list[Call]) -> None:
    """The outputs that follow from what is known."""
    for call in calls:
        if call.array is None and (inputs := _inputs(calls, call)) is not None:
            call.array = _output(call, inputs)


def _output(call: Call, inputs: list[Any]) -> np.ndarray | None:
    with np.errstate(all="ignore"):
        out = call.op.forward(*inputs, **call.options)
    array = np.asarray(out[0] if isinstance(out, tuple) else out)
    return array.astype(call.dtype, copy=False) if array.shape == call.shape else None


def send_to_inputs(calls: list[Call], gradients: Gradients) -> None:
    """Carry the gradient on to the model's inputs, through operations that only they feed, such as a reshape."""
    early = _early(calls)
    for call in reversed(calls):
        g = gradients.at.get(call.key)
        wanted = [p for p, s in enumerate(call.sources) if _is_early(s, early) and (call.key, p) not in gradients.sent]
        inputs = _inputs(calls, call, without=_ADDED) if g is not None and wanted else None
        if g is None or inputs is None:
            continue
        for position, d in zip(wanted, _gradients(call, inputs, wanted, g), strict=False):
            if d is not None:
                source = call.sources[position]
                key = calls[source].key if isinstance(source, int) else source
                gradients.sent[call.key, position] = d
                gradients.at[key] = gradients.at[key] + d if key in gradients.at else d


def _early(calls: list[Call]) -> set[int]:
    """Calls that nothing but the model's inputs and constants feed: no gradient was asked for there."""
    early: set[int] = set()
    for number, call in enumerate(calls):
        fed = [_is_early(s, early) for s in call.sources if s is not None and not _is_constant(s)]
        if call.node is None and fed and all(fed):
            early.add(number)
    return early


def _is_early(source: Any, early: set[int]) -> bool:
    if isinstance(source, Outside):
        return source.model_input and source.array is not None and source.array.dtype.kind == "f"
    return isinstance(source, int) and source in early


def _is_constant(source: Any) -> bool:
    return isinstance(source, Outside) and not source.model_input


def _gradients(call: Call, inputs: list[Any], wanted: list[int], g: np.ndarray) -> list[np.ndarray | None]:
    """The operation once more, on leaves of its own, unseen by anybody."""
    import tinygrad_cnn as tc

    before = tape.STATE.get()
    tape.STATE.set(before._replace(grad=True, observers=(), anomaly=False, path=""))
    try:
        leaves = {p: tc.tensor(inputs[p], requires_grad=True) for p in wanted}
        arguments = [leaves.get(p, value) for p, value in enumerate(inputs)]
        y = call.op(*arguments, **call.options)
        found = tc.grad(y, list(leaves.values()), tc.tensor(g), allow_unused=True) if y.requires_grad else ()
        return [None if d is None else np.asarray(d.data) for d in found]
    finally:
        tape.STATE.set(before)


def _inputs(calls: list[Call], call: Call, without: tuple[str, ...] = ()) -> list[Any] | None:
    """The arrays and numbers that an operation of the engine was given; None if one of them is not known."""
    if not call.op.module.startswith("tinygrad_cnn."):
        return None
    values = []
    for position, source in enumerate(call.sources):
        value = array_of(calls, source) if source is not None else call.numbers.get(position)
        known = position in call.numbers if source is None else value is not None
        if not known and call.op.input_name(position) not in without:
            return None
        values.append(value)
    return values
