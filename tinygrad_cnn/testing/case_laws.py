"""Laws that need an op's spec: its reference, its errors, float32 beside float64, no warnings, memory order."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.testing.directions import on_grid
from tinygrad_cnn.testing.laws import LawEnv
from tinygrad_cnn.testing.reports import GradReport
from tinygrad_cnn.testing.settings import Settings
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, OpSpec, PointCase, as_arrays
from tinygrad_cnn.testing.subjects import Inputs, is_differentiable
from tinygrad_cnn.testing.tensor_subjects import TensorSubject


@dataclass
class CaseEnv:
    """One drawn call of an op."""

    spec: OpSpec
    case: OpCase
    subject: TensorSubject
    inputs: Inputs
    wanted: tuple[int, ...]
    settings: Settings
    report: GradReport

    def laws(self, inputs: Inputs | None = None) -> LawEnv:
        """The same as an environment for the general laws, perhaps at other inputs."""
        inputs = self.inputs if inputs is None else inputs
        return LawEnv(self.subject, inputs, inputs, self.wanted, self.settings, self.report)

    def call(self, inputs: Inputs) -> np.ndarray:
        """The op's output as an array, whatever its dtype."""
        with tape.no_grad():
            first = (Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs[:1])
            rest = (Tensor(x) if is_differentiable(x) else x for x in inputs[1:])
            result = self.spec.function(*first, *rest, **self.case.kwargs)
        return (result[0] if isinstance(result, tuple) else result).data


def reference(env: CaseEnv) -> None:
    """The forward equals a naive reference, in its dtype: by ==, where both compute with small integers."""
    assert env.spec.ref is not None
    found = env.call(env.inputs)
    expected = np.asarray(env.spec.ref(*env.inputs, **env.case.kwargs))
    if found.dtype.kind == expected.dtype.kind == "f" and found.dtype != expected.dtype:
        env.laws().fail("reference", f"the output is {found.dtype}, the reference's {expected.dtype}")
        return
    floats = [x for x in env.inputs if is_differentiable(x)]
    whole = env.spec.kind in ("multilinear", "piecewise_linear") and all(on_grid(x) for x in floats)
    exact = found.dtype.kind != "f" or (whole and on_grid(expected, 2**16, 2.0**40))
    env.laws().compare("reference", "the output is not the reference's", None, found, expected, 0.0 if exact else 1e-11)


def quiet(env: CaseEnv) -> None:
    """Forward and backward emit no warnings, whatever NumPy's error state is."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        env.call(env.inputs)
        if env.wanted:
            y = env.subject.value(env.inputs)
            env.subject.grads(env.inputs, np.ones(y.shape, y.dtype))
    if caught:
        env.laws().fail("quiet", f"a warning: {caught[0].message}")


def errors(env: CaseEnv) -> None:
    """Each call that must raise does, with its type and message, recorded or not; and no input is written to."""
    for wrong in env.spec.errors():
        said = [_refusal(env, wrong, recording) for recording in (False, True)]
        for text in said:
            if text is None:
                env.laws().fail("errors", f"{_shown(wrong)} did not raise {wrong.type.__name__}")
                return
            if not re.search(wrong.match, text, re.DOTALL):
                env.laws().fail("errors", f"{_shown(wrong)} raised {text!r}, which does not match {wrong.match!r}")
                return
        if said[0] != said[1]:
            env.laws().fail("errors", f"{_shown(wrong)} says {said[0]!r}, but when recording {said[1]!r}")
            return


def _refusal(env: CaseEnv, wrong: ErrorCase, recording: bool) -> str | None:
    with tape.enable_grad() if recording else tape.no_grad():
        args = (Tensor(x, requires_grad=recording) if is_differentiable(x) else x for x in wrong.args)
        try:
            env.spec.function(*args, **wrong.kwargs)
        except wrong.type as error:
            return str(error)
    return None


def _shown(wrong: ErrorCase) -> str:
    shapes = [f"{a.dtype}{a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in wrong.args]
    return f"a call with {', '.join(shapes)} and {wrong.kwargs}"


def points(env: CaseEnv) -> None:
    """At ties, kinks and infinities, where differences say nothing, values and gradients are the convention's."""
    for point in env.spec.points:
        wanted = tuple(i for i, d in enumerate(point.grads) if d is not None)
        subject = TensorSubject(env.spec.function, point.kwargs, wanted, env.spec.name)
        case = OpCase(point.args, point.kwargs)
        here = CaseEnv(env.spec, case, subject, point.args, wanted, env.settings, env.report)
        at, y = here.laws(), here.call(point.args)
        if not _close(y, point.y) or (y.dtype.kind == "f") != (point.y.dtype.kind == "f"):
            at.fail("points", f"{_called(point)} gives {_listed(y)}, the convention is {_listed(point.y)}")
            return
        grads = subject.grads(point.args, np.ones(y.shape) if point.g is None else point.g) if wanted else ()
        for arg in wanted:
            found = np.zeros(np.shape(point.args[arg])) if grads[arg] is None else grads[arg]
            if not _close(found, point.grads[arg]):
                message = (
                    f"{_called(point)} has the gradient {_listed(found)}, the convention is {_listed(point.grads[arg])}"
                )
                at.fail("points", message, arg)
                return


