"""Recompute instead of storing: memory for time, with the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_cnn.core import memory, tape
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.tape import Node, Place
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import TapeError
from tinygrad_cnn.random_state import generator


def checkpoint(f: Callable[..., Tensor], *xs: Any) -> Tensor:
    """f(*xs), keeping only xs; what f saved for backward is computed again when backward comes (Chen et al. 2016).

    Parameters and computed Tensors that f reaches through its closure get their gradients too. Random draws are
    replayed, so dropout has the same mask, and running statistics are updated once. Right in every order of derivative.

    Raises TypeError if f does not return one Tensor; backward raises TapeError if what f reads was overwritten.

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
    y, reached = _run(f, inputs)
    if not (tape.is_grad_enabled() and y.requires_grad):
        return y.detach()
    places = [*inputs, *reached]
    made = memory.tick()

    def gradients(xs: Sequence[Tensor], g: Tensor, create: bool) -> list[Any]:
        # Recorded, the caller's Tensors are themselves the ends of the walk; else they are constants of it.
        fresh = xs if create else [x.detach().requires_grad_(i.requires_grad) for x, i in zip(xs, inputs, strict=True)]
        start = memory.tick()
        with tape.enable_grad(), _replay(draws), _refusing_what_changed(made, start), tape.within(path):
            out = f(*fresh)
        root = [(_place(out), g if create else g.data)] if out.requires_grad else []
        found = tape.walk(root, keep=create, create=create, since=start).places
        return [found.get(_place(t)) for t in (*fresh, *reached)]

    def rule(g: Tensor, tensors: Sequence[Tensor]) -> list[Any]:
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

    values = [y.data]  # taken by the one call of the record: nothing keeps the output alive
    record = Op("checkpoint", lambda *tensors: values.pop(), rule, doc="A function computed again for its gradient.")
    return record(*places)


def _run(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The value, and what f reached besides its inputs: leaves, and Tensors computed before. The run's tape dies."""
    fresh = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
    start = memory.tick()
    y = f(*fresh)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: the function must return one Tensor, it returned {type(y).__name__}")
    reached: list[Tensor] = []
    seen: set[int] = {id(x) for x in fresh}
    stack = [_place(y)] if y.requires_grad else []
    while stack:
        place = stack.pop()
        if id(place) not in seen:
            seen.add(id(place))
            if isinstance(place, Node) and place.seq > start:
                stack.extend(p for p in place.parents if p is not None)
            else:
                reached.append(_standing_at(place) if isinstance(place, Node) else place)
    return y, reached


def _standing_at(node: Node) -> Tensor:
    """A Tensor in a node's place on the tape, for its gradient alone; its values take no memory."""
    return Tensor._wrap(np.broadcast_to(np.zeros((), node.dtype), node.shape), node)


def _place(tensor: Tensor) -> Place:
    return tensor if tensor.grad_fn is None else tensor.grad_fn


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


@contextmanager
def _refusing_what_changed(made: int, start: int) -> Iterator[None]:
    """What the function reads must be what it read at first, until `made`; what it writes from `start` is its own."""

    def check(node: Any, op: Any, args: tuple[Any, ...], options: Any, out: Any) -> None:
        for position, arg in enumerate(args):
            array = arg.data if isinstance(arg, Tensor) else arg
            rebound = isinstance(arg, Tensor) and made < arg._rebound < start
            if rebound or (isinstance(array, np.ndarray) and made < memory.last_written(array) < start):
                by = "a new array in .data" if rebound else memory.writer(array)
                raise TapeError(
                    f"checkpoint: input {op.input_name(position)!r} of {op.name!r}, of shape {array.shape}, was "
                    f"overwritten after the forward pass, by {by}, so the function can not be computed again; call "
                    "backward before the update"
                )

    with tape.observe(on_record=check):
        yield


def _given(gradient: Tensor | None, like: Tensor) -> Tensor:
    return like.detach() * 0.0 if gradient is None else gradient
