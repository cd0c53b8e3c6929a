"""`check`: is the gradient of this loss healthy? A report in sentences, or an error where a program must stop."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from viz.judging import KINDS, Finding, Report
from viz.walking import graph


class CheckError(RuntimeError):
    """What a strict check found; `report` holds the findings."""

    def __init__(self, report: Report, allow: Collection[str] = ()) -> None:
        self.report = report
        found = failures(report, allow)
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in found))
        head = f"{kinds}\n" if found else "this can not be passed\n"
        super().__init__(f"viz.check: {head}{report}")


def check(loss: Any, model: Any = None, strict: bool = False, *, allow: Collection[str] = ()) -> Report:
    """Judge the gradient of a loss, layer by layer, before `backward`; prints as sentences.

    loss: a scalar Tensor that has not been backpropagated: its gradients are computed for the check alone, no `.grad`
    is touched, no hook fires, and `backward` can still be called. With strict=True any finding raises, and so does a
    tape on which nothing could be judged; kinds in `allow` (such as "frozen", where that is meant) do not raise.

    Raises CheckError (a RuntimeError) naming the findings; ValueError for an unknown kind, or without a tape.

    >>> import numpy as np
    >>> import tinygrad_cnn as tc
    >>> tc.manual_seed(0)
    >>> model = tc.models.mlp([4, 8, 3])
    >>> loss = tc.functional.cross_entropy(model(np.ones((2, 4), np.float32)), np.array([0, 1]))
    >>> print(check(loss, model))
    Nothing is wrong: ... layers judged.
    """
    report = graph(loss, model).report()
    if strict and not passes(report, allow):
        raise CheckError(report, allow)
    return report


def failures(report: Report, allow: Collection[str] = ()) -> list[Finding]:
    """The findings of a kind that is not allowed."""
    for kind in allow:
        if kind not in KINDS:
            raise ValueError(f"viz: allow={kind!r} is no kind of finding; choose from {', '.join(map(repr, KINDS))}")
    return [finding for finding in report if finding.kind not in allow]


def passes(report: Report, allow: Collection[str] = ()) -> bool:
    """Whether a strict check lets this pass: gradients were judged, and nothing but what is allowed was found."""
    return not failures(report, allow) and not report.gap
