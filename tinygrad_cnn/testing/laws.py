"""The laws that hold for every operation, beside the adjoint: each is a function that looks and reports what it found.

None of them needs to know what the function computes; most need no tolerance. `tensor_laws` adds those about the
tape, and names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_cnn.testing.derivative import check_adjoint
from tinygrad_cnn.testing.differences import Array
from tinygrad_cnn.testing.directions import feature_scale, jittered, on_grid, spread_integers
from tinygrad_cnn.testing.point import Point
from tinygrad_cnn.testing.reports import Failure, GradReport
from tinygrad_cnn.testing.settings import Settings
from tinygrad_cnn.testing.subjects import Grads, Inputs, Subject, is_differentiable


@dataclass
class LawEnv:
    """One point at which the laws are held: the subject, its inputs (floats as float64) and as they were given."""

    subject: Subject
    inputs: Inputs
    given: Inputs
    wanted: tuple[int, ...]
    settings: Settings
    report: GradReport
    first: Grads | None = None  # the very first gradients, for the first upstream gradient

    @property
    def rng(self) -> np.random.Generator:
        """The same numbers for every law, whatever ran before."""
        return np.random.default_rng(self.settings.seed + 1)

    @cached_property
    def exact(self) -> bool:
        """Whether everything is a small binary fraction, so that rounding can not excuse a difference."""
        floats = (x for x in self.inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f")
        if self.settings.kind not in ("multilinear", "piecewise_linear") or not all(on_grid(x) for x in floats):
            return False
        g = self.upstream()  # and g + 1, since a third of a g may be whole by chance
        grads = (d for h in (g, g + 1) for d in self.subject.grads(self.inputs, h))
        results = [self.subject.value(self.inputs), *grads]
        return all(r is None or on_grid(r, 2**10, 2.0**40) for r in results)

    def upstream(self, inputs: Inputs | None = None) -> Array:
        """Random integers in the output's shape and dtype."""
        y = np.asarray(self.subject.value(self.inputs if inputs is None else inputs))
        return spread_integers(self.rng, y.shape).astype(y.dtype)

    @cached_property
    def rounding(self) -> float:
        """How much output and gradients change, relative to the largest, when inputs change by a few roundings."""
        g, worst = self.upstream(), 0.0
        floats = {i: x for i, x in enumerate(self.inputs) if is_differentiable(x) and x.size}
        moved = jittered(floats, self.rng, float(np.finfo(g.dtype).eps))
        points = (self.inputs, tuple(moved.get(i, x) for i, x in enumerate(self.inputs)))
        here, there = ((self.subject.value(p), *self.subject.grads(p, g)) for p in points)
        for a, b in zip(here, there, strict=True):
            if a is not None and b is not None and np.isfinite(a).all() and np.size(a):
                gap = float(np.max(np.abs(np.asarray(a, np.float64) - b)))
                worst = max(worst, gap / (float(np.max(np.abs(a))) or 1.0))
        return worst

    def shaken(self, g: Array, unit: float) -> Grads:
        """How much each gradient changes, at most, when the inputs change by a few roundings of another precision."""
        floats = {i: x for i, x in enumerate(self.inputs) if is_differentiable(x) and x.size}
        g = g.astype(np.float64)
        here, worst = self.subject.grads(self.inputs, g), [np.zeros(np.shape(x)) for x in self.inputs]
        for seed in range(6):
            moved = jittered(floats, np.random.default_rng([self.settings.seed, seed]), unit)
            there = self.subject.grads(tuple(moved.get(i, x) for i, x in enumerate(self.inputs)), g)
            for i in self.wanted:
                if here[i] is not None and there[i] is not None:
                    worst[i] = np.fmax(worst[i], np.abs(np.asarray(there[i], np.float64) - here[i]))
        return tuple(worst)

    def fail(self, law: str, message: str, arg: int | None = None, **facts: Any) -> None:
        """Note a broken law."""
        name = None if arg is None else self.subject.input_name(arg)
        self.report.failures.append(Failure(law, message, arg, name, **facts))

    def skip(self, law: str, reason: str) -> None:
        """Note a law that has nothing to say here."""
        self.report.skipped[law] = reason

    def compare(
        self,
        law: str,
        message: str,
        arg: int | None,
        found: Any,
        expected: Any,
        slack: float = 0.0,
        floor: Array | float = 0.0,
    ) -> bool:
        """Two arrays that must be equal, up to `slack` of the largest value, the rounding of the point, and a `floor`.

        NaN equals NaN; a law of sums (`slack` > 0) says nothing where the expected value is not finite.
        """
        a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        if a.shape != b.shape:
            self.fail(law, f"{message}: shape {a.shape} instead of {b.shape}", arg)
            return False
        size = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
        with np.errstate(invalid="ignore"):
            if slack and (np.abs(a - b) > slack * size).any():
                slack += 16 * self.rounding
            wrong = ~((np.abs(a - b) <= slack * size + floor + 1e-300) | (a == b) | (np.isnan(a) & np.isnan(b)))
        if slack:
            wrong &= np.isfinite(b)
        if not wrong.any():
            return True
        gap = np.where(wrong, np.nan_to_num(np.abs(a - b), nan=np.inf), -1.0)
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(gap), a.shape))
        self.fail(
            law, message, arg, index=worst, analytic=float(a[worst]), numeric=float(b[worst]),
            tolerance=slack * size + float(np.broadcast_to(floor, a.shape)[worst]),
            oracle="the law itself", wrong=int(wrong.sum()), total=wrong.size,
        )  # fmt: skip
        return False

    def compare_grads(self, law: str, message: str, found: Grads, expected: Grads, slack: float = 0.0) -> None:
        """As `compare`, for each wanted argument; None counts as zero.

        A sum (`slack` > 0) may cancel: then its terms' rounding, on the scale of outputs over inputs, is its floor.
        """
        for arg in self.wanted:
            x = self.inputs[arg]
            a, b = (np.zeros(x.shape) if grads[arg] is None else grads[arg] for grads in (found, expected))
            floor = 1e3 * float(np.finfo(x.dtype).eps) * self.largest / feature_scale(x) if slack else 0.0
            if not self.compare(law, message, arg, a, b, slack, floor):
                return

    @cached_property
    def largest(self) -> float:
        """The largest term of an output times its upstream gradient."""
        y = np.asarray(self.subject.value(self.inputs))
        sizes = np.asarray(self.subject.sizes(self.inputs, y), np.float64)
        return 16.0 * float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


