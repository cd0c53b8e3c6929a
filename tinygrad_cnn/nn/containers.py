"""Modules that hold modules: a chain, a list, a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from tinygrad_cnn.nn.module import Module


class _Indexed(Module):
    """Submodules in order, the attributes "0", "1" ... or under names of their own; indexed as a list is."""

    _slices_count_from_0 = True

    def _items(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def _set_items(self, modules: Iterable[tuple[str, Module]], renumber: bool = True) -> None:
        """Replace all; numbers are given anew, names stay."""
        modules = list(modules)
        for name in self._items():
            delattr(self, name)
        for i, (name, module) in enumerate(modules):
            self.add_module(str(i) if renumber and name.isdecimal() else name, module)

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items().values())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        """The module at an index; for a slice a new container of the same modules."""
        if isinstance(index, slice):
            part = type(self).__new__(type(self))
            part.training = self.training
            part._set_items(list(self._items().items())[index], renumber=self._slices_count_from_0)
            return part
        return list(self._items().values())[self._position(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._items())[self._position(index)], module)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self._items().items())
        del items[index if isinstance(index, slice) else self._position(index)]
        self._set_items(items)

    def _position(self, index: int) -> int:
        try:
            return range(len(self))[index]
        except IndexError:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {len(self)} modules") from None

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        return self.insert(len(self), module)

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before an index."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: expected modules, got {type(module).__name__}")
        items = list(self._items().items())
        items.insert(index, ("0", module))
        self._set_items(items)
        return self


class Sequential(_Indexed):
    """Modules called one after the other: `Sequential(a, b)(x)` is `b(a(x))`.

    Takes modules, a list of them, or one dictionary of names to modules.

    >>> from tinygrad_cnn import nn
    >>> net = nn.Sequential({"fc1": nn.Linear(4, 8), "relu": nn.ReLU(), "fc2": nn.Linear(8, 2)})
    >>> net[:2]
    Sequential(
      (fc1): Linear(in_features=4, out_features=8, bias=True)
      (relu): ReLU()
    )
    >>> [name for name, _ in net.named_parameters()]
    ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
    """

    _slices_count_from_0 = False  # so that weights of a part have the names they have in the whole

    @overload
    def __init__(self, modules: Mapping[str, Module] | list[Module], /) -> None: ...
    @overload
    def __init__(self, *modules: Module) -> None: ...
    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules[0] if len(modules) == 1 and isinstance(modules[0], list | tuple) else modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(_Indexed):
    """A list of modules, found by `parameters()`; it has no forward.

    >>> from tinygrad_cnn import nn
    >>> layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
    >>> len(layers), len(layers[1:])
    (4, 3)
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)


class ModuleDict(Module):
    """A dictionary of modules, found by `parameters()`; it has no forward.

    >>> from tinygrad_cnn import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(8, 10), "parity": nn.Linear(8, 2)})
    >>> heads["digit"]
    Linear(in_features=8, out_features=10, bias=True)
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        module = vars(self).get(key)
        if not isinstance(module, Module):
            raise KeyError(f"ModuleDict: no module {key!r}; there are {list(self)}")
        return module

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def keys(self) -> list[str]:
        """The names."""
        return [name for name, _ in self.items()]

    def values(self) -> list[Any]:
        """The modules."""
        return [module for _, module in self.items()]

    def items(self) -> list[tuple[str, Any]]:
        """Names and modules."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add modules by name, replacing those of the same name."""
        for name, module in modules.items():
            self[name] = module
