"""Hold a function of ours against PyTorch's: its values, its gradients, and the gradients of those."""

from __future__ import annotations

import functools
import inspect
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F


def agree(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *inputs: np.ndarray,
    order: int = 2,
    rtol: float = 1e-11,
    elementwise: bool = False,
    precision: torch.dtype = torch.float64,
) -> None:
    """Raise AssertionError unless both functions give the same outputs, and the same gradients up to an order.

    Floating inputs get gradients, with a random integer upstream gradient that gets one too; the second order is that
    of the sum of the squared first gradients, and so on. The first order is taken twice, recorded and not, for these
    are different rules here. Errors are measured against the largest number of the array, or `elementwise` against
    each number. PyTorch computes in float64 unless another precision is given, so float32 inputs measure rounding.
    """
    inputs = tuple(map(np.asarray, inputs))
    xs = [tc.tensor(a, requires_grad=a.dtype.kind == "f") for a in inputs]
    ts = [_torch(a, precision) for a in inputs]
    before = [a.copy() for a in inputs]
    close = functools.partial(_close, rtol=rtol, elementwise=elementwise)
    with warnings.catch_warnings():
        ys = _listed(ours(*xs))
        warnings.simplefilter("ignore")  # PyTorch's, about the variance of one number and the like
        zs = _listed(theirs(*ts))
    if len(ys) != len(zs):
        raise AssertionError(f"{len(ys)} outputs, PyTorch gives {len(zs)}")
    for i, (y, z) in enumerate(zip(ys, zs, strict=True)):
        close(f"output {i}", y, z)
        if order and y.requires_grad != z.requires_grad:
            raise AssertionError(f"output {i}: requires_grad is {y.requires_grad}, PyTorch's {z.requires_grad}")
    rng = np.random.default_rng(zlib.crc32(b"".join(a.tobytes() for a in inputs)))
    for k in range(1, order + 1):
        floating = [i for i, y in enumerate(ys) if y.dtype.kind == "f"]
        upstream = [_upstream(rng, ys[i]) for i in floating]
        us, vs = [tc.tensor(u, requires_grad=True) for u in upstream], [_torch(u, precision) for u in upstream]
        xs, ts = [x for x in xs if x.requires_grad], [t for t in ts if t.requires_grad]
        dxs = _our_gradients([ys[i] for i in floating], xs, us)
        dts = _their_gradients([zs[i] for i in floating], ts, vs)
        for i, (x, (dx, recorded), dt) in enumerate(zip(xs, dxs, dts, strict=True)):
            close(f"order {k}, gradient {i}", dx, dt, dtype=x.dtype)
            close(f"order {k}, recorded gradient {i}", recorded, dt, dtype=x.dtype)
        xs, ts = xs + us, ts + vs
        ys, zs = [sum((dx * dx).sum() for _, dx in dxs)], [sum((dt * dt).sum() for dt in dts)]
        if not xs or isinstance(ys[0], int):
            break
    for a, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(a, b, "an input was changed")


def same(name: str, *options: Any, **keywords: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function of one name in both functional modules, with the same options after the inputs."""

    def bound(module: Any) -> Callable[..., Any]:
        return lambda *inputs: getattr(module, name)(*inputs, *options, **keywords)

    return bound(F), bound(TF)


def cases(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with `count` random generators as its first argument; a failure names the one it failed on."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def run(**fixtures: Any) -> None:
            named = f"{test.__name__}, {fixtures}"
            for i in range(count):
                try:
                    test(np.random.default_rng((zlib.crc32(named.encode()), i)), **fixtures)
                except Exception as error:
                    error.add_note(f"case {i} of {named}")
                    raise

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        signature = inspect.signature(test)
        run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]  # read by pytest
        return run

    return decorate


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers around 0."""
    return np.asarray(rng.normal(0.0, scale, shape))


def pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of several, as it is (`rng.choice` would make an array of them)."""
    return options[int(rng.integers(len(options)))]


# ---- both sides ------------------------------------------------------------------------------------------------


def _torch(array: np.ndarray, precision: torch.dtype) -> torch.Tensor:
    """The same numbers in memory of their own."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(precision).requires_grad_() if array.dtype.kind == "f" else tensor


def _upstream(rng: np.random.Generator, y: tc.Tensor) -> np.ndarray:
    """Small integers, not all of them 0."""
    u = np.asarray(rng.integers(-3, 4, y.shape), y.dtype)
    return u if u.any() else u + np.asarray(2, y.dtype)


def _our_gradients(ys: list[tc.Tensor], xs: list[tc.Tensor], us: list[tc.Tensor]) -> list[tuple[tc.Tensor, tc.Tensor]]:
    """By the rules on arrays and by the recorded rules; zeros where nothing depends."""
    pairs = [(y, u) for y, u in zip(ys, us, strict=True) if y.requires_grad]
    if not pairs or not xs:
        return [(tc.zeros_like(x), tc.zeros_like(x)) for x in xs]
    roots, weights = [y for y, _ in pairs], [u for _, u in pairs]
    bare = tc.grad(roots, xs, weights, retain_graph=True, allow_unused=True)
    recorded = tc.grad(roots, xs, weights, create_graph=True, allow_unused=True)
    zeros = [tc.zeros_like(x) for x in xs]
    return [(z if b is None else b, z if r is None else r) for b, r, z in zip(bare, recorded, zeros, strict=True)]


def _their_gradients(ys: list[torch.Tensor], xs: list[torch.Tensor], us: list[torch.Tensor]) -> list[torch.Tensor]:
    pairs = [(y, u) for y, u in zip(ys, us, strict=True) if y.requires_grad]
    if not pairs or not xs:
        return [torch.zeros_like(x) for x in xs]
    roots, weights = [y for y, _ in pairs], [u for _, u in pairs]
    found = torch.autograd.grad(roots, xs, weights, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if d is None else d for d, x in zip(found, xs, strict=True)]


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _close(
    what: str, ours: tc.Tensor, theirs: torch.Tensor, *, rtol: float, elementwise: bool, dtype: Any = None
) -> None:
    a, b = ours.data, theirs.detach().numpy(force=True)
    if a.shape != b.shape:
        raise AssertionError(f"{what}: shape {a.shape}, PyTorch's {b.shape}")
    if dtype is not None and a.dtype != dtype:
        raise AssertionError(f"{what}: dtype {a.dtype}, the input's is {dtype}")
    if a.dtype.kind != b.dtype.kind:
        raise AssertionError(f"{what}: dtype {a.dtype}, PyTorch's {b.dtype}")
    if a.dtype.kind != "f":
        wrong = a != b
    else:
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        size = np.abs(b) if elementwise else np.abs(b[np.isfinite(b)]).max(initial=1.0)
        with np.errstate(invalid="ignore", over="ignore"):
            same = np.where(finite, np.abs(a - b) <= rtol * size, (a == b) | (np.isnan(a) & np.isnan(b)))
        wrong = ~same
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} differ; at {first} of {a.shape} ours is {a[first]!r}, "
            f"PyTorch's {b[first]!r}"
        )
