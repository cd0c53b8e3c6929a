"""Mutant: one seeded bug, and the op whose battery must notice it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinygrad_cnn.core.op import Op, ops
from tinygrad_cnn.testing.battery import patched
from tinygrad_cnn.testing.mutants.rewriting import with_forward


@dataclass(frozen=True)
class Mutant:
    """A wrong version of an op. `seeded()` makes it effective while a block runs.

    `op` is the name under which the kit knows the op; `family` groups bugs of one making in tables; `seen` names the
    places where the bug was found in the wild.
    """

    op: str
    bug: str
    family: str
    seeded: Callable[[], AbstractContextManager[Any]]
    seen: str = ""

    @property
    def name(self) -> str:
        return f"{self.op}: {self.bug}"


def historic(op: str, bug: str, seen: str, *, record: str = "", body: Any = None, **parts: Any) -> Mutant:
    """A bug of the past: parts of the op's record (or of another, that it uses) replaced; `body` is for the forward."""
    record = record or op
    if body is not None:
        parts["forward"] = with_forward(ops()[record], body)
    return Mutant(op, bug, "historic", partial(patched, record, **parts), seen)


def elsewhere(
    op: str, bug: str, seen: str, *managers: Callable[[], AbstractContextManager[Any]], family: str = "historic"
) -> Mutant:
    """A bug of the past that sits in more than one record, or in none."""
    return Mutant(op, bug, family, lambda: together(*(manager() for manager in managers)), seen)


@contextmanager
def together(*managers: AbstractContextManager[Any]) -> Iterator[None]:
    """Several context managers as one."""
    with ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        yield


@contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute while the block runs."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def record(name: str) -> Op:
    """The op of that name, to be called on Tensors inside a rule."""
    return ops()[name]
