"""gradcheck and its kin: is this gradient the derivative? Refused with a report, never waved through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing import snippets
from tinygrad_cnn.testing.blame import culprit
from tinygrad_cnn.testing.directions import spread_integers
from tinygrad_cnn.testing.laws import LawEnv
from tinygrad_cnn.testing.reports import GradcheckError, GradReport
from tinygrad_cnn.testing.settings import Settings
from tinygrad_cnn.testing.specs import spec_of
from tinygrad_cnn.testing.subjects import Inputs, PairSubject, RuleRaised, Subject, is_differentiable
from tinygrad_cnn.testing.tensor_laws import CHECKS
from tinygrad_cnn.testing.tensor_subjects import TensorSubject

DEFAULT_CHECKS: tuple[str, ...] = (*CHECKS,)
SECOND_CHECKS = ("repeat", "form", "adjoint", "linear", "zero")


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
    "richardson" extrapolation; "central" is the plain textbook difference. `rtol` defaults to the oracle's accuracy;
    the measured error of the oracle, and the rounding that the point itself causes, are always allowed for. At `kinks`
    a gradient must lie between the one-sided slopes ("bracket"), is not judged ("skip"), or refused ("error").

    Raises GradcheckError, whose `report` names the law, the argument and the worst element, unless `raise_` is False.

    >>> import numpy as np
    >>> from tinygrad_cnn import testing
    >>> testing.gradcheck((np.tanh, lambda g, y: g * (1 - y * y)), np.array([0.1, -2.0])).ok
    True
    >>> report = testing.gradcheck((np.tanh, lambda g, y: g * (1 - y)), np.array([0.1, -2.0]), raise_=False)
    >>> report.failures[0].argument_name, report.failures[0].law
    ('x', 'adjoint')
    """
    arguments = _arguments(inputs)
    given, wanted = _arrays(arguments)
    subject, declared = _subject(fn, wanted, dict(kwargs or {}))
    settings = Settings(
        oracle=oracle, probes=probes, full_below=full_below, seed=seed, rtol=rtol, atol=atol, kinks=kinks, **declared
    )
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order must be 1 or 2, got {order}; for higher orders give the gradient as fn")
    call = snippets.call("gradcheck", fn, _options(settings, kwargs))
    report = check_subject(subject, given, wanted, settings, checks=checks, raise_=raise_, call=call)
    if order == 2 and report.ok:
        return _second_order(fn, subject, given, wanted, None, settings, kwargs, raise_)
    return report


def gradgradcheck(
    fn: Any,
    inputs: Sequence[Any] | Any,
    grad_outputs: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    raise_: bool = True,
    **options: Any,
) -> GradReport:
    """Hold the gradient of the gradient to the law of the adjoint: differentiate (inputs, g) -> Jᵀg once more.

    Takes an Op or a function of Tensors; presumes that the first order is right (`gradcheck`). `grad_outputs` is the
    upstream gradient at which to check, random integers if left out. Other options are those of `gradcheck`.

    Raises GradcheckError, whose `report` names the op and the argument, unless `raise_` is False.

    >>> import numpy as np
    >>> import tinygrad_cnn as tc
    >>> from tinygrad_cnn import testing
    >>> testing.gradgradcheck(tc.tanh, np.array([0.1, -2.0])).ok
    True
    """
    given, wanted = _arrays(_arguments(inputs))
    subject, declared = _subject(fn, wanted, dict(kwargs or {}))
    options.pop("checks", None)
    settings = Settings(**{**declared, **options})
    return _second_order(fn, subject, given, wanted, grad_outputs, settings, kwargs, raise_)


def adjoint_check(
    fn: Any,
    inputs: Sequence[Any] | Any,
    arg: int,
    *,
    kwargs: Mapping[str, Any] | None = None,
    raise_: bool = True,
    seed: int = 0,
    probes: int = 3,
) -> GradReport:
    """Compare ⟨f(u), g⟩ with ⟨u, Jᵀg⟩ by ==, for a function that is linear in the input at position `arg`.

    That input is replaced by random integers; the others must be small integers (as floats), or rounding shows.

    Raises GradcheckError if the two differ in any bit, or if the function is not linear, unless `raise_` is False.

    >>> import numpy as np
    >>> from tinygrad_cnn import testing
    >>> pair = (np.matmul, lambda g, a, b: (g @ b.T, a.T @ g))
    >>> testing.adjoint_check(pair, (np.ones((2, 3)), np.ones((3, 2))), arg=1).ok
    True
    """
    given, wanted = _arrays(_arguments(inputs))
    if arg not in wanted:
        raise ValueError(f"adjoint_check: argument {arg} is not a floating array")
    subject, _ = _subject(fn, wanted, dict(kwargs or {}))
    settings = Settings(oracle="exact", kind="multilinear", linear_in=(arg,), seed=seed, probes=probes)
    rng = np.random.default_rng(seed)
    given = tuple(spread_integers(rng, x.shape).astype(x.dtype) if i == arg else x for i, x in enumerate(given))
    call = snippets.call("adjoint_check", fn, {"arg": arg, **({"kwargs": dict(kwargs)} if kwargs else {})})
    return check_subject(subject, given, (arg,), settings, checks=("adjoint",), raise_=raise_, call=call)


