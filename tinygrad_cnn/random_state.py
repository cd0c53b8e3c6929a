"""The random generator behind dropout, initialisers and `tc.randn`: one per thread, never NumPy's global one."""

from __future__ import annotations

import os
import threading

import numpy as np


class _Local(threading.local):
    generator: np.random.Generator | None = None


_local = _Local()


def generator() -> np.random.Generator:
    """The calling thread's generator; seeded from the operating system until `manual_seed`."""
    if _local.generator is None:
        _local.generator = np.random.default_rng()
    return _local.generator


def manual_seed(seed: int) -> None:
    """Seed the calling thread's generator; the same seed gives the same draws.

    >>> import tinygrad_cnn as tc
    >>> tc.manual_seed(0)
    >>> a = tc.randn(3)
    >>> tc.manual_seed(0)
    >>> (a == tc.randn(3)).all()
    tensor(True)
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"manual_seed: the seed must be a non-negative integer, got {seed!r}")
    _local.generator = np.random.default_rng(int(seed))


def _after_fork() -> None:
    """A forked child would repeat its parent's draws."""
    if _local.generator is not None:
        _local.generator = np.random.default_rng([os.getpid(), int(_local.generator.integers(2**63))])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
