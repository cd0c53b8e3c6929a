"""State that a test must leave as it found it, and sentences for what it did not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import get_default_dtype
from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.paths import set_fast_math
from tinygrad_cnn.random_state import generator


@contextmanager
def no_leaks() -> Iterator[None]:
    """Raises AssertionError after the block, with one sentence for each piece of process-wide state that it changed.

    >>> import numpy as np
    >>> from tinygrad_cnn import testing
    >>> with testing.no_leaks():
    ...     _ = np.random.default_rng(0).random()
    """
    before = {what: read() for what, read in _STATE.items()}
    yield
    changed = [what for what, read in _STATE.items() if read() != before[what]]
    if changed:
        raise AssertionError("\n".join(_SENTENCES[what].format(before[what], _STATE[what]()) for what in changed))


@contextmanager
def own_generator(seed: int | None = None) -> Iterator[None]:
    """Within the block the engine's random generator is seeded (or goes on); after it, it is where it was."""
    bits = generator().bit_generator
    before = bits.state
    if seed is not None:
        bits.state = type(bits)(seed).state
    try:
        yield
    finally:
        generator().bit_generator.state = before


def _allowed_threads() -> int:
    with threads.single_threaded_blas as allowed:
        return allowed


def _global_random_state() -> tuple[Any, ...]:
    name, key, *rest = np.random.get_state()  # noqa: NPY002  # the legacy state is what is guarded
    return (name, np.asarray(key).tobytes(), *rest)


def _blanket_filters() -> list[Any]:
    """Filters of every warning of one of Python's kinds. Importing a library adds others, which is no leak."""
    return [
        entry for entry in warnings.filters
        if entry[1] is None and entry[3] is None and entry[2].__module__ == "builtins"
    ]  # fmt: skip


_STATE: dict[str, Callable[[], Any]] = {
    "grad": tape.is_grad_enabled,
    "anomaly": lambda: tape.STATE.get().anomaly,
    "observers": lambda: len(tape.STATE.get().observers),
    "path": lambda: tape.STATE.get().path,
    "generator": lambda: repr(generator().bit_generator.state),
    "numpy generator": _global_random_state,
    "errors": np.geterr,
    "filters": _blanket_filters,
    "dtype": lambda: get_default_dtype().name,
    "fast math": lambda: set_fast_math.enabled,
    "threads": _allowed_threads,
}
_SENTENCES = {
    "grad": "leaked: recording was {} before the test and is {} after it; use `with tc.no_grad():`",
    "anomaly": "leaked: anomaly mode was {} and is {}; use `with tc.detect_anomaly():`",
    "observers": "leaked: {} observers watched the tape before the test, {} after it; leave tape.observe's block",
    "path": "leaked: the module path was {!r} and is {!r}: a module's forward was left half-way",
    "generator": (
        "leaked: the engine's random generator moved; take the fixture tgc_rng, which seeds it and puts it back"
    ),
    "numpy generator": "leaked: NumPy's global random state changed; draw from np.random.default_rng(seed)",
    "errors": "leaked: np.geterr() was {} and is {}; use `with np.errstate(...):`",
    "filters": "leaked: the warnings filters changed; use `with warnings.catch_warnings():`",
    "dtype": "leaked: the default dtype was {} and is {}; set it back with tc.set_default_dtype",
    "fast math": "leaked: fast math was {} and is {}; use `with tc.set_fast_math(...):`",
    "threads": "leaked: BLAS was allowed {} threads and is allowed {}; use threadpoolctl.threadpool_limits as a block",
}
