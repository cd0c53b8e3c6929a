"""Op: a forward on arrays and its vjp rules in one record. Built-in ops and users' ops are the same thing.

A rule names what it needs, and gets it by name: `g` the upstream gradient, `y` the output, an input,
`<input>_shape`, an option, an auxiliary output, `**options` for all options. Names are resolved once, when the op
is defined; only what the rules of the inputs that want a gradient name is kept until backward.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_cnn.core import memory, sources, tape
from tinygrad_cnn.core.anomaly import refuse_nonfinite
from tinygrad_cnn.core.dtypes import get_default_dtype, plain_array
from tinygrad_cnn.core.operators import OPS
from tinygrad_cnn.core.reconnecting import Reconnected
from tinygrad_cnn.core.rules import Plan, Rule, Signature, parse_rules
from tinygrad_cnn.core.tape import STATE, Node, Place
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError, TapeError

_FLOAT64 = np.dtype("float64")


class Op:
    """One operation: `name`, `forward` on arrays, and the rules of its gradient. Made by `op`; call it on Tensors."""

    module: str = ""  # that defined it

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        vjp: Any,
        aux: Mapping[str, Any] | None = None,
        fast: Any = None,
        broadcasts: bool = False,
        doc: str = "",
    ) -> None:
        self.name = name
        self.broadcasts = broadcasts
        self.__doc__ = doc or f"The operation {name!r}."
        self._define(forward, vjp, aux or {}, fast)

    def _define(self, forward: Callable[..., Any], vjp: Any, aux: Mapping[str, Any], fast: Any) -> None:
        signature = Signature.of(self.name, forward, aux)
        rules = parse_rules(signature, vjp, "vjp")
        fast_rules = parse_rules(signature, fast, "fast") if fast is not None else None
        if fast_rules is not None and [r.position for r in fast_rules] != [r.position for r in rules]:
            raise ValueError(f"op {self.name!r}: fast must have rules for the same inputs as vjp, in the same form")
        self.forward, self.vjp, self.aux, self.fast = forward, vjp, dict(aux), fast
        self.signature, self.rules, self.fast_rules = signature, rules, fast_rules
        self.__name__ = self.__qualname__ = self.name  # with __signature__: what help() and editors ask of a function
        self.__signature__ = signature.as_inspected()
        self._forward = np.errstate(all="ignore")(forward)  # inf and NaN are results here, not events
        self._arity = -1 if signature.variadic else len(signature.inputs)
        self._has_options = bool(signature.options)
        self._plans: dict[int, Plan] = {}

    # -- what a reader of the registry sees --

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs; an op that takes any number of them has one name for all."""
        return self.signature.inputs

    @property
    def options(self) -> dict[str, Any]:
        """The options and their defaults; `inspect.Parameter.empty` where one must be given."""
        return dict(self.signature.options)

    @property
    def variadic(self) -> bool:
        """Whether it takes any number of inputs, as `cat` does."""
        return self.signature.variadic

    @property
    def differentiable(self) -> bool:
        """Whether it has a rule for any input."""
        return bool(self.rules)

    def input_name(self, position: int) -> str:
        """What an error calls the input at this position."""
        return f"{self.inputs[0]}[{position}]" if self.variadic else self.inputs[position]

    def __repr__(self) -> str:
        return f"<op {self.name}{self.signature}>"

    # -- forward --

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        return self._apply(args, options)[0]

    def with_aux(self, *args: Any, **options: Any) -> tuple[Any, ...]:
        """The output as a Tensor, and after it the auxiliary outputs as they are."""
        out, aux = self._apply(args, options)
        return (out, *aux)

    def _apply(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Tensor, tuple[Any, ...]]:
        if len(args) != self._arity or options or self._has_options:
            args, options = self.signature.bind(args, options)
        state = STATE.get()
        arrays: list[Any] = []
        places: list[Place] = []
        place: Place
        wants = 0
        for position, arg in enumerate(args):
            if isinstance(arg, Tensor):
                array = arg._data
                place = arg._node
                if place is None:
                    if arg._requires_grad:
                        place = arg
                    if memory.recorded_writes:
                        memory.check_input(self, position, array, None)
                elif place.seq < memory.last_write:
                    memory.check_input(self, position, array, place)
                arrays.append(array)
                places.append(place)
                if place is not None:
                    wants |= 1 << position
            else:
                arrays.append(arg if type(arg) in _WEAK else _plain(arg, self, position))
                places.append(None)
        try:
            out = self._forward(*arrays, **options)
        except Exception as error:
            raise self._explained(error, arrays, options) from error.__cause__
        aux: tuple[Any, ...] = ()
        if self.aux:
            out, *rest = self._unpacked(out)
            aux = tuple(rest)
        if type(out) is not np.ndarray:
            out = self._as_array(out)
        if out.dtype == _FLOAT64 and "dtype" not in options:
            out = _narrowed(out, arrays)
        node = None
        if wants and state.grad and self.rules and out.dtype.kind == "f":
            node = self._record(arrays, places, wants, out, aux, options, state)
        result = Tensor._wrap(out, node)
        if state.anomaly or state.observers:
            self._show(node, args, options, result, state)
        return result, aux

    def _record(
        self,
        arrays: list[Any],
        places: list[Place],
        wants: int,
        out: np.ndarray,
        aux: tuple[Any, ...],
        options: dict[str, Any],
        state: tape.State,
    ) -> Node | None:
        plan = self._plans.get(wants)
        if plan is None:
            plan = self._plans[wants] = Plan.make(self.signature, self.rules, self.fast_rules, wants)
        if not plan.rules:
            return None
        saved = plan.save(arrays, out, aux) if plan.saves else ()
        node = Node(self, plan, tuple(places), saved, options, out, state.path)
        shares = out.base is not None
        for array in arrays:
            shares = shares or array is out
        if shares:
            place = memory.owner(out)
            node.is_view = any(isinstance(a, np.ndarray) and memory.owner(a) is place for a in arrays)
        return node

    def _unpacked(self, returned: Any) -> tuple[Any, ...]:
        if isinstance(returned, tuple) and len(returned) == 1 + len(self.aux):
            return returned
        what = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
        raise TypeError(f"{self.name}: forward must return (output, {', '.join(self.aux)}) as aux= says, not {what}")

    def _as_array(self, out: Any) -> np.ndarray:
        if isinstance(out, np.generic | np.ndarray | float | int | complex):  # ufuncs give scalars for 0-d operands
            return np.asarray(out)
        raise TypeError(
            f"{self.name}: forward must return one array, or (array, *auxiliary outputs) with aux= naming them; "
            f"it returned {type(out).__name__}"
        )

    def _explained(self, error: Exception, arrays: list[Any], options: dict[str, Any]) -> Exception:
        shapes = [np.shape(a) if a is not None else None for a in arrays]
        if "broadcast" in str(error) and isinstance(error, ValueError) and not isinstance(error, ShapeError):
            try:
                np.broadcast_shapes(*(shape for shape in shapes if shape is not None))
            except ValueError:
                listed = " and ".join(str(shape) for shape in shapes if shape is not None)
                return ShapeError(
                    f"{self.name}: shapes {listed} do not broadcast: aligned at the last axis, each pair of lengths "
                    "must be equal or contain a 1; reshape one of them"
                )
        if isinstance(self.forward, np.ufunc) and isinstance(error, TypeError):
            dtypes = " and ".join(str(a.dtype) if isinstance(a, np.ndarray) else type(a).__name__ for a in arrays)
            return TypeError(f"{self.name}: not defined for {dtypes}; convert with x.astype(...) ({error})")
        if not str(error).startswith(f"{self.name}:"):
            error.add_note(f"in the forward of op {self.name!r}, inputs {shapes}, options {options}")
        return error

    def _show(
        self, node: Node | None, args: Sequence[Any], options: dict[str, Any], out: Tensor, state: tape.State
    ) -> None:
        source = sources.caller()
        if node is not None:
            node.source = source
        if state.anomaly:
            if node is not None:
                node.digests = tape.digests(node)
            refuse_nonfinite(self.name, "forward gave", out._data, state.path, source)
        for observer in state.observers:
            if observer.on_record is not None:
                observer.on_record(node, self, tuple(args), options, out)

    # -- backward --

    def pull(self, node: Node, g: Any, create: bool, needed: Set[Place] | None) -> list[Any]:
        """The gradients that a node sends to its parents, by position; arrays, or Tensors if `create`."""
        plan: Plan = node.plan
        if node.saved is None:
            raise TapeError(
                f"{self.name}: what was saved for backward was freed by an earlier backward; pass retain_graph=True to "
                "the first call, or compute the output again"
            )
        parents = node.parents
        grads: list[Any] = [None] * len(parents)
        bare = [g, *node.saved]
        if plan.option_names:
            bare += [node.options[name] for name in plan.option_names]
        views: Sequence[Any] | None = None
        on_arrays = bool(plan.fast) and not create
        for rule in plan.fast if on_arrays else plan.rules:
            position = rule.position
            if needed is not None and position is not None and parents[position] not in needed:
                continue
            if on_arrays or (rule.plain and not create):
                result = self._run(rule, bare, node)
            else:
                views = Reconnected(plan, node, bare, create) if views is None else views
                result = self._run(rule, views, node)
            if position is None:
                self._spread(rule, result, grads)
            elif result is None:
                raise TypeError(
                    f"{self.name}: the {rule.kind} rule of input {self.input_name(position)!r} returned None; a return "
                    "is missing, or give None in place of the rule if the op is not differentiable in it"
                )
            else:
                grads[position] = result
        for position, parent in enumerate(parents):
            d = grads[position]
            if parent is None:
                grads[position] = None
            elif type(d) is not np.ndarray or d.shape != parent.shape or d.dtype != parent.dtype:
                grads[position] = None if d is None else self._fitted(d, parent, node, position, create)
            elif create:
                grads[position] = Tensor(d)
        if STATE.get().anomaly:
            for position, d in enumerate(grads):
                if d is not None:
                    what = f"backward gave, for input {self.input_name(position)!r},"
                    refuse_nonfinite(self.name, what, d._data if create else d, node.path, node.source)
        return grads

    def _run(self, rule: Rule, values: Sequence[Any], node: Node) -> Any:
        try:
            if rule.keywords or rule.takes_options:
                named = {name: values[i] for name, i in rule.keywords}
                if rule.takes_options:
                    named = {**node.options, **named}
                return rule.function(*rule.pick(values), **named)
            return rule.function(*rule.pick(values))
        except Exception as error:
            where = f" at {node.path}" if node.path else ""
            error.add_note(f"in the {rule.kind} rule of op {self.name!r}{where}, whose output has shape {node.shape}")
            raise

    def _spread(self, rule: Rule, result: Any, grads: list[Any]) -> None:
        """A joint rule returns one gradient (or None) for each input."""
        parts = list(result) if not isinstance(result, Tensor | np.ndarray) else None
        if parts is None or len(parts) != len(grads):
            count = "a single array" if parts is None else f"{len(parts)} gradients"
            raise ShapeError(
                f"{self.name}: its joint {rule.kind} rule must return {len(grads)} gradients, one per input (None for "
                f"those that have none); it returned {count}"
            )
        grads[:] = parts

    def _fitted(self, d: Any, parent: Place, node: Node, position: int, create: bool) -> Any:
        """A gradient in its input's shape and dtype: un-broadcasting and casting live here and nowhere else."""
        if create:
            d = d if isinstance(d, Tensor) else Tensor(d)
        elif isinstance(d, Tensor):
            d = d._data
        elif not isinstance(d, np.ndarray):
            d = np.asarray(d)
            if d.dtype.kind not in "fiub":
                raise TypeError(
                    f"{self.name}: the vjp rule of input {self.input_name(position)!r} must return a Tensor, got {d!r}"
                )
        if d.shape != parent.shape:
            # Only where the op stretched its input to the output's shape may a rule hand back a larger gradient.
            if not ((d.shape == node.shape or self.broadcasts) and _broadcasts_to(parent.shape, d.shape)):
                raise ShapeError(
                    f"{self.name}: the vjp rule of input {self.input_name(position)!r} returned a gradient of shape "
                    f"{d.shape}, but the input has shape {parent.shape}"
                )
            d = OPS["sum_to"](d, shape=parent.shape) if create else sum_to(d, parent.shape)
        if d.dtype != parent.dtype:
            d = OPS["astype"](d, dtype=parent.dtype) if create else d.astype(parent.dtype)
        return d

    # -- for the testing kit --

    @contextmanager
    def replaced(self, **parts: Any) -> Iterator[Op]:
        """Replace `forward`, `vjp`, `aux` or `fast` while the block runs: how seeded bugs get in.

        A `fast` rule that is not replaced is set aside when `vjp` is, so that the new rule is the one that runs.
        """
        before = {"forward": self.forward, "vjp": self.vjp, "aux": self.aux, "fast": self.fast}
        unknown = parts.keys() - before.keys()
        if unknown:
            raise TypeError(f"{self.name}: an op has no part {sorted(unknown)}; it has {sorted(before)}")
        if "vjp" in parts and "fast" not in parts:
            parts["fast"] = None
        try:
            self._define(**{**before, **parts})
            yield self
        finally:
            self._define(**before)


