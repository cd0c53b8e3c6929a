"""What a user passes, checked before anything is computed; messages name the function, the argument and its value.

`number`, `integer`, `flag` and `choice` take one option each and return it as a plain Python value. A value of the
wrong kind is a TypeError, one out of range a ValueError; True is no number, and NaN lies in no range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.core.tensor import Tensor


def number(
    name: str,
    option: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    nan: bool = False,
) -> float:
    """A real number: `least` <= value <= `most`, and `above` < value < `below`.

    >>> number("dropout", "p", 1.5, least=0, most=1)
    Traceback (most recent call last):
    ValueError: dropout: p must be a number in [0, 1], got 1.5
    """
    plain = _plain(value, int | float, np.integer | np.floating)
    inside = plain is not None and (
        (nan or plain == plain)
        and (least is None or plain >= least)
        and (above is None or plain > above)
        and (most is None or plain <= most)
        and (below is None or plain < below)
    )
    if plain is None or not inside:
        kind = TypeError if plain is None else ValueError
        raise kind(f"{name}: {option} must be a number{_range(least, above, most, below)}, got {value!r}")
    return plain


def integer(name: str, option: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """An integer from `least` to `most`, both included.

    >>> integer("group_norm", "num_groups", 0, least=1)
    Traceback (most recent call last):
    ValueError: group_norm: num_groups must be an integer of at least 1, got 0
    """
    plain = _plain(value, int, np.integer)
    if plain is None or (least is not None and plain < least) or (most is not None and plain > most):
        kind = TypeError if plain is None else ValueError
        raise kind(f"{name}: {option} must be an integer{_range(least, None, most, None)}, got {value!r}")
    return plain


def flag(name: str, option: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as such.

    >>> flag("max_pool2d", "ceil_mode", "no")
    Traceback (most recent call last):
    TypeError: max_pool2d: ceil_mode must be True or False, got 'no'
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: {option} must be True or False, got {value!r}")
    return bool(value)


def choice(name: str, option: str, value: Any, known: Sequence[str]) -> str:
    """One of several words.

    >>> choice("conv2d", "padding_mode", "mirror", ("zeros", "reflect"))
    Traceback (most recent call last):
    ValueError: conv2d: padding_mode must be one of 'zeros', 'reflect', got 'mirror'
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: {option} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return value


def floating_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """A dtype that parameters can have: float16, float32 or float64."""
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        wanted = None
    if dtype is None or wanted not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{name}: dtype must be a floating one such as 'float32', got {dtype!r}")
    return wanted


def as_tensor(name: str, value: Any, what: str = "x", like: Tensor | None = None) -> Tensor:
    """An input: a Tensor as it is, an array or numbers as a constant. Complex numbers are refused.

    Python numbers, nested or not, are weak: they take the floating dtype of the Tensor `like`.
    """
    if isinstance(value, Tensor):
        return value
    weak = like is not None and like.dtype.kind in "fc" and not isinstance(value, np.ndarray)
    try:
        made = Tensor(value, dtype=like.dtype if like is not None and weak else None)
    except (TypeError, ValueError) as error:
        reason = str(error).partition(": ")[2]
        raise type(error)(f"{name}: {what} must be a Tensor, an array or numbers: {reason}") from None
    if made.dtype.kind == "c" and not weak:
        raise TypeError(f"{name}: {what} is {made.dtype}; there is no complex arithmetic here, pass real numbers")
    return made


def refuse_mixed_dtypes(name: str, **tensors: Any) -> None:
    """Raise TypeError if arrays of different floating dtypes meet where that is surely a mistake."""
    given = {what: t.dtype.newbyteorder("=") for what, t in tensors.items() if hasattr(t, "dtype")}
    floats = {what: dtype for what, dtype in given.items() if dtype.kind == "f"}
    first = next(iter(floats), "")
    for other in floats:
        if floats[other] != floats[first]:
            raise TypeError(
                f"{name}: {first} is {floats[first]}, {other} is {floats[other]}; convert one with "
                f".astype({str(floats[other])!r})"
            )


def _plain(value: Any, python: Any, numpy: Any) -> Any:
    """A Python or NumPy number as Python's; None for anything else, bool too."""
    if isinstance(value, bool) or not isinstance(value, python | numpy):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _range(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    low, high = (above if least is None else least), (below if most is None else most)
    if low is None and high is None:
        return ""
    if high is None:
        return f" above {low}" if least is None else f" of at least {low}"
    if low is None:
        return f" below {high}" if most is None else f" of at most {high}"
    return f" in {'(' if least is None else '['}{low}, {high}{')' if most is None else ']'}"
