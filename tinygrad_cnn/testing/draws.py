"""Draw: random structure and values for cases, from Hypothesis (which shrinks structure) or from a seed.

Structure (lengths, axes, options) comes from small integers that a source provides; values come from a generator
with a drawn seed, in kinds that suit an exact oracle. Drawing floats one by one would starve on near-ties, and be slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tinygrad_cnn.testing.differences import Array

T = TypeVar("T")
Shape = tuple[int, ...]


class Draw:
    """Draws structure through `integer(low, high)` and values from `seed`."""

    def __init__(self, source: Callable[[int, int], int], seed: int) -> None:
        self._source = source
        self.choices: list[int] = []  # what was drawn, each as its distance from the simplest
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    @classmethod
    def seeded(cls, seed: int) -> Draw:
        """All choices from one seed, without Hypothesis."""
        rng = np.random.default_rng([seed, 1])
        return cls(lambda low, high: int(rng.integers(low, high, endpoint=True)), seed)

    @classmethod
    def replayed(cls, choices: Sequence[int], seed: int) -> Draw:
        """The choices of another Draw, perhaps lowered; the simplest where there are none left."""
        left = iter(choices)
        return cls(lambda low, high: min(low + next(left, 0), high), seed)

    # ---- structure -------------------------------------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        """An integer, both ends included; the low end is the simplest."""
        number = self._source(low, high)
        self.choices.append(number - low)
        return number

    def boolean(self) -> bool:
        """False or True."""
        return bool(self.integer(0, 1))

    def choice(self, options: Sequence[T]) -> T:
        """One of several; the first is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def shape(
        self, *, min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4, max_size: int = 60
    ) -> Shape:
        """A shape; with min_side=0 some lengths are 0."""
        sides: list[int] = []
        for _ in range(self.integer(min_dims, max_dims)):
            room = max(min_side, max_size // max(math.prod(sides), 1))
            sides.append(self.integer(min_side, min(max_side, room)))
        return tuple(sides)

    def broadcastable(self, count: int, *, max_dims: int = 3, min_side: int = 1) -> list[Shape]:
        """Shapes that broadcast with each other: some lengths replaced by 1, some leading axes left out.

        All lengths are equal in some: an axis taken for another then keeps the shape.
        """
        whole = self.shape(max_dims=max_dims, min_side=min_side, max_side=4)
        if self.integer(0, 3) == 3:
            whole = (3,) * len(whole)
        shapes = []
        for _ in range(count):
            start = self.integer(0, len(whole))
            shapes.append(tuple(1 if n != 0 and self.integer(0, 3) == 3 else n for n in whole[start:]))
        return shapes

    def axis(self, ndim: int) -> int:
        """One axis of several, counted from either end."""
        return self.integer(0, ndim - 1) - self.choice((0, ndim))

    def axes(self, ndim: int) -> int | Shape | None:
        """None, one axis, or several different ones."""
        how = self.integer(0, 2)
        if how == 0 or ndim == 0:
            return None
        if how == 1:
            return self.axis(ndim)
        return tuple(i - self.choice((0, ndim)) for i in range(ndim) if self.boolean())

    def permutation(self, n: int) -> Shape:
        """The numbers below n in some order."""
        rest = list(range(n))
        return tuple(rest.pop(self.integer(0, len(rest) - 1)) for _ in range(n))

    # ---- values ----------------------------------------------------------------------------------------------------

    def ints(self, shape: Shape = (), limit: int = 4) -> Array:
        """Small integers, as floats: sums and products of them are exact in any order."""
        return self.rng.integers(-limit, limit + 1, shape).astype(np.float64)

    def distinct(self, shape: Shape = ()) -> Array:
        """Different numbers, all halfway between integers: a step of ¼ crosses no tie and no integer."""
        size = math.prod(shape)
        return (self.rng.permutation(size) - size // 2 + 0.5).reshape(shape)

    def ties(self, shape: Shape = ()) -> Array:
        """Integers from -2 to 2: many equal, many 0."""
        return self.ints(shape, 2)

    def grid(self, shape: Shape = ()) -> Array:
        """Distinct values, or ties."""
        return self.ties(shape) if self.boolean() else self.distinct(shape)

    def smooth(self, shape: Shape = (), low: float = -2.0, high: float = 2.0) -> Array:
        """Floats spread over an interval."""
        return np.asarray(self.rng.uniform(low, high, shape))

    def positive(self, shape: Shape = (), low: float = 0.2, high: float = 3.0) -> Array:
        """Floats above 0."""
        return self.smooth(shape, low, high)

    def mask(self, shape: Shape = ()) -> np.ndarray:
        """Booleans."""
        return np.asarray(self.rng.random(shape) < 0.5)

    def labels(self, shape: Shape, classes: int) -> np.ndarray:
        """Class numbers."""
        return self.rng.integers(0, classes, shape)

    def index(self, shape: Shape) -> Any:
        """Something NumPy indexes with: integers, slices with steps, new axes, repeated integers, masks."""
        parts: list[Any] = []
        fancy = False
        for n in shape:
            how = self.integer(0, 4)
            if how == 0 or n == 0:
                parts.append(slice(None))
            elif how == 1:
                parts.append(self.integer(0, n - 1) - self.choice((0, n)))
            elif how == 2:
                parts.append(slice(self.integer(0, n - 1), None, self.choice((1, 2, -1))))
            elif how == 3 and not fancy:
                fancy = True
                parts.append(self.rng.integers(-n, n, self.integer(0, 2 * n)))
            elif not fancy:
                fancy = True
                parts.append(self.mask((n,)))
            else:
                break
        if self.integer(0, 4) == 4:
            parts.insert(self.integer(0, len(parts)), None)
        if len(shape) > 1 and self.integer(0, 5) == 5:
            return self.mask(shape)
        return parts[0] if len(parts) == 1 else tuple(parts)
