"""What a long run tells the person who waits: a bar where `rich` can draw one, elsewhere a line an epoch."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol


class Reporter(Protocol):
    """Told of every batch, and of every epoch that has ended."""

    def batch(self, sentence: str) -> None: ...

    def epoch(self, sentence: str) -> None: ...


class _Lines:
    def batch(self, sentence: str) -> None:
        pass

    def epoch(self, sentence: str) -> None:
        print(sentence, flush=True)


class _Silence(_Lines):
    def epoch(self, sentence: str) -> None:
        pass


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def batch(self, sentence: str) -> None:
        self._bar.update(self._task, advance=1, description=sentence)

    def epoch(self, sentence: str) -> None:
        self._bar.update(self._task, description=sentence)


@contextlib.contextmanager
def reporting(progress: bool, done: int, total: int | None) -> Iterator[Reporter]:
    """A reporter for a run of `total` batches (None: nobody knows), of which some are done."""
    if not progress:
        yield _Silence()
        return
    try:
        from rich.progress import BarColumn, Progress, TimeRemainingColumn
    except ImportError:  # a bar is a comfort, not a need
        drawable = False
    else:
        drawable = sys.stdout.isatty()
    if not drawable:
        yield _Lines()
        return
    with Progress("{task.description}", BarColumn(), TimeRemainingColumn()) as bar:
        yield _Bar(bar, bar.add_task("training", total=total, completed=done))
