"""Recompute instead of storing: memory for time, with the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.gradients import grad
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.tape import Node
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.random_state import generator


def checkpoint(f: Callable[..., Tensor], *xs: Any) -> Tensor:
    """f(*xs), keeping only xs; what f saved for backward is computed again when backward comes (Chen et al. 2016).

    Parameters that f reaches through its closure get their gradients too. Random draws are replayed, so dropout has the
    same mask, and running statistics are updated once. Right in every order of derivative.

    Raises TypeError if f does not return one Tensor.

    >>> import tinygrad_cnn as tc
    >>> x = tc.tensor([1.0, 2.0], requires_grad=True)
    >>> tc.checkpoint(lambda x: (x * x).relu(), x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    if not callable(f):
        raise TypeError(f"checkpoint: the first argument must be a function of Tensors, got {type(f).__name__}")
    inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in xs]
    draws, path = generator().bit_generator.state, tape.STATE.get().path
    y, leaves = _run(f, inputs)
    if not (tape.is_grad_enabled() and y.requires_grad):
        return y.detach()
    places = [*inputs, *leaves]

    def replayed(*tensors: Tensor) -> Tensor:
        with _replay(draws), tape.within(path):
            return f(*tensors)

    def gradients(xs: Sequence[Tensor], g: Tensor, create: bool) -> list[Tensor | None]:
        # Recorded, the caller's Tensors are themselves the leaves of a run; else they are constants of the walk.
        fresh = xs if create else [x.detach().requires_grad_(i.requires_grad) for x, i in zip(xs, inputs, strict=True)]
        with tape.enable_grad():
            out = replayed(*fresh)
            wanted = [t for t in (*fresh, *leaves) if t.requires_grad]
            found = iter(grad(out, wanted, g, create_graph=create, allow_unused=True))
        return [next(found) if t.requires_grad else None for t in (*fresh, *leaves)]

    def rule(g: Tensor, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        xs = tensors[: len(inputs)]
        if not tape.is_grad_enabled():
            return gradients(xs, g, False)
        # Recorded: each gradient is itself a checkpointed function of the inputs and g, and so on to any order.
        return [
            checkpoint(lambda *a, i=i: _given(gradients(a[:-1], a[-1], True)[i], places[i]), *xs, g)
            if place.requires_grad
            else None
            for i, place in enumerate(places)
        ]

    values = y.data
    record = Op("checkpoint", lambda *tensors: values, rule, doc="A function that is computed again for its gradient.")
    return record(*places)


def _run(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The value, and the leaves that f reached besides its inputs; the tape of the run is dropped."""
    fresh = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
    y = f(*fresh)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: the function must return one Tensor, it returned {type(y).__name__}")
    leaves: list[Tensor] = []
    seen: set[int] = {id(x) for x in fresh}
    stack: list[Any] = [y.grad_fn or y] if y.requires_grad else []
    while stack:
        place = stack.pop()
        if id(place) not in seen:
            seen.add(id(place))
            if isinstance(place, Node):
                stack.extend(p for p in place.parents if p is not None)
            else:
                leaves.append(place)
    return y, leaves


@contextmanager
def _replay(draws: Any) -> Iterator[None]:
    """The random draws of the first run, and none of its side effects."""
    source = generator().bit_generator
    before = source.state
    source.state = draws
    try:
        with tape.replaying():
            yield
    finally:
        source.state = before


def _given(gradient: Tensor | None, like: Tensor) -> Tensor:
    return like.detach() * 0.0 if gradient is None else gradient
