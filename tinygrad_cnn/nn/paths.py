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

Paths = dict[int, str]  # id(module) -> path


class _Call:
    """One call of an outermost module, and the paths of what is inside it."""

    __slots__ = ("is_fresh", "paths", "prefix", "root")

    def __init__(self, root: Module, prefix: str) -> None:
        self.root, self.prefix = root, prefix
        structure, paths = _known.get(root, (-1, {}))
        self.is_fresh = structure != _structure
        self.paths = self._look_up() if self.is_fresh or prefix else paths

    def _look_up(self) -> Paths:
        paths = {id(module): path for path, module in self.root.named_modules(self.prefix)}
        if not self.prefix:
            _known[self.root] = _structure, paths
        return paths

    def path_of_stranger(self, module: Module, default: str) -> str:
        """A module that was not there may have been added to a list, which nobody notices: look again, but once."""
        if not self.is_fresh:
            self.is_fresh, self.paths = True, self._look_up()
        return self.paths.get(id(module), default)


_running: ContextVar[_Call | None] = ContextVar("tinygrad_cnn.call", default=None)
_known: weakref.WeakKeyDictionary[Module, tuple[int, Paths]] = weakref.WeakKeyDictionary()
_changes = itertools.count(1)
_structure = 0  # the number of the newest change to what any module consists of


def structure_changed() -> None:
    """A module became an attribute of another, or ceased to be one: paths must be looked up again."""
    global _structure
    _structure = next(_changes)


def enter(module: Module) -> tuple[State, State] | None:
    """Set the path for a module's forward; returns what `leave` needs, None for the outermost module."""
    call = _running.get()
    before = STATE.get()
    if call is None:
        _running.set(_Call(module, before.path))
        return None
    path = call.paths.get(id(module))
    if path is None:
        path = call.path_of_stranger(module, before.path)
    inside = State(before.grad, path, *before[2:])  # half the time of _replace
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