Law = Callable[[LawEnv], None]


def adjoint(env: LawEnv) -> None:
    """G1: the gradient is the derivative, for every argument; see `derivative`."""
    check_adjoint(Point(env.subject, env.inputs, env.settings, env.report), env.wanted)
    report = env.report
    if report.ok and report.inconclusive > 0.2 * report.comparisons:
        env.fail(
            "adjoint",
            f"inconclusive: {report.inconclusive} of {report.comparisons} comparisons could not be judged, the "
            "function is too rough or too noisy here; choose other inputs",
            kit=True,
        )


def form(env: LawEnv) -> None:
    """G3, G13: every gradient has its input's shape and dtype, in the dtype that was given."""
    for inputs in (env.given, env.inputs):
        grads = env.subject.grads(inputs, env.upstream(inputs))
        for arg in env.wanted:
            x, grad = np.asarray(inputs[arg]), grads[arg]
            if grad is None:
                continue
            if np.shape(grad) != x.shape:
                env.fail("form", f"the gradient has shape {np.shape(grad)}, its input {x.shape}", arg)
            elif np.asarray(grad).dtype != x.dtype:
                env.fail("form", f"the gradient has dtype {np.asarray(grad).dtype}, its input {x.dtype}", arg)


def single(env: LawEnv) -> None:
    """G13: what is given in single precision has the gradients that it has in double, but for rounding."""
    changed = [i for i in env.wanted if env.given[i].dtype != env.inputs[i].dtype]
    if not changed:
        return
    g = env.upstream(env.given)
    found, expected = env.subject.grads(env.given, g), env.subject.grads(env.inputs, g.astype(np.float64))
    off = np.abs(np.asarray(env.subject.value(env.given), np.float64) - env.subject.value(env.inputs))
    lost = 256.0 * float(np.max(off, initial=0.0, where=np.isfinite(off)))  # 16 roundings of an output, times 16 of g
    range_ = np.finfo(env.given[changed[0]].dtype)
    unit = float(range_.eps)
    noise: Grads | None = None
    for arg in changed:
        if found[arg] is None or expected[arg] is None:
            continue
        a, b = np.asarray(found[arg], np.float64), np.asarray(expected[arg], np.float64)
        floor = 64 * unit * np.abs(b) + lost / np.minimum(feature_scale(env.inputs[arg]), 1.0) + range_.tiny
        if ((np.abs(a - b) > floor) & np.isfinite(a) & np.isfinite(b)).any():
            noise = env.shaken(g, unit) if noise is None else noise
            floor = floor + 32 * noise[arg] + 2.0**-16 * np.max(np.abs(b), where=np.isfinite(b), initial=0.0)
        a = np.where(np.abs(b) < range_.max / 16, a, b)  # or beyond the range of single precision
        if not env.compare("single", "the gradient in single precision is another", arg, a, b, 0.0, floor):
            return


