"""Hooks: a user's functions of a gradient, called when all of it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.core.operators import Operators
from tinygrad_cnn.errors import ShapeError

if TYPE_CHECKING:
    from tinygrad_cnn.core.tensor import Tensor


class HookHandle:
    """What `register_hook` returns; `remove()` takes the hook away again."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away; doing so twice is harmless."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
    """Hooks of a computed Tensor live on its node, so they fire even if the Tensor has died."""
    if not callable(hook):
        raise TypeError(f"register_hook: the hook must be a function of the gradient, got {type(hook).__name__}")

    wrap = type(tensor)._wrap  # the tensor itself would make a cycle: node, hook, tensor, node

    def on_gradient(g: Any) -> Any:
        bare = isinstance(g, np.ndarray | np.generic)
        replaced: Any = hook(wrap(_read_only(g), None) if bare else g)
        if replaced is None:
            return None
        if not isinstance(replaced, Operators):
            raise TypeError(f"hook: must return a Tensor or None, got {type(replaced).__name__}")
        if replaced.shape != g.shape or replaced.dtype != g.dtype:
            raise ShapeError(
                f"hook: returned a gradient of {replaced.shape} {replaced.dtype}, but the Tensor's is {g.shape} "
                f"{g.dtype}"
            )
        return replaced._data if bare else replaced

    holder: Any = tensor if tensor._node is None else tensor._node
    attribute = "_hooks" if tensor._node is None else "hooks"
    hooks = getattr(holder, attribute)
    if hooks is None:
        hooks = []
        setattr(holder, attribute, hooks)
    hooks.append(on_gradient)
    return HookHandle(hooks, on_gradient)


def run_hooks(hooks: Iterable[Callable[[Any], Any]], g: Any, place: Any) -> Any:
    """Each hook may replace the gradient; None keeps it."""
    for hook in tuple(hooks):
        try:
            replaced = hook(g)
        except Exception as error:
            whose = f"a leaf of shape {place.shape}" if isinstance(place, Operators) else place
            error.add_note(f"in a hook on the gradient of {whose}")
            raise
        g = g if replaced is None else replaced
    return g


def _read_only(g: Any) -> np.ndarray:
    view = np.asarray(g).view()
    view.flags.writeable = False
    return view
