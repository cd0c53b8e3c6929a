"""Pools with every option, ties, infinities and NaN; adaptive, global and inverse pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as TF

import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick, same
from parity.layouts import LAYOUTS


def _options(rng: np.random.Generator, d: int, dilated: bool) -> tuple[tuple[int, ...], dict[str, Any]] | None:
    """A size and the options of a pool of it; None if PyTorch refuses them."""
    size = tuple(int(n) for n in rng.integers(1, 10 if d < 3 else 6, d))
    kernel, stride = (tuple(int(n) for n in rng.integers(1, 4, d)) for _ in range(2))
    dilation = tuple(int(n) for n in rng.integers(1, 3, d)) if dilated else (1,) * d
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    extents = [s * (k - 1) + 1 for k, s in zip(kernel, dilation, strict=True)]
    if any(e > n + 2 * p for e, n, p in zip(extents, size, padding, strict=True)):
        return None
    options: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": padding}
    if len(set(kernel)) == 1 and rng.random() < 0.5:
        options["kernel_size"] = kernel[0]
    if rng.random() < 0.2:
        options["stride"] = None
    return size, options | ({"dilation": dilation} if dilated else {}) | {"ceil_mode": bool(rng.integers(2))}


def _array(rng: np.random.Generator, *shape: int, ties: bool) -> np.ndarray:
    x = rng.integers(-2, 3, shape).astype(float) if ties else normal(rng, *shape)
    return LAYOUTS[pick(rng, list(LAYOUTS))](x)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("part", range(2))
@cases(120)
def test_max_pool(rng: np.random.Generator, d: int, part: int) -> None:
    """Values, gradients and winners, which are the first in row-major order."""
    drawn = _options(rng, d, dilated=True)
    if drawn is None:
        return
    size, options = drawn
    x = _array(rng, int(rng.integers(1, 3)), int(rng.integers(1, 4)), *size, ties=rng.random() < 0.5)
    name = f"max_pool{d}d"
    if max(options["dilation"]) > 1 and not _windows_meet_pixels(d, size, options):
        return  # refused here; there the winner is at index -1 or so
    agree(*same(name, **options), x)
    agree(lambda x: getattr(F, name)(x, **options, return_indices=True),
          lambda t: tuple(getattr(TF, name)(t, **options, return_indices=True)), x)  # fmt: skip


def _windows_meet_pixels(d: int, size: tuple[int, ...], options: dict[str, Any]) -> bool:
    """Whether each window of a dilated pool holds a pixel of the image along each axis."""
    kernel = options["kernel_size"] if isinstance(options["kernel_size"], tuple) else (options["kernel_size"],) * d
    stride = options["stride"] or kernel
    for n, k, s, p, e in zip(size, kernel, stride, options["padding"], options["dilation"], strict=True):
        for start in range(-p, n + p, s):
            inside = any(0 <= start + i * e < n for i in range(k))
            fits = start + e * (k - 1) < n + p or (options["ceil_mode"] and start < n)
            if fits and not inside:
                return False
    return True


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("part", range(2))
@cases(120)
def test_avg_pool(rng: np.random.Generator, d: int, part: int) -> None:
    drawn = _options(rng, d, dilated=False)
    if drawn is None:
        return
    size, options = drawn
    options["count_include_pad"] = bool(rng.integers(2))
    if d == 3 and any(np.greater(options["kernel_size"], size)):
        return  # allowed here, and there in two dimensions
    x = _array(rng, int(rng.integers(1, 3)), int(rng.integers(1, 4)), *size, ties=False)
    name = f"avg_pool{d}d"
    if d > 1 and rng.random() < 0.3:
        options["divisor_override"] = int(rng.integers(1, 9))
    agree(lambda x: getattr(F, name)(x, **options) ** 2, lambda t: getattr(TF, name)(t, **options) ** 2, x)


@cases(120)
def test_max_pool_of_special_values(rng: np.random.Generator) -> None:
    """NaN counts as largest, -inf as any number: padding never wins against it.

    One NaN in an image, for of several the first wins here and the last there.
    """
    drawn = _options(rng, 2, dilated=False)
    if drawn is None:
        return
    size, options = drawn
    x = rng.choice([-np.inf, np.inf, -0.0, 0.0, -1.0, 1.0], (2, 2, *size), p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    x[:, :, int(rng.integers(size[0])), int(rng.integers(size[1]))] = pick(rng, [np.nan, -np.inf])
    if rng.random() < 0.3:
        x[:] = -np.inf
    agree(lambda x: F.max_pool2d(x, **options, return_indices=True),
          lambda t: tuple(TF.max_pool2d(t, **options, return_indices=True)), x)  # fmt: skip


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pools_of_networks(kind: str, layout: str) -> None:
    """Disjoint, overlapping, global; single precision too."""
    x = LAYOUTS[layout](normal(np.random.default_rng(0), 2, 5, 12, 10))
    for options in ((2,), (3, 2, 1), ((12, 10),), (1,), (2, 3), (3, 1, 1)):
        ours, theirs = same(f"{kind}_pool2d", *options)
        agree(lambda x: ours(x) ** 2, lambda t: theirs(t) ** 2, x)  # noqa: B023
        agree(ours, theirs, x.astype(np.float32), rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
@cases(40)
def test_adaptive(rng: np.random.Generator, d: int) -> None:
    x = _array(rng, 2, 3, *rng.integers(1, 9 if d < 3 else 6, d), ties=rng.random() < 0.5)
    each: tuple[int | None, ...] = tuple(int(n) for n in rng.integers(1, 7 if d < 3 else 5, d))
    if d > 1 and rng.random() < 0.3:
        each = (None, *each[1:])
    size = each if rng.random() < 0.7 and d > 1 else int(rng.integers(1, 6))
    for kind in ("avg", "max"):
        ours, theirs = same(f"adaptive_{kind}_pool{d}d", size)
        agree(lambda x: ours(x) ** 2, lambda t: theirs(t) ** 2, x)  # noqa: B023


@cases(20)
def test_global(rng: np.random.Generator) -> None:
    x = _array(rng, 2, 3, *rng.integers(1, 6, rng.integers(1, 4)), ties=rng.random() < 0.5)
    axes = tuple(range(2, x.ndim))
    agree(lambda x: F.global_avg_pool(x) ** 2, lambda t: t.mean(axes) ** 2, x)
    agree(lambda x: F.global_avg_pool(x, keepdims=True), lambda t: t.mean(axes, keepdim=True), x)
    pool = {3: TF.adaptive_max_pool1d, 4: TF.adaptive_max_pool2d, 5: TF.adaptive_max_pool3d}[x.ndim]
    agree(lambda x: F.global_max_pool(x, keepdims=True) ** 2, lambda t: pool(t, 1) ** 2, x)
    agree(lambda x: F.global_max_pool(x), lambda t: pool(t, 1).flatten(1), x)


@cases(60)
def test_max_unpool(rng: np.random.Generator) -> None:
    """Of disjoint windows; overlapping ones write twice, and PyTorch does not say which write stays."""
    kernel = tuple(int(n) for n in rng.integers(1, 4, 2))
    x = _array(rng, 2, 2, *(k * int(n) for k, n in zip(kernel, rng.integers(1, 4, 2), strict=True)), ties=False)
    agree(lambda x: F.max_unpool2d(*F.max_pool2d(x, kernel, return_indices=True), kernel) ** 2,
          lambda t: TF.max_unpool2d(*TF.max_pool2d(t, kernel, return_indices=True), kernel) ** 2, x)  # fmt: skip
    size = tuple(n + min(1, k - 1) for n, k in zip(x.shape[2:], kernel, strict=True))
    agree(lambda x: F.max_unpool2d(*F.max_pool2d(x, kernel, return_indices=True), kernel, output_size=size),
          lambda t: TF.max_unpool2d(*TF.max_pool2d(t, kernel, return_indices=True), kernel, output_size=size),
          x)  # fmt: skip
