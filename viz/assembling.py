"""From calls and gradients to the plain numbers and small maps of a Trace."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from viz import measure
from viz.completing import send_to_inputs
from viz.crops import crops_of
from viz.describing import plain_options
from viz.extent import extent_of, is_model_input
from viz.leaves import Leaves
from viz.reading import Activity, Call, Leaf, Outside, Reading, activity_key, activity_of, array_of, ordinals
from viz.trace import Edge, Magnitude, Node, Silent, Trace

FAR = 4.0  # times as far below zero as active channels ever get from it: no chance, and no way back
MOST_THUMBS = 400  # operations; a longer tape gets no thumbnails, nobody could look at them all


def assemble(reading: Reading) -> Trace:
    """The Trace of a reading; only what the loss depends on is kept, and the parameters that it misses."""
    return _Assembly(reading).trace()


class _Assembly:
    """Nodes and edges are made in the order of the calls; what comes from outside, when its first reader appears."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.calls, self.gradients = reading, reading.calls, reading.gradients
        self.extent = extent_of(reading)
        if reading.backward == "full":
            send_to_inputs(reading.calls, reading.gradients)
        self.thumbs = len(self.extent.kept) <= MOST_THUMBS
        self.leaves = Leaves(reading, thumbs=self.thumbs)
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.node_of: dict[Any, Node] = {}  # by number of a call, or by the leaf or array from outside itself
        self.known: dict[tuple[int, bool], Magnitude] = {}  # an upstream gradient often is what one reader sent

    def trace(self) -> Trace:
        reading, extent = self.reading, self.extent
        numbers = ordinals(self.calls)
        for index in extent.kept:
            call = self.calls[index]
            for source in call.sources:
                self.from_outside(source)
            node = self.operation(call, index in extent.batched, numbers[index])
            self.node_of[index] = self.added(node)
            for position, source in enumerate(call.sources):
                self.edge(node, call, position, source)
        self.partial_sums()
        step = reading.step
        step.batch = extent.batch
        if reading.loss is not None and step.loss is None:
            step.loss = _scalar(self.calls[reading.loss].array)
        return Trace(
            nodes=self.nodes,
            edges=self.edges,
            parameters=self.leaves.parameters(self.calls, set(extent.kept)),
            steps=[step],
            modules=reading.modules,
            title=reading.title,
            output=self.node_of[extent.output].id if extent.output in self.node_of else None,
            loss=self.node_of[reading.loss].id if reading.loss in self.node_of else None,
            backward=reading.backward,
        )

    def added(self, node: Node) -> Node:
        node.id = len(self.nodes)
        self.nodes.append(node)
        return node

    # -- nodes --

    def from_outside(self, source: Any) -> None:
        """A node for an input or a constant that nobody has read before; numbers and parameters get none."""
        if not isinstance(source, Leaf | Outside) or source in self.node_of:
            return
        if source.parameter if isinstance(source, Leaf) else not source.dimensions:
            return
        kind = "input" if is_model_input(source) else "constant"
        node = Node(0, kind, kind, name=source.name, shape=list(source.dimensions))
        node.batched = kind == "input" and source.dimensions[:1] == (self.extent.batch,)
        values = source.values if isinstance(source, Leaf) else source.array
        if values is not None:
            node.dtype = str(values.dtype)
            node.out = measure.magnitude(values, batched=node.batched) if values.dtype.kind == "f" else None
            if kind == "input":
                self.thumb(node, "out", measure.samples, values)
        g = self.leaves.gradient(source.tensor) if isinstance(source, Leaf) else self.gradients.at.get(source)
        if g is not None:
            node.grad = measure.magnitude(g, batched=node.batched)
            self.thumb(node, "grad", measure.strongest, g)
        self.node_of[source] = self.added(node)

    def operation(self, call: Call, batched: bool, ordinal: int) -> Node:
        """What one call computed, and the gradient that came to its output."""
        node = Node(
            0,
            "op",
            call.op.name,
            path=call.path,
            calls=list(call.calls),
            inside=call.inside,
            shape=list(call.shape),
            dtype=call.dtype,
            options=plain_options(call.options),
            batched=batched,
            recorded=call.node is not None,
            saved=list(call.node.plan.saved_names) if call.node is not None else [],
        )
        y, g = call.array, self.gradients.at.get(call.key)
        inputs = [array_of(self.calls, source) for source in call.sources]
        if y is not None:
            node.value = _scalar(y)
            node.out = measure.magnitude(y, batched=batched) if y.dtype.kind == "f" else None
            self.thumb(node, "out", measure.maps, _one(y, batched))
            if (activity := activity_of(call, inputs[0], batched)) is not None:
                self.rectifier(node, y, self.reading.activity.get(activity_key(call, ordinal), activity))
        if g is not None:
            node.grad = self.magnitude(g, batched)
            self.thumb(node, "grad", measure.signed_maps, _one(g, batched))
        if self.thumbs:
            sent = [self.gradients.sent.get((call.key, position)) for position in range(len(call.sources))]
            node.crops = crops_of(call.op.name, node, inputs, y, g, sent)
        return node

    @staticmethod
    def rectifier(node: Node, y: np.ndarray, activity: Activity) -> None:
        """The share of units that pass the gradient, and the channels that never did."""
        node.active = float(((y > 0) & (y < 6) if node.op == "relu6" else y > 0).mean())
        silent, far = activity.highest <= 0, activity.highest < -FAR * activity.usual
        count = int(far.sum()) if activity.usual > 0 else 0
        node.silent = Silent(int(silent.sum()), count, len(silent), activity.samples, activity.steps)

    def thumb(self, node: Node, name: str, draw: Any, array: np.ndarray) -> None:
        if self.thumbs and (thumb := draw(array)) is not None:
            node.thumbs[name] = thumb

    def magnitude(self, g: np.ndarray, batched: bool) -> Magnitude:
        """Of an array that lives as long as the reading, so its id is its own."""
        key = (id(g), batched)
        if key not in self.known:
            self.known[key] = measure.magnitude(g, batched=batched)
        return self.known[key]

    # -- edges --

    def edge(self, node: Node, call: Call, position: int, source: Any) -> None:
        name = call.op.input_name(position)
        if isinstance(source, Leaf) and source.parameter:
            self.leaves.parameter(source).uses.append([node.id, name])
        elif source in self.node_of:
            start = self.node_of[source]
            d = self.gradients.sent.get((call.key, position))
            wanted = call.node is not None and call.node.parents[position] is not None
            grad = self.magnitude(d, start.batched) if d is not None else None
            self.edges.append(Edge(start.id, node.id, position, name, grad, wanted))

    def partial_sums(self) -> None:
        """Where a tensor fans out, the gradient that each group of its readers sent back, added up as arrays.

        Norms of sums do not follow from the norms of the parts, and a picture may draw any of these groups as one.
        """
        groups: dict[int, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
        for index in self.extent.kept:
            call = self.calls[index]
            for position, source in enumerate(call.sources):
                sent = self.gradients.sent.get((call.key, position))
                if source in self.node_of and sent is not None:
                    for key in self.node_of[index].groups:
                        groups[self.node_of[source].id][key].append(sent)
        for start, parts in groups.items():
            node = self.nodes[start]
            sums = {key: np.sum(sent, axis=0) for key, sent in parts.items() if len(sent) > 1}
            node.partial = {key: measure.magnitude(g, batched=node.batched) for key, g in sums.items()}


def _one(array: np.ndarray, batched: bool) -> np.ndarray:
    """The first sample."""
    return array[0] if batched and len(array) else array


def _scalar(array: np.ndarray | None) -> float | None:
    return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind in "fiub" else None
