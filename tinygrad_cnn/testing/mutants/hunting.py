"""Hunting: hold the op with its seeded bug to its laws, on the cases of the profile `ci`, until one breaks."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

from tinygrad_cnn.testing.battery import CASELESS, check_case, laws_of
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.mutants.mutant import Mutant
from tinygrad_cnn.testing.specs import OpSpec, cases
from tinygrad_cnn.testing.strategies import EXAMPLES


@dataclass(frozen=True)
class Kill:
    """What became of a mutant: the law that broke and after how many cases, or None."""

    mutant: Mutant
    law: str | None
    cases: int
    seconds: float
    report: str = ""

    @property
    def killed(self) -> bool:
        return self.law is not None


def hunt(mutant: Mutant, *, examples: int = EXAMPLES["ci"], seed: int = 0) -> Kill:
    """Hold a mutant to every law of its op, case by case, up to the first that breaks.

    A law that holds for the op as it is counts only; what a rule raises is what a user would see, and kills as well.
    """
    start = time.perf_counter()
    spec = cases()[mutant.op]
    laws = sorted(laws_of(spec), key="points".__eq__)  # last: it should show what no other law can
    with mutant.seeded():
        for number in range(examples):
            for law in laws:
                if law in spec.waive or (law in CASELESS and number):
                    continue
                found = _broken(spec, law, seed + number)
                if found is not None:
                    return Kill(mutant, law, number + 1, time.perf_counter() - start, found)
    return Kill(mutant, None, examples, time.perf_counter() - start)


def _broken(spec: OpSpec, law: str, seed: int) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are the affair of one law alone
        try:
            report: Any = check_case(spec, spec.case(Draw.seeded(seed)), law, raise_=False)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None if report.ok else str(report)
