"""Reading a wrong gradient the way a person would: a constant factor, a transpose, a shift, only at ties…"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from tinygrad_cnn.testing.differences import Array, Mask


def pattern(whole: Array, x: Array, elements: np.ndarray, numeric: Array, wrong: Mask) -> str | None:
    """The first explanation that fits all wrong elements, or None.

    `whole` is the analytic gradient of the whole input x; `numeric` and `wrong` are known for some flat `elements`.
    """
    whole, x = np.atleast_1d(whole, x)
    analytic = whole.reshape(-1)[elements]
    return (
        _factor(analytic, numeric, wrong, x.shape)
        or _rearranged(whole, elements, numeric, wrong)
        or _zeroed(analytic, numeric, wrong)
        or _ties(x, elements[wrong], elements[~wrong])
        or _place(x.shape, elements, wrong)
    )


def _factor(analytic: Array, numeric: Array, wrong: Mask, shape: tuple[int, ...]) -> str | None:
    usable = wrong & (numeric != 0) & np.isfinite(analytic)
    if not analytic[usable].any() or usable.sum() < min(2, wrong.sum()):
        return None
    ratios = analytic[usable] / numeric[usable]
    ratio = float(np.median(ratios))
    if not np.allclose(ratios, ratio, rtol=1e-6) or abs(ratio - 1) < 1e-6:
        return None
    if ratio == -1:
        return "the sign is turned"
    scope = "everywhere" if wrong.sum() > 0.9 * np.count_nonzero(numeric) else "in the wrong elements"
    return f"off by the constant factor {ratio:.6g} {scope}{_known_ratio(ratio, shape)}"


def _known_ratio(ratio: float, shape: tuple[int, ...]) -> str:
    for axis, n in enumerate(shape):
        if n > 1 and np.isclose(ratio, n):
            return f", which is the length of axis {axis}: summed where the mean was meant?"
        if n > 1 and np.isclose(ratio, 1 / n):
            return f", which is 1 / the length of axis {axis}: divided once too often?"
    return ", which is the number of elements" if np.prod(shape) > 1 and np.isclose(ratio, np.prod(shape)) else ""


def _rearranged(whole: Array, elements: np.ndarray, numeric: Array, wrong: Mask) -> str | None:
    if wrong.sum() < 2 or np.ptp(numeric) == 0:
        return None
    for text, undo in _rearrangements(whole.shape):
        if _same(undo(whole).reshape(-1)[elements], numeric):
            return text
    indices = np.unravel_index(elements[wrong], whole.shape)
    for axis, along in enumerate(indices):
        rows = np.unique(along)
        if len(rows) == 2:
            swapped = np.array(whole)
            out, source = np.moveaxis(swapped, axis, 0), np.moveaxis(whole, axis, 0)
            out[rows[0]], out[rows[1]] = source[rows[1]], source[rows[0]]
            if _same(swapped.reshape(-1)[elements], numeric):
                return f"entries {rows[0]} and {rows[1]} along axis {axis} are swapped"
    return None


def _rearrangements(shape: tuple[int, ...]) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    if len(shape) >= 2 and shape[-1] == shape[-2]:
        yield "right but for the last two axes, which are transposed", lambda a: np.swapaxes(a, -1, -2)
    elif len(shape) >= 2:
        turned = (*shape[:-2], shape[-1], shape[-2])
        text = "right but for the last two axes, which are filled in transposed order"
        yield text, lambda a: np.swapaxes(a.reshape(turned), -1, -2)
        yield text, lambda a: np.swapaxes(a, -1, -2).reshape(shape)
    for axis, n in enumerate(shape):
        if n > 1:
            yield f"right but shifted by one along axis {axis}", partial(np.roll, shift=-1, axis=axis)
            yield f"right but shifted back by one along axis {axis}", partial(np.roll, shift=1, axis=axis)
            yield f"right but reversed along axis {axis}", partial(np.flip, axis=axis)


def _zeroed(analytic: Array, numeric: Array, wrong: Mask) -> str | None:
    if not analytic[wrong].any():
        return "zero where it should not be" + (": everywhere" if wrong.all() else "")
    return None if numeric[wrong].any() else "not zero where it should be"


def _ties(x: Array, wrong: np.ndarray, right: np.ndarray) -> str | None:
    _, numbers, counts = np.unique(x.reshape(-1), return_inverse=True, return_counts=True)
    special = (counts[numbers] > 1) | (x.reshape(-1) == 0)
    if wrong.size and special[wrong].all() and right.size and not special[right].all():
        return "wrong only where values are tied or zero"
    return None


def _place(shape: tuple[int, ...], elements: np.ndarray, wrong: Mask) -> str | None:
    for axis, (bad, good) in enumerate(
        zip(np.unravel_index(elements[wrong], shape), np.unravel_index(elements[~wrong], shape), strict=True)
    ):
        where = np.unique(bad)
        if len(where) == 1 and shape[axis] > 1 and wrong.sum() > 1 and not np.isin(good, where).all():
            last = int(where[0]) == shape[axis] - 1
            name = "last" if last else f"{where[0]}-th"
            return f"all in the {name} entry along axis {axis}" + (
                ": a stride remainder?" if last and axis >= 2 else ""
            )
    return None


def _same(a: Array, b: Array) -> bool:
    return bool((np.abs(a - b) <= 1e-6 * np.abs(b) + 1e-12 * np.max(np.abs(b), initial=0.0)).all())
