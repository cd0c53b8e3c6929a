"""`graph`: read a tape that already stands, from a loss back to its leaves."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from viz.assembling import assemble
from viz.completing import fill_in_outputs
from viz.describing import checked_model, modules_of, named_parameters, parameter_name, title_of
from viz.figure import SHOWN, Figure, Options
from viz.reading import Call, Gradients, Leaf, Outside, Reading
from viz.trace import Step, Trace


def graph(
    loss: Any,
    model: Any = None,
    *,
    level: str = "auto",
    depth: int | None = None,
    show: Collection[str] = SHOWN,
    theme: str = "light",
    direction: str = "TB",
    scale: str = "flow",
    max_nodes: int = 250,
    timeout: float = 10,
    thumb_scale: str = "strip",
    title: str | None = None,
) -> Figure:
    """The picture of the tape under a Tensor.

    If it has not been backpropagated, the gradients are computed for the picture alone: no `.grad` is touched, no
    hook fires, and `backward` can still be called. Else only the structure and the leaves' gradients are left, and
    the picture says so; `viz.capture` around the step keeps them all.

    level: "module", "op", or "auto": modules where there are any. depth: how deep modules are opened; None opens as
    deep as 60 cards allow. show: any of "shapes", "grads", "thumbs", "stats". theme: "light", "dark" or "auto" (SVG
    follows the reader's preference). direction: "TB" or "LR". scale: what width and colour of the gradient say, "flow"
    (norm per sample), "rms" or "update". thumb_scale: "strip", or "shared" for one scale for all maps of gradients. At
    most `max_nodes` cards are drawn; the layout may take `timeout` seconds.

    Raises ValueError if there is no tape, or an option is unknown; TypeError for what is no Tensor or no model.

    >>> import tinygrad_cnn as tc
    >>> w = tc.tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> fig = graph((w * w).sum(), level="op")
    >>> print(fig.trace.parameters[0].name, w.grad)
    w None
    """
    options = Options(level, depth, show, theme, direction, scale, max_nodes, timeout, thumb_scale)
    return Figure(trace_of(loss, model, title=title), options)


def trace_of(loss: Any, model: Any = None, *, title: str | None = None) -> Trace:
    """The Trace of a tape that stands."""
    if not hasattr(loss, "grad_fn"):
        raise TypeError(f"viz.graph: needs the Tensor of a loss, got {type(loss).__name__}")
    checked_model("viz.graph", model)
    root = loss.grad_fn
    if root is None:
        raise ValueError(
            "viz.graph: the tensor was not computed from anything that requires grad, so there is no tape to draw; was "
            "it made under no_grad(), or with a frozen model?"
        )
    nodes = nodes_under(root)
    freed = any(node.saved is None for node in nodes)
    names = named_parameters(model)
    calls, leaves = _calls(nodes, names)
    calls[-1].array = loss.data
    gradients = Gradients()
    if not freed:
        fill_in_outputs(calls)
        _send_gradients(root, np.ones_like(loss.data), gradients)
    by_id = {id(leaf.tensor): leaf for leaf in leaves}
    parameters = [by_id.get(id(p)) or Leaf(p, p.data, name) for p, name in names.values()]
    return assemble(
        Reading(
            calls=calls,
            gradients=gradients,
            loss=len(calls) - 1,
            modules=modules_of(model),
            parameters=parameters,
            step=Step(0),
            title=title if title is not None else title_of(model),
            backward="freed" if freed else "full",
        )
    )


UNKNOWN = object()  # an input that the tape does not hold


def nodes_under(root: Any) -> list[Any]:
    """The nodes of a tape, oldest first; no recursion."""
    seen = {root}
    stack = [root]
    while stack:
        for parent in stack.pop().parents:
            if type(parent) is tape.Node and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.seq)


def _send_gradients(root: Any, one: np.ndarray, gradients: Gradients) -> None:
    """Walk back without touching a leaf. Hooks and other observers are left out: looking has no side effect."""
    state = tape.STATE.get()
    tape.STATE.set(state._replace(observers=()))
    try:
        with tape.observe(on_backward=gradients.on_backward), np.errstate(all="ignore"):
            tape.walk([(root, one)], keep=True, hooks=False)
    finally:
        tape.STATE.set(state)


def _calls(nodes: list[Any], names: dict[int, Any]) -> tuple[list[Call], list[Leaf]]:
    number = {node: i for i, node in enumerate(nodes)}
    saved = _saved_arrays(nodes)
    leaves: dict[int, Leaf] = {}
    outsides: dict[int, Outside] = {}
    paths = [node.path for node in nodes]
    last_inside = max((i for i, path in enumerate(paths) if path), default=-1)
    calls = []
    for i, (node, counts) in enumerate(zip(nodes, call_numbers(paths), strict=True)):
        sources: list[Any] = []
        numbers: dict[int, Any] = {}
        for position, parent in enumerate(node.parents):
            if type(parent) is tape.Node:
                sources.append(number[parent])
            elif parent is not None:
                sources.append(_leaf(parent, node, position, names, leaves))
            else:
                known = saved.get((node, position), UNKNOWN)
                sources.append(_outside(known, i <= last_inside, outsides))
                if sources[-1] is None and (known is not UNKNOWN or _is_without_bias(node, position, names)):
                    numbers[position] = None if known is UNKNOWN else known
        calls.append(
            Call(
                node.op,
                node,
                sources,
                node.shape,
                str(node.dtype),
                node.options,
                node.path,
                counts,
                i <= last_inside,
                saved.get(node),
                numbers,
            )
        )
    return calls, list(leaves.values())


def _leaf(tensor: Any, node: Any, position: int, names: dict[int, Any], leaves: dict[int, Leaf]) -> Leaf:
    if id(tensor) not in leaves:
        known = id(tensor) in names
        # A leaf that the model does not own and that a layer takes as its data is an input.
        data = bool(names) and not known and position == 0 and bool(tensor.shape)
        name = names[id(tensor)][1] if known else parameter_name(tensor, node.path, node.op, position)
        name = (tensor.name or "") if data else name
        leaves[id(tensor)] = Leaf(tensor, tensor.data, name, parameter=not data)
    return leaves[id(tensor)]


def _outside(array: Any, inside: bool, outsides: dict[int, Outside]) -> Outside | None:
    """An input that wants no gradient leaves no trace on the tape but what a rule has saved of it."""
    if not isinstance(array, np.ndarray) or not array.ndim:
        return None
    if id(array) not in outsides:
        first = not any(outside.model_input for outside in outsides.values())
        outsides[id(array)] = Outside(array, array.shape, "", model_input=inside and first and array.ndim > 1)
    return outsides[id(array)]


def _is_without_bias(node: Any, position: int, names: dict[int, Any]) -> bool:
    """Whether an input that left no trace is the bias of a layer that has none."""
    known = {name for _, name in names.values()}
    return bool(names) and node.op.input_name(position) == "bias" and f"{node.path}.bias" not in known


def _saved_arrays(nodes: list[Any]) -> dict[Any, Any]:
    """Values that the tape still holds: by node its output, by (node, position) an input from outside."""
    found: dict[Any, Any] = {}
    for node in nodes:
        for (kind, position, _), value in zip(node.plan.origins, node.saved or (), strict=False):
            if kind == "output":
                found[node] = value
            elif kind in ("input", "inputs"):
                for i, v in enumerate(value) if kind == "inputs" else ((position, value),):
                    parent = node.parents[i]
                    if type(parent) is not tape.Node:
                        found[node, i] = v
                    elif isinstance(v, np.ndarray):
                        found[parent] = v
    return found


def call_numbers(paths: list[str]) -> list[list[int]]:
    """For each operation, which call of each module on its path it is in: leaving a module ends its call.

    Two calls of one module without anything between them can not be told apart by their paths and count as one.
    """
    counts: dict[str, int] = {}
    before: list[str] = []
    numbers = []
    for path in paths:
        prefixes = _prefixes(path)
        for prefix in prefixes:
            if prefix not in before:
                counts[prefix] = counts.get(prefix, -1) + 1
        numbers.append([counts[prefix] for prefix in prefixes])
        before = prefixes
    return numbers


def _prefixes(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
