"""Standardisation and batch normalisation; and dropout, whose mask the case freezes."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.testing import naive
from tinygrad_cnn.testing.catalog.common import refuses_objects
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import OpCase, register_op


def _image(d: Draw) -> np.ndarray:
    """(N, C, ...) with at least two values per channel; sometimes far from zero."""
    shape = (d.integer(2, 3), d.integer(1, 3), *d.shape(max_dims=2, max_side=3))
    return d.smooth(shape) + d.choice((0.0, 0.0, 100.0))


def _batch_norm_case(d: Draw) -> OpCase:
    x = _image(d)
    parameters: tuple[np.ndarray | None, ...] = (None, None)
    if d.boolean():
        parameters = (d.smooth((x.shape[1],)), d.smooth((x.shape[1],)))
    return OpCase((x, *parameters), {"axes": (0, *range(2, x.ndim)), "eps": d.choice((1e-5, 0.1))}, d.seed)


register_op(
    "batch_norm",
    case=_batch_norm_case,
    kind="analytic",
    ref=lambda x, weight, bias, axes, eps: naive.batch_norm(x, weight, bias, eps),
    errors=refuses_objects("batch_norm", axes=(0,), eps=1e-5),
)


def _standardize_case(d: Draw) -> OpCase:
    x = _image(d)
    axes = d.choice(((0, *range(2, x.ndim)), (0,), tuple(range(x.ndim))))
    return OpCase((x,), {"axes": axes, "eps": 1e-5}, d.seed)


def _standardize(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    y = np.zeros(x.shape)
    rows: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for i in np.ndindex(*x.shape):
        rows.setdefault(tuple(0 if k in axes else j for k, j in enumerate(i)), []).append(i)
    for places in rows.values():
        values = np.array([x[i] for i in places])
        mean = values.sum() / len(values)
        var = ((values - mean) ** 2).sum() / len(values)
        for i in places:
            y[i] = (x[i] - mean) / (var + eps) ** 0.5
    return y


register_op(
    "standardize",
    case=_standardize_case,
    kind="analytic",
    ref=_standardize,
    errors=refuses_objects("standardize", axes=(0,), eps=1e-5),
)


def _dropout_case(d: Draw) -> OpCase:
    shape = d.shape(min_side=0)
    return OpCase((d.ints(shape),), {"mask": d.mask(shape), "scale": 2.0}, d.seed)


register_op(
    "dropout",
    case=_dropout_case,
    kind="multilinear",
    ref=lambda x, mask, scale: x * (mask * scale),
    errors=refuses_objects("dropout", mask=np.ones(2, bool), scale=2.0),
)