def linear(env: LawEnv) -> None:
    """G2: B(c g) = c B(g), in every bit for powers of two, and for c = 1 + 2⁻²⁴ which single precision would lose; and
    B(g + h) = B(g) + B(h)."""
    g = env.upstream()
    h = spread_integers(np.random.default_rng(env.settings.seed + 2), g.shape).astype(g.dtype)
    rounding = (1e3 if env.subject.order == 1 else 1e7) * float(np.finfo(g.dtype).eps)
    one = env.subject.grads(env.inputs, g)
    factors = [(2.0, 0.0)]
    if g.dtype == np.float64:
        factors += [(2.0**30, 0.0), (2.0**-40, 0.0)]  # a limit on gradients shows, or tiny ones taken for zero
        factors += [(1 + 2.0**-24, rounding)] if env.subject.order == 1 else []
    for c, slack in factors:
        scaled = tuple(None if d is None else c * np.asarray(d) for d in one)
        found = tuple(
            d if a is None or d is None else np.where(np.isfinite(a) & np.isfinite(d), d, c * np.asarray(a))
            for a, d in zip(one, env.subject.grads(env.inputs, c * g), strict=True)
        )  # what overflows for one of them says nothing
        env.compare_grads("linear", f"B({c:.8g} g) is not {c:.8g} B(g)", found, scaled, slack)
    two = env.subject.grads(env.inputs, h)
    both = tuple(
        None if a is None or b is None else np.asarray(a) + np.asarray(b) for a, b in zip(one, two, strict=True)
    )
    slack = 0.0 if env.exact else rounding
    env.compare_grads("linear", "B(g + h) is not B(g) + B(h)", env.subject.grads(env.inputs, g + h), both, slack)


def zero(env: LawEnv) -> None:
    """G3, G12: B(0) = 0, exactly, wherever the gradient is finite at all; and of no outputs it is 0 everywhere."""
    g = env.upstream()
    usual = env.subject.grads(env.inputs, g)
    for arg, grad in enumerate(env.subject.grads(env.inputs, np.zeros_like(g))):
        if arg in env.wanted and grad is not None:
            finite = np.isfinite(usual[arg]) if usual[arg] is not None and g.size else np.ones(np.shape(grad), bool)
            env.compare("zero", "B(0) is not 0", arg, np.where(finite, grad, 0.0), np.zeros(np.shape(grad)))


