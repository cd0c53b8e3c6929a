"""The maps of a step: thumbnails, crops and histograms, from the arrays that a meter kept for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from viz import measure
from viz.assembling import MOST_THUMBS
from viz.crops import crops_of
from viz.recording_meter import Pass
from viz.recording_run import Maps
from viz.trace import Thumb, Trace


def maps_of(trace: Trace, seen: Pass, nodes: dict[int, Any], leaves: dict[str, Any]) -> Maps:
    """The maps of a pass, put where the first step's Trace has them. nodes: by number; leaves: see `record`."""
    maps = Maps()
    if len(trace.nodes) > MOST_THUMBS:
        return maps
    for node in trace.nodes:
        if node.id in nodes:
            _operation(maps, node, seen, nodes[node.id])
    for edge in trace.edges:
        source = trace.nodes[edge.source]
        if source.kind == "input" and edge.target in nodes:
            array = _array(seen, seen.inputs[nodes[edge.target]][edge.position])
            _keep(maps.nodes, source.id, out=measure.samples(array) if array is not None else None)
    for parameter in trace.parameters:
        leaf = leaves.get(f"p{parameter.id}")
        weight, g = seen.before.get(id(leaf)), seen.totals.get(id(leaf))
        if weight is not None:
            grad = measure.filters(g) if g is not None else None
            _keep(maps.parameters, parameter.id, weight=measure.filters(weight), grad=grad)
        if g is not None:
            maps.histograms[str(parameter.id)] = measure.histogram(g)
    return maps


def _operation(maps: Maps, node: Any, seen: Pass, made: Any) -> None:
    y, g = seen.outputs[made], seen.upstream.get(made)
    grad = measure.maps(_one(g, node.batched), signed=True) if g is not None else None
    _keep(maps.nodes, node.id, out=measure.maps(_one(y, node.batched)), grad=grad)
    inputs = [_array(seen, value) for value in seen.inputs[made]]
    crops = crops_of(node.op, node, inputs, y, g, [seen.downstream.get((made, i)) for i in range(len(inputs))])
    if crops:
        maps.crops[str(node.id)] = crops


def _keep(where: dict[str, dict[str, Thumb]], number: int, **thumbs: Thumb | None) -> None:
    found = {name: thumb for name, thumb in thumbs.items() if thumb is not None}
    if found:
        where.setdefault(str(number), {}).update(found)


def _one(array: np.ndarray, batched: bool) -> np.ndarray:
    return array[0] if batched and len(array) else array


def _array(seen: Pass, value: Any) -> np.ndarray | None:
    """The values of an input; of a parameter those before the optimiser's step."""
    array = seen.before.get(id(value), value.data) if hasattr(value, "grad_fn") else value
    return array if isinstance(array, np.ndarray) and array.ndim else None
