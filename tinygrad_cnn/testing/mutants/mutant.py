"""Mutant: one seeded bug, and the op whose battery must notice it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """A wrong version of an op. `seeded()` makes it effective while a block runs.

    `op` is the name under which the kit knows the op; `family` groups bugs of one making in tables.
    """

    op: str
    bug: str
    family: str
    seeded: Callable[[], AbstractContextManager[Any]]

    @property
    def name(self) -> str:
        return f"{self.op}: {self.bug}"
