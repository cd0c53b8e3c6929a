"""Writing in place: `x += y` and `x[i] = y` compute an op and write its result over the Tensor's own memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.core import memory
from tinygrad_cnn.core.modes import STATE
from tinygrad_cnn.core.operators import OPS, Operators
from tinygrad_cnn.errors import ShapeError, TapeError

if TYPE_CHECKING:
    from tinygrad_cnn.core.tape import Node
    from tinygrad_cnn.core.tensor import Tensor


def write(tensor: Tensor, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """Compute the op `name` of a Tensor and more, and write the result over its array; recorded where it matters.

    With recording on, what the memory held stays known to those who saved it for backward; under `no_grad` it does not.
    """
    recording = STATE.get().grad
    if recording and any(isinstance(t, Operators) and t.requires_grad for t in (tensor, *args)):  # type: ignore[attr-defined]  # Tensor's
        _refuse_to_hide_values(tensor, name)
    is_held = memory.is_held(tensor._data)
    out = OPS[name](tensor, *args, **options)
    _refuse_what_does_not_fit(tensor, name, out._data)
    node = out._node
    if node is not None:
        place = memory.owner(tensor._data)
        node.saved = tuple(_rescued(value, place) for value in node.saved or ())
    if not is_held:
        memory.forget_pasts(tensor._data)
    elif recording:
        memory.remember(tensor._data)
    with np.errstate(all="ignore"):  # from float64, say
        np.copyto(tensor._data, out._data, casting="same_kind")
    if node is None:
        memory.written(tensor._data, f"{name!r} in place")
    else:
        node.seq, node.dtype, node.is_view = memory.tick(), tensor.dtype, False
        memory.written_on_tape(tensor._data, f"{name!r} in place", node.seq)
        _take_along_retained_gradient(tensor, node)
        tensor._node = node
    return tensor


def _refuse_to_hide_values(tensor: Tensor, name: str) -> None:
    """Where the tape could not tell any more which values belong to whom."""
    if tensor.is_leaf and tensor.requires_grad:
        raise TapeError(
            f"{name} in place: this leaf of shape {tensor.shape} requires grad and would lose its value; write under "
            "tc.no_grad(), or compute a new Tensor"
        )
    if tensor._node is not None and tensor._node.is_view:
        whole = "; for x[i] += y write x[i] = x[i] + y" if tensor._node.op.name == "getitem" else ""
        raise TapeError(
            f"{name} in place: this Tensor of shape {tensor.shape} is a view made by {tensor._node.op.name!r}, and the "
            f"Tensor it looks at would change unseen; use x.clone() first{whole}"
        )


def _refuse_what_does_not_fit(tensor: Tensor, name: str, result: np.ndarray) -> None:
    if result.shape != tensor.shape:
        raise ShapeError(f"{name} in place: the result has shape {result.shape}, the Tensor {tensor.shape}")
    if not np.can_cast(result.dtype, tensor.dtype, "same_kind"):
        raise TypeError(f"{name} in place: the result is {result.dtype}, which does not fit into {tensor.dtype}")
    if not tensor._data.flags.writeable:
        raise ValueError(f"{name} in place: the Tensor's memory is read-only; write into a copy, x.clone()")


def _take_along_retained_gradient(tensor: Tensor, node: Node) -> None:
    """Hooks stay with the old value; `.grad` belongs to the Tensor, whatever it holds."""
    old = tensor._node
    if old is not None and old.retained is not None and old.retained() is tensor:
        node.retained, old.retained = old.retained, None


def _rescued(value: Any, place: Any) -> Any:
    """A saved array that is about to be overwritten, copied."""
    if isinstance(value, tuple):
        return tuple(_rescued(v, place) for v in value)
    if isinstance(value, np.ndarray) and memory.owner(value) is place:
        return value.copy("K")
    return value
