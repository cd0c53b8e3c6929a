"""Functions of functions: gradients, and products with Jacobians and Hessians, of any function of Tensors.

In the words of JAX and `torch.func`. None of these touches any `.grad`. They nest: the gradient of a gradient is
right, and what a function reaches through its closure can be differentiated from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.gradients import grad as _gradients
from tinygrad_cnn.core.tape import Node
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.shape import stack

Function = Callable[..., Any]
Arguments = int | Sequence[int]


def grad(f: Function, argnums: Arguments = 0) -> Function:
    """The function that gives df/dx for f's arguments at `argnums`; f must return one number.

    It returns a Tensor, or a tuple of them if `argnums` is a sequence; zeros for what f does not depend on.

    >>> import tinygrad_cnn as tc
    >>> cube = lambda x: x**3
    >>> tc.func.grad(tc.func.grad(cube))(tc.tensor(2.0))
    tensor(12.)
    """
    with_value = value_and_grad(f, argnums)
    return lambda *xs: with_value(*xs)[1]


def value_and_grad(f: Function, argnums: Arguments = 0) -> Function:
    """As `grad`, but returns the pair (f(*xs), gradient).

    >>> import tinygrad_cnn as tc
    >>> tc.func.value_and_grad(lambda x: (x * x).sum())(tc.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """

    def evaluated(*xs: Any) -> tuple[Tensor, Any]:
        recording = tape.is_grad_enabled()
        with tape.enable_grad():
            args, inputs = _fresh(xs, argnums)
            y = _tensor("grad", f(*args))
            if y.size != 1:
                raise ShapeError(f"grad: the function must return one number, it returned a Tensor of shape {y.shape}")
            outside = recording and _reaches_outside([y], inputs)
            gradients = _pulled(y, None, inputs, outside)
        return _released(y, outside), gradients[0] if isinstance(argnums, int) else tuple(gradients)

    return evaluated


def vjp(f: Function, *xs: Any) -> tuple[Tensor, Callable[[Any], tuple[Tensor, ...]]]:
    """(f(*xs), the function that takes u and returns uᵀJ, one Tensor per argument); call it as often as you like.

    >>> import tinygrad_cnn as tc
    >>> y, pull = tc.func.vjp(lambda x: x * x, tc.tensor([1.0, 2.0]))
    >>> pull(tc.tensor([1.0, 10.0]))
    (tensor([ 2., 40.]),)
    """
    recording = tape.is_grad_enabled()
    with tape.enable_grad():
        args, inputs = _fresh(xs, range(len(xs)))
        y = _tensor("vjp", f(*args))
    outside = recording and _reaches_outside([y], inputs)

    def pull(u: Any) -> tuple[Tensor, ...]:
        u = u if isinstance(u, Tensor) else Tensor(u, dtype=y.dtype)
        _same_shape("vjp", "u", u, y)
        return tuple(_pulled(y, u, inputs, outside or u.requires_grad, keep=True))

    return _released(y, outside), pull


def jvp(f: Function, xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """(f(*xs), Jv): the derivative of f at xs in direction vs, by two reverse passes (u -> uᵀJ is linear in u).

    >>> import tinygrad_cnn as tc
    >>> tc.func.jvp(lambda x: x * x, (tc.tensor([1.0, 2.0]),), (tc.tensor([1.0, 10.0]),))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    xs, vs = _tuple("jvp", "xs", xs), _directions("jvp", xs, vs)
    recording = tape.is_grad_enabled()
    with tape.enable_grad():
        args, inputs = _fresh(xs, range(len(xs)))
        y = _tensor("jvp", f(*args))
        outside = recording and _reaches_outside([y, *vs], inputs)
        if not y.requires_grad:
            return y, Tensor(np.zeros_like(y.data))
        u = Tensor(np.ones_like(y.data), requires_grad=True)
        pulled = _pulled(y, u, inputs, True)
        product = _dot(pulled, vs)
        (push,) = _pulled(product, None, [u], outside) if product.requires_grad else _zeros([u])
    return _released(y, outside), push


def hvp(f: Function, xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Tensor, Any]:
    """(f(*xs), Hv): the Hessian of a function that returns one number, times vs; one Tensor per argument.

    With a single argument the product is a Tensor, else a tuple.

    >>> import tinygrad_cnn as tc
    >>> tc.func.hvp(lambda x: (x**3).sum(), (tc.tensor([1.0, 2.0]),), (tc.tensor([1.0, 1.0]),))
    (tensor(9.), tensor([ 6., 12.]))
    """
    xs, vs = _tuple("hvp", "xs", xs), _directions("hvp", xs, vs)
    recording = tape.is_grad_enabled()
    with tape.enable_grad():
        args, inputs = _fresh(xs, range(len(xs)))
        y = _tensor("hvp", f(*args))
        if y.size != 1:
            raise ShapeError(f"hvp: the function must return one number, it returned a Tensor of shape {y.shape}")
        outside = recording and _reaches_outside([y, *vs], inputs)
        product = _dot(_pulled(y, None, inputs, True), vs)
        found = _pulled(product, None, inputs, outside) if product.requires_grad else _zeros(inputs)
    return _released(y, outside), found[0] if len(found) == 1 else tuple(found)


def jacobian(f: Function, argnums: Arguments = 0) -> Function:
    """The function that gives the Jacobian, of shape y.shape + x.shape, one row at a time.

    It returns a Tensor, or a tuple of them if `argnums` is a sequence.

    >>> import tinygrad_cnn as tc
    >>> tc.func.jacobian(lambda x: x * x)(tc.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    def evaluated(*xs: Any) -> Any:
        recording = tape.is_grad_enabled()
        with tape.enable_grad():
            args, inputs = _fresh(xs, argnums)
            y = _tensor("jacobian", f(*args))
            outside = recording and _reaches_outside([y], inputs)
            rows = []
            for i in range(y.size):
                u = np.zeros(y.size, y.dtype)
                u[i] = 1
                rows.append(_pulled(y, Tensor(u.reshape(y.shape)), inputs, outside, keep=True))
            jacobians = [
                stack([row[k] for row in rows]).reshape(y.shape + x.shape)
                if rows
                else Tensor(np.zeros(y.shape + x.shape, x.dtype))
                for k, x in enumerate(inputs)
            ]
        return jacobians[0] if isinstance(argnums, int) else tuple(jacobians)

    return evaluated


def hessian(f: Function, argnums: int = 0) -> Function:
    """The function that gives the matrix of second derivatives, of shape x.shape + x.shape; f returns one number.

    >>> import tinygrad_cnn as tc
    >>> tc.func.hessian(lambda x: (x**3).sum())(tc.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacobian(grad(f, argnums), argnums)


# ---- helpers ---------------------------------------------------------------------------------------------------


def _fresh(xs: Sequence[Any], argnums: Arguments) -> tuple[list[Any], list[Tensor]]:
    """The arguments, and those to differentiate as new Tensors on the tape of wherever they came from."""
    args = list(xs)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for i in positions:
        if not -len(args) <= i < len(args):
            raise ValueError(f"argnums: there is no argument {i}; the function was given {len(args)}")
        x = args[i] if isinstance(args[i], Tensor) else Tensor(args[i])
        args[i] = x.clone() if x.requires_grad else x.detach().requires_grad_()
    return args, [args[i] for i in positions]


def _reaches_outside(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether a leaf other than the fresh inputs lies below: then somebody may differentiate the result once more."""
    if any(x.grad_fn is not None for x in inputs):
        return True
    stack = [y.grad_fn if y.grad_fn is not None else y for y in outputs if y.requires_grad]
    seen: set[Node] = set()
    while stack:
        place = stack.pop()
        if not isinstance(place, Node):
            if not any(place is x for x in inputs):
                return True
        elif place not in seen:
            seen.add(place)
            stack.extend(p for p in place.parents if p is not None)
    return False


def _pulled(y: Tensor, u: Tensor | None, inputs: Sequence[Tensor], create: bool, keep: bool = False) -> list[Tensor]:
    if not y.requires_grad:
        return _zeros(inputs)
    found = _gradients(y, inputs, u, create_graph=create, retain_graph=create or keep, allow_unused=True)
    return [z if g is None else g for g, z in zip(found, _zeros(inputs), strict=True)]


def _zeros(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [Tensor(np.zeros_like(x.data)) for x in inputs]


def _dot(gradients: Sequence[Tensor], vs: Sequence[Tensor]) -> Tensor:
    total = Tensor(np.zeros((), gradients[0].dtype))
    for g, v in zip(gradients, vs, strict=True):
        total = total + (g * v).sum()
    return total


def _released(y: Tensor, outside: bool) -> Tensor:
    """The value; off the tape if nobody outside can ask for its gradient."""
    return y if outside else y.detach()


def _tensor(name: str, y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(f"{name}: the function must return a Tensor, it returned {type(y).__name__}")
    return y


def _tuple(name: str, role: str, xs: Any) -> tuple[Any, ...]:
    if not isinstance(xs, list | tuple):
        raise TypeError(f"{name}: {role} must be a tuple with one entry per argument, got {type(xs).__name__}")
    return tuple(xs)


def _directions(name: str, xs: Sequence[Any], vs: Any) -> tuple[Tensor, ...]:
    vs = _tuple(name, "vs", vs)
    if len(vs) != len(xs):
        raise ValueError(f"{name}: {len(vs)} directions for {len(xs)} arguments; give one each")
    tensors = []
    for i, (x, v) in enumerate(zip(xs, vs, strict=True)):
        x = x if isinstance(x, Tensor) else Tensor(x)
        v = v if isinstance(v, Tensor) else Tensor(v, dtype=x.dtype)
        _same_shape(name, f"vs[{i}]", v, x)
        tensors.append(v)
    return tuple(tensors)


def _same_shape(name: str, role: str, u: Tensor, like: Tensor) -> None:
    if u.shape != like.shape:
        raise ShapeError(f"{name}: {role} has shape {u.shape}, but needs {like.shape}")