def pure(env: LawEnv) -> None:
    """G9: neither the forward nor the gradient writes into the inputs or into g."""
    g = env.upstream()
    inputs = tuple(x.copy("K") if isinstance(x, np.ndarray) else x for x in env.inputs)
    before = [_bytes(x) for x in (*inputs, g)]

    def differentiate() -> None:
        env.first = tuple(None if d is None else np.array(d) for d in env.subject.grads(inputs, g))

    for what, run in (("forward", lambda: env.subject.value(inputs)), ("gradient", differentiate)):
        run()
        for position, x in enumerate((*inputs, g)):
            if _bytes(x) != before[position]:
                is_g = position == len(inputs)
                name = "the upstream gradient" if is_g else f"input {env.subject.input_name(position)!r}"
                env.fail("pure", f"the {what} overwrites {name}", None if is_g else position)
                return


def repeat(env: LawEnv) -> None:
    """G9: the same bits in every call, also after a backward pass with another upstream gradient in between."""
    first, second = (np.asarray(env.subject.value(env.inputs)) for _ in range(2))
    if _bytes(first) != _bytes(second):
        env.fail("repeat", "two evaluations differ: freeze the random draw (a mask, a seed), or look for hidden state")
        return
    one, minus, two = env.subject.grads_thrice(env.inputs, env.upstream())
    env.compare_grads("repeat", "another backward pass gives another gradient", two, one)
    fresh = env.subject.grads(env.inputs, -env.upstream())
    env.compare_grads("repeat", "a second backward pass gives another gradient than a first one", minus, fresh)
    if env.first is not None:
        env.compare_grads("repeat", "the first backward pass gave another gradient", env.first, one)


def layout(env: LawEnv) -> None:
    """G7: C and Fortran order, negative strides and gaps full of NaN give the same result; so does a broadcast g."""
    g = env.upstream()
    y, grads = np.asarray(env.subject.value(env.inputs)), env.subject.grads(env.inputs, g)
    slack = 0.0 if env.exact else 1e3 * float(np.finfo(g.dtype).eps)
    for name, change in _LAYOUTS:
        inputs = tuple(change(x) if isinstance(x, np.ndarray) else x for x in env.inputs)
        if not env.compare("layout", f"another output for {name}", None, env.subject.value(inputs), y, slack):
            return
        env.compare_grads("layout", f"another gradient for {name}", env.subject.grads(inputs, change(g)), grads, slack)
    flat = np.broadcast_to(np.asarray(3.0, g.dtype), g.shape)
    expected = env.subject.grads(env.inputs, flat.copy())
    found = env.subject.grads(env.inputs, flat)
    env.compare_grads("layout", "another gradient for a broadcast, read-only g", found, expected, slack)


ARRAY_LAWS: dict[str, Law] = {
    "pure": pure,
    "repeat": repeat,
    "form": form,
    "single": single,
    "adjoint": adjoint,
    "linear": linear,
    "zero": zero,
    "layout": layout,
}


# ---- helpers -----------------------------------------------------------------------------------------------------


def _gapped(x: np.ndarray) -> np.ndarray:
    """Every second element of an array that holds NaN in between."""
    if not x.ndim or x.dtype.kind != "f":
        return x
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def _reversed(x: np.ndarray) -> np.ndarray:
    return np.flip(np.flip(x).copy()) if x.ndim else x


_LAYOUTS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("Fortran order", lambda x: np.array(x, order="F")),  # asfortranarray makes 0-d arrays 1-d
    ("negative strides", _reversed),
    ("strides with gaps of NaN", _gapped),
)


def same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the last bit, NaN included."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _bytes(x: Any) -> bytes:
    return x.tobytes() if isinstance(x, np.ndarray) else repr(x).encode()


def walk_arrays(value: Any) -> Iterator[np.ndarray]:
    """The arrays in nested tuples, lists and dicts."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from walk_arrays(item)
    elif isinstance(value, dict):
        yield from walk_arrays(list(value.values()))
