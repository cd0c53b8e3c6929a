"""What a gradient checker is given to check: one call of an op, at points where it has a derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.testing import Draw, OpCase, OpSpec
from tinygrad_cnn.testing.battery import differentiated
from tinygrad_cnn.testing.specs import as_arrays
from tinygrad_cnn.testing.tensor_subjects import TensorSubject

Arrays = Sequence[np.ndarray]


class AwayFromKinks(Draw):
    """Draws the kit's calls with values that classic checkers ask for: no ties, nothing near an integer."""

    drawn = 0

    def ints(self, shape: tuple[int, ...] = (), limit: int = 4) -> np.ndarray:
        return np.asarray(self.rng.uniform(-limit, limit, shape))

    def distinct(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        return super().distinct(shape) + self.rng.uniform(-0.1, 0.1, shape)

    def ties(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        """The second array lies between the values of the first."""
        self.drawn += 1
        return self.distinct(shape) + (0.3 if self.drawn == 2 else 0.0)


class Checked:
    """A call as arrays in, array out. `points` are its differentiated inputs, in float64; the rest is constant."""

    def __init__(self, spec: OpSpec, case: OpCase) -> None:
        self.spec, self.case = spec, case
        self.given = as_arrays(case.args)
        self.wanted = differentiated(spec, self.given)
        self.points = [self.given[i] for i in self.wanted]
        self.subject = TensorSubject(spec.function, case.kwargs, self.wanted, spec.name)

    def value(self, *points: np.ndarray) -> np.ndarray:
        """The output."""
        return np.array(self.subject.value(self._inputs(points)))

    def graph(self, *points: np.ndarray) -> Graph:
        """The output and what a backward pass needs."""
        return Graph(self.subject, self._inputs(points), self.wanted)

    def second(self, points: Arrays, g: np.ndarray, upstream: Arrays) -> list[np.ndarray]:
        """The gradients of ⟨upstream, gradients⟩ in the points and in g: the recorded backward pass, differentiated."""
        inputs = self._inputs(points)
        flat = np.concatenate([np.ravel(u) for u in upstream])
        twice = self.subject.differentiated(inputs)
        found = twice.grads((*inputs, g), flat if len(upstream) > 1 else upstream[0])
        places = (*self.wanted, len(inputs))
        return [_filled(found[i], x) for i, x in zip(places, (*points, g), strict=True)]

    def _inputs(self, points: Arrays) -> tuple[Any, ...]:
        inputs = list(self.given)
        for i, x in zip(self.wanted, points, strict=True):
            inputs[i] = np.asarray(x)
        return tuple(inputs)


class Graph:
    """One recorded forward pass; every `pull` goes back over it, so that what one spoils the next one sees."""

    def __init__(self, subject: TensorSubject, inputs: tuple[Any, ...], wanted: tuple[int, ...]) -> None:
        self.subject, self.wanted = subject, wanted
        self.leaves = subject.leaves(inputs)
        self.outputs = subject.outputs(self.leaves)
        parts = [y.data for y in self.outputs]
        self.y = np.array(parts[0] if len(parts) == 1 else np.concatenate([np.ravel(p) for p in parts]))

    def pull(self, g: np.ndarray) -> list[np.ndarray]:
        """The gradients of ⟨y, g⟩."""
        found = self.subject.pull(self.outputs, self.leaves, g, keep=True)
        return [_filled(found[i], self.leaves[i].data) for i in self.wanted]


def small(spec: OpSpec, count: int, seed: int) -> list[OpCase]:
    """The first calls that the kit draws in which there is something to differentiate."""
    found = []
    for number in range(seed, seed + 40 * count):
        rng = np.random.default_rng([number, 1])
        draw = AwayFromKinks(lambda low, high, rng=rng: int(rng.integers(low, high, endpoint=True)), number)
        case = spec.case(draw)
        checked = Checked(spec, case)
        if checked.points and all(x.size for x in checked.points) and checked.value(*checked.points).size:
            found.append(case)
        if len(found) == count:
            break
    return found


def _filled(d: Any, like: np.ndarray) -> np.ndarray:
    return np.zeros(np.shape(like)) if d is None else np.array(d, np.float64)
