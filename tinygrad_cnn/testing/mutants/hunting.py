"""Hunting: hold an op with a seeded bug to its laws, on the cases of the profile `ci`, until one breaks.

And the counterpart: hold the ops as they are to the same laws, where nothing may break.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tinygrad_cnn.testing.battery import CASELESS, check_case, laws_of
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.mutants.mutant import Mutant
from tinygrad_cnn.testing.specs import OpSpec, cases
from tinygrad_cnn.testing.strategies import EXAMPLES


@dataclass(frozen=True)
class Hunt:
    """What became of a mutant: the law that broke, and at the how-manieth case; None if all held.

    `seconds` are the processor's; `raised` says that the op failed with an exception instead of giving something wrong.
    """

    name: str
    family: str
    law: str | None
    cases: int
    seconds: float
    report: str = ""
    raised: bool = False

    @property
    def killed(self) -> bool:
        return self.law is not None


def hunt(mutant: Mutant, *, examples: int = EXAMPLES["ci"], seed: int = 0) -> Hunt:
    """Hold a mutant to every law of its op, case by case, up to the first law that it breaks and the right op does not.

    Conventions at singular points come last in a case, so that they are credited only with what no law of
    differentiation finds.

    >>> from tinygrad_cnn.testing.mutants import mutants_named
    >>> hunt(mutants_named("tanh: gradient of x: sign turned")[0]).law
    'adjoint'
    """
    start = time.process_time()
    spec = cases()[mutant.op]
    laws = [law for law in sorted(laws_of(spec), key="points".__eq__) if law not in spec.waive]
    for number in range(examples):
        for law in laws:
            if law in CASELESS and number:
                continue
            with mutant.seeded():
                found = broken(spec, law, seed + number)
            if found is not None and _holds_unmutated(mutant.op, law, seed + number):
                report, raised = found
                return Hunt(mutant.name, mutant.family, law, number + 1, time.process_time() - start, report, raised)
    return Hunt(mutant.name, mutant.family, None, examples, time.process_time() - start)


@cache
def _holds_unmutated(op: str, law: str, seed: int) -> bool:
    """A law that the right op breaks as well convicts nobody."""
    return broken(cases()[op], law, seed) is None


def broken(spec: OpSpec, law: str, seed: int) -> tuple[str, bool] | None:
    """The report of a law that does not hold for the case drawn from a seed, and whether the op raised; else None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are the affair of one law alone
        try:
            report = check_case(spec, spec.case(Draw.seeded(seed)), law, raise_=False)
        except Exception as error:
            return f"{type(error).__name__}: {error}", True
    if report.ok:
        return None
    return str(report), any(failure.message.startswith("the gradient raised") for failure in report.failures)


def places(examples: int, seed: int) -> Iterator[tuple[str, int]]:
    """Ops and seeds of their cases, as many as it takes to look at so many examples: one law, one case."""
    remaining = examples
    for number in itertools.count(10_000 * (seed + 1)):  # other cases than those of the hunt
        for name, spec in cases().items():
            if remaining <= 0:
                return
            remaining -= len(_lasting(spec))
            yield name, number


def false_alarms(name: str, seed: int) -> list[str]:
    """The laws that one case of an op breaks although the op is right."""
    spec = cases()[name]
    found = ((law, broken(spec, law, seed)) for law in _lasting(spec))
    return [f"{name}, case {seed}, law {law}: {report[0]}" for law, report in found if report is not None]


def _lasting(spec: OpSpec) -> list[str]:
    """The laws that look at a case."""
    return [law for law in laws_of(spec) if law not in CASELESS and law not in spec.waive]
