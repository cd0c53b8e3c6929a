"""From calls and gradients to the plain numbers and small maps of a Trace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from viz import measure
from viz.completing import send_to_inputs
from viz.crops import crops_of, small
from viz.reading import Call, Leaf, Outside, Reading, activity_key, activity_of, array_of, ordinals
from viz.trace import Edge, Magnitude, Node, Parameter, Silent, Trace

FAR = 4.0  # times as far below zero as active channels ever get from it: no chance, and no way back
SQUASHING = frozenset({"softmax", "log_softmax", "sigmoid", "tanh"})
MOST_THUMBS = 400  # operations; a longer tape gets no thumbnails, nobody could look at them all


def assemble(reading: Reading) -> Trace:
    """The Trace of a reading; only what the loss depends on is kept, and the parameters that it misses."""
    return _Assembly(reading).trace()


class _Assembly:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.calls = reading.calls
        self.kept = self._kept()
        if not any(call.inside for call in self.calls):
            self._guess_model()
        if reading.backward == "full":
            send_to_inputs(self.calls, reading.gradients)
        self.outsides: dict[int, Leaf | Outside] = {}
        self.batch, self.batched = self._batch()
        self.thumbs = len(self.kept) <= MOST_THUMBS
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.number: dict[Any, int] = {}  # call number, or id of a leaf or outside -> node id
        self.parameters: dict[int, Parameter] = {}  # id(tensor) -> Parameter
        self.known: dict[tuple[int, bool], Magnitude] = {}  # an upstream gradient often is what one reader sent
        self.leaf_totals = reading.gradients.at_leaves()

    def trace(self) -> Trace:
        reading = self.reading
        for leaf in reading.parameters:
            self._parameter(leaf)
        kept = set(self.kept)
        numbers = ordinals(self.calls)
        for index in self.kept:
            self._sources(index)
            self._operation(index, numbers[index])
        self._mark_reached(kept)
        self._input_gradients()
        self._partial_sums()
        step = reading.step
        step.batch = self.batch
        if reading.loss is not None and step.loss is None:
            step.loss = _scalar(self.calls[reading.loss].array)
        return Trace(
            nodes=self.nodes,
            edges=self.edges,
            parameters=list(self.parameters.values()),
            steps=[step],
            modules=reading.modules,
            title=reading.title,
            output=self.number.get(self._output()),
            loss=self.number.get(reading.loss),
            backward=reading.backward,
        )

    # -- what to draw --

    def _kept(self) -> list[int]:
        """The calls that the loss depends on, in order; all calls if there is no loss."""
        if self.reading.loss is None:
            return list(range(len(self.calls)))
        seen = {self.reading.loss}
        stack = [self.reading.loss]
        while stack:
            for source in self.calls[stack.pop()].sources:
                if isinstance(source, int) and source not in seen:
                    seen.add(source)
                    stack.append(source)
        return sorted(seen)

    def _guess_model(self) -> None:
        """Without a module, the net is what lies between the first array from outside and the last parameter read."""
        arrays = (
            (i, s) for i in self.kept for s in self.calls[i].sources if isinstance(s, Outside) and len(_shape(s)) > 1
        )
        first, data = next(arrays, (0, None))
        readers = [i for i in self.kept if any(isinstance(s, Leaf) and s.parameter for s in self.calls[i].sources)]
        if data is None or not readers or readers[-1] < first:
            return
        data.model_input = True
        depends: set[int] = set()
        for i in self.kept:
            if i <= readers[-1] and any(s is data or s in depends for s in self.calls[i].sources if s is not None):
                depends.add(i)
                self.calls[i].inside = True

    def _batch(self) -> tuple[int | None, set[int]]:
        """The batch length, and the calls that depend on the model's input and have it as their first length."""
        inputs = [s for i in self.kept for s in self.calls[i].sources if _is_model_input(s)]
        lengths = [_shape(s)[0] for s in inputs if _shape(s)]
        if not lengths:
            return None, set()
        batch = lengths[0]
        depends: set[int] = set()
        for i in self.kept:
            if any(_is_model_input(s) or (isinstance(s, int) and s in depends) for s in self.calls[i].sources):
                depends.add(i)
        return batch, {i for i in depends if self.calls[i].shape[:1] == (batch,)}

    def _output(self) -> int | None:
        """The model's output before any squashing; without a model, the last call of more than one element.

        A softmax or sigmoid at the end belongs to the loss: a confident one hardly lets a gradient through, and the
        loss that is made for it gives it all the more.
        """
        output = self._last()
        while output is not None and self.calls[output].op.name in SQUASHING:
            source = self.calls[output].sources[0]
            if not isinstance(source, int):
                break
            output = source
        return output

    def _last(self) -> int | None:
        if self.reading.output is not None:
            return self.reading.output
        inside = [i for i in self.kept if self.calls[i].inside]
        several = [i for i in self.kept if math.prod(self.calls[i].shape) > 1]
        candidates = [i for i in inside if i in self.batched] or inside or several
        return candidates[-1] if candidates else self.reading.loss

    # -- nodes --

    def _sources(self, index: int) -> None:
        """Number what comes from outside when its first reader appears."""
        for source in self.calls[index].sources:
            if isinstance(source, Leaf) and source.parameter:
                self._parameter(source)
            elif isinstance(source, Leaf | Outside) and id(source) not in self.number:
                shape = _shape(source)
                if not shape and not isinstance(source, Leaf):
                    continue  # a number
                array = source.values if isinstance(source, Leaf) else source.array
                is_input = _is_model_input(source)
                node = Node(len(self.nodes), "input" if is_input else "constant", "input" if is_input else "constant")
                node.name, node.shape, node.batched = source.name, list(shape), is_input and shape[:1] == (self.batch,)
                if array is not None:
                    node.dtype = str(array.dtype)
                    node.out = measure.magnitude(array, batched=node.batched) if array.dtype.kind == "f" else None
                    if is_input and self.thumbs:
                        self._thumb(node, "out", measure.samples(array))
                self.number[id(source)] = node.id
                self.outsides[id(source)] = source
                self.nodes.append(node)

    def _operation(self, index: int, ordinal: int) -> None:
        call = self.calls[index]
        batched = index in self.batched
        node = Node(
            len(self.nodes),
            "op",
            call.op.name,
            path=call.path,
            calls=list(call.calls),
            inside=call.inside,
            shape=list(call.shape),
            dtype=call.dtype,
            options=_plain_options(call.options),
            batched=batched,
            recorded=call.node is not None,
            saved=list(call.node.plan.saved_names) if call.node is not None else [],
        )
        self.number[index] = node.id
        self.nodes.append(node)
        g = self.reading.gradients.at.get(call.key)
        if g is not None:
            node.grad = self._magnitude(g, batched)
        if call.array is not None:
            self._forward(node, call, ordinal)
        if self.thumbs and call.array is not None:
            self._thumb(node, "out", measure.maps(_one(call.array, batched)))
        if self.thumbs and g is not None:
            self._thumb(node, "grad", measure.maps(_one(g, batched), signed=True))
        if self.thumbs:
            sent = [self.reading.gradients.sent.get((call.key, i)) for i in range(len(call.sources))]
            node.crops = crops_of(call.op.name, node, [self._array(s) for s in call.sources], call.array, g, sent)
        for position, source in enumerate(call.sources):
            self._edge(node, call, position, source)

    def _array(self, source: int | Leaf | Outside | None) -> np.ndarray | None:
        return array_of(self.calls, source)

    def _forward(self, node: Node, call: Call, ordinal: int) -> None:
        assert call.array is not None
        node.value = _scalar(call.array)
        if call.array.dtype.kind == "f":
            node.out = measure.magnitude(call.array, batched=node.batched)
        activity = activity_of(call, self._array(call.sources[0]), node.batched)
        if activity is not None:
            y = call.array
            node.active = float(((y > 0) & (y < 6) if call.op.name == "relu6" else y > 0).mean())
            activity = self.reading.activity.get(activity_key(call, ordinal), activity)
            silent = activity.highest <= 0
            node.silent = Silent(
                int(silent.sum()),
                int((activity.highest < -FAR * activity.usual).sum()) if activity.usual > 0 else 0,
                len(silent),
                activity.samples,
                activity.steps,
            )

    def _edge(self, node: Node, call: Call, position: int, source: Any) -> None:
        name = call.op.input_name(position)
        d = self.reading.gradients.sent.get((call.key, position))
        if isinstance(source, Leaf) and source.parameter:
            self._parameter(source).uses.append([node.id, name])
            return
        start = self.number.get(source if isinstance(source, int) else id(source))
        if start is None:
            return
        batched = self.nodes[start].batched
        self.edges.append(
            Edge(
                start,
                node.id,
                position,
                name,
                grad=self._magnitude(d, batched) if d is not None else None,
                differentiable=call.node is not None and call.node.parents[position] is not None,
            )
        )

    def _magnitude(self, g: np.ndarray, batched: bool) -> Magnitude:
        """Of an array that lives as long as the reading, so its id is its own."""
        key = (id(g), batched)
        if key not in self.known:
            self.known[key] = measure.magnitude(g, batched=batched)
        return self.known[key]

    # -- parameters --

    def _parameter(self, leaf: Leaf) -> Parameter:
        known = self.parameters.get(id(leaf.tensor))
        if known is not None:
            return known
        tensor, values = leaf.tensor, leaf.values
        parameter = Parameter(
            len(self.parameters),
            leaf.name,
            list(values.shape),
            requires_grad=bool(tensor.requires_grad),
            weight=measure.magnitude(values),
            reached=False,
            ran=False,
        )
        self.parameters[id(tensor)] = parameter
        parameter.values = small(values, "")
        if self.thumbs:
            self._thumb(parameter, "weight", measure.filters(values))
        g = self._leaf_gradient(tensor)
        if g is not None:
            parameter.grad = measure.magnitude(g)
            parameter.gradients = small(g, "")
            parameter.histogram = measure.histogram(g)
            parameter.update = self.reading.updates.get(id(tensor))
            if self.thumbs:
                self._thumb(parameter, "grad", measure.filters(g))
        return parameter

    def _leaf_gradient(self, tensor: Any) -> np.ndarray | None:
        """The gradient of this backward pass alone, added up over all uses; of a freed tape, what `.grad` holds."""
        if self.reading.backward == "freed":
            return tensor.grad.data if tensor.grad is not None else None
        return self.leaf_totals.get(id(tensor))

    def _mark_reached(self, kept: set[int]) -> None:
        for index, call in enumerate(self.calls):
            for source in call.sources:
                if isinstance(source, Leaf) and id(source.tensor) in self.parameters:
                    parameter = self.parameters[id(source.tensor)]
                    parameter.ran = True
                    parameter.reached = parameter.reached or index in kept

    # -- gradients at inputs and at fan-outs --

    def _input_gradients(self) -> None:
        for key, source in self.outsides.items():
            if isinstance(source, Leaf):
                g = self._leaf_gradient(source.tensor)
            else:
                g = self.reading.gradients.at.get(source)
            if g is not None:
                node = self.nodes[self.number[key]]
                node.grad = measure.magnitude(g, batched=node.batched)
                if self.thumbs:
                    self._thumb(node, "grad", measure.strongest(g))

    def _partial_sums(self) -> None:
        """Where a tensor fans out, the gradient that each group of its readers sent back, added up as arrays.

        Norms of sums do not follow from the norms of the parts, and a picture may draw any of these groups as one.
        """
        readers: dict[int, list[tuple[Call, int, Node]]] = defaultdict(list)
        for index in self.kept:
            for position, source in enumerate(self.calls[index].sources):
                start = self.number.get(source if isinstance(source, int) else id(source))
                if start is not None:
                    readers[start].append((self.calls[index], position, self.nodes[self.number[index]]))
        for start, uses in readers.items():
            if len(uses) > 1:
                self.nodes[start].partial = self._groups(uses, self.nodes[start].batched)

    def _groups(self, uses: list[tuple[Call, int, Node]], batched: bool) -> dict[str, Magnitude]:
        groups: dict[str, list[np.ndarray]] = defaultdict(list)
        for call, position, node in uses:
            d = self.reading.gradients.sent.get((call.key, position))
            if d is not None:
                for key in node.groups:
                    groups[key].append(d)
        return {
            key: measure.magnitude(np.sum(ds, axis=0), batched=batched) for key, ds in groups.items() if len(ds) > 1
        }

    @staticmethod
    def _thumb(holder: Node | Parameter, name: str, thumb: Any) -> None:
        if thumb is not None:
            holder.thumbs[name] = thumb


def _is_model_input(source: Any) -> bool:
    return (isinstance(source, Leaf) and not source.parameter) or (isinstance(source, Outside) and source.model_input)


def _shape(source: Any) -> tuple[int, ...]:
    if isinstance(source, Leaf):
        return tuple(source.values.shape)
    return tuple(source.array.shape) if source.array is not None else source.shape


def _one(array: np.ndarray, batched: bool) -> np.ndarray:
    return array[0] if batched and len(array) else array


def _scalar(array: np.ndarray | None) -> float | None:
    return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind in "fiub" else None


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON can hold them; a NamedTuple such as a geometry becomes its fields."""
    return {name: value for name, option in options.items() if (value := _plain(option)) is not None}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(v) for name, v in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value] if len(value) <= 16 else f"{len(value)} values"
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    return f"array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
