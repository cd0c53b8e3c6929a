"""Modes: what holds here and now, in one immutable record of one context variable, and what sets it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple


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


class mode:
    """A context manager, also a decorator, that sets one flag of the state; re-entrant, also across threads."""

    _flag = "grad"
    _value = True

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """`@no_grad` decorates as `@no_grad()` does."""
        self = object.__new__(cls)
        return self if function is None else self(function)

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
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__}: decorates a function, got {function!r}; it takes no other argument"
            )
        if inspect.isgeneratorfunction(function):
            return functools.wraps(function)(_generator(type(self), function))
        if inspect.iscoroutinefunction(function):
            return functools.wraps(function)(_coroutine(type(self), function))
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"{type(self).__name__}: an async generator would leave its caller in the mode; use `with`")

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapper


def _generator(entered: type[mode], function: Callable[..., Any]) -> Callable[..., Any]:
    """In the mode only while the body runs, so that it does not leak to the caller between items."""

    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        iterator = function(*args, **kwargs)
        resume: Callable[[], Any] = functools.partial(iterator.send, None)
        while True:
            with entered():
                try:
                    item = resume()
                except StopIteration as stop:
                    return stop.value
            try:
                resume = functools.partial(iterator.send, (yield item))
            except GeneratorExit:
                with entered():
                    iterator.close()
                raise
            except BaseException as error:
                resume = functools.partial(iterator.throw, error)

    return generator


def _coroutine(entered: type[mode], function: Callable[..., Any]) -> Callable[..., Any]:
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with entered():  # the task's own: each task has a context of its own
            return await function(*args, **kwargs)

    return coroutine


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
