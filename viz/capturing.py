"""`capture`: watch a training step as it runs, and keep what a picture needs."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from viz.assembling import assemble
from viz.describing import checked_model, modules_of, named_parameters, parameter_name, title_of
from viz.figure import Figure, Options
from viz.reading import (
    Activity,
    Call,
    Gradients,
    Leaf,
    Outside,
    Reading,
    activity_key,
    activity_of,
    array_of,
    ordinals,
)
from viz.trace import Step, Trace


class capture:
    """Watch what a model computes inside the block, forward and backward, and draw it afterwards.

    The block may hold one training step or several; the last complete one is drawn, and channels count as dead only
    if no step made them active. With an optimizer, update/weight is that of its step: the one it took inside the
    block, or the one it would take now, tried on copies. Nothing that the block computes is changed.

    >>> import tinygrad_cnn as tc
    >>> w = tc.tensor([[1.0, 2.0]], requires_grad=True, name="w")
    >>> with capture() as cap:
    ...     loss = (w * w).sum()
    ...     loss.backward()
    >>> cap.figure(level="op")
    <Figure 'computation': 2 cards at level 'op', not judged>
    """

    def __init__(self, model: Any = None, optimizer: Any = None, *, title: str | None = None) -> None:
        self.model, self.optimizer = checked_model("viz.capture", model), optimizer
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise TypeError(f"viz.capture: optimizer must be an optim.Optimizer, got {type(optimizer).__name__}")
        self.title = title if title is not None else title_of(model)
        self._steps = 0
        self._current = _Watched(model is not None)
        self._complete: _Watched | None = None
        self._activity: dict[tuple[Any, ...], Activity] = {}
        self._names = named_parameters(model)
        self._stack: ExitStack | None = None
        self._trace: Trace | None = None

    def __enter__(self) -> capture:
        if self._stack is not None:
            raise RuntimeError("viz.capture: this capture is already open; make a new one for a nested block")
        self._stack = ExitStack()
        self._stack.enter_context(tape.observe(self._on_record, self._on_backward))
        if self.model is not None:
            for path, module in self.model.named_modules():
                handle = module.register_forward_hook(self._leaving(path))
                self._stack.callback(handle.remove)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._stack is not None
        self._stack.close()
        self._stack = None
        self._trace = None
        if exc[0] is None:  # else what was seen until then is read when somebody asks
            self._trace = self._read()
            self._current, self._complete = _Watched(self.model is not None), None  # the arrays are no longer needed

    @property
    def trace(self) -> Trace:
        """What was seen, as plain data."""
        if self._trace is None:
            return self._read()
        return self._trace

    def figure(self, level: str = "auto", **options: Any) -> Figure:
        """The picture of the last complete step; options are those of `viz.graph`."""
        return Figure(self.trace, Options(level=level, **options))

    # -- watching --

    def _on_record(self, node: Any, op: Any, args: tuple[Any, ...], options: dict[str, Any], out: Any) -> None:
        if self._current.gradients.at:  # a backward pass is over: this call belongs to the next step
            self._finish_step()
        path = tape.STATE.get().path
        self._current.record(node, op, args, options, out, path, self._names)

    def _on_backward(self, node: Any, g: np.ndarray, grads: list[tuple[int, np.ndarray]]) -> None:
        watched = self._current
        if node not in watched.made and self._complete is not None and node in self._complete.made:
            watched = self._complete  # a second backward pass over the step before
        if not watched.gradients.at:
            watched.root = node
        watched.gradients.on_backward(node, g, grads)

    def _leaving(self, path: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            self._current.left(path, args, output)

        return hook

    def _finish_step(self) -> None:
        self._complete = self._current
        self._steps += 1
        self._accumulate(self._complete)
        self._current = _Watched(self.model is not None)

    def _accumulate(self, watched: _Watched) -> None:
        """Which channels were active in any step so far."""
        batched = watched.batched()
        for index, (call, ordinal) in enumerate(zip(watched.calls, ordinals(watched.calls), strict=True)):
            activity = activity_of(call, array_of(watched.calls, call.sources[0]), index in batched)
            if activity is not None:
                key = activity_key(call, ordinal)
                known = self._activity.get(key)
                self._activity[key] = known.joined(activity) if known is not None else activity

    # -- reading --

    def _read(self) -> Trace:
        watched = self._current
        if watched.gradients.at:
            self._finish_step()
        if self._complete is not None:
            watched = self._complete
        ran = bool(watched.gradients.at)
        leaves = [Leaf(p, watched.values.get(id(p), p.data), name) for p, name in self._names.values()]
        reading = Reading(
            calls=watched.calls,
            gradients=watched.gradients,
            loss=watched.made.get(watched.root) if ran else watched.last_scalar(),
            output=watched.output,
            modules=modules_of(self.model),
            parameters=leaves,
            updates=updates(self.optimizer, watched.values, watched.gradients.at_leaves()),
            activity=self._activity,
            step=Step(max(self._steps - 1, 0), lr=_learning_rate(self.optimizer)),
            title=self.title,
            backward="full" if ran else "none",
        )
        return assemble(reading)


class _Watched:
    """One step as it was seen: the calls, who made what, and the gradients."""

    def __init__(self, has_model: bool) -> None:
        self.has_model = has_model
        self.calls: list[Call] = []
        self.gradients = Gradients()
        self.made: dict[Any, int] = {}  # node, or id of a result -> number of the call
        self.leaves: dict[int, Leaf] = {}
        self.outsides: dict[int, Outside] = {}
        self.values: dict[int, np.ndarray] = {}  # id(leaf) -> its values before any update
        self.keep: list[Any] = []  # so that ids stay theirs
        self.exits: dict[str, int] = defaultdict(int)
        self.root: Any = None
        self.output: int | None = None

    def record(
        self,
        node: Any,
        op: Any,
        args: tuple[Any, ...],
        options: dict[str, Any],
        out: Any,
        path: str,
        names: dict[int, Any],
    ) -> None:
        sources = [self._source(arg, position, op, path, names) for position, arg in enumerate(args)]
        parts = path.split(".") if path else []
        calls = [self.exits[".".join(parts[: i + 1])] for i in range(len(parts))]
        inside = bool(path) or (self.has_model and self.output is None)
        numbers = {i: _plain(arg) for i, arg in enumerate(args) if sources[i] is None}
        call = Call(op, node, sources, out.shape, str(out.dtype), options, path, calls, inside, out.data, numbers)
        number = len(self.calls)
        self.calls.append(call)
        self.keep.append(out)
        self.made[id(out)] = self.made[("array", id(out.data))] = number
        if node is not None:
            self.made[node] = number

    def _source(self, arg: Any, position: int, op: Any, path: str, names: dict[int, Any]) -> Any:
        tensor = hasattr(arg, "grad_fn")
        if tensor and arg.grad_fn is not None:
            return self.made.get(arg.grad_fn)
        if tensor and (number := self.made.get(id(arg), self.made.get(("array", id(arg.data))))) is not None:
            return number  # computed without recording, or detached
        if tensor and (id(arg) in names or arg.requires_grad):
            if id(arg) not in self.leaves:
                name = names[id(arg)][1] if id(arg) in names else parameter_name(arg, path, op, position)
                self.values[id(arg)] = arg.data.copy()
                self.leaves[id(arg)] = Leaf(arg, self.values[id(arg)], name)
                self.keep.append(arg)
            return self.leaves[id(arg)]
        array = arg.data if tensor else arg
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            return None
        if ("array", id(array)) in self.made:
            return self.made["array", id(array)]
        if id(array) not in self.outsides:
            self.outsides[id(array)] = Outside(array, array.shape, (arg.name if tensor else None) or "")
            self.keep.append(arg)
        return self.outsides[id(array)]

    def left(self, path: str, args: Any, output: Any) -> None:
        """A module call has ended; that of the root tells the model's inputs and output."""
        self.exits[path] += 1
        if path:
            return
        for arg in _flat(args):
            array = arg.data if hasattr(arg, "grad_fn") else arg
            if id(arg) in self.leaves:
                self.leaves[id(arg)].parameter = False
                self.leaves[id(arg)].name = arg.name or ""
            elif id(array) in self.outsides:
                self.outsides[id(array)].model_input = True
            else:
                self._made_of(np.shape(array))
        results = [self._result(tensor) for tensor in _flat(output)]
        self.output = next((number for number in results if number is not None), None)

    def _made_of(self, shape: tuple[int, ...]) -> None:
        """An input that no operation read: what NumPy has made of it, outside the tape, stands for it."""
        made = (o for o in self.outsides.values() if len(o.shape) > 1 and o.shape[:1] == shape[:1])
        if (outside := next(made, None)) is not None:
            outside.model_input = True

    def _result(self, tensor: Any) -> int | None:
        node = getattr(tensor, "grad_fn", None)
        return self.made.get(node) if node is not None else self.made.get(id(tensor))

    def last_scalar(self) -> int | None:
        """What is probably the loss when no backward pass has named it."""
        scalars = [i for i, call in enumerate(self.calls) if not call.shape and not call.inside]
        return scalars[-1] if scalars else (len(self.calls) - 1 if self.calls else None)

    def batched(self) -> set[int]:
        """Calls whose first length is that of the model's first input."""
        inputs = [o.shape for o in self.outsides.values() if o.model_input and o.shape]
        inputs += [leaf.values.shape for leaf in self.leaves.values() if not leaf.parameter and leaf.values.shape]
        return {i for i, call in enumerate(self.calls) if inputs and call.shape[:1] == inputs[0][:1]}


