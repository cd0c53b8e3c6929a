"""Blocks of a batch, computed side by side.

NumPy gives the interpreter lock away while it computes, so plain threads keep all cores busy, as long as each call is
long enough (tens of microseconds) to pay for handing the lock over. Inside, BLAS runs on one thread: many products on
one thread each are faster than one product after the other on all of them.

There are as many threads as BLAS is allowed to use: OPENBLAS_NUM_THREADS and `threadpoolctl` govern these too.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Block = TypeVar("Block")
Result = TypeVar("Result")

WORTHWHILE = 200_000  # nanoseconds of work that pay for waking a thread, and for the risk that it is not woken in time
_SHARES = 4  # pieces of shared work come in fours, so that two or four threads end together
_NEGLIGIBLE = 900  # nanoseconds in which BLAS itself would not use threads

# NumPy copies operands that are not contiguous as a whole into buffers of 8192 elements, even if each row of them is
# contiguous: an addition then takes 0.33 ns an element instead of 0.19. Rows as long as the buffer are left in place.
_BUFFER = 512


def share(
    work: Callable[[Iterator[Block]], Result], blocks: Sequence[Block], nanoseconds: float, fixed: bool = False
) -> list[Result]:
    """Call `work` with an iterator of blocks, in one thread or several; returns what each call returned.

    nanoseconds: how long all blocks would take one thread. Threads take the next block when they are done with one;
    with `fixed` each call gets an equal run of them instead, so that sums over blocks round the same in every run.
    """
    if nanoseconds < _NEGLIGIBLE:
        return [work(iter(blocks))]
    with single_threaded_blas as allowed, _small_buffers():
        count = min(allowed, len(blocks)) if nanoseconds >= WORTHWHILE else 1
        if count <= 1 or not _pool_lock.acquire(blocking=False):  # busy: the caller is one of several threads itself
            return [work(iter(blocks))]
        try:
            queue = iter(blocks)  # `next` on a list's iterator is atomic
            ends = [len(blocks) * i // count for i in range(count + 1)]
            shares = [iter(blocks[a:b]) if fixed else queue for a, b in itertools.pairwise(ends)]
            return _Job([functools.partial(work, some) for some in shares]).results()
        finally:
            _pool_lock.release()


def pieces(length: int, most: int, nanoseconds: float, multiple: int = 1) -> list[slice]:
    """Cut 0 ... length into slices of at most `most`, equally long, and into several where threads pay.

    nanoseconds: how long all of it takes. Cuts are made at multiples of `multiple`, whatever `most` says.
    """
    count = -(-length // max(1, most))
    if nanoseconds >= WORTHWHILE:
        count += -count % _SHARES
    step = -(-length // max(1, count))
    step = max(1, step + -step % multiple)
    return [slice(i, min(i + step, length)) for i in range(0, length, step)]


@contextmanager
def _small_buffers() -> Iterator[None]:
    before = np.setbufsize(_BUFFER)
    try:
        yield
    finally:
        np.setbufsize(before)


# ---- the pool --------------------------------------------------------------------------------------------------

_pool_lock = threading.Lock()
_workers: list[SimpleQueue[_Job]] = []  # the inboxes of the threads that help


class _Job:
    """Tasks that the calling thread does, except those that a helper has begun when their turn comes.

    So a helper that the system does not wake in time costs nothing: nobody waits for it.
    """

    def __init__(self, tasks: list[Callable[[], Any]]) -> None:
        self._tasks = tasks
        self._unclaimed = iter(range(len(tasks)))
        self._done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

    def results(self) -> list[Any]:
        """What the tasks returned; raises the first error once all have ended."""
        while len(_workers) < len(self._tasks) - 1:
            _workers.append(SimpleQueue())
            threading.Thread(target=_help, args=(_workers[-1],), name="tinygrad_cnn", daemon=True).start()
        for inbox in _workers[: len(self._tasks) - 1]:
            inbox.put(self)
        self.help()
        outcomes = sorted((self._done.get() for _ in self._tasks), key=lambda outcome: outcome[0])
        for _, _, error in outcomes:
            if error is not None:
                raise error
        return [result for _, result, _ in outcomes]

    def help(self) -> None:
        """Do tasks as long as there is one that nobody has begun."""
        for i in self._unclaimed:
            try:
                self._done.put((i, self._tasks[i](), None))
            except BaseException as error:
                self._done.put((i, None, error))


def _help(inbox: SimpleQueue[_Job]) -> None:
    np.setbufsize(_BUFFER)
    np.seterr(all="ignore")  # inf and NaN are results here; a thread starts with NumPy's defaults
    for library in _libraries:
        if library.per_thread:
            library.set(1)
    while True:
        inbox.get().help()


# ---- BLAS ------------------------------------------------------------------------------------------------------

_blas_lock = threading.Lock()
_libraries: list[_Library] = []  # the BLAS libraries that are loaded
_inside = 0  # kernels that hold BLAS to one thread
_allowed: list[int] = []  # what the user had allowed each library


class _Library:
    """A BLAS library's own functions: how many threads it may use."""

    def __init__(self, controller: Any) -> None:
        # threadpoolctl lets one thread alone set OpenBLAS, and ignores the others; a limit that one thread takes and
        # another gives back needs the library's own symbols.
        names = [f"{{}}openblas_{{}}_num_threads{suffix}" for suffix in ("", "64_", "_64")]
        found = [
            (prefix, name)
            for prefix in ("", "scipy_")
            for name in names
            if hasattr(controller.dynlib, name.format(prefix, "set"))
        ]
        if controller.internal_api == "openblas" and found:
            prefix, name = found[0]
            self.get = getattr(controller.dynlib, name.format(prefix, "get"))
            self.set = getattr(controller.dynlib, name.format(prefix, "set"))
        else:
            self.get, self.set = controller.get_num_threads, controller.set_num_threads
        self.per_thread = getattr(controller, "threading_layer", "") == "openmp"


class _SingleThreadedBlas:
    """Hold BLAS to one thread while any kernel is inside; gives how many threads the user allows it."""

    def __enter__(self) -> int:
        global _inside, _allowed
        with _blas_lock:
            if _inside == 0:
                if not _libraries:
                    controllers = ThreadpoolController().select(user_api="blas").lib_controllers
                    _libraries.extend(map(_Library, controllers))
                _allowed = [library.get() or 1 for library in _libraries]
                _limit([1] * len(_libraries))
            _inside += 1
            return max(_allowed, default=1)

    def __exit__(self, *error: object) -> None:
        global _inside
        with _blas_lock:
            _inside -= 1
            if _inside == 0:
                _limit(_allowed)


single_threaded_blas = _SingleThreadedBlas()


def _limit(counts: list[int]) -> None:
    for library, count, user in zip(_libraries, counts, _allowed, strict=True):
        if user > 1:
            library.set(count)


def _forget() -> None:
    """In a forked child there are no worker threads, and whoever held a lock is gone."""
    global _pool_lock, _blas_lock, _inside
    _workers.clear()
    _pool_lock, _blas_lock = threading.Lock(), threading.Lock()
    if _inside:
        _inside = 0
        _limit(_allowed)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