def op(
    name: str,
    forward: Callable[..., Any],
    vjp: Any,
    *,
    aux: Mapping[str, Any] | None = None,
    fast: Any = None,
    broadcasts: bool = False,
    doc: str = "",
) -> Op:
    """Define an operation and register it by name.

    Parameters of `forward` without default, or with default None, are inputs; others, and those after `*`, are
    options. `vjp` is one rule per input (a tuple, or a dict by input name; None: not differentiable), or for an op
    of several inputs one joint rule that returns all gradients. Rules are written in Tensor operations, so that a
    backward pass can itself be differentiated. `fast` is the same rule on arrays, used when nothing is recorded.
    `aux` names what `forward` returns after its output: None says locally constant; a function of the inputs says
    what the value is, so that second derivatives are right. A gradient of the output's shape is summed to its
    input's; `broadcasts` says that the op stretches its inputs in another way (matmul's batch axes).

    Defining an op again from the same place in the source replaces it; from another place it raises ValueError.

    >>> import numpy as np
    >>> import tinygrad_cnn as tc
    >>> cube = tc.op("doc_cube", forward=lambda x: x**3, vjp=lambda g, x: 3 * g * x**2)
    >>> x = tc.tensor([1.0, 2.0], requires_grad=True)
    >>> cube(x).sum().backward()
    >>> x.grad
    tensor([ 3., 12.])
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"op: a name must be a Python identifier, got {name!r}")
    place = _definition_place()
    existing = OPS.get(name)
    if existing is not None and _PLACES.get(name) != place:
        raise ValueError(
            f"op: {name!r} is already defined, at {':'.join(map(str, _PLACES[name]))}; choose another name"
        )
    made = Op(name, forward, vjp, aux, fast, broadcasts, doc)
    made.module = sys._getframe(1).f_globals.get("__name__", "")
    OPS[name] = made
    _PLACES[name] = place
    return made


def ops() -> dict[str, Op]:
    """All operations by name, built-in and the user's."""
    return dict(OPS)


