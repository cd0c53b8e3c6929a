"""Tensor: an array, its gradient, and its place on the tape."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tinygrad_cnn.core import gradients, hooks, memory, numpy_protocols, writing
from tinygrad_cnn.core.dtypes import as_dtype, get_default_dtype, plain_array, set_default_dtype
from tinygrad_cnn.core.operators import OPS, Operators
from tinygrad_cnn.core.spelling import Size, attribute_error
from tinygrad_cnn.core.tape import Node
from tinygrad_cnn.errors import ShapeError, TapeError

__all__ = ["Tensor", "get_default_dtype", "set_default_dtype", "tensor"]


class Tensor(Operators):
    """An n-dimensional array that remembers how it was computed, so that gradients can flow back.

    `data` may be an array, which is kept as it is and not copied, another Tensor, or Python numbers, nested as
    deeply as you like: floats get the default dtype. Integers and booleans can not require a gradient.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.],
            [6., 8.]])
    """

    __slots__ = ("_data", "_node", "_grad", "_requires_grad", "_rebound", "_hooks", "name", "__weakref__")

    _data: np.ndarray
    _node: Node | None
    _grad: Tensor | None
    _requires_grad: bool
    _rebound: int
    _hooks: list[Callable[[Any], Any]] | None
    name: str | None

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> None:
        self._data = _as_array(data, dtype)
        self._node = None
        self._grad = None
        self._requires_grad = False
        self._rebound = 0
        self._hooks = None
        self.name = name
        if requires_grad:
            self.requires_grad_()

    @classmethod
    def _wrap(cls, array: np.ndarray, node: Node | None) -> Tensor:
        """A Tensor around an array that needs no checking."""
        self = object.__new__(Tensor)
        self._data = array
        self._node = node
        self._grad = None
        self._requires_grad = False
        self._rebound = 0
        self._hooks = None
        self.name = None
        return self

    @classmethod
    def _alias(cls, array: np.ndarray, leaf: Tensor) -> Tensor:
        """A leaf's place on the tape, with the values it had: how a recorded backward pass meets a copied input."""
        return OPS["alias"](leaf, values=array)

    # ---- the array ----

    @property
    def data(self) -> np.ndarray:
        """The array itself. Assigning it, `x.data -= a` included, is noticed by the tape; `x.data[...] = a` is not."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is self._data:  # how Python ends `x.data -= a`
            memory.written(value, "an update of .data")
            return
        if isinstance(value, Tensor):
            array = value._data
        else:
            array = plain_array("data", value) if isinstance(value, np.ndarray) else np.asarray(value, self.dtype)
        if self._node is not None and (array.shape, array.dtype) != (self.shape, self.dtype):
            raise ShapeError(
                f"data: a computed Tensor of shape {self.shape} and dtype {self.dtype} can not become "
                f"{array.shape} {array.dtype}"
            )
        if self._requires_grad and array.dtype.kind != "f":
            raise TypeError(f"data: a Tensor that requires grad needs a floating dtype, got {array.dtype}")
        if array.shape != self.shape:
            memory.reshaped(self)
        self._data = array
        self._rebound = memory.tick()

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # declared as an attribute for the mixin
        """The length of each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:  # type: ignore[override]  # as above
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:  # type: ignore[override]  # as above
        """The number of elements; an attribute as in NumPy. `x.shape` is what PyTorch's `x.size()` gives."""
        return Size(self._data.size)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]  # as above
        """The elements' dtype."""
        return self._data.dtype

    def numpy(self) -> np.ndarray:
        """A read-only view of the array; `x.data` is the writable array itself."""
        view = self._data.view()
        view.flags.writeable = False
        return view

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item: only a Tensor of one element has a value, the shape is {self.shape}")
        return self._data.item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same memory without the history: a constant."""
        return Tensor._wrap(self._data, None)

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d Tensor")
        return len(self._data)

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(
                f"the truth value of a Tensor of shape {self.shape} is ambiguous; use x.any(), x.all(), or `is None`"
            )
        return bool(self._data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self._data.__index__()

    def __contains__(self, value: Any) -> bool:
        return bool((self._data == (value._data if isinstance(value, Tensor) else value)).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self._data.size == 1 else format(repr(self), spec)

    def __repr__(self) -> str:
        body = np.array2string(self._data, separator=", ", prefix="tensor(", threshold=200, edgeitems=3)
        facts = [body]
        if self.size == 0:
            facts = [f"shape={self.shape}"]
        if self.dtype not in (get_default_dtype(), np.dtype("int64"), np.dtype("bool")):
            facts.append(f"dtype={self.dtype}")
        if self.name:
            facts.append(f"name={self.name!r}")
        if self._node is not None:
            facts.append(f"grad_fn={self._node.op.name}")
        elif self._requires_grad:
            facts.append("requires_grad=True")
        return f"tensor({', '.join(facts)})"

    # ---- gradients ----

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it: it is a leaf that asked for one, or was computed from one."""
        return self._requires_grad or self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient (or no longer), in place; returns itself."""
        if self._node is not None:
            if not requires_grad:
                raise TapeError("requires_grad_: only a leaf can stop asking for its gradient; use x.detach()")
            return self
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: only floating Tensors have gradients, the dtype is {self.dtype}; use "
                "x.astype('float32')"
            )
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was given rather than computed on the tape."""
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The tape's node that computed it; None for a leaf."""
        return self._node

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward accumulated, a Tensor of the same shape and dtype, or None."""
        if self._grad is None and self._node is not None and self._node.retained is None:
            warnings.warn(
                f"grad: this Tensor was computed by {self._node.op.name!r}, so its gradient is not kept; call "
                "x.retain_grad() before backward, or use tc.grad(loss, x)",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ShapeError(
                    f"grad: must have the Tensor's shape {self.shape} and dtype {self.dtype}, "
                    f"got {value.shape} {value.dtype}"
                )
        self._grad = value

    def backward(
        self,
        gradient: Any = None,
        *,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | Tensor | None = None,
    ) -> None:
        """Add d(self)/d(leaf), weighted by `gradient`, to the `.grad` of every leaf, or of `inputs` only.

        `gradient` has this Tensor's shape and may be left out for one element. The saved arrays are freed unless
        `retain_graph`. With `create_graph` the gradients are themselves on the tape; that makes the one reference
        cycle of the engine (leaf, gradient, graph, leaf), which `tc.grad` avoids.

        Raises TapeError if the graph was freed or memory it needs was overwritten; then no `.grad` has changed.
        """
        gradients.backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep this Tensor's gradient in `.grad` at the next backward, although it is not a leaf."""
        if self._node is not None:
            self._node.retained = weakref.ref(self)
        elif not self._requires_grad:
            raise TapeError("retain_grad: this Tensor requires no gradient; create it with requires_grad=True")

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> hooks.HookHandle:
        """Call `hook(gradient)` in every backward; what it returns, if not None, replaces the gradient."""
        if not self.requires_grad:
            raise TapeError("register_hook: this Tensor requires no gradient, so the hook would never be called")
        return hooks.register_hook(self, hook)

    def _write(self, name: str, *args: Any, **options: Any) -> Tensor:
        return writing.write(self, name, args, options)

    # ---- NumPy, copying ----

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != self.dtype:
            if copy is False:
                raise ValueError(f"a view of dtype {dtype} can not be had without copying from {self.dtype}")
            return self._data.astype(dtype)
        return self._data.copy() if copy else self.numpy()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return numpy_protocols.call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return numpy_protocols.call_function(function, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        self._only_leaf("deepcopy")
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy.__setstate__((self._data.copy("K"), self._requires_grad, self.name))
        if self._grad is not None:
            copy._grad = Tensor(self._grad._data.copy("K"))
        return copy

    def __reduce__(self) -> Any:
        self._only_leaf("copy or pickle")
        return (object.__new__, (type(self),), (self._data, self._requires_grad, self.name))

    def __setstate__(self, state: tuple[np.ndarray, bool, str | None]) -> None:
        self._data, self._requires_grad, self.name = state
        self._node = self._grad = self._hooks = None
        self._rebound = 0

    def _only_leaf(self, what: str) -> None:
        if self._node is not None:
            raise TapeError(
                f"{what}: this Tensor was computed by {self._node.op.name!r} and would drag its whole history along; "
                "use x.detach()"
            )

    def __getattr__(self, name: str) -> NoReturn:
        raise attribute_error(name, dir(type(self)))


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """Make a Tensor: Python floats get the default dtype, arrays keep theirs (and their memory).

    >>> tensor([1.5, 2.0])
    tensor([1.5, 2. ])
    >>> tensor(np.arange(3))
    tensor([0, 1, 2])
    """
    return Tensor(data, dtype, requires_grad, name)


def _as_array(data: Any, dtype: Any) -> np.ndarray:
    if isinstance(data, Tensor):
        array = data._data
    elif isinstance(data, np.ndarray):
        array = plain_array("tensor", data)
    else:
        if isinstance(data, list | tuple):
            data = _without_tensors(data)
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ShapeError(f"tensor: rows of different lengths do not make an array ({error})") from None
        if dtype is None and array.dtype.kind == "f" and not hasattr(data, "__array__") and not _holds_numpy(data):
            dtype = get_default_dtype()
    if dtype is not None:
        with np.errstate(all="ignore"):  # what is too large becomes inf, as in every operation
            array = array.astype(as_dtype("tensor", dtype), copy=False)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"tensor: needs numbers or booleans, got dtype {array.dtype} from {type(data).__name__}")
    return array


def _without_tensors(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return [_without_tensors(d) for d in data]
    return data._data if isinstance(data, Tensor) else data


def _holds_numpy(data: Any) -> bool:
    """Whether a nest of lists holds arrays, which keep their dtype, rather than Python numbers."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, np.ndarray | np.generic)
