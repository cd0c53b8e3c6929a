"""PyTorch's words that differ here are refused by naming ours; only those who use them pay for it."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)
_PYTORCH_WORDS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims", "unbiased": "correction"}


def in_numpys_words(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse PyTorch's `dim=` and `keepdim=` with a TypeError that names our words; for functions of an axis."""

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        if options and not _PYTORCH_WORDS.keys().isdisjoint(options):
            spelt = " and ".join(f"{_PYTORCH_WORDS[word]}= for {word}=" for word in options if word in _PYTORCH_WORDS)
            raise TypeError(f"{function.__name__}: write {spelt}; axes are spelt as in NumPy here")
        return function(*args, **options)

    return checked


def methods_in_numpys_words(cls: C) -> C:
    """`in_numpys_words` for every public method with an axis; the others, operators above all, stay bare."""
    for name, method in list(vars(cls).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            method.__qualname__ = f"Tensor.{name}"  # what Python's own errors call it
            if "axis" in inspect.signature(method).parameters:
                setattr(cls, name, in_numpys_words(method))
    return cls


class Size(int):
    """The number of elements, as in NumPy; calling it, as PyTorch's `x.size()`, says what to write."""

    def __call__(self, *axis: object) -> None:
        """Raise TypeError."""
        raise TypeError(
            "size: an attribute here, the number of elements; PyTorch's x.size() is x.shape, x.size(0) len(x)"
        )

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


def attribute_error(name: str, known: Iterable[str]) -> AttributeError:
    """What to raise for a Tensor without such an attribute: with the word that works here, or the nearest one."""
    hint = _ATTRIBUTES.get(name)
    if hint is None and not name.startswith("_"):
        words = [word for word in known if not word.startswith("_")]
        plain = name.removesuffix("_")
        if plain != name and plain in words:
            hint = f"use x = x.{plain}(...), or x[...] = x.{plain}(...) under tc.no_grad()"
        elif plain in _ATTRIBUTES:
            hint = _ATTRIBUTES[plain]
        elif near := difflib.get_close_matches(name, words, 1, 0.8):
            hint = f"is {near[0]!r} meant?"
    return AttributeError(f"Tensor has no attribute {name!r}" + (f"; {hint}" if hint else ""))


def name_error(name: str) -> AttributeError:
    """What to raise for a name that the package lacks: with the word that works here, for PyTorch's."""
    hint = _NAMES.get(name)
    return AttributeError(f"module 'tinygrad_cnn' has no attribute {name!r}" + (f"; {hint}" if hint else ""))


_CPU = "this engine computes on the CPU, in NumPy; leave it out"
_METHODS_OF_F = ("leaky_relu", "elu", "gelu", "silu", "hardswish", "hardtanh", "relu6", "softplus", "dropout")
_OPERATORS = {
    "add": "x + y", "sub": "x - y", "subtract": "x - y", "mul": "x * y", "multiply": "x * y", "div": "x / y",
    "divide": "x / y", "true_divide": "x / y", "floor_divide": "x // y", "remainder": "x % y", "pow": "x ** y",
    "neg": "-x", "negative": "-x", "matmul": "x @ y", "mm": "x @ y", "bmm": "x @ y", "mv": "x @ y", "dot": "x @ y",
    "eq": "x == y", "ne": "x != y", "lt": "x < y", "le": "x <= y", "gt": "x > y", "ge": "x >= y",
    "logical_not": "~x", "logical_and": "x & y", "logical_or": "x | y",
}  # fmt: skip
_IN_PLACE = {
    "add_": "x += y", "sub_": "x -= y", "mul_": "x *= y", "div_": "x /= y", "pow_": "x **= y",
    **{name: f"x[...] = {value} under tc.no_grad()" for name, value in {
        "zero_": "0", "fill_": "value", "fill": "value", "copy_": "y", "clamp_": "x.clip(min, max)",
        "uniform_": "tc.rand(*x.shape), or tc.nn.init.uniform_", "normal_": "tc.randn(*x.shape), or tc.nn.init.normal_",
        "masked_fill_": "x.masked_fill(mask, value)",
    }.items()},
}  # fmt: skip
_DTYPES = {
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "bool": "bool",
}  # fmt: skip
_ATTRIBUTES = {
    **{name: f"use {way}" for name, way in (_OPERATORS | _IN_PLACE).items()},
    **{name: f"use x.astype({dtype!r})" for name, dtype in _DTYPES.items()},
    **{name: f"use tinygrad_cnn.functional.{name}(x)" for name in _METHODS_OF_F},
    **dict.fromkeys(("cuda", "cpu", "device", "is_cuda", "get_device", "pin_memory"), _CPU),
    **dict.fromkeys(("contiguous", "is_contiguous"), "memory order is the engine's business here; leave it out"),
    "view": "use x.reshape(...)",
    "view_as": "use x.reshape(y.shape)",
    "ravel": "use x.flatten()",
    "unsqueeze": "use x.expand_dims(axis)",
    "to": "use x.astype(dtype); " + _CPU,
    "type": "use x.astype(dtype), or x.dtype",
    "type_as": "use x.astype(y.dtype)",
    "dim": "use x.ndim",
    "ndimension": "use x.ndim",
    "numel": "use x.size",
    "nelement": "use x.size",
    "nbytes": "use x.data.nbytes",
    "strides": "use x.data.strides",
    "stride": "use x.data.strides",
    "t": "use x.T or x.mT",
    "clamp": "use x.clip(min, max)",
    "expand": "use x.broadcast_to(shape)",
    "expand_as": "use x.broadcast_to(y.shape)",
    "repeat": "use x.tile(repeats)",
    "chunk": "use x.split(size, axis)",
    "unbind": "use tuple(x)",
    "narrow": "use x[start : start + length]",
    "index_select": "use x[indices], or x[:, indices]",
    "gather": "use x.take_along_axis(indices, axis)",
    "where": "use tc.where(condition, x, y)",
    "argsort": "use x.sort(axis)[1]",
    "nonzero": "use np.nonzero(x.numpy())",
    "median": "use np.median(x.numpy()), off the tape",
    "copy": "use x.clone()",
    "detach_": "use x = x.detach()",
    "new_zeros": "use tc.zeros(shape, dtype=x.dtype)",
    "new_ones": "use tc.ones(shape, dtype=x.dtype)",
    "movedim": "use x.transpose(axes)",
    "outer": "use x.expand_dims(1) * y",
    "is_floating_point": "use x.dtype.kind == 'f'",
    "allclose": "use np.allclose(x, y)",
    "isclose": "use np.isclose(x, y)",
}
_METHODS = (
    "sum", "mean", "var", "std", "max", "min", "amax", "amin", "argmax", "argmin", "prod", "cumsum", "logsumexp",
    "norm", "all", "any", "reshape", "flatten", "permute", "transpose", "swapaxes", "squeeze", "broadcast_to", "flip",
    "roll", "tile", "split", "sort", "topk", "take_along_axis", "masked_fill", "clone",
)  # fmt: skip
_NAMES = {
    **{name: f"use the method x.{name}(...)" for name in _METHODS},
    **{name: f"use {way}" for name, way in _OPERATORS.items()},
    **{name: f"dtypes are NumPy's: write {name!r} or np.{name}" for name in (
        "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool_",
    )},
    **dict.fromkeys(("cuda", "device", "set_default_device"), _CPU),
    "set_grad_enabled": "use `with tc.no_grad()` or `with tc.enable_grad()`",
    "inference_mode": "use `with tc.no_grad()`",
    "autograd": "use tc.grad, x.backward(), tc.func, or tc.op for a function of one's own",
    "from_numpy": "use tc.tensor(array), which shares the array's memory",
    "as_tensor": "use tc.tensor(array), which shares the array's memory",
    "seed": "use tc.manual_seed(seed)",
    "unsqueeze": "use x.expand_dims(axis)",
    "concat": "use tc.cat",
    "concatenate": "use tc.cat",
    "clamp": "use tc.clip(x, min, max)",
}  # fmt: skip
