"""Strategies for what a test of one's own draws: tensors in any memory layout, geometries, shapes, indices.

All draw structure from Hypothesis, which shrinks it, and values from a drawn seed. Need the extra `testing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.testing.draws import Draw, Shape

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

_SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, 1e-42, 1.0, -1.0)
VALUES: dict[str, Callable[[Draw, Shape], np.ndarray]] = {
    "ints": lambda d, shape: d.ints(shape),
    "distinct": lambda d, shape: d.distinct(shape),
    "ties": lambda d, shape: d.ties(shape),
    "smooth": lambda d, shape: d.smooth(shape),
    "extreme": lambda d, shape: d.rng.choice(_SPECIAL, shape),
}
LAYOUTS = ("C", "F", "reversed", "strided")


def from_draw(caller: str, make: Callable[[Draw], T]) -> SearchStrategy[T]:
    """A strategy of what `make` draws."""
    strategies = import_extra("hypothesis.strategies", "testing", f"testing.{caller}")

    @strategies.composite
    def drawn(draw: Callable[[Any], Any]) -> T:
        seed = draw(strategies.integers(0, 2**32 - 1))
        return make(Draw(lambda low, high: draw(strategies.integers(low, high)), seed))

    return drawn()


def tensors(
    shape: Shape | None = None,
    *,
    values: str = "ints",
    layout: str = "any",
    dtype: str = "float64",
    requires_grad: bool = True,
) -> SearchStrategy[Tensor]:
    """Leaf Tensors of a shape, or of any shape of at most three axes.

    `values`: "ints" (exact in any order of summation), "distinct" (halves: no ties, no zeros), "ties" (many equal, many
    0), "smooth" (between -2 and 2) or "extreme" (zeros of both signs, infinities, NaN, huge, tiny, subnormal).
    `layout`: "C", "F", "reversed" (negative strides), "strided" (every second element of a larger array whose gaps
    hold NaN), or "any" of these. Raises ValueError for another word.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> find(testing.tensors((2, 2), values="distinct", layout="F"), lambda t: True).data.flags.f_contiguous
    True
    """
    if values not in VALUES:
        raise ValueError(f"tensors: values must be one of {', '.join(VALUES)}, got {values!r}")
    if layout not in (*LAYOUTS, "any"):
        raise ValueError(f"tensors: layout must be one of {', '.join(LAYOUTS)}, any, got {layout!r}")

    def make(d: Draw) -> Tensor:
        lengths = d.shape(min_side=0) if shape is None else shape
        array = np.asarray(VALUES[values](d, lengths), dtype)
        laid_out = _laid_out(array, d.choice(LAYOUTS) if layout == "any" else layout)
        return Tensor(laid_out, requires_grad=requires_grad)

    return from_draw("tensors", make)


def _laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    match layout:
        case "F":
            return np.asfortranarray(array)
        case "reversed":
            backwards = (slice(None, None, -1),) * array.ndim
            return np.ascontiguousarray(array[backwards])[backwards]
        case "strided":
            gaps = np.full([2 * n for n in array.shape], np.nan, array.dtype)
            every_second: Any = (..., *(slice(None, None, 2),) * array.ndim)
            view = gaps[every_second]
            view[...] = array
            return view
    return np.ascontiguousarray(array)


class ConvGeometry(NamedTuple):
    """Shapes and options that fit together: ``conv2d(x, weight, **geometry.options)``."""

    x: Shape
    weight: Shape
    options: dict[str, Any]


def conv_geometry(
    axes: int = 2,
    *,
    max_batch: int = 2,
    max_channels: int = 3,
    max_kernel: int = 3,
    max_stride: int = 3,
    max_padding: int = 2,
    max_dilation: int = 2,
    max_groups: int = 2,
    max_extra: int = 4,
) -> SearchStrategy[ConvGeometry]:
    """Shapes and options of a convolution over 1, 2 or 3 axes: every stride remainder, groups, empty batches.

    The image is as large as the kernel needs, and up to `max_extra` pixels larger.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> find(testing.conv_geometry(), lambda g: g.options["stride"] == (2, 2)).x
    (0, 1, 1, 1)
    """

    def make(d: Draw) -> ConvGeometry:
        kernel, stride, dilation, padding = (
            tuple(d.integer(low, high) for _ in range(axes))
            for low, high in ((1, max_kernel), (1, max_stride), (1, max_dilation), (0, max_padding))
        )
        groups = d.integer(1, max_groups)
        inputs, outputs = d.integer(1, max_channels), d.integer(1, max_channels)
        extents = (t * (k - 1) + 1 for k, t in zip(kernel, dilation, strict=True))
        size = tuple(max(e - 2 * p, 1) + d.integer(0, max_extra) for e, p in zip(extents, padding, strict=True))
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        x = (d.integer(0, max_batch), groups * inputs, *size)
        return ConvGeometry(x, (groups * outputs, inputs, *kernel), options)

    return from_draw("conv_geometry", make)


class PoolGeometry(NamedTuple):
    """A shape and options that fit together: ``max_pool2d(x, **geometry.options)``."""

    x: Shape
    options: dict[str, Any]


def pool_geometry(
    axes: int = 2,
    *,
    max_batch: int = 2,
    max_channels: int = 2,
    max_kernel: int = 3,
    max_stride: int = 3,
    max_extra: int = 4,
    ceil_mode: bool = True,
) -> SearchStrategy[PoolGeometry]:
    """A shape and the options of a pool over 1, 2 or 3 axes: overlapping and disjoint windows, padding, remainders.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> find(testing.pool_geometry(), lambda g: g.x[0] > 0).options
    {'kernel_size': (1, 1), 'stride': (1, 1), 'padding': (0, 0), 'ceil_mode': False}
    """

    def make(d: Draw) -> PoolGeometry:
        kernel = tuple(d.integer(1, max_kernel) for _ in range(axes))
        stride = tuple(d.integer(1, max_stride) for _ in range(axes))
        padding = tuple(d.integer(0, k // 2) for k in kernel)
        size = tuple(max(k - 2 * p, 1) + d.integer(0, max_extra) for k, p in zip(kernel, padding, strict=True))
        options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode and d.boolean()}
        return PoolGeometry((d.integer(0, max_batch), d.integer(1, max_channels), *size), options)

    return from_draw("pool_geometry", make)


def broadcast_shapes(count: int, *, max_dims: int = 3, min_side: int = 0) -> SearchStrategy[tuple[Shape, ...]]:
    """Shapes that broadcast with each other; with min_side=0 some have no element.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> shapes = find(testing.broadcast_shapes(2), lambda shapes: shapes[0] != shapes[1])
    >>> np.broadcast_shapes(*shapes)
    (0,)
    """
    return from_draw("broadcast_shapes", lambda d: tuple(d.broadcastable(count, max_dims=max_dims, min_side=min_side)))


def index_for(shape: Shape) -> SearchStrategy[Any]:
    """Whatever NumPy indexes an array of that shape with: integers, slices, steps, new axes, repeats, masks.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> find(testing.index_for((3,)), lambda index: isinstance(index, int))
    0
    """
    return from_draw("index_for", lambda d: d.index(shape))
