"""Random programs: graphs of operations in which values fan out, and one value is both operands of an operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.core.op import ops as registry
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.generation import from_draw

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

# Operations that take square matrices to a square matrix. With "ints" they are exact, so that any order of summation
# gives the same bits; "smooth" adds functions of analysis.
_STRUCTURE: dict[str, dict[str, Any]] = {
    "transpose": {"axes": (1, 0)}, "flip": {"axis": (0,)}, "roll": {"shift": (1,), "axis": (0,)},
    "cumsum": {"axis": 0}, "getitem": {"index": (slice(None, None, -1),)},
}  # fmt: skip
EXACT = ("add", "sub", "neg", "relu", "maximum", "minimum", *_STRUCTURE)
SMOOTH = ("add", "sub", "mul", "neg", "tanh", "sigmoid", "sin", "cos", "matmul", "softmax", *_STRUCTURE)
_OPTIONS: dict[str, dict[str, Any]] = {**_STRUCTURE, "softmax": {"axis": 1}}


@dataclass(frozen=True)
class Step:
    """One operation: what it is called with, by the numbers of values, inputs first."""

    op: str
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A program of operations on square matrices; call it with its inputs, `repr` is its source."""

    inputs: int
    steps: tuple[Step, ...]

    def __call__(self, *inputs: Any) -> Tensor:
        """The sum of the values that nobody reads."""
        return self.run(inputs, range(len(self.steps)))

    def run(self, inputs: Sequence[Any], order: Sequence[int]) -> Tensor:
        """As a call, the steps taken in another order, in which every value comes before it is read."""
        values: dict[int, Any] = dict(enumerate(inputs))
        for number in order:
            step = self.steps[number]
            op = registry()[step.op]
            values[self.inputs + number] = op(*(values[i] for i in step.operands), **_OPTIONS.get(step.op, {}))
        total, *rest = (values[i] for i in self.ends)
        for value in rest:
            total = total + value
        return total

    @property
    def ends(self) -> list[int]:
        """The values that nobody reads."""
        read = {i for step in self.steps for i in step.operands}
        return [i for i in range(self.inputs, self.inputs + len(self.steps)) if i not in read]

    def orders(self, seed: int) -> list[int]:
        """Another order in which the steps may be taken."""
        rng = np.random.default_rng(seed)
        left, done, order = set(range(len(self.steps))), set(range(self.inputs)), []
        while left:
            ready = sorted(n for n in left if done.issuperset(self.steps[n].operands))
            chosen = int(rng.choice(ready))
            order.append(chosen)
            left.remove(chosen)
            done.add(self.inputs + chosen)
        return order

    def __repr__(self) -> str:
        names = [f"x{i}" for i in range(self.inputs)] + [f"v{i}" for i in range(len(self.steps))]
        lines = [f"def graph({', '.join(names[: self.inputs])}):"]
        for name, step in zip(names[self.inputs :], self.steps, strict=True):
            given = [names[i] for i in step.operands]
            given += [f"{option}={value!r}" for option, value in _OPTIONS.get(step.op, {}).items()]
            lines.append(f"    {name} = tc.ops()[{step.op!r}]({', '.join(given)})")
        return "\n".join([*lines, f"    return {' + '.join(names[i] for i in self.ends)}"])


def graphs(max_nodes: int = 12, *, ops: Sequence[str] = SMOOTH, max_inputs: int = 3) -> SearchStrategy[Graph]:
    """Random graphs of at most `max_nodes` operations on square matrices of one size.

    In each some value is read by several operations, and (where `ops` has one of two inputs) some operation gets the
    same value twice. `ops` are names of registered operations, a user's own included, that take square matrices to a
    square matrix; those of `testing.random_graphs.EXACT` are exact on integers.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> find(testing.graphs(3, ops=["mul"], max_inputs=1), lambda graph: True)
    def graph(x0):
        v0 = tc.ops()['mul'](x0, x0)
        v1 = tc.ops()['mul'](x0, x0)
        return v0 + v1
    """
    if max_nodes < 2:
        raise ValueError(f"graphs: max_nodes must be at least 2, for a value that fans out, got {max_nodes}")
    if unknown := [name for name in ops if name not in registry()]:
        raise ValueError(f"graphs: there are no operations {unknown}; tc.ops() lists them")
    arity = {name: len(registry()[name].inputs) for name in ops}
    pairs = [name for name in ops if arity[name] == 2]

    def make(d: Draw) -> Graph:
        inputs = d.integer(1, max_inputs)
        count = d.integer(2, max_nodes)
        shared = d.integer(0, inputs - 1)
        steps = []
        for number in range(count):
            name = d.choice(ops)
            operands = [d.integer(0, inputs + number - 1) for _ in range(arity[name])]
            if number == 0 and pairs:  # one value as both operands
                name, operands = d.choice(pairs), [shared, shared]
            elif number < 2:  # and once more elsewhere
                operands[0] = shared
            steps.append(Step(name, tuple(operands)))
        return Graph(inputs, tuple(steps))

    return from_draw("graphs", make)
