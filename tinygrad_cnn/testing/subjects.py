"""What the kit tests: a function seen from outside, as arrays in, array out, and gradients by an upstream gradient.

`Subject` is all the laws know. `PairSubject` makes one of two NumPy functions; those made of Tensor functions and of
op records are in `tensor_subjects`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_cnn.testing.differences import Array, Path

Inputs = tuple[Any, ...]
Grads = tuple[Any, ...]


class RuleRaised(Exception):
    """The gradient under test raised; its exception is the cause."""


@contextmanager
def rules_running() -> Iterator[None]:
    """Turns what a rule raises into RuleRaised, to tell it from errors of the forward."""
    try:
        yield
    except Exception as error:
        raise RuleRaised(f"{type(error).__name__}: {error}") from error


class Subject(ABC):
    """A function under test: `value` evaluates it, `grads` is the analytic gradient that has to be proven."""

    name: str
    order: int = 1

    @abstractmethod
    def value(self, inputs: Inputs) -> np.ndarray:
        """The output for these arrays, without recording; inputs may be complex."""

    @abstractmethod
    def grads(self, inputs: Inputs, g: np.ndarray) -> Grads:
        """The gradient of ⟨y, g⟩ with respect to each input, None where there is none."""

    def sizes(self, inputs: Inputs, y: np.ndarray) -> np.ndarray:
        """The size of the numbers that rounding inside the function may be relative to, for each output."""
        return np.abs(y)

    def grads_thrice(self, inputs: Inputs, g: np.ndarray) -> tuple[Grads, Grads, Grads]:
        """Backward passes for g, -g and g again; over the same graph, where there is one."""
        first, minus = (tuple(None if d is None else np.array(d) for d in self.grads(inputs, h)) for h in (g, -g))
        return first, minus, self.grads(inputs, g)

    @abstractmethod
    def input_name(self, position: int) -> str:
        """What a report calls an input."""

    def path(self, inputs: Inputs, directions: Mapping[int, Array]) -> Path:
        """t -> the flattened output at inputs + t·directions (by position); NaN where the function refuses that."""

        def at(t: Any) -> np.ndarray:
            moved = list(inputs)
            if t != 0:
                for position, u in directions.items():
                    step = np.asarray(u * t).astype(_moved_type(inputs[position], t), copy=False)
                    moved[position] = np.asarray(inputs[position] + step)
            try:
                return np.asarray(self.value(tuple(moved))).reshape(-1)
            except ValueError:
                if t == 0 or isinstance(t, complex):
                    raise
                return np.full(np.size(self.value(inputs)), np.nan)

        return at


class PairSubject(Subject):
    """Two NumPy functions: ``forward(*inputs)`` and ``vjp``, which returns one gradient per input.

    ``vjp`` may be one function, or one rule per input (a tuple or a dict by input name). Its parameters are filled by
    name where they are called ``g``, ``y``, as an input, or as a keyword argument; otherwise it gets (g, *inputs).
    """

    def __init__(self, forward: Callable[..., Any], vjp: Any, kwargs: Mapping[str, Any], name: str = "") -> None:
        self.name = name or getattr(forward, "__name__", type(forward).__name__)
        self.forward, self.vjp, self.kwargs = forward, vjp, dict(kwargs)
        self.words = _parameter_names(forward)

    def value(self, inputs: Inputs) -> np.ndarray:
        y = self.forward(*inputs, **self.kwargs)
        return y[0] if isinstance(y, tuple) else np.asarray(y)

    def grads(self, inputs: Inputs, g: np.ndarray) -> Grads:
        known = {**self.kwargs, **dict(zip(self.words, inputs, strict=False)), "g": g}
        if isinstance(self.vjp, Mapping):
            rules: Sequence[Any] = [self.vjp.get(self.input_name(i)) for i in range(len(inputs))]
        elif isinstance(self.vjp, tuple | list):
            rules = self.vjp
        else:
            result = self._call(self.vjp, known, inputs)
            grads = tuple(result) if isinstance(result, tuple | list) else (result,)
            if len(grads) != len(inputs):
                raise ValueError(f"{self.name}: vjp returned {len(grads)} gradients for {len(inputs)} inputs")
            return grads
        if len(rules) != len(inputs):
            raise ValueError(f"{self.name}: {len(rules)} vjp rules for {len(inputs)} inputs")
        return tuple(None if rule is None else self._call(rule, known, inputs) for rule in rules)

    def _call(self, rule: Callable[..., Any], known: dict[str, Any], inputs: Inputs) -> Any:
        words = _parameter_names(rule)
        if "y" in words and "y" not in known:
            known = {**known, "y": self.value(inputs)}
        with rules_running():
            if words and all(word in known for word in words):
                return rule(*(known[word] for word in words))
            return rule(known["g"], *inputs, **self.kwargs)

    def input_name(self, position: int) -> str:
        return self.words[position] if position < len(self.words) else f"input {position}"


def is_differentiable(array: Any) -> bool:
    """Whether an input is a floating array (Python numbers are constants)."""
    return isinstance(array, np.ndarray | np.floating) and np.issubdtype(np.asarray(array).dtype, np.floating)


def _moved_type(array: Any, t: complex) -> np.dtype[Any]:
    """float32 inputs move in float32; a complex step makes them complex."""
    return np.dtype(np.complex128) if isinstance(t, complex) else np.asarray(array).dtype


def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the positional parameters, () where they can not be read or are variadic."""
    if isinstance(function, np.ufunc):
        return ("x",) if function.nin == 1 else ("a", "b")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
