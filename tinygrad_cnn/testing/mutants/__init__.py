"""Mutants: seeded bugs that prove the kit. Every op with every bug it could have, and the bugs that others had.

    make mutants                                       # or: python -m tinygrad_cnn.testing.mutants [OP ...]

Each mutant is an op with one thing wrong; the battery must refuse it, and must refuse nothing else.
"""

from tinygrad_cnn.testing.mutants.equivalent import EQUIVALENT, MISSED
from tinygrad_cnn.testing.mutants.historic import historic_mutants
from tinygrad_cnn.testing.mutants.hunting import Hunt, false_alarms, hunt, places
from tinygrad_cnn.testing.mutants.mechanical import mechanical_mutants
from tinygrad_cnn.testing.mutants.mutant import Mutant

__all__ = [
    "EQUIVALENT",
    "MISSED",
    "Hunt",
    "Mutant",
    "all_mutants",
    "false_alarms",
    "historic_mutants",
    "hunt",
    "mechanical_mutants",
    "mutants_named",
    "places",
]


def all_mutants() -> list[Mutant]:
    """The mechanical and the historic ones.

    >>> names = [mutant.name for mutant in all_mutants()]
    >>> len(names) == len(set(names)) > 4000
    True
    """
    return [*mechanical_mutants(), *historic_mutants()]


def mutants_named(*names: str) -> list[Mutant]:
    """Some of them, by name; a name that ends in ":" stands for all that begin with it."""
    begins = tuple(name for name in names if name.endswith(":"))
    return [m for m in all_mutants() if m.name in names or m.name.startswith(begins or ("\0",))]
