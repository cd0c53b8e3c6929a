"""The gain that an operation has when nothing is wrong: what a layer's own gain is compared with.

A linear layer, an activation or a max-pool keeps the norm of a gradient, about; a mean over n shrinks it by sqrt(n),
however healthy the network. Where an operation's usual gain depends on the gradient, it is a range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from viz.trace import Node, Parameter, Trace
from viz.wording import averaged

Range = tuple[float, float]

_COPIES = ("broadcast_to", "interpolate", "add", "sub", "mul", "div", "maximum", "minimum", "where")  # of one element
_PICKS = ("logsumexp", "softmax", "std", "var", "norm")  # between a mean over n and one element of n


def usual_gain(family: str, nodes: Sequence[Node], parameters: Sequence[Parameter], gain: float | None,
               trace: Trace) -> float:  # fmt: skip
    """The usual gain of a card, nearest to the one it has."""
    if family == "normalization":
        return _undone(nodes, parameters, gain)
    low, high = _through(nodes, trace)
    return min(max(gain, low), high) if gain is not None else low


def _undone(nodes: Sequence[Node], parameters: Sequence[Parameter], gain: float | None) -> float:
    """A normalisation undoes whatever scale it is given; only its own weight is its own doing."""
    numbers = {node.id for node in nodes}
    own = [p for p in parameters if any(node in numbers for node, _ in p.uses)]
    named = [p for p in own if p.name.endswith("weight") or any(name == "weight" for _, name in p.uses)]
    weight = named[0].weight.rms if named and named[0].weight is not None else 1.0
    return gain / weight if gain and weight else 1.0


def _through(nodes: Sequence[Node], trace: Trace) -> Range:
    """From a card's inputs to its output; along parallel ways, the largest counts."""
    reached: dict[int, Range] = {}
    for node in nodes:
        before = [reached[source] for source in trace.inputs[node.id] if source in reached] or [(1.0, 1.0)]
        low, high = _of(node, trace)
        reached[node.id] = max(a for a, _ in before) * low, max(b for _, b in before) * high
    return reached[nodes[-1].id] if nodes else (1.0, 1.0)


def _of(node: Node, trace: Trace) -> Range:
    """The range of one operation."""
    if (n := averaged(node, trace)) > 1:
        return 1 / math.sqrt(n), 1 / math.sqrt(n)
    sources = [trace.nodes[source] for source in trace.inputs[node.id]]
    if not sources:
        return 1.0, 1.0
    ratio = math.prod(sources[0].shape) / max(math.prod(node.shape), 1)
    if node.op == "sum" and ratio > 1:  # each of n elements gets a copy of the gradient
        return math.sqrt(ratio), math.sqrt(ratio)
    if node.op in _COPIES:  # the gradients of n copies are added up: they may agree or not
        smallest = min(math.prod(source.shape) for source in sources)
        return 1.0, math.sqrt(max(math.prod(node.shape) / max(smallest, 1), 1.0))
    if node.op == "softmax" and node.shape:
        ratio = node.shape[-1]
    return (1 / math.sqrt(ratio), 1.0) if node.op in _PICKS and ratio > 1 else (1.0, 1.0)