def _second_order(
    fn: Any,
    subject: Subject,
    given: Inputs,
    wanted: tuple[int, ...],
    grad_outputs: Any,
    settings: Settings,
    kwargs: Mapping[str, Any] | None,
    raise_: bool,
) -> GradReport:
    if not isinstance(subject, TensorSubject):
        raise TypeError("gradgradcheck: fn must be an Op or a function of Tensors; rules on arrays have no derivative")
    if not wanted:
        raise ValueError(f"gradgradcheck: no input of {subject.name} is a floating array that requires grad")
    y = subject.value(given)
    rng = np.random.default_rng(settings.seed + 3)
    g = spread_integers(rng, y.shape).astype(y.dtype) if grad_outputs is None else _array(grad_outputs)
    twice = subject.differentiated(given)
    wanted = (*wanted, len(given)) if g.size else wanted
    call = snippets.call("gradgradcheck", fn, _options(settings, kwargs), "inputs[:-1], inputs[-1]")
    return check_subject(twice, (*given, g), wanted, settings, checks=SECOND_CHECKS, raise_=raise_, call=call)


def check_subject(
    subject: Subject,
    given: Inputs,
    wanted: tuple[int, ...],
    settings: Settings,
    *,
    checks: Sequence[str] = DEFAULT_CHECKS,
    raise_: bool = True,
    call: str = "",
    explain: bool = True,
) -> GradReport:
    """Run the named laws on a subject; stops at the first that is broken, and looks for what a person then needs."""
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
        cause: BaseException | None = None
        for name in checks:
            try:
                CHECKS[name](env)
            except RuleRaised as error:
                cause = error.__cause__
                env.fail(name, f"the gradient raised {type(cause).__name__}: {cause}", _raising(env))
            report.laws.append(name)
            if not report.ok:
                break
        if not report.ok and explain:
            report.culprit = culprit(subject, env.inputs, settings, _adjoint_only)
            report.sources = _stand_ins(report, subject, given, wanted, settings)
    if raise_ and not report.ok:
        raise GradcheckError(report) from cause
    return report


def _adjoint_only(subject: Subject, given: Inputs, wanted: tuple[int, ...], settings: Settings) -> GradReport:
    return check_subject(subject, given, wanted, settings, checks=("adjoint",), raise_=False, explain=False)


def _stand_ins(
    report: GradReport, subject: Subject, given: Inputs, wanted: tuple[int, ...], settings: Settings
) -> dict[int, str]:
    """Short sources for inputs that are too large to be written, if the same check fails for the same reason there."""
    drawn = {i: found for i, x in enumerate(given) if (found := snippets.stand_in(x)) is not None}
    if not drawn:
        return {}
    others = tuple(drawn[i][0] if i in drawn else x for i, x in enumerate(given))
    settings = replace(settings, full_below=min(settings.full_below, 16))  # fewer elements: sooner, and no less a proof
    try:
        again = check_subject(subject, others, wanted, settings, checks=report.laws[-1:], raise_=False, explain=False)
    except (TypeError, ValueError):  # not every input may be any number
        return {}
    first = report.failures[0]
    same = any((f.law, f.argument) == (first.law, first.argument) for f in again.failures)
    return {i: source for i, (_, source) in drawn.items()} if same else {}


def _raising(env: LawEnv) -> int | None:
    """The argument whose gradient raises when it alone is wanted."""
    if isinstance(env.subject, TensorSubject):
        for arg in env.wanted:
            alone = TensorSubject(env.subject.fn, env.subject.kwargs, (arg,), env.subject.name)
            try:
                alone.grads(env.inputs, env.upstream())
            except RuleRaised:
                return arg
    return None


def _in_float64(subject: Subject, given: Inputs) -> Inputs:
    """The inputs in float64, unless the function only takes them as they are (it holds float32 parameters)."""
    raised = tuple(x.astype(np.float64, order="K") if is_differentiable(x) else x for x in given)
    try:
        subject.value(raised)
    except (TypeError, ValueError):
        subject.value(given)
        return given
    return raised


def _subject(fn: Any, wanted: tuple[int, ...], kwargs: dict[str, Any]) -> tuple[Subject, dict[str, Any]]:
    """What is tested, and what the kit knows of it: the declared kind of a registered op."""
    if isinstance(fn, tuple) and len(fn) == 2:
        return PairSubject(fn[0], fn[1], kwargs), {}
    if callable(fn):
        spec = spec_of(fn)
        declared = {} if spec is None else {"kind": spec.kind, "linear_in": spec.linear_in or None}
        return TensorSubject(fn, kwargs, wanted), declared
    raise TypeError(
        f"gradcheck: fn must be an Op, a function of Tensors or a pair (forward, vjp), got {type(fn).__name__}"
    )


def _arguments(inputs: Any) -> Inputs:
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def _arrays(arguments: Inputs) -> tuple[Inputs, tuple[int, ...]]:
    """Copies of the inputs as arrays, and the positions to differentiate."""
    arrays = tuple(_array(x) if isinstance(x, Tensor | np.ndarray | np.generic) else x for x in arguments)
    asked = [i for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad]
    return arrays, tuple(asked or (i for i, x in enumerate(arrays) if is_differentiable(x)))


def _array(x: Any) -> np.ndarray:
    return np.array(x.data if isinstance(x, Tensor) else x)


def _options(settings: Settings, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a caller chose, as options of a call."""
    usual = Settings()
    names = ("oracle", "probes", "full_below", "seed", "rtol", "atol", "kinks")
    chosen = {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(usual, name)}
    return {"kwargs": dict(kwargs), **chosen} if kwargs else chosen
