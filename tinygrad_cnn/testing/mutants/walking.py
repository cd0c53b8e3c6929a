"""Wrong ways to walk back over the tape: gradients that meet are joined otherwise, or nodes visited again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tape import Gradients, Node
from tinygrad_cnn.testing.mutants.mutant import attribute

Join = Callable[[Any, Any, int], Any]  # (what has arrived so far, what arrives now, as the how-manieth) -> the sum


def walking(join: Join, *, again: bool = False) -> AbstractContextManager[None]:
    """The engine walks like this while the block runs; `again` visits a node each time a gradient reaches it."""
    return attribute(tape, "walk", partial(_walk, join, again))


def last(old: Any, new: Any, _: int) -> Any:
    """`=` for `+=`."""
    return new


def first(old: Any, new: Any, _: int) -> Any:
    """`if grad is None`."""
    return old


def in_place(old: Any, new: Any, _: int) -> Any:
    """`+=` on an array that may be somebody else's."""
    if isinstance(old, np.ndarray) and old.ndim and old.flags.writeable:
        old += new
        return old
    return old + new


def at_most(count: int) -> Join:
    """Right for as many as a test tries, and no more."""
    return lambda old, new, arrived: old + new if arrived <= count else old


def _walk(
    join: Join, again: bool, roots: Any, *, wanted: Any = None, keep: bool = False, create: bool = False, **_: Any
) -> Gradients:
    """The engine's walk, without what only viewers and large models need; it keeps what was saved."""
    state = tape.STATE.get()
    found: dict[Any, Any] = {}
    arrived: dict[Any, int] = {}
    stack: list[Node] = []

    def send(place: Any, g: Any) -> None:
        arrived[place] = arrived.get(place, 0) + 1
        found[place] = join(found[place], g, arrived[place]) if place in found else g
        if type(place) is Node and (again or place not in stack):
            stack.append(place)

    tape.STATE.set(state._replace(grad=create))
    try:
        for place, g in roots:
            send(place, g)
        while stack:
            if not again:
                stack.sort(key=lambda node: node.seq)
            node = stack.pop()
            for parent, d in zip(node.parents, node.op.pull(node, found[node], create, None), strict=True):
                if d is not None:
                    send(parent, d)
    finally:
        tape.STATE.set(state)
    targets = [p for p in found if type(p) is not Node] if wanted is None else set(wanted) & found.keys()
    return Gradients({p: found[p] for p in targets}, [])
