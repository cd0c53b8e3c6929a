"""Blame: which operation, of those that a wrong function calls, is the wrong one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.reports import GradReport
from tinygrad_cnn.testing.settings import Settings
from tinygrad_cnn.testing.subjects import Inputs, Subject, is_differentiable
from tinygrad_cnn.testing.tensor_subjects import GradientSubject, TensorSubject

_SECONDS = 5.0

Check = Callable[[Subject, Inputs, tuple[int, ...], Settings], GradReport]


def culprit(subject: Subject, given: Inputs, settings: Settings, check: Check) -> str | None:
    """The first operation that is wrong on its own at the arrays it was called with, and in which argument; or None.

    Looks for a few seconds at most; an Op that is checked by itself needs no looking.
    """
    base = subject.base if isinstance(subject, GradientSubject) else subject
    if not isinstance(base, TensorSubject) or base.op is not None:
        return None
    calls: list[tuple[Op, tuple[Any, ...], dict[str, Any]]] = []

    def note(node: Any, op: Op, args: tuple[Any, ...], options: dict[str, Any], out: Tensor) -> None:
        if node is not None:
            arrays = (np.array(a.data if isinstance(a, Tensor) else a) if _is_array(a) else a for a in args)
            calls.append((op, tuple(arrays), dict(options)))

    points = given[: subject.count] if isinstance(subject, GradientSubject) else given
    with tape.observe(on_record=note):
        base.outputs(base.leaves(points))
    if len(calls) == 1:
        return f"the op {calls[0][0].name!r}, the only one that is called"
    start = time.monotonic()
    for op, args, options in calls:
        if time.monotonic() - start > _SECONDS:
            break
        wanted = tuple(i for i, x in enumerate(args) if is_differentiable(x))
        alone = TensorSubject(op, options, wanted)
        quick = replace(settings, kind="unknown", linear_in=None, full_below=min(settings.full_below, 16))
        try:
            found = _checked(alone, args, wanted, quick, check, subject.order)
        except (TypeError, ValueError):  # an op that takes no float64, or an index as an array
            continue
        guilty = next((f for f in found.failures if not f.kit), None)
        if guilty is not None:
            where = f", argument {guilty.argument} {guilty.argument_name!r}" if guilty.argument is not None else ""
            return f"the op {op.name!r}{where}, which is wrong on its own"
    return None


def _checked(
    alone: TensorSubject, args: Inputs, wanted: tuple[int, ...], settings: Settings, check: Check, order: int
) -> GradReport:
    if order == 1:
        return check(alone, args, wanted, settings)
    g = np.random.default_rng(settings.seed).integers(-9, 10, alone.value(args).shape).astype(np.float64)
    return check(alone.differentiated(args), (*args, g), (*wanted, len(args)), settings)


def _is_array(a: Any) -> bool:
    return isinstance(a, Tensor | np.ndarray)
