"""`explain`: one operation alone, forward and backward, with its real numbers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from viz.explanation import Explanation
from viz.palette import THEMES
from viz.undisturbed import same_random_state
from viz.worked import Call, panels_of

_NUMBERS = ("kernel_size", "output_size")  # what a function needs besides arrays
_TENSORS = ("bias", "weight")  # what it may be given besides, and has a gradient


def explain(
    op: Any, *arrays: Any, dy: Any = None, theme: str = "light", timeout: float = 10, **options: Any
) -> Explanation:
    """Draw one operation alone: what it computes from these arrays, and what its backward makes of dy.

    op: a name such as "conv2d", "max_pool2d", "batch_norm", "cross_entropy", "matmul", "dropout", that of an op of
    your own, or the function itself. arrays: its inputs, and after them the upstream gradient dy; without one it is
    all ones. A plain image (H, W) or kernel (kh, kw) will do. options: those of the function, with bias= or weight= as
    arrays. Everything is computed in float64 by the engine; `values` of the result holds the output "y" and a gradient
    for each input. Of a large array the first rows, columns and channels are drawn.

    Raises ValueError for an unknown name, too few or too many arrays, or a dy that has not the output's shape.

    >>> picture = explain("conv2d", np.arange(9.0).reshape(3, 3), np.ones((2, 2)), np.ones((2, 2)))
    >>> picture.values["x"].tolist()
    [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    if theme not in THEMES:
        raise ValueError(f"viz: theme={theme!r} is unknown; choose from {', '.join(map(repr, THEMES))}")
    function, name = _function(op)
    names = [name for name in _required(function) if name not in _NUMBERS and name not in options]
    given = list(arrays)
    for number in (n for n in _NUMBERS if n in _required(function) and n not in options):
        place = next((i for i, value in enumerate(given) if i and isinstance(value, int | tuple)), None)
        if place is not None:
            options[number] = given.pop(place)
    if not len(names) <= len(given) <= len(names) + 1 or (len(given) > len(names) and dy is not None):
        raise ValueError(
            f"explain: {name} takes {len(names)} array{'s' if len(names) > 1 else ''} ({', '.join(names)}) and then "
            f"the upstream gradient dy, got {len(given)}; everything else by name"
        )
    if len(given) > len(names):
        dy = given.pop()
    return Explanation(*_explained(function, name, dict(zip(names, given, strict=True)), dy, options), theme, timeout)


def _explained(
    function: Callable[..., Any], name: str, given: dict[str, Any], dy: Any, options: dict[str, Any]
) -> tuple[Call, list[Any]]:
    import tinygrad_cnn as tc

    if name.startswith("batch_norm"):
        options.setdefault("training", True)
    images = name.startswith(("conv", "max_pool", "avg_pool", "global_", "adaptive_"))
    tensors = {key: _tensor(key, value, planes=images, target=key in ("target",)) for key, value in given.items()}
    more = {key: _tensor(key, options.pop(key)) for key in _TENSORS if options.get(key) is not None}
    seen: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def on_record(node: Any, op: Any, args: tuple[Any, ...], settings: dict[str, Any], out: Any) -> None:
        seen.append((op, args, settings))

    with same_random_state(), tape.observe(on_record=on_record):
        y = function(*tensors.values(), **more, **options)
    upstream = _upstream(name, dy, y)
    leaves = {key: t for key, t in {**tensors, **more}.items() if getattr(t, "requires_grad", False)}
    wanted = leaves if y.requires_grad else {}
    grads = tc.grad(y, list(wanted.values()), tc.tensor(upstream), allow_unused=True) if wanted else ()
    record = next((entry for entry in seen if entry[0].name == name), seen[-1] if seen else (None, (), {}))
    call = Call(
        name,
        {key: _array(t) for key, t in {**tensors, **more}.items()},
        _array(y),
        upstream,
        {key: np.zeros(t.shape) if g is None else _array(g) for (key, t), g in zip(wanted.items(), grads, strict=True)},
        dict(record[2]),
        {key: value for key, value in options.items() if np.ndim(value) <= 1 and not isinstance(value, np.ndarray)},
        whole=dy is None,
    )
    return call, panels_of(call)


def _function(op: Any) -> tuple[Callable[..., Any], str]:
    """The public function of a name, or else the record of an op."""
    import tinygrad_cnn as tc

    if callable(op):
        return op, str(getattr(op, "name", None) or getattr(op, "__name__", "op"))
    function = getattr(tc.functional, op, None) or tc.ops().get(op)
    if function is None:
        known = [*tc.functional.__all__, *tc.ops()]
        close = difflib.get_close_matches(str(op), known, 3) or ["conv2d", "max_pool2d", "matmul"]
        raise ValueError(f"explain: no operation is called {op!r}; did you mean {' or '.join(map(repr, close))}?")
    return function, str(op)


def _required(function: Any) -> list[str]:
    if hasattr(function, "inputs"):
        return list(function.inputs)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]


def _tensor(name: str, value: Any, *, planes: bool = False, target: bool = False) -> Any:
    """A leaf in float64; whole numbers that name classes stay as they are, planes become a batch of one image."""
    import tinygrad_cnn as tc

    array = np.asarray(_array(value))
    if target and array.dtype.kind in "iu":
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"explain: {name} must hold real numbers, got dtype {array.dtype}")
    array = array.astype(np.float64)
    if planes and array.ndim == 2:
        array = array[None, None]
    return tc.tensor(array, requires_grad=True, name=name)


def _upstream(name: str, dy: Any, y: Any) -> np.ndarray:
    if dy is None:
        return np.ones(y.shape)
    array = np.asarray(_array(dy), dtype=np.float64)
    if array.shape != y.shape and array.ndim == 2 and y.shape == (1, 1, *array.shape):
        array = array[None, None]
    if array.shape != y.shape:
        raise ValueError(f"explain: {name} gives y of shape {y.shape}, so dy must have it too; got {array.shape}")
    return array


def _array(value: Any) -> Any:
    return value.data if hasattr(value, "grad_fn") else value