def _close(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.isclose(a, b, rtol=1e-12, atol=0, equal_nan=True).all())


def _called(point: PointCase) -> str:
    args = [_listed(a) if isinstance(a, np.ndarray) else repr(a) for a in point.args]
    return f"a call with {', '.join([*args, *(f'{k}={v}' for k, v in point.kwargs.items())])}"


def _listed(values: Any) -> str:
    return np.array2string(np.asarray(values), threshold=12, separator=", ")


def dtype(env: CaseEnv) -> None:
    """G13: float32 in, float32 out, gradients too, and near what float64 gives; float64 in, float64 out."""
    raised, lowered = as_arrays(env.inputs, "float64"), as_arrays(env.inputs, "float32")
    y, exact = env.subject.value(lowered), env.subject.value(raised)
    for given, out in ((np.float32, y), (np.float64, exact)):
        if out.dtype != given:
            env.laws().fail("dtype", f"{np.dtype(given)} in gives {out.dtype} out")
            return
    near = env.laws(lowered)
    slack = 64 * float(np.finfo(np.float32).eps)
    if not near.compare("dtype", "the float32 output is far from the float64 one", None, y, exact, slack):
        return
    g = near.upstream()
    grads, expected = env.subject.grads(lowered, g), env.subject.grads(raised, g.astype(np.float64))
    for arg in env.wanted:
        if grads[arg] is not None and grads[arg].dtype != np.float32:
            near.fail("dtype", f"the gradient of a float32 input is {grads[arg].dtype}", arg)
            return
    near.compare_grads("dtype", "the float32 gradient is far from the float64 one", grads, expected, slack)


def order(env: CaseEnv) -> None:
    """Images that lie channels-last in memory come out so, and so do their gradients; else later ops pay for it."""
    x = env.inputs[0] if env.inputs else None
    if env.spec.name in _MOVES or not isinstance(x, np.ndarray) or x.ndim != 4 or not x.size or 0 not in env.wanted:
        return
    inputs = (_channels_last(x), *(_channels_last(a) if np.shape(a) == x.shape else a for a in env.inputs[1:]))
    y = env.subject.value(inputs)
    if y.ndim == 4 and any(n == 1 < m for n, m in zip(x.shape, y.shape, strict=True)):
        return  # where an axis of length 1 lies in memory can not be told, so neither where it should grow
    if y.ndim == 4 and not _is_channels_last(y):
        env.laws().fail("order", f"the output of a channels-last image has strides {y.strides} for shape {y.shape}")
        return
    g = _channels_last(env.laws(inputs).upstream()) if y.ndim == 4 else env.laws(inputs).upstream()
    grad = env.subject.grads(inputs, g)[0]
    told = y.ndim != 4 or not y.shape[1] == 1 < x.shape[1]  # likewise for a gradient that grows channels
    if told and grad is not None and not _is_channels_last(grad):
        env.laws().fail("order", f"the gradient of a channels-last image has strides {grad.strides}", 0)


# Ops whose result has other axes than their input, so that "channels-last" has no meaning for it.
_MOVES = frozenset(
    [
        "transpose",
        "conv2d_weight_gradient",
        "matmul",
        "getitem",
        "scatter",
        "broadcast_to",
        "reshape",
        "sum_to",
        "linear",
        "einsum",
    ]
)


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _is_channels_last(x: np.ndarray) -> bool:
    """Strides of axes of length 1 mean nothing."""
    strides = [x.strides[i] for i in (0, 2, 3, 1) if x.shape[i] > 1]
    return strides == sorted(strides, reverse=True)


CASE_LAWS: dict[str, Callable[[CaseEnv], None]] = {
    "reference": reference,
    "quiet": quiet,
    "errors": errors,
    "points": points,
    "dtype": dtype,
    "order": order,
}
