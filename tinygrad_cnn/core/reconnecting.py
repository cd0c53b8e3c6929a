"""How a rule meets what was saved: as Tensors, in their places on the tape if the backward pass is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.core.rules import Plan
from tinygrad_cnn.core.tape import Node, Place
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import TapeError


class Reconnected(Sequence[Any]):
    """What a rule names, as Tensors, each made when first asked for.

    When the backward pass is recorded, a saved input comes back in its place on the tape (its parent's), the
    output in this node's, and an auxiliary output is computed again by its function; else all are constants.
    """

    def __init__(self, plan: Plan, node: Node, bare: list[Any], create: bool) -> None:
        self.plan, self.node, self.bare, self.create = plan, node, bare, create
        self.made: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.bare)

    def __getitem__(self, i: Any) -> Any:
        if i not in self.made:
            self.made[i] = self._make(i)
        return self.made[i]

    def _make(self, i: int) -> Any:
        value = self.bare[i]
        if i == 0:
            return value if isinstance(value, Tensor) else _constant(value)
        if i > len(self.node.saved or ()):
            return value  # an option
        kind, position, function = self.plan.origins[i - 1]
        if kind == "shape":
            return value
        if kind == "inputs":
            return tuple(self._placed(v, p) for v, p in zip(value, self.node.parents, strict=True))
        if kind == "input":
            return self._placed(value, self.node.parents[position])
        if kind == "output":
            return self._placed(value, self.node)
        if self.create and function is not None:
            return function(*(self[j] for j in self.plan.aux_arguments[i - 1]), **self._options_of(i - 1))
        return _constant(value) if isinstance(value, np.ndarray) else value

    def _options_of(self, saved: int) -> dict[str, Any]:
        return {name: self.node.options[name] for name in self.plan.aux_options[saved]}

    def _placed(self, value: Any, place: Place) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if not self.create or place is None:
            return _constant(value)
        if type(place) is not Node and place._rebound > self.node.seq:
            raise TapeError(
                f"{self.node.op.name}: the leaf of shape {place.shape} was given new data after the forward pass, so a "
                "recorded backward pass would belong to neither; call backward before assigning .data"
            )
        if type(place) is not Node and place._data is value:
            return place
        return Tensor._wrap(value, place) if type(place) is Node else Tensor._alias(value, place)


def _constant(array: np.ndarray) -> Tensor:
    """A Tensor over memory that a rule must not write."""
    view = np.asarray(array).view()  # arithmetic on 0-d arrays gives scalars
    view.flags.writeable = False
    return Tensor._wrap(view, None)
