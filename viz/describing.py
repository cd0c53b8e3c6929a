"""What a model says of itself: its modules, their types, its parameters' names, the options of its operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from viz.trace import Module


def checked_model(name: str, model: Any) -> Any:
    """The model, or a TypeError that says what a model is."""
    if model is not None and not (hasattr(model, "named_modules") and hasattr(model, "named_parameters")):
        raise TypeError(f"{name}: model must be an nn.Module, got {type(model).__name__}")
    return model


def title_of(model: Any) -> str:
    """What to call a model: its type, unless that is a mere container; then by how many layers it has to train."""
    if model is None:
        return "computation"
    name = type(model).__name__
    if name not in ("Sequential", "ModuleList", "ModuleDict"):
        return name
    weights = {id(p) for _, p in model.named_parameters() if len(p.shape) > 1}
    return f"{len(weights)}-layer network" if weights else name


def modules_of(model: Any) -> list[Module]:
    """Every module inside a model: path, type, hyper-parameters."""
    if model is None:
        return []
    modules = []
    for path, module in model.named_modules():
        extra = getattr(module, "extra_repr", None)
        leaf = not any(True for _ in module.children())
        modules.append(Module(path, type(module).__name__, str(extra()) if leaf and callable(extra) else "", leaf))
    return modules


def named_parameters(model: Any) -> dict[int, tuple[Any, str]]:
    """id -> (parameter, name), each parameter once under its first name."""
    found: dict[int, tuple[Any, str]] = {}
    for name, parameter in model.named_parameters() if model is not None else ():
        found.setdefault(id(parameter), (parameter, name))
    return found


def parameter_name(tensor: Any, path: str, op: Any, position: int) -> str:
    """What to call a leaf that no model names: its own name, or the place where it is first read."""
    if getattr(tensor, "name", None):
        return str(tensor.name)
    return f"{path}.{op.input_name(position)}" if path else str(op.input_name(position))


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an operation as JSON can hold them; a NamedTuple such as a geometry becomes its fields."""
    return {name: value for name, option in options.items() if (value := _plain(option)) is not None}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(v) for name, v in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value] if len(value) <= 16 else f"{len(value)} values"
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    return f"array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
