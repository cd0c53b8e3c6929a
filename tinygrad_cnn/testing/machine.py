"""EngineMachine: Hypothesis plays the engine against one so simple that it can be seen to be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import tinygrad_cnn as tc
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import TapeError

Array = np.ndarray
_LARGEST = 1e4  # larger values are not computed with: integers stay exact, and so do halves
_PATHS = 2000


# --- the naive engine: the chain rule, one path from the root to a leaf at a time ---------------------------------


@dataclass(eq=False)
class Value:
    """A value and, for each operand that it was computed from, how its gradient goes there."""

    array: Array
    wants: bool = False
    operands: tuple[tuple[Value, Callable[[Array], Array]], ...] = ()
    grad: Array | None = None
    paths: int = field(default=1)

    def backward(self, g: Array) -> None:
        """Adds to the gradients of the leaves; every path on its own, so in exponential time."""
        if not self.operands:
            self.grad = g + (0 if self.grad is None else self.grad)
        for operand, pull in self.operands:
            if operand.wants:
                d = pull(g)
                operand.backward(d if d.shape == operand.array.shape else d.sum(keepdims=False))


def computed(array: Array, *operands: tuple[Value, Callable[[Array], Array]]) -> Value:
    wanted = tuple(pair for pair in operands if pair[0].wants)
    return Value(array, bool(wanted), wanted, paths=sum(value.paths for value, _ in wanted) or 1)


def add(a: Value, b: Value) -> Value:
    return computed(a.array + b.array, (a, lambda g: g), (b, lambda g: g))


def mul(a: Value, b: Value) -> Value:
    x, y = a.array.copy(), b.array.copy()  # as they are now, whatever is written later
    return computed(x * y, (a, lambda g: g * y), (b, lambda g: g * x))


def maximum(a: Value, b: Value) -> Value:
    x, y = np.broadcast_arrays(a.array.copy(), b.array.copy())
    share = np.where(x > y, 1.0, np.where(x < y, 0.0, 0.5))
    return computed(np.maximum(x, y), (a, lambda g: g * share), (b, lambda g: g * (1 - share)))


def relu(a: Value) -> Value:
    passes = a.array > 0
    return computed(np.where(passes, a.array, 0.0), (a, lambda g: g * passes))


def total(a: Value) -> Value:
    shape = a.array.shape
    return computed(a.array.sum(), (a, lambda g: np.broadcast_to(g, shape)))


def turned(a: Value) -> Value:
    return computed(a.array.T.copy(), (a, lambda g: g.T))


UNARY: dict[str, tuple[Callable[[Value], Value], Callable[[Tensor], Tensor]]] = {
    "relu": (relu, tc.relu),
    "sum": (total, lambda x: x.sum()),
    "transpose": (turned, lambda x: x.T),
}
BINARY: dict[str, tuple[Callable[[Value, Value], Value], Callable[[Tensor, Tensor], Tensor]]] = {
    "add": (add, lambda a, b: a + b),
    "mul": (mul, lambda a, b: a * b),
    "maximum": (maximum, tc.maximum),
}


# --- the game -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Pair:
    """The same value in both engines."""

    naive: Value
    ours: Tensor


class EngineMachine(RuleBasedStateMachine):
    """Builds values, differentiates, detaches, writes and forgets gradients, in any order, in both engines.

    After every step all values and all gradients are equal, bit for bit. Once something was written in place a
    backward pass may raise TapeError instead; then no gradient has changed. Subclass it to play longer, or with rules
    of one's own:

    >>> from hypothesis import settings
    >>> from tinygrad_cnn import testing
    >>> class TestEngine(testing.EngineMachine.TestCase):
    ...     settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
    """

    values = Bundle("values")

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[Pair] = []
        self.written = False

    def _paired(self, naive: Value, ours: Tensor) -> Pair:
        self.pairs.append(Pair(naive, ours))
        return self.pairs[-1]

    @rule(
        target=values,
        numbers=st.lists(st.integers(-3, 3), min_size=4, max_size=4),
        scalar=st.booleans(),
        wants=st.sampled_from((True, True, False)),
    )
    def leaf(self, numbers: list[int], scalar: bool, wants: bool) -> Pair:
        array = np.array(numbers[0] if scalar else np.reshape(numbers, (2, 2)), np.float64)
        return self._paired(Value(array.copy(), wants), tc.tensor(array, requires_grad=wants))

    @rule(target=values, name=st.sampled_from(sorted(UNARY)), a=values)
    def unary(self, name: str, a: Pair) -> Pair:
        naive, ours = UNARY[name]
        return self._paired(naive(a.naive), ours(a.ours))

    @rule(target=values, name=st.sampled_from(sorted(BINARY)), a=values, b=values)
    def binary(self, name: str, a: Pair, b: Pair) -> Pair:
        naive, ours = BINARY[name]
        value = naive(a.naive, b.naive)
        if np.abs(value.array).max() > _LARGEST or value.paths > _PATHS:
            return a
        return self._paired(value, ours(a.ours, b.ours))

    @rule(target=values, a=values)
    def detach(self, a: Pair) -> Pair:
        # A copy: a detached view would see later writes, and the naive engine has no views.
        return self._paired(Value(a.naive.array.copy()), a.ours.detach().clone())

    @rule(target=values, a=values, b=values)
    def add_unrecorded(self, a: Pair, b: Pair) -> Pair:
        value = add(a.naive, b.naive)
        if np.abs(value.array).max() > _LARGEST:
            return a
        with tc.no_grad():
            ours = a.ours + b.ours
        return self._paired(Value(value.array), ours)

    @rule(back=st.integers(0, 4))
    def backward(self, back: int) -> None:
        """From one of the newest values that were computed from something that wants a gradient."""
        computed_ones = [pair for pair in self.pairs if pair.naive.wants and pair.naive.operands]
        if computed_ones:
            self._backward(computed_ones[-1 - min(back, len(computed_ones) - 1)])

    @rule(a=values)
    def backward_from_any(self, a: Pair) -> None:
        self._backward(a)

    def _backward(self, a: Pair) -> None:
        if not a.naive.wants:
            assert not a.ours.requires_grad
            return
        g = np.arange(1.0, 1 + a.naive.array.size).reshape(a.naive.array.shape)
        try:
            a.ours.backward(g, retain_graph=True)
        except TapeError:
            assert self.written, "nothing was written, so nothing can be stale"
        else:
            a.naive.backward(g)

    @rule(a=values)
    def zero_grad(self, a: Pair) -> None:
        if not a.naive.operands and a.naive.wants:
            a.naive.grad = a.ours.grad = None

    @rule(a=values, by=st.integers(-2, 2))
    def write(self, a: Pair, by: int) -> None:
        """What an optimiser does to a parameter."""
        if not a.naive.operands and a.naive.wants:
            self.written = True
            a.naive.array = a.naive.array - by
            a.ours.data -= by

    @invariant()
    def values_and_gradients_are_equal(self) -> None:
        for pair in self.pairs:
            np.testing.assert_array_equal(pair.ours.data, pair.naive.array)
            if not pair.naive.operands and pair.naive.wants:
                ours = None if pair.ours.grad is None else pair.ours.grad.data
                if pair.naive.grad is None or ours is None:
                    assert ours is pair.naive.grad
                else:
                    np.testing.assert_array_equal(ours, pair.naive.grad)
