"""The same numbers lying in memory in every way that NumPy knows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _row_major(x: np.ndarray) -> np.ndarray:
    return np.array(x, order="C")


def _channels_last(x: np.ndarray) -> np.ndarray:
    """Axis 1 innermost, as the convolutions of this package leave it."""
    return x if x.ndim < 3 else np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def _negative_strides(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 0 else np.flip(np.flip(x).copy())


def _every_second(x: np.ndarray) -> np.ndarray:
    """A step-2 view whose gaps are NaN: who reads them is found out."""
    poison = np.full(tuple(2 * n for n in x.shape), np.nan if x.dtype.kind == "f" else 0, x.dtype)
    view = poison[(*(slice(None, None, 2) for _ in x.shape), ...)]
    view[...] = x
    return view


def _transposed(x: np.ndarray) -> np.ndarray:
    return np.array(x.T, order="C").T


def _read_only(x: np.ndarray) -> np.ndarray:
    x = np.array(x)
    x.flags.writeable = False
    return x


def _broadcast(x: np.ndarray) -> np.ndarray:
    """Stretched from the first of the first axis: stride 0 and read-only. Other numbers than x."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim else x


def _offset(x: np.ndarray) -> np.ndarray:
    """Inside a larger array, not at its start."""
    padded = np.full(tuple(n + 3 for n in x.shape), np.nan if x.dtype.kind == "f" else 0, x.dtype)
    view = padded[(*(slice(1, n + 1) for n in x.shape), ...)]
    view[...] = x
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "row-major": _row_major,
    "channels-last": _channels_last,
    "transposed": _transposed,
    "negative-strides": _negative_strides,
    "every-second": _every_second,
    "offset": _offset,
    "read-only": _read_only,
    "broadcast": _broadcast,
}
