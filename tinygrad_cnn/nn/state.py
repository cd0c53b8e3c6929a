"""Loading a state_dict: all of it, or nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """What did not fit: unpacks to (missing_keys, unexpected_keys) as in PyTorch; mismatched_keys is one more."""

    mismatched_keys: list[str]

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, mismatched_keys={self.mismatched_keys})"


def load(kind: str, targets: Mapping[str, Tensor], state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy arrays into Tensors by name; see `Module.load_state_dict`."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"load_state_dict: expected a mapping of names to arrays, got {type(state_dict).__name__}")
    ready: list[tuple[Tensor, np.ndarray]] = []
    mismatches: dict[str, str] = {}
    for name, target in targets.items():
        if name in state_dict:
            array = _as_array(name, state_dict[name])
            if array.shape != target.shape:
                mismatches[name] = f"{name}: shape {array.shape} in the state_dict, {target.shape} in the module"
            elif not np.can_cast(array.dtype, target.dtype, "same_kind"):
                mismatches[name] = f"{name}: dtype {array.dtype} in the state_dict, {target.dtype} in the module"
            elif not target.data.flags.writeable:
                mismatches[name] = f"{name}: the module's array is read-only"
            else:
                ready.append((target, array))
    keys = IncompatibleKeys([n for n in targets if n not in state_dict], [n for n in state_dict if n not in targets])
    keys.mismatched_keys = list(mismatches)
    if strict and (any(keys) or mismatches):
        raise RuntimeError(
            f"load_state_dict: the state_dict does not fit this {kind}, nothing was loaded."
            + _listed("missing", keys.missing_keys)
            + _listed("unexpected", keys.unexpected_keys)
            + _listed("mismatched", list(mismatches.values()))
        )
    for target, array in ready:
        with np.errstate(all="ignore"):  # a float64 beyond float32 is infinite, as everywhere
            np.copyto(target.data, array, casting="same_kind")
        tape.written(target.data)
    return keys


def _as_array(name: str, value: Any) -> np.ndarray:
    """An array of numbers from an array, a Tensor or another library's tensor, in memory of its own."""
    try:
        array = np.asarray(value).copy()
    except Exception as error:
        raise TypeError(f"load_state_dict: {name!r} is no array of numbers ({error})") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"load_state_dict: {name!r} is no array of numbers (dtype {array.dtype})")
    return array


def _listed(what: str, lines: list[str]) -> str:
    return f"\n  {what}: " + "\n    ".join(["", *lines]).lstrip() if lines else ""
