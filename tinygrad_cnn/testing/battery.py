"""The battery: every law for an op, on cases that its spec draws; with Hypothesis (`make_tests`) or without (here)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_cnn.core.op import Op, ops
from tinygrad_cnn.testing.case_laws import CASE_LAWS, CaseEnv
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.gradchecks import DEFAULT_CHECKS, SECOND_CHECKS, check_subject
from tinygrad_cnn.testing.reports import Failure, GradcheckError, GradReport
from tinygrad_cnn.testing.settings import Settings
from tinygrad_cnn.testing.shrinking import shrunk
from tinygrad_cnn.testing.snippets import literal
from tinygrad_cnn.testing.specs import OpCase, OpSpec, as_arrays, cases, spec_named
from tinygrad_cnn.testing.subjects import RuleRaised, is_differentiable
from tinygrad_cnn.testing.tensor_subjects import TensorSubject

PROFILES = {"debug": 1.0, "fast": 20.0, "ci": 90.0, "nightly": 3600.0}  # seconds for all ops together
_AT_LEAST = 5  # cases per law, however slow


@dataclass
class BatteryReport:
    """What the battery did for one op: how many cases held each law, and the smallest failure of those that broke."""

    op: str
    held: dict[str, int] = field(default_factory=dict)
    failures: dict[str, GradReport] = field(default_factory=dict)
    waived: dict[str, str] = field(default_factory=dict)
    comparisons: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.failures

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        laws = f"{len(self.held)} laws, {sum(self.held.values())} cases, {self.comparisons} comparisons"
        if self.ok:
            return f"{self.op}: all hold ({laws})"
        return "\n".join([f"{self.op}: {', '.join(self.failures)} broken ({laws})", *map(str, self.failures.values())])

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            "op": self.op,
            "ok": self.ok,
            "held": dict(self.held),
            "waived": dict(self.waived),
            "comparisons": self.comparisons,
            "seconds": self.seconds,
            "failures": {law: report.to_dict() for law, report in self.failures.items()},
        }


def run_battery(op: Any, *, profile: str = "ci", laws: Sequence[str] | None = None, seed: int = 0) -> BatteryReport:
    """Hold an op to its laws on drawn cases; `op` is a name, an Op, a registered function or an OpSpec.

    A profile fixes the time ("fast" 20 s, "ci" 90 s, "nightly" an hour, for all ops together); the number of cases
    follows, at least five per law. A failing case is shrunk.
    Nothing is raised: the report is false where a law is broken.

    >>> from tinygrad_cnn import testing
    >>> testing.run_battery("tanh", profile="debug").ok
    True
    """
    spec = spec_named(op)
    if profile not in PROFILES:
        raise ValueError(f"run_battery: profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    names = laws_of(spec) if laws is None else tuple(laws)
    unknown = [name for name in names if name not in laws_of(spec)]
    if unknown:
        raise ValueError(f"run_battery: {spec.name} has no laws {unknown}; it has {', '.join(laws_of(spec))}")
    for law in set(spec.waive) - set(laws_of(spec)):
        raise ValueError(f"run_battery: {spec.name} waives the law {law!r}, which it does not have")
    report = BatteryReport(spec.name, dict.fromkeys(names, 0), waived=dict(spec.waive))
    start = time.monotonic()
    budget = PROFILES[profile] / max(len(cases()), 1)
    number = 0
    while number < _AT_LEAST or time.monotonic() - start < budget:
        for name in names:
            if name not in report.failures and not (name in CASELESS and number):
                _try(spec, name, seed + number, report)
        number += 1
    for name in set(spec.waive) & set(names) - set(report.failures):
        report.failures[name] = _needless(spec, name)
    for name in set(spec.waive) & set(report.failures):
        if not report.failures[name].failures[0].kit:
            del report.failures[name]
    report.seconds = time.monotonic() - start
    return report


def check_case(op: Any, case: OpCase, law: str, *, raise_: bool = True) -> GradReport:
    """Hold one call of an op to one law; raises GradcheckError if it is broken, unless `raise_` is False.

    >>> import numpy as np
    >>> from tinygrad_cnn import testing
    >>> testing.check_case("exp", testing.OpCase((np.zeros(3),)), "adjoint").ok
    True
    """
    spec = spec_named(op)
    given = as_arrays(case.args)
    wanted = differentiated(spec, given)
    settings = Settings(kind=spec.kind, linear_in=spec.linear_in or None, seed=case.seed)
    if law == "second":
        settings = replace(settings, full_below=8, probes=2)
    call = _call(spec, case, law)
    report = GradReport(spec.name, seed=settings.seed, call=call, inputs=given, case=repr(case))
    subject = TensorSubject(spec.function, case.kwargs, wanted, spec.name)
    own = {function.__name__: function for function in spec.laws}
    if law in DEFAULT_CHECKS or law == "second":
        if law == "second":
            g = subject.value(given)
            given = (*given, np.random.default_rng(settings.seed).integers(-9, 10, g.shape).astype(g.dtype))
            checks: tuple[str, ...] = SECOND_CHECKS
            target: Any = subject.differentiated(given[:-1])
            wanted = (*wanted, len(given) - 1)
        else:
            checks, target = (law,), subject
        report = check_subject(target, given, wanted, settings, checks=checks, raise_=False, call=call, explain=raise_)
        report.case = repr(case)
    elif law in CASE_LAWS or law in own:
        env = CaseEnv(spec, case, subject, given, wanted, settings, report)
        try:
            with np.errstate(all="ignore") if law != "quiet" else warnings.catch_warnings():
                CASE_LAWS[law](env) if law in CASE_LAWS else own[law](env.laws())
        except RuleRaised as error:
            env.laws().fail(law, f"the gradient raised {type(error.__cause__).__name__}: {error.__cause__}")
    else:
        raise ValueError(f"check_case: {spec.name} has no law {law!r}; it has {', '.join(laws_of(spec))}")
    if raise_ and not report.ok:
        raise GradcheckError(report)
    return report


CASELESS = frozenset({"errors", "points"})  # laws that do not look at the case


def laws_of(op: Any) -> tuple[str, ...]:
    """The names of the laws that an op is held to; `op` as for `run_battery`.

    >>> from tinygrad_cnn import testing
    >>> testing.laws_of("relu")[:4]
    ('reference', 'quiet', 'errors', 'points')
    """
    spec = spec_named(op)
    names = ["reference"] if spec.ref is not None else []
    names += ["quiet", "errors"]
    names += ["points"] if spec.points else []
    if not _is_differentiable(spec):
        return tuple(names)
    names += [*DEFAULT_CHECKS, "dtype", "order"]
    if spec.supports_gradgrad:
        names.append("second")
    return (*names, *(law.__name__ for law in spec.laws))


@contextmanager
def patched(op: Any, **parts: Any) -> Iterator[Op]:
    """Replace parts of an op's record (`forward`, `vjp`, `fast`, `aux`) while the block runs, effective at once.

    How a seeded bug gets in, to see that it is caught. A `fast` rule that is not replaced is set aside when `vjp` is.

    >>> import numpy as np
    >>> import tinygrad_cnn as tc
    >>> from tinygrad_cnn import testing
    >>> with testing.patched("exp", vjp=lambda g, y: 1.01 * g * y):
    ...     testing.gradcheck(tc.exp, np.zeros(3), raise_=False).failures[0].hint
    'off by the constant factor 1.01 everywhere'
    """
    known = ops()
    if isinstance(op, str) and op not in known:
        raise ValueError(f"patched: there is no op {op!r}; tc.ops() lists them")
    target = known[op] if isinstance(op, str) else op
    if not isinstance(target, Op):
        raise TypeError(f"patched: takes an Op or its name, got {type(target).__name__}")
    with target.replaced(**parts):
        yield target


# ---- helpers -----------------------------------------------------------------------------------------------------


def differentiated(spec: OpSpec, args: tuple[Any, ...]) -> tuple[int, ...]:
    """The positions of a call that have gradients."""
    return tuple(i for i, x in enumerate(args) if is_differentiable(x) and i not in spec.nondiff)


def _is_differentiable(spec: OpSpec) -> bool:
    record = ops().get(spec.name)
    if record is not None and not record.differentiable:
        return False
    return bool(differentiated(spec, spec.case(Draw.seeded(0)).args))


def _try(spec: OpSpec, law: str, seed: int, report: BatteryReport) -> None:
    found = check_case(spec, spec.case(Draw.seeded(seed)), law, raise_=False)
    report.comparisons += found.comparisons
    if found.ok:
        report.held[law] += 1
    else:

        def broken(case: OpCase) -> GradReport | None:
            other = check_case(spec, case, law, raise_=False)
            return None if other.ok or other.failures[0].kit != found.failures[0].kit else other

        report.failures[law] = found if law in CASELESS else shrunk(spec, seed, found, broken)


def _needless(spec: OpSpec, law: str) -> GradReport:
    report = GradReport(spec.name)
    report.failures.append(Failure(law, f"waived ({spec.waive[law]}), but it holds: remove the waiver", kit=True))
    return report


def _call(spec: OpSpec, case: OpCase, law: str) -> str:
    """Source that holds the same case to the same law again."""
    values = [v for v in (*case.args, *case.kwargs.values()) if type(v).__module__.startswith("tinygrad_cnn")]
    imports = sorted({f"from {type(v).__module__} import {type(v).__name__}" for v in values})
    return "\n".join([*imports, f"case = testing.OpCase(inputs, {literal(case.kwargs)}, {case.seed})",
                      f"testing.check_case({spec.name!r}, case, {law!r})"])  # fmt: skip
