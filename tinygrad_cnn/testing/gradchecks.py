"""gradcheck and its kin: is this gradient the derivative? Refused with a report, never waved through."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.testing.laws import CHECKS, LawEnv
from tinygrad_cnn.testing.reports import GradcheckError, GradReport
from tinygrad_cnn.testing.subjects import Inputs, PairSubject, Subject, is_differentiable
from tinygrad_cnn.testing.settings import Settings

DEFAULT_CHECKS: tuple[str, ...] = tuple(CHECKS)


def gradcheck(
    fn: Any,
    inputs: Sequence[Any] | Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    oracle: str = "auto",
    order: int = 1,
    probes: int = 3,
    full_below: int = 64,
    seed: int = 0,
    rtol: float | None = None,
    atol: float = 0.0,
    kinks: str = "bracket",
    checks: Sequence[str] = DEFAULT_CHECKS,
    raise_: bool = True,
) -> GradReport:
    """Hold the gradient of a function to the law of the adjoint and its companions, at one point.

    `fn` is an Op, a function of Tensors, or a pair (forward, vjp) of NumPy functions, where ``vjp(g, *inputs)`` returns
    one gradient per input. Floating arrays among `inputs` are differentiated (only those Tensors that require grad,
    if any does); they are judged in float64. Arguments of up to 64 elements (`full_below`), and larger ones where it is
    cheap, are judged element by element; others along `probes` balanced random directions.

    `oracle`: "auto" chooses from what the kit knows of the op: "exact" differences on a grid, the "complex" step, or
    "richardson" extrapolation; "central" is the plain textbook difference. `rtol` defaults to the oracle's accuracy; the
    measured error of the oracle, and the rounding that the point itself causes, are always allowed for. At `kinks` a
    gradient must lie between the one-sided slopes ("bracket"), is not judged ("skip"), or refused ("error").

    Raises GradcheckError, whose `report` names the law, the argument and the worst element, unless `raise_` is False.

    >>> import numpy as np
    >>> from tinygrad_cnn import testing
    >>> testing.gradcheck((np.tanh, lambda g, y: g * (1 - y * y)), np.array([0.1, -2.0])).ok
    True
    >>> report = testing.gradcheck((np.tanh, lambda g, y: g * (1 - y)), np.array([0.1, -2.0]), raise_=False)
    >>> report.failures[0].argument_name, report.failures[0].law
    ('x', 'adjoint')
    """
    arguments = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    subject, settings_of = _subject(fn, arguments, dict(kwargs or {}))
    if order == 2:
        subject = subject.differentiated()
        arguments = (*arguments, None)
    elif order != 1:
        raise ValueError(f"gradcheck: order must be 1 or 2, got {order}; differentiate fn for higher orders")
    settings = Settings(
        oracle=oracle, probes=probes, full_below=full_below, seed=seed, rtol=rtol, atol=atol, kinks=kinks, **settings_of
    )
    given, wanted = _arrays(arguments)
    return check_subject(subject, given, wanted, settings, checks=checks, raise_=raise_, call=_call(fn, kwargs, order))


def check_subject(
    subject: Subject,
    given: Inputs,
    wanted: tuple[int, ...],
    settings: Settings,
    *,
    checks: Sequence[str] = DEFAULT_CHECKS,
    raise_: bool = True,
    call: str = "",
) -> GradReport:
    """Run the named laws on a subject; stops at the first law that is broken."""
    unknown = [name for name in checks if name not in CHECKS]
    if unknown:
        raise ValueError(f"gradcheck: unknown checks {unknown}; there are {', '.join(CHECKS)}")
    report = GradReport(subject.name, seed=settings.seed, order=subject.order, call=call, inputs=given)
    if not wanted:
        raise ValueError(
            f"gradcheck: no input of {subject.name} is a floating array (or, if Tensors, requires grad), so there is "
            "nothing to differentiate; Python numbers are constants"
        )
    with np.errstate(all="ignore"):
        env = LawEnv(subject, _in_float64(subject, given), given, wanted, settings, report)
        for name in checks:
            CHECKS[name](env)
            report.laws.append(name)
            if not report.ok:
                break
    if raise_ and not report.ok:
        raise GradcheckError(report)
    return report


def _in_float64(subject: Subject, given: Inputs) -> Inputs:
    """The inputs in float64, unless the function only takes them as they are (it holds float32 parameters)."""
    raised = tuple(x.astype(np.float64, order="K") if is_differentiable(x) else x for x in given)
    try:
        subject.value(raised)
    except (TypeError, ValueError):
        subject.value(given)
        return given
    return raised


def _subject(fn: Any, arguments: Inputs, kwargs: dict[str, Any]) -> tuple[Subject, dict[str, Any]]:
    if isinstance(fn, tuple) and len(fn) == 2:
        return PairSubject(fn[0], fn[1], kwargs), {}
    raise TypeError(f"gradcheck: fn must be an Op, a function of Tensors or a pair (forward, vjp), got {type(fn).__name__}")


def _arrays(arguments: Inputs) -> tuple[Inputs, tuple[int, ...]]:
    arrays = tuple(np.array(x) if isinstance(x, np.ndarray | np.generic) else x for x in arguments)
    return arrays, tuple(i for i, x in enumerate(arrays) if is_differentiable(x))


def _call(fn: Any, kwargs: Mapping[str, Any] | None, order: int) -> str:
    """Source that runs the check again; a function without a name that can be imported is left to the reader."""
    options = f", kwargs={dict(kwargs)!r}" if kwargs else ""
    options += ", order=2" if order == 2 else ""
    lines, source = _source(fn)
    return "\n".join([*lines, f"testing.gradcheck({source}, inputs{options})"])


def _source(fn: Any) -> tuple[list[str], str]:
    if isinstance(fn, tuple):
        parts = [_source(f) for f in fn]
        return [line for lines, _ in parts for line in lines], f"({', '.join(name for _, name in parts)})"
    if isinstance(fn, np.ufunc):
        return [], f"np.{fn.__name__}"
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "<unnamed>")
    if module and name.isidentifier():
        return [f"from {module} import {name}"], name
    code = getattr(fn, "__code__", None)
    where = f", {os.path.basename(code.co_filename)} line {code.co_firstlineno}" if code else ""
    stand_in = "fn" if name.endswith(">") else name.rpartition(".")[2]
    return [f"{stand_in} = ...  # {name}{where}"], stand_in
