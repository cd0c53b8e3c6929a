"""Memory: one clock for everything that happens, who wrote where and when, and what stood there before.

A node is numbered when it is made, memory when it is written in place, by the same clock. So "was this saved array
overwritten since?" is one comparison, through any number of views, and nothing is counted per Tensor.
"""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.core import sources
from tinygrad_cnn.core.modes import STATE
from tinygrad_cnn.errors import TapeError

if TYPE_CHECKING:
    from tinygrad_cnn.core.tape import Node

tick = itertools.count(1).__next__
last_write = 0
recorded_writes: dict[int, int] = {}  # memory whose newest values are known to the tape only
_writes: dict[int, int] = {}  # id(owner of memory) -> number of its newest in-place write
_writers: dict[int, str] = {}  # ... -> who wrote
_pasts: dict[int, deque[Past]] = {}  # ... -> what it held before
_reshapes: dict[int, int] = {}  # id(leaf) -> when its .data got another shape
_alive: dict[int, Any] = {}  # weak references that clear the tables above when the memory dies
_lock = threading.Lock()


def owner(array: np.ndarray) -> Any:
    """The object that owns an array's memory, through any number of views."""
    base: Any = array
    while (below := getattr(base, "base", None)) is not None:
        base = below
    return base.obj if isinstance(base, memoryview) else base


# ---- writes ----------------------------------------------------------------------------------------------------


def written(array: np.ndarray, by: str = "a write in place", number: int | None = None) -> None:
    """Note that an array's memory was just overwritten. Anything saved from it before is stale from now on."""
    global last_write
    memory = owner(array)
    key = id(memory)
    if key not in _alive:
        _alive[key] = _watched(memory, key)
    if STATE.get().anomaly:
        by = f"{by} at {sources.described(sources.caller())}"
    with _lock:
        number = tick() if number is None else number
        _writes[key], _writers[key] = number, by
        last_write = max(last_write, number)


def written_on_tape(array: np.ndarray, by: str, number: int) -> None:
    """Note a write that was itself recorded: whoever shares the memory without a node would lose its gradient."""
    written(array, by, number)
    recorded_writes[id(owner(array))] = number


def _watched(memory: Any, key: int) -> Any:
    """A weak reference that forgets the memory's entries when it dies; a foreign buffer may not allow one.

    An entry that is left over is harmless to a saved array: whoever reuses its id is younger than the write.
    """

    def forget(_: Any) -> None:
        for table in (_writes, _writers, recorded_writes, _pasts, _reshapes, _alive):
            table.pop(key, None)

    try:
        return weakref.ref(memory, forget)
    except TypeError:
        return None


def reshaped(leaf: Any) -> None:
    """Note that a leaf's array now has another shape: no gradient from before fits it."""
    global last_write
    key = id(leaf)
    if key not in _alive:
        _alive[key] = _watched(leaf, key)
    with _lock:
        _reshapes[key] = last_write = tick()


def was_reshaped(leaf: Any, seq: int) -> bool:
    """Whether a leaf got another shape after moment `seq`."""
    return bool(_reshapes) and _reshapes.get(id(leaf), 0) > seq


def writer(array: np.ndarray) -> str:
    """Who wrote an array's memory last."""
    return _writers.get(id(owner(array)), "a write in place")


def last_written(array: np.ndarray) -> int:
    """The moment of the newest write to an array's memory; 0 if there was none."""
    return _writes.get(id(owner(array)), 0)


def is_stale(array: Any, seq: int) -> bool:
    """Whether the memory of an array was overwritten after moment `seq`."""
    return isinstance(array, np.ndarray) and last_written(array) > seq


def check_input(op: Any, position: int, array: np.ndarray, node: Node | None) -> None:
    """Refuse an input whose values no longer are what the tape says they are."""
    if node is None:
        lost = bool(recorded_writes) and id(owner(array)) in recorded_writes
        reason = "was overwritten by a recorded in-place operation on another Tensor that shares its memory"
    else:
        lost = is_stale(array, node.seq)
        reason = f"was overwritten in place, by {writer(array)}, after {node.op.name!r} had computed it"
    if lost:
        raise TapeError(
            f"{op.name}: input {op.input_name(position)!r} of shape {array.shape} {reason}, so its gradient would be "
            "wrong; write into a copy (x.clone()), or compute a new Tensor instead of writing in place"
        )


# ---- what stood there before -----------------------------------------------------------------------------------


class Past(NamedTuple):
    """What a stretch of memory held from one write, numbered `since`, to the next."""

    since: int
    until: int
    start: int  # in bytes
    values: np.ndarray  # bytes


_PASTS_KEPT = 16  # per memory; whoever saved still older values is refused at backward
_SMALL = 1 << 16  # bytes: so much is kept whole, however little of it is written


def is_held(array: np.ndarray) -> bool:
    """Whether anything besides the one Tensor around it refers to an array or the memory below: a node, perhaps."""
    below: Any = array
    del array
    while isinstance(below, np.ndarray):
        if sys.getrefcount(below) > _ALONE:
            return True
        below = below.base
    return below is not None


def remember(array: np.ndarray) -> None:
    """Keep what an array's memory holds just before a write, for those who saved it for backward.

    All of the memory, or of one much larger than the array (a data set, of which it is a batch) the stretch written.
    """
    memory = owner(array)
    if not isinstance(memory, np.ndarray) or not memory.size:
        return
    limit = max(4 * array.nbytes, _SMALL)
    (low, high), (first, last) = byte_bounds(memory), byte_bounds(array)
    gaps = high - low != memory.nbytes
    if memory.nbytes <= limit:
        first, last = low, high
    if not gaps and last - first <= limit:
        key = id(memory)
        values = memory.ravel("K").view(np.uint8)[first - low : last - low].copy()
        past = Past(_writes.get(key, 0), tick(), first - low, values)
        with _lock:
            _pasts.setdefault(key, deque(maxlen=_PASTS_KEPT)).append(past)


def forget_pasts(array: np.ndarray) -> None:
    """Nobody holds an array's memory any more but its Tensor, so nobody needs what stood there before."""
    if _pasts:
        _pasts.pop(id(owner(array)), None)


def as_it_was(array: np.ndarray, seq: int) -> np.ndarray | None:
    """An array with the values of moment `seq`, if they were kept."""
    memory = owner(array)
    for past in tuple(_pasts.get(id(memory), ())):  # another thread may be writing
        if past.since <= seq < past.until:
            start = byte_bounds(memory)[0] + past.start
            first, last = byte_bounds(array)
            if start <= first and last <= start + past.values.nbytes:
                offset = array.__array_interface__["data"][0] - start
                return np.ndarray(array.shape, array.dtype, past.values, offset, array.strides)
    return None


def _calibrated() -> int:
    """How many references Python counts inside `is_held` for an array that one Tensor alone refers to."""

    class Holder:
        def __init__(self) -> None:
            self.array = np.empty(1)

    def inside(array: np.ndarray) -> int:
        below: Any = array
        del array
        return sys.getrefcount(below)

    holder = Holder()
    return inside(holder.array)


_ALONE = _calibrated()
