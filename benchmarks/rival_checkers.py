"""Gradient checkers side by side, each in float64, at first and second order, as its documentation says.

Each takes a call of an op (`Checked`) and returns whether it accepts it. An exception of the checker's own kind is a
refusal; any other exception is passed on.

Every wrapper has the op's gradient as the rival's own kind of rule, and the gradient of that gradient as another, so
that the rival differentiates twice. PyTorch's and autograd's go back over one recorded forward pass again and again,
as an op of theirs would.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.checked import Checked
from tinygrad_cnn import testing
from tinygrad_cnn.core.tensor import Tensor

Checker = Callable[[Checked], bool]


def ours(call: Checked) -> bool:
    """`gradcheck`, then `gradgradcheck`; with what the registered op is known to be."""
    arguments = [Tensor(x, requires_grad=True) if i in call.wanted else x for i, x in enumerate(call.given)]
    function, kwargs = call.spec.function, call.case.kwargs
    if not testing.gradcheck(function, arguments, kwargs=kwargs, raise_=False).ok:
        return False
    second = call.spec.supports_gradgrad
    return not second or testing.gradgradcheck(function, arguments, kwargs=kwargs, raise_=False).ok


def torch_slow(call: Checked) -> bool:
    """`torch.autograd.gradcheck` and `gradgradcheck`: every element of the Jacobian."""
    return _torch(call, fast_mode=False)


def torch_fast(call: Checked) -> bool:
    """The same with `fast_mode=True`: along one random direction."""
    return _torch(call, fast_mode=True)


def _torch(call: Checked, fast_mode: bool) -> bool:
    import torch
    from torch.autograd import Function
    from torch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck

    class Forward(Function):
        @staticmethod
        def forward(ctx: Any, *points: Any) -> Any:
            ctx.graph = call.graph(*(x.detach().numpy() for x in points))
            ctx.save_for_backward(*points)
            return torch.from_numpy(ctx.graph.y)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return Backward.apply(ctx.graph, g, *ctx.saved_tensors)

    class Backward(Function):
        @staticmethod
        def forward(ctx: Any, graph: Any, g: Any, *points: Any) -> Any:
            ctx.save_for_backward(g, *points)
            found = tuple(map(torch.from_numpy, graph.pull(g.detach().numpy())))
            return found if len(found) > 1 else found[0]

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            g, *points = (t.detach().numpy() for t in ctx.saved_tensors)
            found = call.second(points, g, [u.numpy() for u in upstream])
            return None, torch.from_numpy(found[-1]), *map(torch.from_numpy, found[:-1])

    # What fast mode refuses is checked again in slow mode, for the message alone: gigabytes for a convolution.
    module = importlib.import_module("torch.autograd.gradcheck")
    torch.manual_seed(0)
    points = tuple(torch.from_numpy(np.array(x)).requires_grad_() for x in call.points)
    with patch.object(module, "_run_slow_mode_and_get_error", return_value=""):
        try:
            gradcheck(Forward.apply, points, fast_mode=fast_mode)
            if call.spec.supports_gradgrad:
                gradgradcheck(Forward.apply, points, fast_mode=fast_mode)
        except GradcheckError:
            return False
    return True


def jax_check_grads(call: Checked) -> bool:
    """`jax.test_util.check_grads`, mode "rev" (a custom_vjp has no other), orders 1 and 2, with `jax_enable_x64`.

    The rules run eagerly on the host, which is what `pure_callback` would do under `jit`.
    """
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)

    def on_host(function: Callable[..., Any], *arrays: Any) -> Any:
        found = function(*(np.array(a) for a in arrays))
        return tuple(map(jnp.asarray, found)) if isinstance(found, list) else jnp.asarray(found)

    @jax.custom_vjp
    def forward(*points: Any) -> Any:
        return on_host(call.value, *points)

    @jax.custom_vjp
    def backward(g: Any, *points: Any) -> Any:
        return on_host(lambda g, *points: call.graph(*points).pull(g), g, *points)

    def twice(saved: Any, upstream: Any) -> Any:
        *_, dg = found = on_host(lambda g, *rest: call.second(rest[: len(saved) - 1], g, rest[len(saved) - 1 :]),
                                 *saved, *upstream)  # fmt: skip
        return dg, *found[:-1]

    backward.defvjp(lambda g, *points: (backward(g, *points), (g, *points)), twice)
    forward.defvjp(lambda *points: (forward(*points), points), lambda points, g: backward(g, *points))
    try:
        check_grads(forward, tuple(call.points), order=2 if call.spec.supports_gradgrad else 1, modes=("rev",))
    except AssertionError:
        return False
    return True


def autograd_check_grads(call: Checked) -> bool:
    """HIPS `autograd.test_util.check_grads`, mode "rev" (a primitive with a vjp has no other), orders 1 and 2."""
    import autograd.numpy as anp
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads
    from autograd.tracer import getval, isbox

    def raw(x: Any) -> np.ndarray:
        return raw(getval(x)) if isbox(x) else np.asarray(x, np.float64)

    @primitive
    def forward(*points: Any) -> Any:
        return call.value(*map(raw, points))

    def maker(argnums: Any, ans: Any, points: Any, kwargs: Any) -> Any:
        graph = call.graph(*map(raw, points))
        ends = np.cumsum([0, *(np.size(x) for x in call.points)])

        @primitive
        def backward(g: Any, *points: Any) -> Any:
            return np.concatenate([np.ravel(d) for d in graph.pull(raw(g))])

        def twice(argnums: Any, ans: Any, arguments: Any, kwargs: Any) -> Any:
            def pulled(upstream: Any) -> Any:
                parts = np.split(raw(upstream), ends[1:-1])
                g, *points = map(raw, arguments)
                *dx, dg = call.second(points, g, [u.reshape(x.shape) for u, x in zip(parts, points, strict=True)])
                return [(dg, *dx)[i] for i in argnums]

            return pulled

        def pull(g: Any) -> Any:
            flat = backward(g, *points)
            return [anp.reshape(flat[ends[i] : ends[i + 1]], np.shape(call.points[i])) for i in argnums]

        defvjp_argnums(backward, twice)
        return pull

    defvjp_argnums(forward, maker)
    np.random.seed(0)  # noqa: NPY002  (where the checker takes its directions from)
    order = 2 if call.spec.supports_gradgrad else 1
    try:
        check_grads(forward, tuple(range(len(call.points))), modes=["rev"], order=order)(*map(np.array, call.points))
    except AssertionError:
        return False
    return True


CHECKERS: dict[str, Checker] = {
    "ours": ours,
    "torch slow": torch_slow,
    "torch fast": torch_fast,
    "jax": jax_check_grads,
    "autograd": autograd_check_grads,
}
