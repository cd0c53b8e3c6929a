"""Memory of the kernels: scratch that no user ever sees, and an allocator that keeps what it was given.

A fresh array of megabytes costs a page fault for every 4 KiB: more than the arithmetic on it. The GNU C library gives
large blocks back to the system as soon as they are freed, and gets them anew for the next operation; told not to, a
training step takes a tenth less time, a loss over 1000 classes a fifth of it. That is done once, when the package is
imported; `TINYGRAD_CNN_MALLOC=0` in the environment leaves the allocator alone.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .layout import Array

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_local = threading.local()


def scratch(name: str, shape: Sequence[int], dtype: Any) -> Array:
    """An uninitialised array in this thread's memory of that name, whose last content it overwrites."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = _local.__dict__.get(name)
    if memory is None or memory.size < size:
        fresh = np.empty(size + 64, np.uint8)
        memory = _local.__dict__[name] = fresh[-fresh.ctypes.data % 64 :]  # at a cache line
    return np.ndarray(shape, dtype, memory)


def _keep_freed_memory() -> None:
    """Tell the C library to keep freed blocks for the next array; nothing where it is not GNU's."""
    if os.environ.get("TINYGRAD_CNN_MALLOC") == "0":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


_keep_freed_memory()
