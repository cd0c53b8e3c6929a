"""PyTorch's words for axes are refused, naming ours; only functions of an axis pay for it, with one more call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
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
        if inspect.isfunction(method) and not name.startswith("_") and "axis" in inspect.signature(method).parameters:
            setattr(cls, name, in_numpys_words(method))
    return cls
