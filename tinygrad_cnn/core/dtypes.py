"""Dtypes: the default one, a user's choice of one; and arrays that mean something else than numbers in rows."""

from __future__ import annotations

from typing import Any

import numpy as np

_default: np.dtype[Any] = np.dtype("float32")


def set_default_dtype(dtype: Any) -> None:
    """The floating dtype that Python numbers become: "float32" at the start, "float64" or "float16"."""
    global _default
    wanted = as_dtype("set_default_dtype", dtype)
    if wanted not in (np.float16, np.float32, np.float64):
        raise TypeError(f"set_default_dtype: must be float16, float32 or float64, a floating dtype, got {wanted}")
    _default = wanted


def get_default_dtype() -> np.dtype[Any]:
    """The floating dtype that Python numbers become."""
    return _default


def as_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """What a user gave as a dtype, for the function `name`; it must be one of numbers or booleans."""
    try:
        wanted = np.dtype(dtype) if dtype is not None else None
    except (TypeError, ValueError):
        wanted = None
    if wanted is None or wanted.kind not in "fiubc":
        raise TypeError(
            f"{name}: {dtype!r} is no dtype of numbers or booleans; give a name such as 'float32' or 'int64', or "
            "NumPy's np.float32"
        )
    return wanted


def plain_array(name: str, array: np.ndarray) -> np.ndarray:
    """An array as it is, or a view of the same memory that `*` multiplies element by element (np.matrix does not)."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array has no values where it is masked; fill it first, array.filled(value)")
    return np.asarray(array)
