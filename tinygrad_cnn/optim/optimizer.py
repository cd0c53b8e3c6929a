"""What all optimisers share: parameter groups, state by parameter, and the walk over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_cnn.checks import flag, number
from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor

Group = dict[str, Any]
State = dict[str, Any]

_LIMITS = {"momentum": 1, "betas": 1, "alpha": 1}  # options that stay below 1
_POSITIVE = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", *_LIMITS)
_FLAGS = ("nesterov", "maximize", "amsgrad", "centered")


class Optimizer:
    """The base of the optimisers: a subclass says how one array moves along its gradient, in `_update`.

    `params` are Tensors, or dictionaries {"params": Tensors, option: value} whose options differ from the rest.
    Arrays are updated in place and the tape is told. Parameters without gradient are left alone.

    Raises ValueError for options out of range, and for a parameter that is listed twice.
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            hint = "; pass model.parameters()" if hasattr(params, "parameters") else "; pass a list of them"
            raise TypeError(f"{self._name}: params must be an iterable of Tensors, got {type(params).__name__}{hint}")
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        self._checked(defaults)
        listed = list(params)
        if not listed:
            raise ValueError(f"{self._name}: there are no parameters to optimise")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own: {"params": Tensors, option: value}; the rest is as for all."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{self._name}: a parameter group is a dictionary with 'params', got {param_group!r}")
        given = param_group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: parameters must be Tensors, params[{i}] is a {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{self._name}: params[{i}] of shape {p.shape} was computed; only leaves can be optimised"
                )
            if id(p) in known:
                raise ValueError(f"{self._name}: params[{i}] of shape {p.shape} is listed twice and would move twice")
            known.add(id(p))
        self.param_groups.append(self._checked({**self.defaults, **param_group, "params": params}))

    def _checked(self, group: Group) -> Group:
        """Raise ValueError for an option out of range; NaN is never in range."""
        for option in group.keys() & set(_POSITIVE):
            given, below = group[option], _LIMITS.get(option, math.inf)
            named = {f"{option}[{i}]": v for i, v in enumerate(given)} if option == "betas" else {option: given}
            for name, value in named.items():
                number(self._name, name, value, least=0, below=below)
        for option in group.keys() & set(_FLAGS):
            flag(self._name, option, group[option])
        number(self._name, "eps", group.get("eps", 1), above=0, below=math.inf)
        number(self._name, "dampening", group.get("dampening", 0))
        return group

    # ---- a step ----

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; a closure computes the loss anew first, and is returned."""
        loss = None
        if closure is not None:
            with tape.enable_grad():
                loss = closure()
        with np.errstate(all="ignore"):  # inf and NaN are results here, not events
            for group in self.param_groups:
                # A NumPy scalar would compute in float64.
                options = {k: v.item() if isinstance(v, np.generic) else v for k, v in group.items()}
                for p in group["params"]:
                    if p.grad is not None:
                        g = -p.grad.data if options["maximize"] else p.grad.data
                        self._update(p.data, g, self.state.setdefault(p, {}), options)
                        tape.written(p.data)
        return loss

    def _update(self, p: np.ndarray, g: np.ndarray, state: State, options: Group) -> None:
        """Move the array p in place along its gradient g, which is not ours to write."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all parameters to None, or else to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else Tensor(np.zeros_like(p.data))

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """State and options, copied, in PyTorch's layout: parameters are numbered in the order of the groups."""
        number = self._numbers()
        groups = [
            {**{k: v for k, v in group.items() if k != "params"}, "params": [number[p] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {number[p]: {k: _copied(v) for k, v in entry.items()} for p, entry in self.state.items() if entry}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over state and options from `state_dict()`, PyTorch's included: all of it, or nothing at all.

        Raises ValueError if groups, parameters or shapes differ, or if it is of another kind of optimiser.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
            found = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(
                f"{self._name}: a state_dict of an optimiser is a mapping with 'state' and 'param_groups', got {found}"
            )
        saved = state_dict["param_groups"]
        missing = {name for group in saved for name in self.defaults.keys() - group.keys() - {"maximize"}}
        if missing:
            raise ValueError(
                f"{self._name}: the state_dict is of another kind of optimiser, it has no {sorted(missing)}"
            )
        lengths = [len(group["params"]) for group in self.param_groups]
        if [len(group["params"]) for group in saved] != lengths:
            raise ValueError(
                f"{self._name}: the state_dict has groups of {[len(g['params']) for g in saved]} parameters, the "
                f"optimiser of {lengths}"
            )
        groups = [
            self._checked({**group, **_plain_options(old), "params": group["params"]})
            for group, old in zip(self.param_groups, saved, strict=True)
        ]
        pairs = zip(
            (number for group in saved for number in group["params"]),
            (p for group in groups for p in group["params"]),
            strict=True,
        )
        entries = state_dict["state"]
        strays = sorted(entries.keys() - {number for group in saved for number in group["params"]})
        if strays:
            raise ValueError(
                f"{self._name}: the state_dict has state for parameters {strays}, the optimiser has {sum(lengths)}"
            )
        state = {p: self._state_of(p, entries[number], number) for number, p in pairs if number in entries}
        self.param_groups, self.state = groups, state

    def _state_of(self, p: Tensor, entry: Mapping[str, Any], number: int) -> State:
        state: State = {}
        for name, value in entry.items():
            if value is None:
                continue
            array = np.asarray(value)
            if name == "step":
                state[name] = int(array)
            elif array.shape == p.shape:
                state[name] = np.empty_like(p.data)
                np.copyto(state[name], array, casting="same_kind")
            else:
                raise ValueError(
                    f"{self._name}: {name!r} of parameter {number} has shape {array.shape} in the state_dict, the "
                    f"parameter {p.shape}"
                )
        return state

    def _numbers(self) -> dict[Tensor, int]:
        return {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {option}: {group[option]}" for option in sorted(group) if option != "params"]
        return "\n".join([*lines, ")"])


def _copied(value: Any) -> Any:
    return value.copy("K") if isinstance(value, np.ndarray) else value


def _plain_options(group: Mapping[str, Any]) -> Group:
    """Options as Python's own values: lists from a file are tuples again, 0-d arrays numbers."""
    plain = {}
    for option, value in group.items():
        if isinstance(value, list):
            plain[option] = tuple(value)
        else:
            plain[option] = value.item() if hasattr(value, "item") else value
    return plain