def _plain(arg: Any) -> Any:
    """A number, None or an array of no axes, copied: what stands for itself among the inputs of an operation."""
    return np.array(arg.data) if hasattr(arg, "grad_fn") else arg


def _flat(value: Any) -> Iterator[Any]:
    """Tensors and arrays inside tuples, lists and dicts."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _flat(item)
    else:
        yield value


# ---- the optimiser's step --------------------------------------------------------------------------------------


def updates(optimizer: Any, before: dict[int, np.ndarray], gradients: dict[int, np.ndarray]) -> dict[int, float]:
    """Norm of the optimiser's step over norm of the weight, by id of the parameter; empty without an optimiser.

    If the parameters have changed since they were first read, that change is the step; else it is tried on copies.
    """
    if optimizer is None:
        return {}
    owned = [p for group in optimizer.param_groups for p in group["params"]]
    stepped = any(id(p) in before and not np.array_equal(p.data, before[id(p)], equal_nan=True) for p in owned)
    after = {id(p): p.data for p in owned} if stepped else _tried(optimizer, owned, gradients)
    ratios = {}
    for p in owned:
        old, new = before.get(id(p), p.data), after.get(id(p))
        size = float(np.linalg.norm(old.astype(np.float64)))
        if new is not None and size > 0 and (p.grad is not None or id(p) in gradients):
            ratios[id(p)] = float(np.linalg.norm((new - old).astype(np.float64))) / size
    return {key: ratio for key, ratio in ratios.items() if math.isfinite(ratio)}


def _tried(optimizer: Any, owned: list[Any], gradients: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """What the parameters would be after a step: taken by a copy of the optimiser, on copies of the parameters."""
    twin = copy.deepcopy(optimizer)
    twins = [p for group in twin.param_groups for p in group["params"]]
    for p, double in zip(owned, twins, strict=True):
        g = p.grad.data if p.grad is not None else gradients.get(id(p))
        double.grad = None if g is None else type(p.detach())(np.array(g))
    twin.step()
    return {id(p): double.data for p, double in zip(owned, twins, strict=True)}


def _learning_rate(optimizer: Any) -> float | None:
    groups = getattr(optimizer, "param_groups", None)
    rate = groups[0].get("lr") if groups else None
    return float(rate) if rate is not None else None
