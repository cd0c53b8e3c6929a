"""Random programs beside PyTorch: fan-out, views, in-place operations, detach, writes under no_grad, hooks, gradients
of gradients as variables.

The law: whenever a program of ours runs, its numbers are right. Ours may refuse with TapeError where PyTorch goes on.
Where PyTorch refuses and ours goes on, the judge is PyTorch running the same program without any memory: every
variable a value of its own, a write a new value in the old one's name.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
from parity.agreement import pick

PROGRAMS = 1250  # per test
SHAPES = [(), (3,), (2, 3), (2, 1), (1, 3), (3, 3), (2, 1, 3)]
LARGE = 50.0
KINDS = ["unary", "rows", "binary", "view", "in place", "no_grad"] * 4
KINDS += ["assign", "backward", "data", "gradient", "hook"] * 2 + ["retain", "new data", "free"]

# A second gradient passes a hook on what an operation saved of its own output: there both libraries save the same.
SAVED_ALIKE = {"add", "sub", "mul", "sum", "mean", "exp", "tanh", "sigmoid", "clone", "reshape", "transpose", "getitem"}

Call = Callable[..., Any]

UNARY: dict[str, tuple[Call, Call]] = {
    "tanh": (lambda x: x.tanh(), torch.tanh),
    "sin": (lambda x: x.sin(), torch.sin),
    "exp": (lambda x: (x * 0.25).exp(), lambda t: (t * 0.25).exp()),
    "relu": (lambda x: x.relu(), torch.relu),
    "sigmoid": (lambda x: x.sigmoid(), torch.sigmoid),
    "square": (lambda x: x**2, lambda t: t**2),
    "abs": (lambda x: x.abs(), torch.abs),
    "bell": (lambda x: 1 / (x * x + 1), lambda t: 1 / (t * t + 1)),
    "affine": (lambda x: x * 1.5 - 0.5, lambda t: t * 1.5 - 0.5),
    "clone": (lambda x: x.clone(), torch.clone),
    "where": (lambda x: tc.where(x > 0, x, 0.5 * x), lambda t: torch.where(t > 0, t, 0.5 * t)),
    "sum": (lambda x: x.sum(), torch.sum),
    "mean": (lambda x: x.mean(keepdims=True), lambda t: t.mean(tuple(range(t.ndim)), keepdim=True)),
    "amax": (lambda x: x.amax(), torch.amax),
    "stack": (lambda x: tc.stack([x, x, x]).sum(0), lambda t: torch.stack([t, t, t]).sum(0)),
}
ROWS: dict[str, tuple[Call, Call]] = {  # of at least one axis
    "sum of rows": (lambda x: x.sum(-1, keepdims=True), lambda t: t.sum(-1, keepdim=True)),
    "max": (lambda x: x.max(0)[0], lambda t: t.max(0)[0]),
    "logsumexp": (lambda x: x.logsumexp(-1), lambda t: t.logsumexp(-1)),
    "softmax": (
        lambda x: x.softmax(-1) * x,
        lambda t: t.softmax(-1) * t,
    ),  # sums to no round number, hence no near ties
    "cumsum": (lambda x: x.cumsum(0), lambda t: t.cumsum(0)),
    "[[0, 0]]": (lambda x: x[[0, 0]], lambda t: t[[0, 0]]),
    "cat": (lambda x: tc.cat([x, x])[: x.shape[0]], lambda t: torch.cat([t, t])[: t.shape[0]]),
}
VIEWS: dict[str, tuple[Call, Call]] = {
    "[...]": (lambda x: x[...], lambda t: t[...]),
    "expand_dims": (lambda x: x.expand_dims(0), lambda t: t.unsqueeze(0)),
    "squeeze": (lambda x: x.squeeze(), lambda t: t.squeeze()),
    "reshape": (lambda x: x.reshape(-1), lambda t: t.reshape(-1)),
    "T": (lambda x: x.T, lambda t: t.permute(tuple(range(t.ndim))[::-1])),
    "detach": (lambda x: x.detach(), lambda t: t.detach()),
    "broadcast_to": (lambda x: x.broadcast_to((2, *x.shape)), lambda t: t.broadcast_to((2, *t.shape))),
}
VIEWS_OF_ROWS: dict[str, tuple[Call, Call]] = {
    "[0]": (lambda x: x[0], lambda t: t[0]),
    "[-1:]": (lambda x: x[-1:], lambda t: t[-1:]),
    "[..., ::2]": (lambda x: x[..., ::2], lambda t: t[..., ::2]),
    "split": (lambda x: x.split(1)[0], lambda t: t.split(1)[0]),
}
BINARY: dict[str, tuple[Call, Call]] = {
    "+": (operator.add, operator.add),
    "-": (operator.sub, operator.sub),
    "*": (operator.mul, operator.mul),
    "ratio": (lambda a, b: a / (b * b + 1), lambda a, b: a / (b * b + 1)),
    "maximum": (tc.maximum, torch.maximum),
    "sum and product": (lambda a, b: tc.stack([a + b, a * b]).sum(0), lambda a, b: torch.stack([a + b, a * b]).sum(0)),
}
IN_PLACE: dict[str, tuple[Call, Call]] = {  # in place, and the same as a new value
    "+=": (operator.iadd, operator.add),
    "-=": (operator.isub, operator.sub),
    "*=": (operator.imul, operator.mul),
    "/=": (lambda a, b: operator.itruediv(a, b * b + 1), lambda a, b: a / (b * b + 1)),
}


class Program:
    """The variables of one program on three sides: ours, PyTorch's, and PyTorch's without shared memory."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.text: list[str] = []  # what has been run
        self.refused = 0
        self.hooked: set[int] = set()
        self.retaining: set[int] = set()
        self.has_gradients = False  # among the variables
        self.ours: list[tc.Tensor] = []
        self.theirs: list[torch.Tensor] | None = []
        self.pure: list[torch.Tensor] | None = []
        for i in range(int(rng.integers(2, 5))):
            a = np.asarray(rng.integers(-4, 5, pick(rng, SHAPES)) / 4.0)
            wanted = i == 0 or rng.random() < 0.6
            self.ours.append(tc.tensor(a.copy(), requires_grad=wanted))
            self.theirs.append(torch.tensor(a, requires_grad=wanted))
            self.pure.append(torch.tensor(a, requires_grad=wanted))
        self.places = list(self.pure)  # where the gradients of the variables without memory are asked for
        self.leaves = [(x, t, p) for x, t, p in zip(self.ours, self.theirs, self.pure, strict=True) if x.requires_grad]

    # ---- steps ----

    def step(self) -> None:
        kind = pick(self.rng, KINDS)
        i = int(self.rng.integers(len(self.ours))) if self.rng.random() < 0.5 else len(self.ours) - 1
        rows = self.ours[i].ndim > 0 and self.ours[i].size > 0
        if kind == "unary" or (kind == "rows" and not rows):
            self._compute(UNARY, i)
        elif kind == "rows":
            self._compute(ROWS, i)
        elif kind == "view":
            self._compute(VIEWS_OF_ROWS | VIEWS if rows else VIEWS, i, view=True)
        elif kind == "binary":
            j = self._partner(i, lambda a, b: _broadcast(a, b) is not None)
            self._compute(BINARY, i, j)
        elif kind in ("backward", "free"):
            self._backward(i, keep=kind == "backward")
        elif kind == "gradient":
            self._gradient(i)
        elif kind in ("hook", "retain"):
            self._listen(kind, i)
        else:
            self._overwrite(kind, i, rows)

    def _overwrite(self, kind: str, i: int, rows: bool) -> None:
        """x op= y, x[k] = y, recorded or under no_grad."""
        index = 0 if kind == "assign" and rows else ...
        target = self.ours[i].shape[1:] if index == 0 else self.ours[i].shape
        j = self._partner(i, lambda a, b: _broadcast(target, b) == target)
        if _broadcast(target, self.ours[j].shape) != target:
            return
        if kind == "assign" or self.rng.random() < 0.2:
            name = f"[{index}] ="

            def write(a: Any, b: Any) -> Any:
                a[index] = b
                return a

            def renew(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
                a = a.clone()
                a[index] = b
                return a
        else:
            name = pick(self.rng, list(IN_PLACE))
            write, renew = IN_PLACE[name]
        quiet = {"no_grad": " under no_grad", "data": ", on its data", "new data": ", as new data"}.get(kind, "")
        self.text.append(f"v{i} {name} v{j}{quiet}")
        if kind == "data":
            write = _on_data(write)
        elif kind == "new data":
            write, self.theirs = _as_new_data(renew), None  # PyTorch's saved leaves then hold what they did not hold
        self._write(write, renew, i, j, recorded=not quiet)

    def _partner(self, i: int, fits: Call) -> int:
        shape = self.ours[i].shape
        return pick(self.rng, [j for j, x in enumerate(self.ours) if fits(shape, x.shape)] or [i])

    def _compute(self, among: dict[str, tuple[Call, Call]], *places: int, view: bool = False) -> None:
        name = pick(self.rng, list(among))
        ours, theirs = among[name]
        here = self._try_ours(lambda: ours(*(self.ours[p] for p in places)))
        if here is None:
            return
        there = self._try_theirs(lambda ts: theirs(*(ts[p] for p in places)))
        if view and there is not None and self.theirs is not None:  # in one library a view, in the other a copy
            source, other = self.ours[places[0]], self.theirs[places[0]]
            shared = there.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
            if np.shares_memory(here.data, source.data) != shared:
                there, here = there.clone(), here.clone()
        self.text.append(f"v{len(self.ours)} = {name} of {places}")
        self.ours.append(here)
        if self.theirs is not None:
            self.theirs.append(there)
        if self.pure is not None:
            self.pure.append(theirs(*(self.pure[p] for p in places)))
            self.places.append(self.pure[-1])

    def _write(self, write: Call, renew: Call, i: int, j: int, *, recorded: bool) -> None:
        before = [x.data.copy() for x in self.ours]
        taped = recorded and (self.ours[i].requires_grad or self.ours[j].requires_grad)

        def here() -> tc.Tensor:
            with tc.enable_grad() if recorded else tc.no_grad():
                return write(self.ours[i], self.ours[j])

        def there(ts: list[torch.Tensor]) -> None:
            with torch.set_grad_enabled(recorded):
                ts[i] = write(ts[i], ts[j])

        if self._try_ours(here) is None:
            self.text.pop()
            return
        if i != j and np.shares_memory(self.ours[i].data, self.ours[j].data):
            self.theirs = None  # PyTorch may read what it has just written
        self._try_theirs(there)
        if self.pure is None:
            return
        if taped:
            self._renew_place(i, renew(self.pure[i], self.pure[j]))
        for k, (x, old) in enumerate(zip(self.ours, before, strict=True)):
            if np.array_equal(x.data, old) or (taped and k == i):
                continue
            if taped:  # a view or a base changed with it, and what it depends on now only memory knows
                self.pure = None
                return
            # The value alone changes; the place in the graph stays.
            self.pure[k] = self.pure[k] - self.pure[k].detach() + torch.tensor(x.data.copy())

    def _renew_place(self, i: int, new: torch.Tensor) -> None:
        """A recorded write: hooks stay with the old value, `.grad` and the wish to retain it go with the variable."""
        assert self.pure is not None
        self.hooked.discard(i)
        if i in self.retaining:
            new.retain_grad()
            new.grad = self.places[i].grad
        self.pure[i] = self.places[i] = new

    def _backward(self, i: int, *, keep: bool) -> None:
        """Between the steps, into the leaves' .grad."""
        if not self.ours[i].requires_grad:
            return
        if self._try_ours(lambda: [(self.ours[i] ** 2).sum().backward(retain_graph=keep)]) is None:
            self.pure = self.pure if keep else None  # freed in part; and so below
            self.theirs = self.theirs if keep else None
            return
        self.text.append(f"backward from v{i}{'' if keep else ', which frees'}")
        self._try_theirs(lambda ts: (ts[i] ** 2).sum().backward(retain_graph=keep))
        if self.pure is not None:
            try:
                (self.pure[i] ** 2).sum().backward(retain_graph=keep)
            except RuntimeError:  # an earlier one freed more there than here
                self.pure = None

    def _gradient(self, i: int) -> None:
        """The gradient of one leaf as a new variable, itself on the tape."""
        k = pick(self.rng, [k for k, x in enumerate(self.ours) if x.is_leaf and x.requires_grad])
        if not self.ours[i].requires_grad:
            return

        def of(loss: Any, leaf: Any, grad: Call) -> Any:
            return grad((loss**2).sum(), leaf, create_graph=True, allow_unused=True)[0]

        here = self._try_ours(lambda: of(self.ours[i], self.ours[k], tc.grad))
        if here is None:
            return
        there = self._try_theirs(lambda ts: self._touching_no_grad(lambda: of(ts[i], ts[k], torch.autograd.grad)))
        self.has_gradients = True
        self.text.append(f"v{len(self.ours)} = the gradient of v{i} in v{k}")
        self.ours.append(here)
        if self.theirs is not None:
            self.theirs.append(torch.zeros(here.shape, dtype=torch.float64) if there is None else there)
        if self.pure is not None:
            try:
                loss, leaf = self.pure[i], self.places[k]
                pure = self._touching_no_grad(lambda: of(loss, leaf, torch.autograd.grad))
            except RuntimeError:
                self.pure = None
                return
            self.pure.append(torch.zeros(here.shape, dtype=torch.float64) if pure is None else pure)
            self.places.append(self.pure[-1])

    def _listen(self, kind: str, i: int) -> None:
        """A hook that replaces the gradient, or a computed variable that retains its own."""
        x = self.ours[i]
        if not x.requires_grad or self._try_ours(x.clone) is None or (kind == "retain" and x.is_leaf):
            return
        if kind == "hook" and x.grad_fn is not None and x.grad_fn.op.name not in SAVED_ALIKE:
            return
        if kind == "hook" and self.theirs is not None and self.theirs[i]._is_view():
            return  # PyTorch loses the hook of a view once what it looks at is written
        factor = pick(self.rng, [-1.0, 0.5, 2.0])

        def listen(x: Any) -> None:
            if kind == "hook":
                x.register_hook(lambda g: g * factor)
            else:
                _ = (
                    x.grad_fn
                )  # PyTorch forgets the wish of a view that was written, unless it has looked at this before
                x.retain_grad()

        self.text.append(f"{kind} on v{i}" + (f", times {factor}" if kind == "hook" else ""))
        (self.hooked if kind == "hook" else self.retaining).add(i)
        listen(self.ours[i])
        self._try_theirs(lambda ts: listen(ts[i]))
        if self.pure is not None and self.places[i].requires_grad:
            listen(self.places[i])

    def _try_ours(self, call: Call) -> Any:
        """None if ours refuses; then nothing has changed, and the step is left out."""
        before = [x.data.copy() for x in self.ours]
        try:
            return call()
        except tc.TapeError:
            self.refused += 1
        except ValueError as error:
            if "read-only" not in str(error):  # a stretched view
                raise
            self.refused += 1
        for x, old in zip(self.ours, before, strict=True):
            np.testing.assert_array_equal(x.data, old, "refused, and written all the same")
        return None

    def _try_theirs(self, call: Call) -> Any:
        """Once PyTorch has refused, it is no judge any more."""
        if self.theirs is None:
            return None
        try:
            return call(self.theirs)
        except RuntimeError:
            self.theirs = None
            return None

    # ---- the end ----

    def judge(self) -> Counter[str]:
        """Compare all values, and gradients of the first and second order of a loss over some variables."""
        # Not of what was overwritten under a variable that now stands for nothing: ours refuses to compute with it.
        usable = [i for i, x in enumerate(self.ours) if x.requires_grad and self._try_ours(x.clone) is not None]
        chosen = [i for i in usable if self.rng.random() < 0.4 or i > len(self.ours) - 3]
        # What PyTorch gives for a hooked variable is what its hooks got, or left, as others are asked for or not; and
        # how a second gradient passes through a computed one depends on what each library saved.
        judged = [i for i in usable if i not in self.hooked and not self.has_gradients]
        inputs = [i for i in usable if self.ours[i].is_leaf or (self.rng.random() < 0.3 and i in judged)]
        self.retaining &= set(judged)
        outcome: Counter[str] = Counter()
        judges = {"PyTorch": (1, self.theirs, self.theirs), "PyTorch without memory": (2, self.pure, self.places)}
        for name, (_, ts, _) in judges.items():
            if ts is not None:
                _equal(f"values beside {name}", [x.data for x in self.ours], [t.detach().numpy() for t in ts])
                outcome[name] += 1
        if not chosen:
            return outcome
        leaves = [i for i in inputs if self.ours[i].is_leaf]
        for what, ours, theirs, wanted in (
            ("first order", _our_first, self._their_first, inputs),
            ("second order", _our_second, self._their_second, leaves),
            ("accumulated", self._our_accumulated, self._their_accumulated, leaves),
        ):
            if not wanted:
                continue
            try:
                found = ours(_loss(self.ours, chosen), [self.ours[i] for i in wanted])
            except tc.TapeError:
                outcome["ours refused"] += 1
                continue
            heard = 0
            for name, (side, ts, places) in judges.items():
                if ts is None or places is None:
                    continue
                try:
                    expected = theirs(_loss(ts, chosen), wanted, side, places)
                except RuntimeError:
                    continue
                _equal(f"{what} beside {name}", found, expected)
                outcome[f"{what}, {name}"] += 1
                heard += 1
            outcome[f"{what}, one judge"] += heard == 1
        return outcome

    def _their_first(self, loss: torch.Tensor, wanted: list[int], side: int, places: list[torch.Tensor]) -> list[Any]:
        return self._touching_no_grad(lambda: _their_first(loss, [places[i] for i in wanted]))

    def _their_second(self, loss: torch.Tensor, wanted: list[int], side: int, places: list[torch.Tensor]) -> list[Any]:
        return self._touching_no_grad(lambda: _their_second(loss, [places[i] for i in wanted]))

    def _touching_no_grad(self, call: Call) -> Any:
        """PyTorch's `grad` adds to the `.grad` of whoever retains it; ours does not."""
        sides = [self.theirs, None if self.pure is None else self.places]
        retaining = [side[i] for side in sides for i in self.retaining if side is not None]
        before = [t.grad for t in retaining]
        try:
            return call()
        finally:
            for t, g in zip(retaining, before, strict=True):
                t.grad = g

    def _our_accumulated(self, loss: tc.Tensor, inputs: list[tc.Tensor]) -> list[Any]:
        loss.backward()
        listening = [x for x, _, _ in self.leaves] + [self.ours[i] for i in sorted(self.retaining)]
        return [None if x.grad is None else x.grad.data for x in listening]

    def _their_accumulated(
        self, loss: torch.Tensor, wanted: list[int], side: int, places: list[torch.Tensor]
    ) -> list[Any]:
        loss.backward(retain_graph=True)
        listening = [leaves[side] for leaves in self.leaves] + [places[i] for i in sorted(self.retaining)]
        return [None if t.grad is None else t.grad.detach().numpy() for t in listening]


def _on_data(write: Call) -> Call:
    """`x.data op= array`; PyTorch's own `.data` is not watched, so there it is the write under no_grad alone."""

    def on_data(a: Any, b: Any) -> Any:
        if isinstance(a, torch.Tensor):
            return write(a, b)
        changed = write(a.data, b.data)
        a.data = changed  # how Python ends `a.data op= b`
        return a

    return on_data


def _as_new_data(renew: Call) -> Call:
    def as_new_data(a: tc.Tensor, b: tc.Tensor) -> tc.Tensor:
        a.data = renew(torch.tensor(a.data.copy()), torch.tensor(b.data.copy())).numpy()
        return a

    return as_new_data


def _loss(variables: list[Any], chosen: list[int]) -> Any:
    return sum((variables[i] * variables[i]).sum() * (k + 1) for k, i in enumerate(chosen))


def _our_first(loss: tc.Tensor, inputs: list[tc.Tensor]) -> list[Any]:
    found = tc.grad(loss, inputs, retain_graph=True, allow_unused=True)
    return [None if g is None else g.data for g in found]


def _their_first(loss: torch.Tensor, inputs: list[torch.Tensor]) -> list[Any]:
    found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    return [None if g is None else g.detach().numpy(force=True) for g in found]


def _our_second(loss: tc.Tensor, inputs: list[tc.Tensor]) -> list[Any]:
    found = tc.grad(loss, inputs, create_graph=True, allow_unused=True)
    energy: Any = sum([(g * g).sum() for g in found if g is not None], tc.tensor(0.0))
    return _our_first(energy, inputs) if energy.requires_grad else [None] * len(inputs)


def _their_second(loss: torch.Tensor, inputs: list[torch.Tensor]) -> list[Any]:
    found = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
    energy: Any = sum([(g * g).sum() for g in found if g is not None], torch.tensor(0.0))
    return _their_first(energy, inputs) if energy.requires_grad else [None] * len(inputs)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _equal(what: str, ours: list[Any], theirs: list[Any]) -> None:
    """None is a gradient of zeros."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a is None and b is None:
            continue
        a = np.zeros_like(b) if a is None else a
        b = np.zeros_like(a) if b is None else b
        size = max(1.0, np.abs(b).max(initial=0.0))
        if a.shape != b.shape or not np.all(np.abs(a - b) <= 1e-9 * size):
            raise AssertionError(f"{what}, {i}: ours {a!r}, PyTorch's {b!r}")


def _run(seed: tuple[int, ...]) -> Counter[str]:
    rng = np.random.default_rng(seed)
    program = Program(rng)
    starts = [x.data.copy() for x in program.ours]
    try:
        for _ in range(int(rng.integers(3, 15))):
            program.step()
            if any(np.abs(x.data).max(initial=0.0) > LARGE for x in program.ours):
                break
        return program.judge() + Counter({"steps refused": program.refused})
    except Exception as error:
        wanted = [x.requires_grad for x in program.ours[: len(starts)]]
        error.add_note(f"program {seed}: from {starts}, requires_grad {wanted}\n" + "\n".join(program.text))
        raise


@pytest.mark.parametrize("part", range(8))
def test_programs(part: int) -> None:
    outcomes: Counter[str] = Counter()
    for i in range(PROGRAMS):
        outcomes += _run((part, i))
    # Not an empty test: both judges are heard to second order, and each also where the other is silent.
    assert outcomes["second order, PyTorch"] > PROGRAMS * 0.5, outcomes
    assert outcomes["second order, PyTorch without memory"] > PROGRAMS * 0.5, outcomes
    assert outcomes["second order, one judge"] > PROGRAMS * 0.05, outcomes
