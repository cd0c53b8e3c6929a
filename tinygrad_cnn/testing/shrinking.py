"""Shrinking: from a case that breaks a law to the simplest one found that breaks it too, without Hypothesis.

A case is what its spec makes of a list of small integers; smaller integers are simpler structure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.reports import GradReport
from tinygrad_cnn.testing.specs import OpCase, OpSpec

_SECONDS = 3.0
Broken = Callable[[OpCase], GradReport | None]  # the report of a case that breaks the law, None if it holds


def shrunk(spec: OpSpec, seed: int, found: GradReport, broken: Broken) -> GradReport:
    """The report of the simplest failing case that lowering one choice after the other leads to, for a few seconds."""
    choices, end = choices_of(spec, seed), time.monotonic() + _SECONDS
    improved = True
    while improved:
        improved = False
        for candidate in list(_lowered(choices)):
            if time.monotonic() > end:
                return found
            if candidate >= choices or len(candidate) > len(choices):
                continue
            d = Draw.replayed(candidate, seed)
            report = broken(spec.case(d))
            if report is not None:
                choices, found, improved = d.choices, report, True
    return found


def choices_of(spec: OpSpec, seed: int) -> list[int]:
    """What was drawn for the case of a seed."""
    d = Draw.seeded(seed)
    spec.case(d)
    return d.choices


def _lowered(choices: list[int]) -> Iterator[list[int]]:
    """All choices but one as they are; first the longest tails all at their simplest."""
    for keep in range(0, len(choices), max(len(choices) // 8, 1)):
        yield [*choices[:keep], *[0] * (len(choices) - keep)]
    for i, choice in enumerate(choices):
        for lower in sorted({0, choice // 2, max(choice - 1, 0)}):
            if lower < choice:
                yield [*choices[:i], lower, *choices[i + 1 :]]
