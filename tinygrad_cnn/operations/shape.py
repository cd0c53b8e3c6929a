"""Operations that move elements without changing them: every rule is the inverse movement.

Memory order matters here: what a convolution hands on lies channels-last, and a gradient that comes back in another
order costs every later operation several times its price. So reshape brings its gradient back in its input's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, integer
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.operators import FUNCTIONS
from tinygrad_cnn.core.spelling import in_numpys_words
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError


def memory_order(x: np.ndarray) -> tuple[int, ...] | None:
    """The axes from the outermost in memory to the innermost; None for the usual row-major order."""
    if x.flags.c_contiguous or x.ndim < 2:
        return None
    strides = [abs(s) for s in x.strides]
    order = tuple(sorted(range(x.ndim), key=lambda i: -strides[i]))
    return None if order == tuple(range(x.ndim)) else order


def in_order(x: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    """The same array, its memory laid out in the given order of axes."""
    if order is None:
        return x
    back = np.argsort(order)
    return np.ascontiguousarray(x.transpose(order)).transpose(back)


def _reshape(x: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...] | None) -> tuple[np.ndarray, Any]:
    try:
        return in_order(np.reshape(x, shape), order), memory_order(x)
    except ValueError:
        raise ShapeError(f"reshape: shape {x.shape} with {x.size} elements does not fit into {tuple(shape)}") from None


reshape: Op = op(
    "reshape",
    lambda x, *, shape, order=None: _reshape(x, shape, order),
    lambda g, x_shape, layout: reshape(g, shape=x_shape, order=layout),
    aux={"layout": None},
    doc="The same elements in row-major order under another shape; `order` lays the result's memory out.",
)
transpose: Op = op(
    "transpose",
    lambda x, *, axes: x.transpose(axes),
    lambda g, axes: transpose(g, axes=tuple(int(i) for i in np.argsort(axes))),
    doc="The axes in another order.",
)
broadcast_to = op(
    "broadcast_to",
    lambda x, *, shape: _stretched(x, shape),
    lambda g: g,  # of the output's shape: the walk sums it to the input's
    doc="Repeated along axes of length 1 and new leading ones, without copying.",
)
flip: Op = op("flip", lambda x, *, axis: np.flip(x, axis), lambda g, axis: flip(g, axis=axis),
          doc="The order reversed along axes.")  # fmt: skip
roll: Op = op(
    "roll",
    lambda x, *, shift, axis: np.roll(x, shift, axis),
    lambda g, shift, axis: roll(g, shift=tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis=axis),
    doc="Elements moved along axes, those that fall off coming back at the other end.",
)


def _stretched(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise ShapeError(f"broadcast_to: shape {np.shape(x)} does not broadcast to {tuple(shape)}") from None


def _cat_rule(g: Tensor, xs_shapes: Any, axis: int) -> Any:
    """Each its own piece of g."""
    lead = (slice(None),) * (axis % g.ndim)
    start = 0
    for shape in xs_shapes:
        yield g[(*lead, slice(start, start + shape[axis]))]
        start += shape[axis]


_cat = op("cat", lambda *xs, axis: np.concatenate(xs, axis), _cat_rule, doc="Joined along an axis.")


@in_numpys_words
def cat(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join Tensors along an existing axis; all other lengths must agree.

    The gradient of each is its own piece of the upstream gradient.

    Raises ShapeError if ranks or the other lengths differ.

    >>> cat([Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0]])], axis=1)
    tensor([[1., 2., 3., 4.]])
    """
    given = _sequence("cat", tensors)
    shapes = [np.shape(t) for t in given]
    ndim, axis = len(shapes[0]), integer("cat", "axis", axis)
    if not -ndim <= axis < ndim:
        raise ShapeError(f"cat: axis {axis} is out of range for the {ndim} axes of shape {shapes[0]}")
    for i, shape in enumerate(shapes[1:], 1):
        if len(shape) != ndim or any(
            a != b for k, (a, b) in enumerate(zip(shape, shapes[0], strict=True)) if k != axis % ndim
        ):
            raise ShapeError(
                f"cat: tensors[{i}] has shape {shape}, tensors[0] {shapes[0]}; only axis {axis} may differ"
            )
    return _cat(*given, axis=axis)


@in_numpys_words
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join Tensors of one shape along a new axis.

    Raises ShapeError if the shapes differ.

    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    given = [as_tensor("stack", t, f"tensors[{i}]") for i, t in enumerate(_sequence("stack", tensors))]
    integer("stack", "axis", axis)
    for i, t in enumerate(given):
        if t.shape != given[0].shape:
            raise ShapeError(
                f"stack: tensors[{i}] has shape {t.shape}, tensors[0] {given[0].shape}; they must be equal"
            )
    if not -given[0].ndim - 1 <= axis <= given[0].ndim:
        raise ShapeError(f"stack: axis {axis} is out of range for the {given[0].ndim + 1} axes of the result")
    return cat([t.expand_dims(axis) for t in given], axis)


def _sequence(name: str, tensors: Any) -> list[Any]:
    if isinstance(tensors, Tensor | np.ndarray) and tensors.ndim:
        tensors = list(tensors)
    if not isinstance(tensors, list | tuple):
        raise TypeError(f"{name}: takes a list or tuple of Tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{name}: needs at least one Tensor")
    return list(tensors)


FUNCTIONS.update(cat=cat, stack=stack)
