"""Bugs that autograd engines have had, made again here, each with the places where it was seen."""

from __future__ import annotations

from tinygrad_cnn.testing.mutants import bugs_of_state, bugs_of_values, bugs_of_windows
from tinygrad_cnn.testing.mutants.mutant import Mutant


def historic_mutants() -> list[Mutant]:
    """All of them.

    >>> next(m.name for m in historic_mutants() if "micrograd" in m.seen)
    'abs: 1 at 0'
    """
    return [*bugs_of_values.bugs(), *bugs_of_windows.bugs(), *bugs_of_state.bugs()]
