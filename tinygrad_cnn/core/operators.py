"""What can be done to a Tensor: Python's operators and NumPy's methods. Each looks its operation up by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.core.dtypes import as_dtype
from tinygrad_cnn.core.spelling import methods_in_numpys_words

if TYPE_CHECKING:
    from tinygrad_cnn.core.tensor import Tensor

OPS: dict[str, Any] = {}  # the registry: name -> Op
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # functions around ops that methods here share: cat, stack, pad

Axis = int | tuple[int, ...] | None


def _binary(name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        return OPS[name](self, other) if _is_operand(other) else NotImplemented

    return method


def _reflected(name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        return OPS[name](other, self) if _is_operand(other) else NotImplemented

    return method


def _in_place(name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        return self._write(name, other) if _is_operand(other) else NotImplemented

    return method


def _unary(name: str, doc: str) -> Any:
    def method(self: Any) -> Any:
        return OPS[name](self)

    method.__name__, method.__doc__ = name, doc
    return method


def _is_operand(value: Any) -> bool:
    return isinstance(value, _OPERANDS)


@methods_in_numpys_words
class Operators:
    """The part of `Tensor` that computes; every method here is differentiable where mathematics is."""

    __slots__ = ()
    __array_priority__ = 1000

    # These come from Tensor.
    shape: tuple[int, ...]
    ndim: int
    size: int
    dtype: np.dtype[Any]
    _data: np.ndarray
    _write: Callable[..., Any]

    __add__, __radd__ = _binary("add"), _reflected("add")
    __sub__, __rsub__ = _binary("sub"), _reflected("sub")
    __mul__, __rmul__ = _binary("mul"), _reflected("mul")
    __truediv__, __rtruediv__ = _binary("div"), _reflected("div")
    __pow__, __rpow__ = _binary("pow"), _reflected("pow")
    __matmul__, __rmatmul__ = _binary("matmul"), _reflected("matmul")
    __mod__, __rmod__ = _binary("remainder"), _reflected("remainder")
    __floordiv__, __rfloordiv__ = _binary("floor_divide"), _reflected("floor_divide")
    __neg__, __abs__ = _unary("neg", "-x"), _unary("abs", "|x|")
    __lt__, __le__, __gt__, __ge__ = _binary("lt"), _binary("le"), _binary("gt"), _binary("ge")
    __eq__, __ne__ = _binary("eq"), _binary("ne")  # elementwise, as in NumPy; hashing is by identity
    __and__, __rand__ = _binary("bitwise_and"), _reflected("bitwise_and")
    __or__, __ror__ = _binary("bitwise_or"), _reflected("bitwise_or")
    __xor__, __rxor__ = _binary("bitwise_xor"), _reflected("bitwise_xor")
    __invert__ = _unary("invert", "elementwise not")
    __hash__ = object.__hash__

    def __pos__(self) -> Any:
        return self

    # In place: written where the array lies, and recorded where a gradient is wanted.
    __iadd__, __isub__, __imul__ = _in_place("add"), _in_place("sub"), _in_place("mul")
    __itruediv__, __ipow__ = _in_place("div"), _in_place("pow")

    # -- indexing --

    def __getitem__(self, index: Any) -> Tensor:
        return OPS["getitem"](self, index=_plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._write("setitem", value, index=_plain_index(index))

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d Tensor; use x.item() for its value")
        return (self[i] for i in range(self.shape[0]))

    def take_along_axis(self, indices: Any, axis: int = -1) -> Tensor:
        """`np.take_along_axis`: pick one element per index along an axis; PyTorch's `gather`, but it broadcasts."""
        axis = self._axis("take_along_axis", axis)
        return OPS["take_along_axis"](self, indices=_plain_index(indices), axis=axis)

    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """Where the boolean mask is true, `value`; elsewhere the element. The mask broadcasts to the Tensor's shape."""
        mask = mask if isinstance(mask, Operators) else np.asarray(mask)
        if mask.dtype != np.bool_:
            raise TypeError(f"masked_fill: the mask must be boolean, got {mask.dtype}; write mask != 0")
        pairs = zip(mask.shape[::-1], self.shape[::-1], strict=False)
        if mask.ndim > self.ndim or any(m not in (1, n) for m, n in pairs):
            raise ValueError(f"masked_fill: a mask of shape {mask.shape} does not broadcast to shape {self.shape}")
        if np.ndim(value):
            raise ValueError(f"masked_fill: value must be one number, its shape is {np.shape(value)}; use tc.where")
        return OPS["where"](mask, value, self)

    # -- elementwise --

    exp, log, log1p, expm1 = (_unary(n, f"Elementwise {n}.") for n in ("exp", "log", "log1p", "expm1"))
    log2, log10, rsqrt, reciprocal = (_unary(n, f"Elementwise {n}.") for n in ("log2", "log10", "rsqrt", "reciprocal"))
    sqrt, square, abs, sign = (_unary(n, f"Elementwise {n}.") for n in ("sqrt", "square", "abs", "sign"))
    sin, cos, tan, tanh = (_unary(n, f"Elementwise {n}.") for n in ("sin", "cos", "tan", "tanh"))
    sinh, cosh, atan = (_unary(n, f"Elementwise {n}.") for n in ("sinh", "cosh", "atan"))
    relu, sigmoid, erf = (_unary(n, f"Elementwise {n}.") for n in ("relu", "sigmoid", "erf"))
    floor, ceil, round = (_unary(n, f"Elementwise {n}.") for n in ("floor", "ceil", "round"))
    isnan, isinf, isfinite = (_unary(n, f"Elementwise {n}: boolean.") for n in ("isnan", "isinf", "isfinite"))

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Elements limited to [min, max]; the derivative is 1 within and at both bounds, 0 outside."""
        return OPS["clip"](self, min, max)

    def maximum(self, other: Any) -> Tensor:
        """Elementwise maximum; at ties half of the gradient to each."""
        return OPS["maximum"](self, other)

    def minimum(self, other: Any) -> Tensor:
        """Elementwise minimum; at ties half of the gradient to each."""
        return OPS["minimum"](self, other)

    # -- reductions --

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Sum over an axis, several, or all."""
        return OPS["sum"](self, axis=self._axes("sum", axis), keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Mean over an axis, several, or all; of nothing it is NaN."""
        return OPS["mean"](self, axis=self._axes("mean", axis), keepdims=keepdims)

    def var(self, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
        """Variance: the sum of squared deviations over n - correction. PyTorch's default is correction=1."""
        return OPS["var"](self, axis=self._axes("var", axis), correction=correction, keepdims=keepdims)

    def std(self, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
        """Standard deviation, the root of `var`; its derivative at 0 is 0."""
        return OPS["std"](self, axis=self._axes("std", axis), correction=correction, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Product over an axis, several, or all; its derivative is exact also where elements are 0."""
        return OPS["prod"](self, axis=self._axes("prod", axis), keepdims=keepdims)

    def amax(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Largest element; equal ones share the gradient evenly."""
        return OPS["amax"](self, axis=self._axes("amax", axis), keepdims=keepdims)

    def amin(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Smallest element; equal ones share the gradient evenly."""
        return OPS["amin"](self, axis=self._axes("amin", axis), keepdims=keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """Without axis the largest element (as `amax`); with one, values and indices, the first of equals winning."""
        return self._extreme("max", axis, keepdims)

    def min(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """Without axis the smallest element (as `amin`); with one, values and indices, the first of equals winning."""
        return self._extreme("min", axis, keepdims)

    def _extreme(self, name: str, axis: Any, keepdims: bool) -> Any:
        if axis is None:
            return OPS["a" + name](self, axis=self._axes(name, None), keepdims=keepdims)
        if isinstance(axis, tuple):
            raise TypeError(f"{name}: takes one axis, for it gives indices too; use x.a{name}(axis={axis})")
        values, indices = OPS[name].with_aux(self, axis=self._axis(name, axis), keepdims=keepdims)
        return values, type(self)._wrap(indices, None)  # type: ignore[attr-defined]  # Tensor's

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the first largest element; NaN counts as largest."""
        return OPS["argmax"](self, axis=None if axis is None else self._axis("argmax", axis), keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the first smallest element; NaN counts as smallest."""
        return OPS["argmin"](self, axis=None if axis is None else self._axis("argmin", axis), keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """Running sum along an axis; without one, over all elements in row-major order."""
        if axis is None:
            return self.flatten().cumsum(0)
        return OPS["cumsum"](self, axis=self._axis("cumsum", axis))

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """log of the sum of exponentials, without overflow."""
        return OPS["logsumexp"](self, axis=self._axes("logsumexp", axis), keepdims=keepdims)

    def norm(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Euclidean norm; its derivative at 0 is 0."""
        return OPS["norm"](self, axis=self._axes("norm", axis), keepdims=keepdims)

    def softmax(self, axis: int = -1) -> Tensor:
        """Exponentials that sum to one along an axis."""
        return OPS["softmax"](self, axis=self._axis("softmax", axis))

    def log_softmax(self, axis: int = -1) -> Tensor:
        """log of softmax along an axis, without overflow."""
        return OPS["log_softmax"](self, axis=self._axis("log_softmax", axis))

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether all elements are true."""
        return OPS["all"](self, axis=self._axes("all", axis), keepdims=keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether any element is true."""
        return OPS["any"](self, axis=self._axes("any", axis), keepdims=keepdims)

    # -- shape --

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape; one length may be -1."""
        lengths = _integers("reshape", shape)
        if min(lengths, default=0) < -1:
            raise ValueError(f"reshape: lengths must not be negative but for one -1, got {lengths}")
        return OPS["reshape"](self, shape=lengths)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes from start_dim to end_dim, both included, made one."""
        if self.ndim == 0:
            return self.reshape(1)
        first, last = self._axis("flatten", start_dim), self._axis("flatten", end_dim)
        if first > last:
            raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {self.shape}")
        length = int(np.prod(self.shape[first : last + 1], dtype=np.int64))
        return self.reshape(*self.shape[:first], length, *self.shape[last + 1 :])

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in another order; without any, reversed. Not PyTorch's pair: that is `swapaxes`."""
        order = _integers("transpose", axes) if axes and axes != (None,) else tuple(range(self.ndim))[::-1]
        order = tuple(self._axis("transpose", a) for a in order)
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(
                f"transpose: axes {order} must name each of the {self.ndim} axes once; to exchange two axes as "
                "PyTorch's transpose(a, b) does, use x.swapaxes(a, b)"
            )
        return OPS["transpose"](self, axes=order)

    def permute(self, *axes: Any) -> Tensor:
        """Axes in the given order, as `transpose`."""
        return self.transpose(*axes)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        order = list(range(self.ndim))
        a, b = self._axis("swapaxes", axis1), self._axis("swapaxes", axis2)
        order[a], order[b] = b, a
        return OPS["transpose"](self, axes=tuple(order))

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged: each matrix of a batch transposed."""
        if self.ndim < 2:
            raise ValueError(f"mT: needs at least 2 axes, the shape is {self.shape}")
        return self.swapaxes(-1, -2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Axes of length 1 removed: all of them, or those named."""
        if axis is None:
            axes = tuple(i for i, n in enumerate(self.shape) if n == 1)
        else:
            axes = self._axes("squeeze", axis)
            for i in axes:
                if self.shape[i] != 1:
                    raise ValueError(f"squeeze: axis {i} has length {self.shape[i]}, not 1, in shape {self.shape}")
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if i not in axes))

    def expand_dims(self, axis: int | tuple[int, ...]) -> Tensor:
        """New axes of length 1 at the given places of the result."""
        given = axis if isinstance(axis, tuple) else (axis,)
        ndim = self.ndim + len(given)
        places = _normalized("expand_dims", given, ndim, self.shape)
        rest = iter(self.shape)
        return self.reshape(tuple(1 if i in places else next(rest) for i in range(ndim)))

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Repeated along axes of length 1 and new leading axes, without copying."""
        return OPS["broadcast_to"](self, shape=_integers("broadcast_to", shape))

    def flip(self, axis: Axis = None) -> Tensor:
        """Order reversed along an axis, several, or all."""
        return OPS["flip"](self, axis=self._axes("flip", axis))

    def roll(self, shift: int | tuple[int, ...], axis: Axis = None) -> Tensor:
        """Elements moved along axes, those that fall off coming back at the other end; one shift, or one per axis."""
        if axis is None:
            return self.flatten().roll(shift, 0).reshape(self.shape)
        axes = tuple(self._axis("roll", a) for a in (axis if isinstance(axis, tuple) else (axis,)))
        shifts = _integers("roll", (shift,))
        shifts = shifts * len(axes) if len(shifts) == 1 else shifts
        if len(shifts) != len(axes):
            raise ValueError(f"roll: {len(shifts)} shifts {shifts} for {len(axes)} axes {axes}; give one for each")
        return OPS["roll"](self, shift=shifts, axis=axes)

    def tile(self, *repeats: Any) -> Tensor:
        """The whole repeated along each axis, as `np.tile`."""
        counts = _integers("tile", repeats)
        if min(counts, default=0) < 0:
            raise ValueError(f"tile: repeats must not be negative, got {counts}")
        ndim = max(len(counts), self.ndim)
        shape = (1,) * (ndim - self.ndim) + self.shape
        counts = (1,) * (ndim - len(counts)) + counts
        paired = self.reshape(tuple(n for length in shape for n in (1, length)))
        stretched = paired.broadcast_to(tuple(n for pair in zip(counts, shape, strict=True) for n in pair))
        return stretched.reshape(tuple(c * n for c, n in zip(counts, shape, strict=True)))

    def pad(self, pads: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
        """See `functional.pad`."""
        return FUNCTIONS["pad"](self, pads, mode, value)

    def split(self, size_or_sizes: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
        """Pieces along an axis: of one size (the last may be smaller), or of the given sizes."""
        axis = self._axis("split", axis)
        length = self.shape[axis]
        if isinstance(size_or_sizes, int | np.integer):
            if size_or_sizes <= 0:
                raise ValueError(f"split: the size must be positive, got {size_or_sizes}")
            sizes = [min(size_or_sizes, length - i) for i in range(0, length, size_or_sizes)] or [0]
        else:
            sizes = list(_integers("split", (size_or_sizes,)))
            if sum(sizes) != length or min(sizes, default=0) < 0:
                raise ValueError(
                    f"split: sizes {sizes} must sum to {length}, the length of axis {axis} of {self.shape}"
                )
        ends = np.cumsum(sizes)
        lead = (slice(None),) * axis
        return tuple(self[(*lead, slice(int(e) - n, int(e)))] for n, e in zip(sizes, ends, strict=True))

    def sort(self, axis: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
        """Values in order along an axis, and their indices; equal ones keep their order."""
        axis = self._axis("sort", axis)
        keys = np.flip(self._data, axis) if descending else self._data
        indices = np.argsort(keys, axis=axis, kind="stable")
        if descending:
            indices = np.flip(self.shape[axis] - 1 - indices, axis)
        values = OPS["take_along_axis"](self, indices=indices, axis=axis)
        # A copy: the tape keeps the indices, and the caller may write into what it gets.
        return values, type(self)._wrap(indices.copy(), None)  # type: ignore[attr-defined]  # Tensor's

    def topk(self, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
        """The k largest (or smallest) along an axis, in order, and their indices; NaN counts as largest."""
        axis = self._axis("topk", axis)
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 0 <= k <= self.shape[axis]:
            raise ValueError(
                f"topk: k must be an integer from 0 to {self.shape[axis]}, the length of axis {axis} of {self.shape}, "
                f"got {k!r}"
            )
        lead = (slice(None),) * axis + (slice(0, k),)
        values, indices = self.sort(axis, descending=largest)
        return values[lead], indices[lead]

    def astype(self, dtype: Any) -> Tensor:
        """Elements in another dtype; the gradient comes back in this one."""
        return OPS["astype"](self, dtype=as_dtype("astype", dtype))

    def clone(self) -> Tensor:
        """A copy in memory of its own, on the tape."""
        return OPS["clone"](self)

    # -- axes --

    def _axis(self, name: str, axis: int) -> int:
        return _normalized(name, (axis,), self.ndim, self.shape)[0]

    def _axes(self, name: str, axis: Axis) -> tuple[int, ...]:
        if axis is None:
            return tuple(range(self.ndim))
        return _normalized(name, axis if isinstance(axis, tuple | list) else (axis,), self.ndim, self.shape)


def _normalized(name: str, axes: Sequence[Any], ndim: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes counted from the front, each in range and named once."""
    result = []
    for axis in axes:
        if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
            raise TypeError(f"{name}: an axis must be an integer, got {axis!r}")
        if not -ndim <= axis < ndim:
            raise ValueError(f"{name}: axis {axis} is out of range for the {ndim} axes of shape {shape}")
        result.append(int(axis) % ndim)
    if len(set(result)) < len(result):
        raise ValueError(f"{name}: axes {tuple(axes)} name the same axis twice")
    return tuple(result)


def _integers(name: str, given: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) and ((2, 3),) alike."""
    numbers = given[0] if len(given) == 1 and isinstance(given[0], Sequence | np.ndarray) else given
    try:
        return tuple(n.__index__() for n in numbers)
    except (AttributeError, TypeError):
        raise TypeError(f"{name}: expected integers, got {given!r}") from None


def _plain_index(index: Any) -> Any:
    """An index with arrays for Tensors and lists; copies, so that a later change of them can not reach the tape."""
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if isinstance(index, Operators):
        index = index._data
    if isinstance(index, list | np.ndarray):
        index = np.array(index)
        if index.size == 0 and index.dtype.kind == "f":
            index = index.astype(np.intp)  # an empty list
        if index.dtype.kind not in "iub":
            raise IndexError(f"getitem: an index must be of integers or booleans, got dtype {index.dtype}")
    return index


_OPERANDS = (Operators, int, float, np.ndarray, np.generic, complex, list, tuple)
