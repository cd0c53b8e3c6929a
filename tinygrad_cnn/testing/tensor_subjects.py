"""Functions of Tensors, and op records, as subjects; and their gradients as functions for the second order.

The complex step comes in here: evaluation wraps complex arrays in Tensors with recording off, which nothing else does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.core import gradients, tape
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.directions import feature_scale
from tinygrad_cnn.testing.subjects import Grads, Inputs, Subject, is_differentiable, rules_running

_FEATURES = 128.0  # how much finer than its inputs' scale a saturating function may vary: tanh at 20 does on that of 1


class TensorSubject(Subject):
    """A function of Tensors. Floating arrays reach it as Tensors, everything else as it was given."""

    def __init__(
        self,
        fn: Callable[..., Any],
        kwargs: Mapping[str, Any],
        wanted: Sequence[int],
        name: str = "",
    ) -> None:
        self.fn, self.kwargs, self.wanted = fn, dict(kwargs), tuple(wanted)
        self.name = name or function_name(fn)
        self.op = fn if isinstance(fn, Op) else None
        self.words = _parameter_words(fn)

    def input_name(self, position: int) -> str:
        if self.op is not None and self.op.variadic:
            return self.op.input_name(position)
        return self.words[position] if position < len(self.words) else f"input {position}"

    def value(self, inputs: Inputs) -> np.ndarray:
        with tape.no_grad():
            return _joined([y.data for y in self._outputs([_wrapped(x) for x in inputs])])

    def grads(self, inputs: Inputs, g: np.ndarray) -> Grads:
        leaves = self.leaves(inputs)
        return self.pull(self.outputs(leaves), leaves, g)

    def grads_thrice(self, inputs: Inputs, g: np.ndarray) -> tuple[Grads, Grads, Grads]:
        """For g, -g and g again over one graph: what was saved must survive."""
        leaves = self.leaves(inputs)
        outputs = self.outputs(leaves)
        pulls = (self.pull(outputs, leaves, h, keep=True) for h in (g, -g, g))
        first, minus, again = (tuple(None if d is None else d.copy("K") for d in pull) for pull in pulls)
        return first, minus, again

    def differentiated(self, inputs: Inputs) -> GradientSubject:
        """The gradient of this function as a function of its inputs and of the upstream gradient."""
        return GradientSubject(self, len(inputs))

    # ---- for the laws that need Tensors ----------------------------------------------------------------------------

    def leaves(self, inputs: Inputs) -> list[Any]:
        """The inputs as arguments, each wanted one a leaf of its own."""
        return [Tensor(x, requires_grad=True) if i in self.wanted else _wrapped(x) for i, x in enumerate(inputs)]

    def outputs(self, arguments: Sequence[Any]) -> list[Tensor]:
        """Call the function, recording."""
        with tape.enable_grad():
            return self._outputs(arguments)

    def pull(
        self,
        outputs: Sequence[Tensor],
        leaves: Sequence[Any],
        g: np.ndarray,
        *,
        keep: bool = False,
        create: bool = False,
    ) -> Grads:
        """The gradients of ⟨outputs, g⟩ by input position, as arrays (as Tensors if `create`)."""
        pairs = [(y, part) for y, part in zip(outputs, _parted(g, outputs), strict=True) if y.requires_grad]
        places = [leaves[i] for i in self.wanted]
        found: Sequence[Any] = [None] * len(places)
        if pairs:
            ys, parts = zip(*pairs, strict=True)
            keep = keep or create
            with rules_running():
                found = gradients.grad(ys, places, parts, retain_graph=keep, create_graph=create, allow_unused=True)
        by_position = dict(zip(self.wanted, found, strict=True))
        ordered = [by_position.get(i) for i in range(len(leaves))]
        return tuple(d if d is None or create else d.data for d in ordered)

    def _outputs(self, arguments: Sequence[Any]) -> list[Tensor]:
        result = self.fn(*arguments, **self.kwargs)
        results = list(result) if isinstance(result, tuple | list) else [result]
        outputs = [y for y in results if isinstance(y, Tensor) and y.dtype.kind in "fc"]
        if not outputs:
            kinds = ", ".join(type(y).__name__ for y in results)
            raise TypeError(f"gradcheck: {self.name} must return a floating Tensor, it returned {kinds}")
        return outputs


class GradientSubject(Subject):
    """(inputs, g) -> the gradients of a function, one after the other: what recorded backward passes differentiate."""

    order = 2

    def __init__(self, base: TensorSubject, count: int) -> None:
        self.base, self.count = base, count
        self.name = base.name

    def input_name(self, position: int) -> str:
        return "g" if position == self.count else self.base.input_name(position)

    def value(self, inputs: Inputs) -> np.ndarray:
        if any(isinstance(x, np.ndarray) and x.dtype.kind == "c" for x in inputs):
            raise TypeError("a gradient is not evaluated at complex numbers")
        *points, g = inputs
        grads = self.base.grads(tuple(points), g)
        return _joined([_filled(grads[i], points[i]) for i in self.base.wanted])

    def sizes(self, inputs: Inputs, y: np.ndarray) -> np.ndarray:
        """A gradient may be a small difference of large terms (1 - tanh²): g y, on the scale of the inputs."""
        *points, g = inputs
        term = float(np.max(np.abs(g * self.base.value(tuple(points)).reshape(g.shape)), initial=0.0))
        natural = [_FEATURES * term / feature_scale(points[i]).reshape(-1) for i in self.base.wanted]
        return np.maximum(np.abs(y), np.concatenate(natural).reshape(y.shape))

    def grads(self, inputs: Inputs, g: np.ndarray) -> Grads:
        *points, upstream = inputs
        leaves = self.base.leaves(tuple(points))
        weight = Tensor(np.asarray(upstream), requires_grad=True)
        outputs = self.base.outputs(leaves)
        first = self._first(outputs, leaves, weight)
        places = [*(leaves[i] for i in self.base.wanted), weight]
        sizes = [np.size(points[i]) for i in self.base.wanted]
        parts = np.split(np.ravel(g), np.cumsum(sizes)[:-1])
        pairs = [
            (d, part.reshape(d.shape))
            for d, part in zip((first[i] for i in self.base.wanted), parts, strict=True)
            if d is not None and d.requires_grad
        ]
        found: Sequence[Any] = [None] * len(places)
        if pairs:
            with rules_running():
                found = gradients.grad([d for d, _ in pairs], places, [part for _, part in pairs], allow_unused=True)
        by_position = dict(zip((*self.base.wanted, self.count), found, strict=True))
        ordered = [by_position.get(i) for i in range(len(inputs))]
        return tuple(None if d is None else d.data for d in ordered)

    def _first(self, outputs: Sequence[Tensor], leaves: Sequence[Any], weight: Tensor) -> Sequence[Any]:
        """The recorded gradients, connected to the upstream gradient as well."""
        places = [leaves[i] for i in self.base.wanted]
        found: Sequence[Any] = [None] * len(places)
        parts = _split_tensor(weight, outputs)
        pairs = [(y, part) for y, part in zip(outputs, parts, strict=True) if y.requires_grad]
        if pairs:
            ys, weights = [y for y, _ in pairs], [part for _, part in pairs]
            with rules_running():
                found = gradients.grad(ys, places, weights, create_graph=True, allow_unused=True)
        by_position = dict(zip(self.base.wanted, found, strict=True))
        return [by_position.get(i) for i in range(len(leaves))]


def function_name(fn: Any) -> str:
    """What a report calls a function."""
    return fn.name if isinstance(fn, Op) else getattr(fn, "__name__", type(fn).__name__)


def _wrapped(x: Any) -> Any:
    if is_differentiable(x) or (isinstance(x, np.ndarray) and x.dtype.kind == "c"):
        return Tensor(x)
    return x


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One output as it is, several flattened one after the other."""
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.ravel(a) for a in arrays])


def _parted(g: np.ndarray, outputs: Sequence[Tensor]) -> list[np.ndarray]:
    """An upstream gradient as `_joined` would have it, by output."""
    if len(outputs) == 1:
        return [g]
    parts = np.split(np.ravel(g), np.cumsum([y.size for y in outputs])[:-1])
    return [part.reshape(y.shape).astype(y.dtype, copy=False) for part, y in zip(parts, outputs, strict=True)]


def _split_tensor(weight: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    if len(outputs) == 1:
        return [weight]
    ends = np.cumsum([0, *(y.size for y in outputs)])
    return [weight[int(a) : int(b)].reshape(y.shape) for a, b, y in zip(ends, ends[1:], outputs, strict=False)]


def _filled(grad: Any, x: Any) -> np.ndarray:
    return np.zeros_like(x) if grad is None else grad


def _parameter_words(fn: Any) -> tuple[str, ...]:
    if isinstance(fn, Op):
        return fn.inputs
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return ()
    words = (p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return tuple("x" if word == "self" else word for word in words)
