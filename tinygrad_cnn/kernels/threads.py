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

WORTHWHILE = 200_000  # nanoseconds of work that pay for waking a thread


def share(
    work: Callable[[Iterator[Block]], Result], blocks: Sequence[Block], nanoseconds: float, fixed: bool = False
) -> list[Result]:
    """Call `work` with an iterator of blocks, in one thread or several; returns what each returned.

    nanoseconds: how long all blocks would take one thread. Threads take the next block when they are done with one;
    with `fixed` each gets an equal run of them instead, so that sums over blocks round the same in every run.
    """
    with single_threaded_blas() as allowed:
        count = min(allowed, len(blocks)) if nanoseconds >= WORTHWHILE else 1
        if count <= 1 or not _pool_lock.acquire(blocking=False):  # busy: the caller is one of several threads itself
            return [work(iter(blocks))]
        try:
            queue = iter(blocks)  # `next` on a list's iterator is atomic
            ends = [len(blocks) * i // count for i in range(count + 1)]
            shares = [iter(blocks[a:b]) if fixed else queue for a, b in itertools.pairwise(ends)]
            return _together([functools.partial(work, some) for some in shares])
        finally:
            _pool_lock.release()


# ---- the pool --------------------------------------------------------------------------------------------------

_pool_lock = threading.Lock()
_workers: list[_Worker] = []


class _Worker:
    """A thread that waits for a task, runs it and hands back the result, or the error."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        threading.Thread(target=self._run, name="tinygrad_cnn", daemon=True).start()

    def start(self, task: Callable[[], Any]) -> None:
        self._tasks.put(task)

    def result(self) -> tuple[Any, BaseException | None]:
        return self._results.get()

    def _run(self) -> None:
        np.seterr(all="ignore")  # inf and NaN are results here; a thread starts with NumPy's defaults
        for library in _libraries:
            if library.per_thread:
                library.set(1)
        while True:
            self._results.put(_outcome(self._tasks.get()))


def _together(tasks: list[Callable[[], Result]]) -> list[Result]:
    """Run tasks at once, the first of them here; raises the first error once all have ended."""
    while len(_workers) < len(tasks) - 1:
        _workers.append(_Worker())
    helpers = _workers[: len(tasks) - 1]
    for worker, task in zip(helpers, tasks[1:], strict=True):
        worker.start(task)
    outcomes = [_outcome(tasks[0]), *(worker.result() for worker in helpers)]
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes]


def _outcome(task: Callable[[], Result]) -> tuple[Any, BaseException | None]:
    try:
        return task(), None
    except BaseException as error:
        return None, error


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


@contextmanager
def single_threaded_blas() -> Iterator[int]:
    """Hold BLAS to one thread while any kernel is inside; yields how many threads the user allows it."""
    global _inside, _allowed
    with _blas_lock:
        if not _libraries:
            controllers = ThreadpoolController().select(user_api="blas").lib_controllers
            _libraries.extend(map(_Library, controllers))
        if _inside == 0:
            _allowed = [library.get() or 1 for library in _libraries]
            _limit([1] * len(_libraries))
        _inside += 1
        allowed = max(_allowed, default=1)
    try:
        yield allowed
    finally:
        with _blas_lock:
            _inside -= 1
            if _inside == 0:
                _limit(_allowed)


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
