"""The parameters of a reading: their sizes, gradients and maps, and whether the loss depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from viz import measure
from viz.crops import small
from viz.reading import Call, Leaf, Reading
from viz.trace import Parameter


class Leaves:
    """Parameters in the order in which they were asked for: the model's own first."""

    def __init__(self, reading: Reading, *, thumbs: bool) -> None:
        self._totals = reading.gradients.at_leaves()
        self._freed, self._updates, self._thumbs = reading.backward == "freed", reading.updates, thumbs
        self._made: dict[int, Parameter] = {}  # by id of the tensor
        for leaf in reading.parameters:
            self.parameter(leaf)

    def parameter(self, leaf: Leaf) -> Parameter:
        """The parameter of a leaf, made when it is first asked for."""
        key = id(leaf.tensor)
        if key not in self._made:
            self._made[key] = self._measured(leaf, len(self._made))
        return self._made[key]

    def parameters(self, calls: Sequence[Call], kept: set[int]) -> list[Parameter]:
        """All of them; by now it is known which calls read them, and which of those the loss depends on."""
        for index, call in enumerate(calls):
            for source in call.sources:
                if isinstance(source, Leaf) and id(source.tensor) in self._made:
                    parameter = self._made[id(source.tensor)]
                    parameter.ran = True
                    parameter.reached = parameter.reached or index in kept
        return list(self._made.values())

    def gradient(self, tensor: Any) -> np.ndarray | None:
        """The gradient of this backward pass alone, added up over all uses; of a freed tape, what `.grad` holds."""
        if self._freed:
            return tensor.grad.data if tensor.grad is not None else None
        return self._totals.get(id(tensor))

    def _measured(self, leaf: Leaf, number: int) -> Parameter:
        values, g = leaf.values, self.gradient(leaf.tensor)
        parameter = Parameter(
            number,
            leaf.name,
            list(values.shape),
            requires_grad=bool(leaf.tensor.requires_grad),
            weight=measure.magnitude(values),
            reached=False,
            ran=False,
            values=small(values, ""),
        )
        if g is not None:
            parameter.grad, parameter.gradients = measure.magnitude(g), small(g, "")
            parameter.histogram = measure.histogram(g)
            parameter.update = self._updates.get(id(leaf.tensor))
        if self._thumbs:
            thumbs = {"weight": measure.filters(values), "grad": measure.filters(g) if g is not None else None}
            parameter.thumbs = {name: thumb for name, thumb in thumbs.items() if thumb is not None}
        return parameter
