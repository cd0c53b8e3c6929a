"""What anomaly mode looks for: numbers that are not finite, and memory that changed unseen."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np

from tinygrad_cnn.core import sources


def refuse_nonfinite(name: str, what: str, array: np.ndarray, path: str, source: sources.Source | None) -> None:
    """Raise FloatingPointError for the first NaN or infinity, naming operation, place, module path and source line."""
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    where = (f" in module {path!r}" if path else "") + (f", at {line}" if (line := sources.described(source)) else "")
    raise FloatingPointError(f"{name}: {what} {array[index]} at index {index} of shape {array.shape}{where}")


def checksums(arrays: Iterable[np.ndarray]) -> tuple[int, ...]:
    """One number for each array's contents."""
    return tuple(zlib.crc32(array.tobytes()) for array in arrays)
