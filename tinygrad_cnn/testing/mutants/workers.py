"""Hunting in several processes. Mutants hold lambdas, which can not be sent; their numbers can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import TypeVar

from tinygrad_cnn.testing import mutants

T = TypeVar("T")
R = TypeVar("R")


def mapped(function: Callable[[T], R], items: list[T], jobs: int) -> Iterator[R]:
    """The results in order, from several processes; each makes the mutants for itself."""
    if not items:
        return
    if jobs == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=16)


@cache
def everyone() -> list[mutants.Mutant]:
    """All mutants, made once per process."""
    return mutants.all_mutants()


def hunt(place: tuple[int, int]) -> mutants.Hunt:
    """Hunt a mutant by its number, with a seed."""
    number, seed = place
    return mutants.hunt(everyone()[number], seed=seed)


def alarms(place: tuple[str, int]) -> tuple[list[str], float]:
    """The false alarms for a case of an op, by its name and seed; and how long it took."""
    start = time.process_time()
    found = mutants.false_alarms(*place)
    return found, time.process_time() - start
