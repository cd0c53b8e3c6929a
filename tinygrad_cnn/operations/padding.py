"""Padding by a constant, or by the border of the image itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, choice, number
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.operators import FUNCTIONS
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels import padding as kernels
from tinygrad_cnn.kernels.layout import Pairs

MODES = ("zeros", "reflect", "replicate", "circular")

_pad: Op = op(
    "pad",
    lambda x, *, pads, value=0.0: kernels.pad(x, pads, value),
    lambda g, pads: _pad(g, pads=tuple((-before, -after) for before, after in pads)),
    doc="Surrounded by a value; negative amounts crop. pads: one (before, after) pair per axis.",
)
_extend: Op = op(
    "extend",
    lambda x, *, pads, mode: kernels.extend(x, pads, mode),
    lambda g, pads, mode: _extend_gradient(g, pads=pads, mode=mode),
    doc='Surrounded by its own pixels; mode "reflect", "replicate" or "circular".',
)
_extend_gradient: Op = op(
    "extend_gradient",
    lambda x, *, pads, mode: kernels.extend_gradient(x, pads, mode),
    lambda g, pads, mode: _extend(g, pads=pads, mode=mode),
    doc="The border added to the pixels it repeats: the adjoint of extend.",
)


def pad(x: Any, pads: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """Surround x with a constant or with its own pixels.

    `pads` is one (before, after) pair per trailing axis, in axis order; or a flat tuple in PyTorch's order,
    the last axis first: `pad(x, ((1, 1), (2, 2)))` is `pad(x, (2, 2, 1, 1))`. Modes: "constant" with `value`
    (negative amounts crop), "zeros" (constant 0), "replicate" (the nearest edge pixel, lectures A4),
    "reflect" (mirrored at the edge pixel, which is not repeated), "circular". The gradient of a repeated
    pixel is the sum over its copies.

    Raises ValueError for pads of another form or an unknown mode, ShapeError where the image is too small for
    them.

    >>> pad(Tensor([[1.0, 2.0]]), ((0, 0), (1, 2)))
    tensor([[0., 1., 2., 0., 0.]])
    >>> pad(Tensor([[1.0, 2.0, 3.0]]), (2, 1), mode="reflect")
    tensor([[3., 2., 1., 2., 3., 2.]])
    """
    x = as_tensor("pad", x)
    choice("pad", "mode", mode, ("constant", *MODES))
    value = number("pad", "value", value, nan=True)
    trailing = _spelt(pads, x)
    every = ((0, 0),) * (x.ndim - len(trailing)) + trailing
    if x.dtype.kind in "iub" and value % 1 != 0:
        raise TypeError(f"pad: value {value!r} is no {x.dtype}; use x.astype('float32')")
    if mode in ("constant", "zeros"):
        for axis, (n, (before, after)) in enumerate(zip(x.shape, every, strict=True)):
            if min(n, n + before, n + after, n + before + after) < 0:
                raise ShapeError(f"pad: pads {(before, after)} crop more than the {n} of axis {axis} of {x.shape}")
        return _pad(x, pads=every, value=value if mode == "constant" else 0.0)
    for axis, (n, amounts) in enumerate(zip(x.shape, every, strict=True)):
        _check_border(mode, axis, n, amounts, x.shape)
    return _extend(x, pads=every, mode=mode) if any(map(any, every)) else _pad(x, pads=every)


def _spelt(pads: Any, x: Tensor) -> Pairs:
    """Pads as pairs of the trailing axes."""
    try:
        numbers = np.asarray(pads)
        if numbers.size == 0:
            return ()
        if numbers.dtype.kind not in "iu":
            raise TypeError
        pairs = numbers if numbers.ndim == 2 else numbers.reshape(-1, 2)[::-1]
        if numbers.ndim not in (1, 2) or pairs.shape[1] != 2:
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(
            f"pad: pads must be one (before, after) pair per trailing axis, or a flat tuple of them with the last axis "
            f"first, got {pads!r}"
        ) from None
    if len(pairs) > x.ndim:
        raise ShapeError(f"pad: pads {pads!r} are for {len(pairs)} axes, x has {x.ndim} (x.shape = {x.shape})")
    return tuple((int(before), int(after)) for before, after in pairs)


def _check_border(mode: str, axis: int, n: int, amounts: tuple[int, int], shape: tuple[int, ...]) -> None:
    if min(amounts) < 0:
        raise ValueError(f'pad: mode {mode!r} takes no negative amounts, got {amounts}; crop with mode "constant"')
    most = {"reflect": n - 1, "circular": n, "replicate": max(amounts) if n else 0}[mode]
    if max(amounts) > max(most, 0):
        raise ShapeError(
            f"pad: mode {mode!r} can pad axis {axis} of length {n} by at most {max(most, 0)}, got {amounts} (x.shape = "
            f"{shape})"
        )


FUNCTIONS.update(pad=pad)
