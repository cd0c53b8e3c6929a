"""Where in a model we are: what a module computes is recorded under its dotted path from the outermost module called.

`model(x)` gives nodes "conv1", "layer1.0.conv1"; a module that is called but not an attribute of the model counts
as part of the one that calls it. The paths are those of `named_modules()`, looked up once per structure, so that a
call costs about a microsecond.
"""

from __future__ import annotations

import itertools
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

from tinygrad_cnn.core.tape import STATE, State

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module import Module

Paths = dict[int, str]  # id(module) -> path; the ids stay valid as long as the structure does

_running: ContextVar[Paths | None] = ContextVar("tinygrad_cnn.paths", default=None)
_known: weakref.WeakKeyDictionary[Module, tuple[int, Paths]] = weakref.WeakKeyDictionary()
_changes = itertools.count(1)
_structure = 0  # the number of the newest change to what any module consists of


def structure_changed() -> None:
    """A module was made, or an attribute of one: paths must be looked up again."""
    global _structure
    _structure = next(_changes)


def enter(module: Module) -> tuple[State, State] | None:
    """Set the path for a module's forward; returns what `leave` needs, None for the outermost module."""
    paths = _running.get()
    before = STATE.get()
    if paths is None:
        _running.set(_paths_of(module, before.path))
        return None
    inside = State(before.grad, paths.get(id(module), before.path), *before[2:])  # half the time of _replace
    STATE.set(inside)
    return before, inside


def leave(states: tuple[State, State] | None) -> None:
    """Back to the path of the caller; other parts of the state are not ours to restore."""
    if states is None:
        _running.set(None)
    else:
        before, inside = states
        now = STATE.get()
        STATE.set(before if now is inside else now._replace(path=before.path))


def _paths_of(module: Module, prefix: str) -> Paths:
    structure, paths = _known.get(module, (-1, {}))
    if structure != _structure:
        structure = _structure
        paths = {id(m): path for path, m in module.named_modules()}
        _known[module] = structure, paths
    return {i: f"{prefix}.{path}".strip(".") for i, path in paths.items()} if prefix else paths