# ---- helpers ---------------------------------------------------------------------------------------------------

_PLACES: dict[str, tuple[Any, ...]] = {}
_WEAK = frozenset((float, int, bool, complex))  # reach forward as they are, so that they promote weakly


def _plain(arg: Any, op: Op, position: int) -> Any:
    """An input that is not a Tensor, as an array or a Python number; None for an optional one left out."""
    if arg is None and op.inputs[position if not op.variadic else 0] in op.signature.optional:
        return None
    if isinstance(arg, np.ndarray):
        array = arg if type(arg) is np.ndarray else plain_array(op.name, arg)
    elif isinstance(arg, np.generic):
        return arg.item()  # weak, as Python's own numbers are
    else:
        array = np.asarray([a.item() if isinstance(a, Tensor) and a.ndim == 0 else a for a in arg]
                           if isinstance(arg, list | tuple) else arg)  # fmt: skip
    if array.dtype.kind not in "fiubc":
        raise TypeError(
            f"{op.name}: input {op.input_name(position)!r} must be a Tensor, an array or a number, "
            f"got {type(arg).__name__}" + (f" of dtype {array.dtype}" if isinstance(arg, np.ndarray) else "")
        )
    return array


def _narrowed(out: np.ndarray, arrays: Sequence[Any]) -> np.ndarray:
    """float64 comes out only if float64 went in; Python floats and integers alone do not ask for it."""
    floats = [a.dtype for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind in "fc"]
    target = np.result_type(*floats) if floats else get_default_dtype()
    if target == _FLOAT64:
        return out
    with np.errstate(all="ignore"):
        return out.astype(target)


def _broadcasts_to(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    if len(small) > len(large):
        return False
    tail = large[len(large) - len(small) :]
    return all(s in (1, n) for s, n in zip(small, tail, strict=True))


def sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum an array over the axes along which `shape` was broadcast to it: the adjoint of broadcasting."""
    extra = g.ndim - len(shape)
    stretched = (i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    axes = (*range(extra), *stretched)
    return g.sum(axis=axes, keepdims=True).reshape(shape) if axes else g.reshape(shape)


def _definition_place() -> tuple[Any, ...]:
    frame = sys._getframe(2)
    filename = frame.f_code.co_filename
    # In a notebook or at the prompt, running a cell again is the same place, whatever line it has now.
    return (filename, frame.f_lineno) if os.path.exists(filename) else ("interactive session",)
