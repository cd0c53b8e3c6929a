"""What the kit knows of an op: how to draw cases, what kind of function it is, and a reference to compare with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.core.op import Op, ops
from tinygrad_cnn.testing.settings import KINDS
from tinygrad_cnn.testing.snippets import literal

if TYPE_CHECKING:
    from tinygrad_cnn.testing.draws import Draw
    from tinygrad_cnn.testing.laws import LawEnv


@dataclass(frozen=True)
class OpCase:
    """One call of an op; `repr` is Python source that makes it again."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        plain = tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in self.args)
        object.__setattr__(self, "args", plain)

    def __repr__(self) -> str:
        return f"OpCase({literal(self.args)}, {literal(self.kwargs)}, {self.seed})"


@dataclass(frozen=True)
class ErrorCase:
    """A call that must raise: the type, and a regular expression that the message must match."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    type: type[Exception]
    match: str


@dataclass(frozen=True)
class PointCase:
    """A call with the values and gradients it must give, for upstream gradients of 1 or `g`; None: any gradient."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    y: np.ndarray
    grads: tuple[np.ndarray | None, ...]
    g: np.ndarray | None = None


@dataclass(frozen=True)
class OpSpec:
    """How an op is tested; see `register_op`."""

    name: str
    fn: Callable[..., Any]
    case: Callable[[Draw], OpCase]
    kind: str = "unknown"
    linear_in: tuple[int, ...] = ()
    ref: Callable[..., Any] | None = None
    laws: Sequence[Callable[[LawEnv], None]] = ()
    errors: Callable[[], Iterable[ErrorCase]] = tuple
    dtypes: tuple[str, ...] = ("float32", "float64")
    nondiff: tuple[int, ...] = ()
    supports_gradgrad: bool = True
    waive: Mapping[str, str] = field(default_factory=dict)
    points: tuple[PointCase, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"register_op: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        for law, reason in self.waive.items():
            if not reason.strip():
                raise ValueError(f"register_op: {self.name} waives {law!r} without a reason")

    @property
    def function(self) -> Callable[..., Any]:
        """The op of that name as the registry has it now (it may have been defined again), or the function given."""
        return ops().get(self.name, self.fn) if isinstance(self.fn, Op) else self.fn


_SPECS: dict[str, OpSpec] = {}
_PLACES: dict[str, tuple[str, int]] = {}


def register_op(
    op: Any = None,
    *,
    case: Callable[[Draw], OpCase],
    name: str | None = None,
    kind: str = "unknown",
    linear_in: tuple[int, ...] = (),
    ref: Callable[..., Any] | None = None,
    laws: Sequence[Callable[[LawEnv], None]] = (),
    errors: Callable[[], Iterable[ErrorCase]] = tuple,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    nondiff: tuple[int, ...] = (),
    supports_gradgrad: bool = True,
    waive: Mapping[str, str] | None = None,
) -> Any:
    """Tell the kit how to test an op: `run_battery`, `make_tests` and `op_case` then know it by name.

    `op` is an Op, the name of one, or a function of Tensors; without it this is a decorator for such a function. `case`
    draws a call (an OpCase) from a Draw: shapes and options by its structure, values by `d.ints`, `d.distinct`,
    `d.ties`, `d.smooth`. `kind` chooses the oracle: multilinear (linear in each argument alone; `linear_in` names
    which, if not all), piecewise_linear, piecewise_analytic, analytic, stochastic (random draws are frozen by the case)
    or unknown.
    `ref` is the forward in plain NumPy; `laws` are added to the general ones; `errors` yields calls that must raise;
    `nondiff` are positions without gradient; `waive` maps the name of a law that does not hold to the reason.

    Registering a name again from the same file and line replaces it; from elsewhere it raises ValueError.

    >>> import numpy as np
    >>> from tinygrad_cnn import testing
    >>> @testing.register_op(name="doc_double", kind="multilinear", ref=lambda x: 2 * x,
    ...                      case=lambda d: testing.OpCase((d.ints(d.shape()),)))
    ... def double(x):
    ...     return x * 2.0
    >>> testing.cases()["doc_double"].kind
    'multilinear'
    """
    frame = sys._getframe(1)
    place = (frame.f_code.co_filename, frame.f_lineno)

    def register(target: Any) -> Any:
        fn = ops()[target] if isinstance(target, str) else target
        word = name or (fn.name if isinstance(fn, Op) else None)
        if word is None:
            raise ValueError("register_op: a function of Tensors needs a name: register_op(fn, name=..., case=...)")
        if not callable(fn):
            raise TypeError(f"register_op: takes an Op, its name or a function of Tensors, got {type(fn).__name__}")
        if word in _SPECS and _PLACES[word] != place:
            raise ValueError(f"register_op: {word!r} is registered already, at {':'.join(map(str, _PLACES[word]))}")
        spec = OpSpec(
            word, fn, case, kind, linear_in, ref, laws, errors, dtypes, nondiff, supports_gradgrad, dict(waive or {})
        )
        _validate(spec)
        _SPECS[word] = spec
        _PLACES[word] = place
        return target

    if isinstance(op, str) and op not in ops():
        raise ValueError(f"register_op: there is no op {op!r}; tc.ops() lists them")
    return register if op is None else register(op)


def _validate(spec: OpSpec) -> None:
    """Raises what says how to mend a registration, at the place where it is written."""
    from tinygrad_cnn.testing.draws import Draw

    for word, function in (("case", spec.case), ("ref", spec.ref), ("errors", spec.errors)):
        if not callable(function) and not (word == "ref" and function is None):
            what = {"case": "a function of a Draw", "ref": "a function of arrays", "errors": "a function"}[word]
            raise TypeError(f"register_op: {spec.name}: {word} must be {what}, got {type(function).__name__}")
    drawn = spec.case(Draw.seeded(0))
    if not isinstance(drawn, OpCase):
        raise TypeError(
            f"register_op: {spec.name}: case must return an OpCase, it returned {type(drawn).__name__}; write "
            "case=lambda d: testing.OpCase((array, ...), {option: value}, d.seed)"
        )
    try:
        compile(repr(drawn), "case", "eval")
    except SyntaxError:
        raise ValueError(
            f"register_op: {spec.name}: a case is not valid Python when printed: {drawn!r:.200}; draw arrays, numbers, "
            "strings and tuples, and let the function under test make other objects of them"
        ) from None
    for word, positions in (("nondiff", spec.nondiff), ("linear_in", spec.linear_in)):
        for position in positions:
            if not 0 <= position < len(drawn.args):
                count = f"{len(drawn.args)} argument{'s' * (len(drawn.args) != 1)}"
                raise ValueError(
                    f"register_op: {spec.name}: {word} names the position {position}, but a case has {count}"
                )


def add_points(name: str, *points: PointCase) -> None:
    """Add calls of a registered op whose values and gradients are conventions: at ties, kinks, infinities."""
    _SPECS[name] = replace(_SPECS[name], points=(*_SPECS[name].points, *points))


def cases() -> Mapping[str, OpSpec]:
    """All registered specs by name, those of the built-in ops included."""
    _load_catalog()
    return MappingProxyType(_SPECS)


def spec_named(op: Any) -> OpSpec:
    """The spec of an op, given as its name, the Op, the function registered, or the spec itself."""
    if isinstance(op, OpSpec):
        return op
    known = cases()
    name = op if isinstance(op, str) else None
    found = known.get(name) if name is not None else spec_of(op)
    if found is None:
        label = name or getattr(op, "name", None) or getattr(op, "__name__", repr(op))
        raise KeyError(
            f"{label!r} is not registered: testing.register_op({label!r}, case=...) tells the kit how to call it"
        )
    return found


def spec_of(fn: Any) -> OpSpec | None:
    """The spec registered for exactly this function or Op, or None."""
    found = cases().get(fn.name) if isinstance(fn, Op) else None
    if found is not None and isinstance(found.fn, Op):
        return found
    return next((spec for spec in _SPECS.values() if spec.fn is fn), None)


def with_case(spec: OpSpec, case: Callable[[Draw], OpCase]) -> OpSpec:
    """The same spec with other cases."""
    return replace(spec, case=case)


def _load_catalog() -> None:
    import tinygrad_cnn.testing.catalog  # noqa: F401  # registers the built-in ops; late, for it needs this module


def as_arrays(args: tuple[Any, ...], dtype: str | None = None) -> tuple[Any, ...]:
    """The floating arrays of a call in another dtype, in their memory order."""
    return tuple(
        a.astype(dtype, order="K") if dtype and isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args
    )
