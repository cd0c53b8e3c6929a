"""Kernel sizes, strides and paddings in every spelling, made uniform and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.layout import Pairs

AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


def check_image(name: str, x: Tensor, d: int, what: str = "x") -> None:
    """Raise ShapeError unless x is a batch of images with d spatial axes."""
    if x.ndim != d + 2:
        hint = f"; add the batch axis with {what}[None]" if x.ndim == d + 1 else ""
        raise ShapeError(f"{name}: {what} must have {d + 2} axes (N, C, {AXES[d]}), {what}.shape = {x.shape}{hint}")


def per_axis(name: str, option: str, value: Any, d: int, least: int = 1) -> tuple[int, ...]:
    """An int for all of d spatial axes, or one int for each; raise ValueError if one is less than `least`."""
    numbers = _integers(value)
    if isinstance(numbers, int):
        numbers = (numbers,) * d
    if numbers is None or len(numbers) != d:
        each = "an int" if d == 1 else f"an int or {d} of them, one per spatial axis ({AXES[d]})"
        raise ValueError(f"{name}: {option} must be {each}, got {value!r}")
    if min(numbers) < least:
        raise ValueError(f"{name}: {option} must be at least {least}, got {value!r}")
    return numbers


def paddings(
    name: str,
    value: Any,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    full: bool = True,
) -> Pairs:
    """Padding in any spelling as one (before, after) pair per spatial axis.

    An int; one int per axis; one pair per axis; "valid": none; "same": ceil(size / stride) outputs, an odd
    pixel at the end, or with "same_lower" at the start; "full" (if allowed): wherever kernel and image
    overlap.
    """
    d = len(size)
    if isinstance(value, str):
        words = ("valid", "same", "same_lower", *(["full"] if full else []))
        if value not in words:
            raise ValueError(f"{name}: padding {value!r} is unknown; the words are {', '.join(words)}")
        return tuple(_named(value, *axis) for axis in zip(size, kernel, stride, dilation, strict=True))
    pairs = _pairs(value.tolist() if isinstance(value, np.ndarray) else value, d)
    if pairs is None:
        flat = _integers(value)
        hint = (
            f"; ints are one per spatial axis, so for before and after write (({flat[0]}, {flat[1]}),)"
            if d == 1 and isinstance(flat, tuple) and len(flat) == 2
            else ""
        )
        raise ValueError(
            f"{name}: padding must be an int, {d} int{'s' * (d > 1)} (one per spatial axis, {AXES[d]}), {d} "
            f"(before, after) pair{'s' * (d > 1)} or a word, got {value!r}{hint}"
        )
    if min(amount for pair in pairs for amount in pair) < 0:
        raise ValueError(f"{name}: padding must not be negative, got {value!r}; F.pad crops by negative amounts")
    return pairs


def extents(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Pixels from the first tap to the last: dilation * (kernel - 1) + 1."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def check_half(name: str, kernel: Sequence[int], dilation: Sequence[int], padding: Any) -> None:
    """Raise ValueError where a pool's padding is in no known spelling, or more than half the kernel on one side."""
    ones = (1,) * len(kernel)
    for extent, pair in zip(
        extents(kernel, dilation), paddings(name, padding, ones, kernel, ones, dilation, full=False), strict=True
    ):
        if not isinstance(padding, str) and max(pair) > extent // 2:
            raise ValueError(
                f"{name}: padding must be at most half the kernel, {extent // 2} of {extent} pixels, got {padding!r}"
            )


def check_fits(name: str, size: Sequence[int], kernel: Sequence[int], dilation: Sequence[int], pads: Pairs) -> None:
    """Raise ShapeError where the kernel is larger than the padded image."""
    letters = AXES[len(size)].split(", ")
    for letter, n, k, d, (before, after) in zip(letters, size, kernel, dilation, pads, strict=True):
        extent, padded = d * (k - 1) + 1, before + n + after
        if extent > padded:
            raise ShapeError(
                f"{name}: along {letter} the kernel spans {extent} pixels (kernel {k}, dilation {d}), but the padded "
                f"input has {padded} ({before} + {n} + {after}); pad by at least {extent - padded} more"
            )


def _integers(value: Any) -> int | tuple[int, ...] | None:
    """An int or a tuple of them, NumPy's included; None for anything else, bool too."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return None
    numbers = [_integers(v) for v in value]
    return tuple(n for n in numbers if isinstance(n, int)) if all(isinstance(n, int) for n in numbers) else None


def _pairs(value: Any, d: int) -> Pairs | None:
    numbers = _integers(value)
    if isinstance(numbers, int):
        return ((numbers, numbers),) * d
    if numbers is not None:
        return tuple((n, n) for n in numbers) if len(numbers) == d else None
    if not isinstance(value, list | tuple) or len(value) != d:
        return None
    pairs = [_integers(pair) for pair in value]
    if all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        return tuple((pair[0], pair[1]) for pair in pairs if isinstance(pair, tuple))
    return None


def _named(word: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    extent = dilation * (kernel - 1) + 1
    if word == "valid":
        return 0, 0
    if word == "full":
        return extent - 1, extent - 1
    total = max(0, (-(-size // stride) - 1) * stride + extent - size)
    less, more = total // 2, total - total // 2
    return (less, more) if word == "same" else (more, less)
