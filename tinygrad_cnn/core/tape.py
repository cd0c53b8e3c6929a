"""The tape: what was computed, in which order, and the walk back. Knows nodes and arrays, no Tensor.

Everything that happens is numbered by one clock: a node when it is made, memory when it is written in place.
So "was this saved array overwritten since?" is one comparison, and "newest node first" is a topological order.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinygrad_cnn.core import sources
from tinygrad_cnn.errors import TapeError


class Observer(NamedTuple):
    """A pair of callbacks that watches the tape; see `observe`."""

    on_record: Callable[..., None] | None
    on_backward: Callable[..., None] | None


class State(NamedTuple):
    """All that depends on where in the program we are: immutable, one context variable, one look-up per op."""

    grad: bool = True
    path: str = ""
    observers: tuple[Observer, ...] = ()
    anomaly: bool = False
    replaying: bool = False  # a checkpointed function is being run again: side effects have happened already
    outer: tuple[tuple[str, bool], ...] = ()  # what `no_grad` and its like will restore, innermost last


STATE: ContextVar[State] = ContextVar("tinygrad_cnn.state", default=State())  # noqa: B039  (a NamedTuple is immutable)


# A leaf is any object with `shape` and `dtype` that is not a Node; a place is a Node or a leaf.
Place = Any


class Operation(Protocol):
    """What the walk needs of an op: to turn one node's upstream gradient into its parents' gradients."""

    name: str

    def pull(self, node: Node, g: Any, create: bool, needed: Set[Place] | None) -> list[Any]: ...


class Node:
    """One recorded operation. Nothing reachable from a node refers back to its output, so no cycle arises.

    `parents` holds, by input position, the node that made the input, or the leaf itself, or None where no
    gradient is wanted. `saved` holds only what the rules name; it becomes None when backward has freed it.
    """

    __slots__ = (
        "op", "plan", "parents", "saved", "options", "seq", "shape", "dtype", "path",
        "is_view", "hooks", "retained", "source", "digests", "__weakref__",
    )  # fmt: skip

    def __init__(
        self,
        op: Any,
        plan: Any,
        parents: tuple[Place, ...],
        saved: tuple[Any, ...] | None,
        options: dict[str, Any],
        out: np.ndarray,
        path: str,
    ) -> None:
        self.op = op
        self.plan = plan
        self.parents = parents
        self.saved = saved
        self.options = options
        self.seq = tick()
        self.shape = out.shape
        self.dtype = out.dtype
        self.path = path
        self.is_view = False
        self.hooks: list[Callable[[Any], Any]] | None = None  # gradient in, gradient or None out
        self.retained: weakref.ref[Any] | None = None  # the Tensor that asked for `.grad`
        self.source: sources.Source | None = None  # the user's line; in anomaly mode and for observers
        self.digests: tuple[int, ...] | None = None  # of the saved arrays, in anomaly mode

    def __repr__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"<{self.op.name} -> {self.shape} {self.dtype}{where}>"


# ---- the clock -----------------------------------------------------------------------------------------------

tick = itertools.count(1).__next__
last_write = 0
_writes: dict[int, int] = {}  # id(owner of memory) -> number of its newest in-place write
_writers: dict[int, str] = {}  # ... -> who wrote
_recorded: dict[int, Any] = {}  # memory whose newest values are known to the tape only
_alive: dict[int, Any] = {}  # weak references that clear the tables above when the memory dies
_lock = threading.Lock()


def owner(array: np.ndarray) -> Any:
    """The object that owns an array's memory, through any number of views."""
    base: Any = array
    while (below := getattr(base, "base", None)) is not None:
        base = below
    return base.obj if isinstance(base, memoryview) else base


def written(array: np.ndarray, by: str = "a write in place", number: int | None = None) -> None:
    """Note that an array's memory was just overwritten. Anything saved from it before is stale from now on."""
    global last_write
    memory = owner(array)
    key = id(memory)
    if key not in _alive:
        _alive[key] = _watched(memory, key)
    if STATE.get().anomaly:
        by = f"{by} at {sources.described(sources.caller())}"
    with _lock:
        number = tick() if number is None else number
        _writes[key], _writers[key] = number, by
        last_write = max(last_write, number)


def written_on_tape(array: np.ndarray, by: str, number: int) -> None:
    """Note a write that was itself recorded: whoever shares the memory without a node would lose its gradient."""
    written(array, by, number)
    _recorded[id(owner(array))] = number


def _watched(memory: Any, key: int) -> Any:
    """A weak reference that forgets the memory's entries when it dies; a foreign buffer may not allow one.

    An entry that is left over is harmless to a saved array: whoever reuses its id is younger than the write.
    """

    def forget(_: Any) -> None:
        for table in (_writes, _writers, _recorded, _alive):
            table.pop(key, None)

    try:
        return weakref.ref(memory, forget)
    except TypeError:
        return None


