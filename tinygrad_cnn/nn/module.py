"""Module: what a network is made of. Its parameters, buffers and submodules are simply its attributes."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Self

import numpy as np

from tinygrad_cnn.core.hooks import HookHandle
from tinygrad_cnn.core.tape import STATE
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn import paths, state
from tinygrad_cnn.nn.parameter import Parameter

_CONTAINERS = (list, tuple, dict)  # attributes of these types are searched
Hook = Callable[["Module", tuple[Any, ...], Any], Any]


def _no_forward(self: Module, *args: Any, **kwargs: Any) -> NoReturn:
    """What the module computes; every subclass defines it."""
    raise NotImplementedError(f"{type(self).__name__}: define forward(self, x) to say what the module computes")


class Module:
    """The base of all layers and networks: assign parameters and layers to attributes, define `forward`, call it.

    Attributes that are modules or parameters are found, also inside lists, tuples and dicts; one that has two
    names is listed once, under its first. Everything computed in a module is recorded under its path.

    >>> from tinygrad_cnn import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.hidden = nn.Linear(4, 3)
    ...         self.out = nn.Linear(3, 2)
    ...
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x).relu())
    >>> Net()
    Net(
      (hidden): Linear(in_features=4, out_features=3, bias=True)
      (out): Linear(in_features=3, out_features=2, bias=True)
    )
    >>> [name for name, _ in Net().named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training: bool = True
    forward: Callable[..., Any] = _no_forward

    _buffer_names: tuple[str, ...] = ()
    _unsaved_buffers: frozenset[str] = frozenset()
    _forward_hooks: list[Hook] | tuple[()] = ()  # a module's first hook gives it a list of its own

    def __init__(self) -> None:
        """Nothing to set up: a subclass may leave out `super().__init__()`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        states = paths.enter(self)
        try:
            output = self.forward(*args, **kwargs)
            if self._forward_hooks:
                for hook in tuple(self._forward_hooks):
                    replaced = hook(self, args, output)
                    output = output if replaced is None else replaced
            return output
        except Exception as error:
            self._explain(error)
            raise
        finally:
            paths.leave(states)

    def _explain(self, error: Exception) -> None:
        """Note the innermost module that an exception comes from."""
        if not any(note.startswith("in module ") for note in getattr(error, "__notes__", ())):
            path = STATE.get().path
            error.add_note(
                f"in module {path!r}, a {type(self).__name__}" if path else f"in module {type(self).__name__}"
            )

    # ---- attributes ----

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if isinstance(before, Parameter) and not isinstance(value, Parameter | None):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter of shape {before.shape} and can not become a "
                f"{type(value).__name__}; assign an nn.Parameter, or new values to {name}.data"
            )
        if name in self._buffer_names and not isinstance(value, Tensor | None):
            value = Tensor(value)
        if isinstance(value, Module | list | dict) or isinstance(before, Module | list | dict):
            paths.structure_changed()
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        paths.structure_changed()
        object.__delattr__(self, name)

    def __getattr__(self, name: str) -> Any:  # Any: attributes may be named by a dictionary, as in Sequential
        kind = type(self).__name__
        if name in _SPELLINGS:
            raise AttributeError(f"{kind} has no attribute {name!r}; {_SPELLINGS[name]}")
        close = [] if name.startswith("_") else difflib.get_close_matches(name, dir(self), n=1)
        raise AttributeError(f"{kind} has no attribute {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))

    def add_module(self, name: str, module: Module | None) -> None:
        """Assign a submodule to an attribute; unlike assignment it takes any name, such as "0"."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name!r} must be a Module, got {type(module).__name__}")
        self._check_name("add_module", name, Module)
        setattr(self, name, module)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Assign a parameter to an attribute; None stands for one that is left out, as a layer's bias."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name!r} must be an nn.Parameter, got {type(param).__name__}")
        self._check_name("register_parameter", name, Parameter)
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Assign a Tensor that is not trained but belongs to the module's state, such as running statistics.

        Part of the state_dict if persistent; an array becomes a Tensor; None stands for a buffer that is left out.
        """
        self._check_name("register_buffer", name, Tensor)
        if name not in self._buffer_names:
            self._buffer_names = (*self._buffer_names, name)
        self._unsaved_buffers = self._unsaved_buffers - {name} if persistent else self._unsaved_buffers | {name}
        setattr(self, name, tensor)

    def _check_name(self, method: str, name: str, kind: type) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{method}: a name must be a string, got {name!r}")
        if not name or "." in name:
            raise KeyError(f"{method}: a name must not be empty or contain '.', got {name!r}")
        if hasattr(self, name) and not isinstance(getattr(self, name), kind | None):
            raise KeyError(f"{method}: {type(self).__name__} already has an attribute {name!r}")

    def _members(self, kind: type) -> Iterator[tuple[str, Any]]:
        """The attributes of a kind, those in lists, tuples and dicts included, as "layers.0"."""
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, _CONTAINERS) and name != "_forward_hooks":
                yield from _inside(value, name, kind, ())

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._buffer_names:
            value = vars(self).get(name)
            if isinstance(value, Tensor) and not isinstance(value, Parameter):
                yield name, value

    # ---- what a module consists of ----

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """All modules with their dotted paths: this one under `prefix`, then its submodules, in order of assignment."""
        return _walk(self, prefix, set(), remove_duplicate)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names, each once under its first name; without `recurse` its own only."""
        return self._named(lambda module: module._members(Parameter), prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their dotted names, each once under its first name; without `recurse` its own only."""
        return self._named(Module._own_buffers, prefix, recurse, remove_duplicate)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one, each once under its first name."""
        seen: set[int] = set()
        for name, child in self._members(Module):
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        return (module for _, module in self.named_modules())

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def children(self) -> Iterator[Module]:
        """The modules directly inside this one, each once."""
        return (child for _, child in self.named_children())

    def _named(
        self, members: Callable[[Module], Iterator[tuple[str, Any]]], prefix: str, recurse: bool, unique: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, unique) if recurse else ((prefix, self),):
            for name, tensor in members(module):
                if not (unique and id(tensor) in seen):
                    seen.add(id(tensor))
                    yield _dotted(path, name), tensor

    # ---- state ----

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by name, copied: training on does not change them.

        Names, order and shapes are PyTorch's; shared parameters appear under each of their names. `tc.save` writes it.
        """
        return {name: Tensor(tensor.data.copy("K")) for name, tensor in self._named_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> state.IncompatibleKeys:
        """Copy parameters and buffers from arrays or tensors by name, PyTorch's included: all, or nothing at all.

        If strict, names that are missing or unexpected and shapes that differ are one RuntimeError that lists
        them all, and the module stays as it was. Otherwise what fits is loaded, and they are returned as
        `missing_keys`, `unexpected_keys` and `mismatched_keys`.
        """
        return state.load(type(self).__name__, dict(self._named_state()), state_dict, strict)

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(remove_duplicate=False):
            for name, parameter in module._members(Parameter):
                yield _dotted(path, name), parameter
            for name, buffer in module._own_buffers():
                if name not in module._unsaved_buffers:
                    yield _dotted(path, name), buffer

    # ---- modes ----

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and in all submodules: dropout drops, batch normalisation uses the batch."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: the mode must be True or False, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in all submodules."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for the gradients of all parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all parameters to None, or else to zeros."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.data))

    def to(self, dtype: Any) -> Self:
        """Convert floating parameters, their gradients and buffers to a floating dtype, in place."""
        try:
            wanted = np.dtype(dtype)
        except TypeError:
            raise TypeError(
                f"to: expected a dtype such as 'float64', got {dtype!r}; there are no devices here"
            ) from None
        if wanted.kind != "f":
            raise TypeError(f"to: parameters need a floating dtype, got {wanted}")
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f" and tensor.dtype != wanted:
                grad, tensor.grad = tensor.grad, None
                tensor.data = tensor.data.astype(wanted)
                tensor.grad = None if grad is None else Tensor(grad.data.astype(wanted))
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call a function on every submodule, and then on this one: to initialise parameters, for instance."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def register_forward_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(module, args, output)` after each forward; what it returns, if not None, replaces the output."""
        hooks = vars(self).setdefault("_forward_hooks", [])
        hooks.append(hook)
        return HookHandle(hooks, hook)

    # ---- text ----

    def extra_repr(self) -> str:
        """What stands between the parentheses of the repr: the layer's hyper-parameters."""
        return ""

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._members(Module)]
        if not children and len(lines) <= 1:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines + children) + "\n)"


# ---- walking ---------------------------------------------------------------------------------------------------


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _walk(module: Module, path: str, seen: set[int], unique: bool) -> Iterator[tuple[str, Module]]:
    """Depth first; `seen` are all modules met so far if unique, else only those on the way here."""
    if id(module) in seen:
        return
    seen = seen if unique else seen.copy()
    seen.add(id(module))
    yield path, module
    for name, child in module._members(Module):
        yield from _walk(child, _dotted(path, name), seen, unique)


def _inside(container: Any, path: str, kind: type, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """What a list, tuple or dict holds of a kind; one that contains itself is entered once."""
    if id(container) in above:
        return
    for key, value in container.items() if isinstance(container, dict) else enumerate(container):
        if isinstance(value, kind):
            yield f"{path}.{key}", value
        elif isinstance(value, _CONTAINERS):
            yield from _inside(value, f"{path}.{key}", kind, (*above, id(container)))


# What PyTorch's users will try first, and how it is spelt here.
_SPELLINGS = {
    "cuda": "this engine computes on the CPU, in NumPy",
    "cpu": "this engine computes on the CPU already",
    "float": "use to('float32')",
    "double": "use to('float64')",
    "half": "use to('float16')",
}
