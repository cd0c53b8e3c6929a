"""Operations that move elements: all linear, so every law is held exactly."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.padding import pad
from tinygrad_cnn.testing.catalog.common import Errors, refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, register_op


def _refuses(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], match: str) -> Errors:
    return lambda: [ErrorCase(args, kwargs, ShapeError, rf"{name}: {match}")]


def _reshape_case(d: Draw) -> OpCase:
    x = d.ints(d.shape(min_side=0))
    shape: tuple[int, ...] = (x.size,)
    for n in (2, 3):
        if shape[-1] % n == 0 and d.boolean():
            shape = (*shape[:-1], shape[-1] // n, n)
    return OpCase((x, shape), {}, d.seed)


register_op(
    Tensor.reshape,
    name="reshape",
    case=_reshape_case,
    kind="multilinear",
    ref=lambda x, shape: np.array([x[i] for i in np.ndindex(*x.shape)]).reshape(shape),
    errors=_refuses("reshape", (np.ones((2, 3)), (4,)), {}, r".*\(2, 3\).*\(4,\)"),
)


def _transpose_case(d: Draw) -> OpCase:
    shape = d.shape(min_side=0, max_dims=4)
    return OpCase((d.ints(shape),), {"axes": d.permutation(len(shape))}, d.seed)


def _transpose(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(tuple(x.shape[a] for a in axes))
    for i in np.ndindex(*x.shape):
        y[tuple(i[a] for a in axes)] = x[i]
    return y


register_op(
    "transpose",
    case=_transpose_case,
    kind="multilinear",
    ref=_transpose,
    errors=refuses_objects("transpose", axes=(0,)),
)


def _broadcast_case(d: Draw) -> OpCase:
    shape = d.shape(max_dims=2, max_side=3)
    whole = (*d.shape(max_dims=1, max_side=3, min_side=0), *(d.integer(0, 3) if n == 1 else n for n in shape))
    return OpCase((d.ints(shape), whole), {}, d.seed)


def _broadcast_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(shape)
    for i in np.ndindex(*shape):
        tail = i[len(shape) - x.ndim :]
        y[i] = x[tuple(0 if n == 1 else j for j, n in zip(tail, x.shape, strict=True))]
    return y


register_op(
    Tensor.broadcast_to,
    name="broadcast_to",
    case=_broadcast_case,
    kind="multilinear",
    ref=_broadcast_to,
    errors=_refuses("broadcast_to", (np.ones((2, 3)), (2, 4)), {}, r"shape \(2, 3\) does not broadcast to \(2, 4\)"),
)


def _flip_case(d: Draw) -> OpCase:
    shape = d.shape(min_side=0)
    axis = tuple(i for i in range(len(shape)) if d.boolean())
    return OpCase((d.ints(shape),), {"axis": axis}, d.seed)


def _flip(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
        y[tuple(n - 1 - j if k in axis else j for k, (j, n) in enumerate(zip(i, x.shape, strict=True)))] = x[i]
    return y


register_op("flip", case=_flip_case, kind="multilinear", ref=_flip, errors=refuses_objects("flip", axis=(0,)))


def _roll_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1, min_side=0)
    axes = tuple(range(len(shape)))
    if d.boolean():
        return OpCase((d.ints(shape),), {"shift": tuple(d.integer(-3, 3) for _ in axes), "axis": axes}, d.seed)
    return OpCase((d.ints(shape),), {"shift": d.integer(-3, 3), "axis": d.axis(len(shape))}, d.seed)


def _roll(x: np.ndarray, shift: Any, axis: Any) -> np.ndarray:
    shifts, axes = (v if isinstance(v, tuple) else (v,) for v in (shift, axis))
    y = np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
        j = list(i)
        for s, a in zip(shifts, axes, strict=True):
            j[a] = (j[a] + s) % x.shape[a]
        y[tuple(j)] = x[i]
    return y


register_op("roll", case=_roll_case, kind="multilinear", ref=_roll, errors=refuses_objects("roll", shift=1, axis=0))


def _cat_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1, min_side=0, max_size=20)
    axis = d.axis(len(shape))
    at = axis % len(shape)
    shapes = [(*shape[:at], d.integer(0, 3), *shape[at + 1 :]) for _ in range(d.integer(1, 3))]
    return OpCase(tuple(d.ints(s) for s in shapes), {"axis": axis}, d.seed)


def _cat(*xs: np.ndarray, axis: int) -> np.ndarray:
    rows = itertools.chain.from_iterable(np.moveaxis(x, axis, 0) for x in xs)
    first = np.moveaxis(xs[0], axis, 0)
    return np.moveaxis(
        np.array(list(rows)).reshape(-1 if first[0:1].size else sum(x.shape[axis] for x in xs), *first.shape[1:]),
        0,
        axis,
    )


register_op("cat", case=_cat_case, kind="multilinear", ref=_cat, errors=refuses_objects("cat", axis=0))


def _pad_case(d: Draw) -> OpCase:
    shape = d.shape(min_dims=1, max_dims=4, max_side=3)
    pads = tuple((d.integer(0, 2), d.integer(-1 if n > 1 else 0, 2)) for n in shape)
    return OpCase((d.ints(shape),), {"pads": pads, "value": d.choice((0.0, 3.0))}, d.seed)


def _padded(x: np.ndarray, pads: Any, value: float = 0.0) -> np.ndarray:
    y = np.full(tuple(n + b + a for n, (b, a) in zip(x.shape, pads, strict=True)), value)
    for i in np.ndindex(*y.shape):
        j = tuple(k - b for k, (b, _) in zip(i, pads, strict=True))
        if all(0 <= k < n for k, n in zip(j, x.shape, strict=True)):
            y[i] = x[j]
    return y


register_op(
    "pad",
    case=_pad_case,
    kind="piecewise_linear",  # affine: the value does not scale with x
    ref=_padded,
    errors=refuses_objects("pad", pads=((0, 0),)),
)


def _extend_case(d: Draw) -> OpCase:
    mode = d.choice(("reflect", "replicate", "circular"))
    shape = d.shape(min_dims=1, max_side=4, min_side=2)
    most = {"reflect": lambda n: n - 1, "replicate": lambda n: 3, "circular": lambda n: n}[mode]
    pads = tuple((d.integer(0, most(n)), d.integer(0, most(n))) for n in shape)
    return OpCase((d.ints(shape),), {"pads": pads, "mode": mode}, d.seed)


def _source(i: int, n: int, mode: str) -> int:
    """The pixel that stands at position i beyond an axis of length n."""
    if mode == "circular":
        return i % n
    if mode == "replicate":
        return min(max(i, 0), n - 1)
    return -i if i < 0 else 2 * (n - 1) - i if i >= n else i


def _extended(x: np.ndarray, pads: Any, mode: str) -> np.ndarray:
    y = np.zeros(tuple(n + b + a for n, (b, a) in zip(x.shape, pads, strict=True)))
    for i in np.ndindex(*y.shape):
        y[i] = x[tuple(_source(k - b, n, mode) for k, n, (b, _) in zip(i, x.shape, pads, strict=True))]
    return y


def _extended_back(x: np.ndarray, pads: Any, mode: str) -> np.ndarray:
    y = np.zeros(tuple(n - b - a for n, (b, a) in zip(x.shape, pads, strict=True)))
    for i in np.ndindex(*x.shape):
        y[tuple(_source(k - b, n, mode) for k, n, (b, _) in zip(i, y.shape, pads, strict=True))] += x[i]
    return y


def _extend_back_case(d: Draw) -> OpCase:
    case = _extend_case(d)
    pads = case.kwargs["pads"]
    whole = tuple(n + b + a for n, (b, a) in zip(case.args[0].shape, pads, strict=True))
    return OpCase((d.ints(whole),), case.kwargs, d.seed)


def _pad_with_border(x: Any, pads: Any, mode: str) -> Tensor:
    """`pad` by its own pixels, which is the record extend."""
    return pad(x, pads, mode=mode)


register_op(
    _pad_with_border,
    name="extend",
    case=_extend_case,
    kind="multilinear",
    ref=_extended,
    errors=lambda: [
        ErrorCase(
            (np.ones((2, 3)), ((0, 0), (3, 0)), "reflect"),
            {},
            ShapeError,
            "pad: mode 'reflect' can pad axis 1 .* at most 2",
        )
    ],
)
register_op(
    "extend_gradient",
    case=_extend_back_case,
    kind="multilinear",
    ref=_extended_back,
    errors=refuses_objects("extend_gradient", pads=((0, 0),), mode="circular"),
)