def writer(array: np.ndarray) -> str:
    """Who wrote an array's memory last."""
    return _writers.get(id(owner(array)), "a write in place")


def is_stale(array: Any, seq: int) -> bool:
    """Whether the memory of an array was overwritten after moment `seq`."""
    return isinstance(array, np.ndarray) and _writes.get(id(owner(array)), 0) > seq


def check_input(op: Any, position: int, array: np.ndarray, node: Node | None) -> None:
    """Refuse an input whose values no longer are what the tape says they are."""
    if node is None:
        lost = bool(_recorded) and id(owner(array)) in _recorded
        reason = "was overwritten by a recorded in-place operation on another Tensor that shares its memory"
    else:
        lost = is_stale(array, node.seq)
        reason = f"was overwritten in place, by {writer(array)}, after {node.op.name!r} had computed it"
    if lost:
        raise TapeError(
            f"{op.name}: input {op.input_name(position)!r} of shape {array.shape} {reason}, so its gradient would be "
            "wrong; write into a copy (x.clone()), or compute a new Tensor instead of writing in place"
        )


# ---- modes and observers ---------------------------------------------------------------------------------------


class mode:
    """A context manager, also a decorator, that sets one flag of the state; re-entrant, also across threads."""

    _flag = "grad"
    _value = True

    def __enter__(self) -> None:
        state = STATE.get()
        changed: dict[str, Any] = {self._flag: self._value}
        outer = (*state.outer, (self._flag, getattr(state, self._flag)))
        STATE.set(state._replace(outer=outer, **changed))

    def __exit__(self, *exc: object) -> None:
        state = STATE.get()
        *outer, (flag, before) = state.outer
        changed: dict[str, Any] = {flag: before}
        STATE.set(state._replace(outer=tuple(outer), **changed))

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
                # Entered only while the body runs, so that the mode does not leak to the caller between items.
                iterator = function(*args, **kwargs)
                value: Any = None
                while True:
                    with type(self)():
                        try:
                            item = iterator.send(value)
                        except StopIteration as stop:
                            return stop.value
                    value = yield item

            return generator

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapper


class no_grad(mode):
    """Within it, or in the function it decorates, nothing is recorded and results require no gradient.

    New threads start with recording on, as in PyTorch. A generator that is suspended inside a `with no_grad()`
    block leaves its caller without recording; decorate the generator instead.

    >>> import tinygrad_cnn as tc
    >>> x = tc.tensor([1.0], requires_grad=True)
    >>> with tc.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    _value = False


class enable_grad(mode):
    """Within it, or in the function it decorates, operations are recorded again, also inside `no_grad`.

    >>> import tinygrad_cnn as tc
    >>> with tc.no_grad(), tc.enable_grad():
    ...     tc.is_grad_enabled()
    True
    """


class replaying(mode):
    """Within it, a function is run again only for its gradients: running statistics are not updated once more."""

    _flag = "replaying"


class detect_anomaly(mode):
    """Within it, the first NaN or infinity that an operation or a rule produces raises FloatingPointError.

    The message names the operation, the module path, the place of the first bad value and the source line. Writes into
    bare arrays (`x.data[...] = v`), which the tape can not see otherwise, are found at backward, and errors about
    writes name the line that wrote. Slow: for debugging.

    >>> import tinygrad_cnn as tc
    >>> with tc.detect_anomaly():
    ...     tc.tensor([1.0, -1.0]).log()
    Traceback (most recent call last):
        ...
    FloatingPointError: log: forward gave nan at index (1,) of shape (2,) ...
    """

    _flag = "anomaly"


def is_grad_enabled() -> bool:
    """Whether operations are being recorded here."""
    return STATE.get().grad


@contextmanager
def observe(
    on_record: Callable[..., None] | None = None, on_backward: Callable[..., None] | None = None
) -> Iterator[None]:
    """Watch the tape: the one seam for viewers, recorders and the testing kit.

    `on_record(node, op, args, options, out)` after every op; node is None if nothing was recorded.
    `on_backward(node, g, grads)` after every step of the walk: g is the summed upstream gradient,
    grads the list of (input position, gradient) that the node sends on.
    """
    observer = Observer(on_record, on_backward)
    state = STATE.get()
    STATE.set(state._replace(observers=(*state.observers, observer)))
    try:
        yield
    finally:
        state = STATE.get()
        STATE.set(state._replace(observers=tuple(o for o in state.observers if o is not observer)))


@contextmanager
def within(path: str) -> Iterator[None]:
    """Record the module path of what is computed inside."""
    before = STATE.get()
    STATE.set(before._replace(path=path))
    try:
        yield
    finally:
        STATE.set(STATE.get()._replace(path=before.path))


# ---- the walk --------------------------------------------------------------------------------------------------


class Gradients(NamedTuple):
    """What a walk found: gradients by place, and those of Tensors that asked to retain theirs."""

    places: dict[Place, Any]
    retained: list[tuple[Any, Any]]


def walk(
    roots: Iterable[tuple[Place, Any]],
    *,
    wanted: Iterable[Place] | None = None,
    keep: bool = False,
    create: bool = False,
    hooks: bool = True,
) -> Gradients:
    """Send gradients from the roots to the leaves, or only to the wanted places, each node once, newest first.

    Gradients are arrays, or Tensors if `create`; then the rules are themselves recorded. Nodes are freed as they
    are consumed unless `keep`. A viewer walks without the user's `hooks`. Touches no leaf: the caller commits the
    result, all or nothing.
    """
    state = STATE.get()
    pending: dict[Place, Any] = {}
    heap: list[tuple[int, Node]] = []

    def send(place: Place, g: Any) -> None:
        if place in pending:
            pending[place] = pending[place] + g  # never +=: the other summand may be somebody else's memory
        else:
            pending[place] = g
            if type(place) is Node:
                heappush(heap, (-place.seq, place))

    # An unrecorded walk shows observers its nodes, not the arithmetic inside the rules.
    STATE.set(state._replace(grad=create, path="", observers=state.observers if create else ()))
    try:
        for place, g in roots:
            send(place, g)
        targets = leading = needed = None
        if wanted is not None:
            targets = set(wanted)
            leading = _leading_to(targets, list(pending))
            needed = leading | targets
        found: dict[Place, Any] = {}
        retained: list[tuple[Any, Any]] = []
        while heap:
            node = heappop(heap)[1]
            g = pending.pop(node)
            if node.hooks and hooks:
                g = run_hooks(node.hooks, g)
            if node.retained is not None and (tensor := node.retained()) is not None:
                retained.append((tensor, g))
            if targets is not None and node in targets:
                found[node] = g
            if leading is not None and node not in leading:
                continue
            if node.seq < last_write:
                _check_saved(node)
            if node.digests and node.saved is not None:
                _check_digests(node)
            grads = node.op.pull(node, g, create, needed)
            for observer in state.observers:
                if observer.on_backward is not None:
                    observer.on_backward(node, g, [(i, d) for i, d in enumerate(grads) if d is not None])
            for parent, d in zip(node.parents, grads, strict=True):
                if d is not None:
                    send(parent, d)
            if not keep and node.plan.saves_arrays:
                node.saved = None
        if targets is not None:
            pending = {place: g for place, g in pending.items() if place in targets}
        return Gradients(pending | found, retained)
    finally:
        STATE.set(state)


def run_hooks(hooks: Iterable[Callable[[Any], Any]], g: Any) -> Any:
    """Each hook may replace the gradient; None keeps it."""
    for hook in tuple(hooks):
        replaced = hook(g)
        g = g if replaced is None else replaced
    return g


def _leading_to(targets: set[Place], roots: list[Place]) -> set[Place]:
    """The nodes under the roots that have a target strictly below them."""
    seen: set[Node] = set()
    stack = [root for root in roots if type(root) is Node]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent in node.parents if type(parent) is Node)
    leading: set[Place] = set()
    for node in sorted(seen, key=lambda n: n.seq):  # parents are older than their children
        if any(parent in targets or parent in leading for parent in node.parents if parent is not None):
            leading.add(node)
    return leading


def _check_saved(node: Node) -> None:
    for name, array in _saved_arrays(node):
        if is_stale(array, node.seq):
            raise _overwritten(node, name, array, writer(array))


def _overwritten(node: Node, name: str, array: np.ndarray, by: str) -> TapeError:
    return TapeError(
        f"{node.op.name}: {name!r} of shape {array.shape}, saved for backward, was overwritten in place after the "
        f"forward pass, by {by}, so the gradient would be wrong; write into a copy (x.clone()), or call backward "
        "before the update"
    )


def _saved_arrays(node: Node) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in zip(node.plan.saved_names, node.saved or (), strict=False):
        yield from ((name, a) for a in (value if type(value) is tuple else (value,)) if isinstance(a, np.ndarray))


def digests(node: Node) -> tuple[int, ...]:
    """Checksums of what a node saved, so that anomaly mode sees writes that went past the engine."""
    return tuple(zlib.crc32(array.tobytes()) for _, array in _saved_arrays(node))


def _check_digests(node: Node) -> None:
    for (name, array), digest in zip(_saved_arrays(node), node.digests or (), strict=True):
        if zlib.crc32(array.tobytes()) != digest:
            made = sources.described(node.source)
            raise _overwritten(node, name, array, f"a write into the bare array that the tape can not see ({made})")
