"""Convolutions in one to three dimensions, transposed too: every option at random, every spelling of padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tinygrad_cnn.functional as F
from parity.agreement import agree, cases, normal, pick, same
from parity.layouts import LAYOUTS

Lengths = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
BORDERS = ("zeros", "reflect", "replicate", "circular")


def _lengths(rng: np.random.Generator, d: int, low: int, high: int) -> Lengths:
    return tuple(int(n) for n in rng.integers(low, high + 1, d))


def _laid_out(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return LAYOUTS[pick(rng, list(LAYOUTS))](normal(rng, *shape))


def _padding(
    rng: np.random.Generator, size: Lengths, kernel: Lengths, stride: Lengths, dilation: Lengths
) -> tuple[Any, Pairs]:
    """One spelling of padding, and what it means: (before, after) for each axis."""
    d = len(size)
    extent = tuple(s * (k - 1) + 1 for k, s in zip(kernel, dilation, strict=True))
    kind = pick(rng, ["int", "each", "pairs", "valid", "same", "same_lower", "full"])
    if kind == "int":
        p = int(rng.integers(0, 3))
        return p, ((p, p),) * d
    if kind == "each":
        each = _lengths(rng, d, 0, 3)
        return each, tuple((p, p) for p in each)
    if kind == "pairs":
        pairs = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (d, 2)))
        return pick(rng, [pairs, [list(pair) for pair in pairs], np.array(pairs)]), pairs
    if kind == "valid":
        return kind, ((0, 0),) * d
    if kind == "full":
        return kind, tuple((e - 1, e - 1) for e in extent)
    pairs = []
    for n, e, s in zip(size, extent, stride, strict=True):
        outputs = -(-n // s)
        total = max(0, (outputs - 1) * s + e - n)
        pairs.append((total // 2, total - total // 2) if kind == "same" else (total - total // 2, total // 2))
    return kind, tuple(pairs)


def _bordered(t: torch.Tensor, pairs: Pairs, mode: str) -> torch.Tensor:
    flat = [amount for pair in reversed(pairs) for amount in pair]
    return TF.pad(t, flat, "constant" if mode == "zeros" else mode) if any(flat) else t


def _spelt(rng: np.random.Generator, each: tuple[int, ...]) -> Any:
    """An option as one int where all are equal, as a tuple, or as a list."""
    return each[0] if len(set(each)) == 1 and rng.random() < 0.7 else pick(rng, [each, list(each)])


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("d", [1, 2, 3])
@cases(75)
def test_conv(rng: np.random.Generator, d: int, part: int) -> None:
    groups, batch = int(pick(rng, [1, 1, 2, 3])), int(pick(rng, [1, 2, 3, 2, 0]))
    inputs, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    size = _lengths(rng, d, 1, 9 if d < 3 else 5)
    kernel, stride, dilation = _lengths(rng, d, 1, 4 if d < 3 else 3), _lengths(rng, d, 1, 3), _lengths(rng, d, 1, 2)
    padding, pairs = _padding(rng, size, kernel, stride, dilation)
    mode = pick(rng, ["zeros", "zeros", *BORDERS])
    if mode != "zeros" and any(max(p) > n - (mode == "reflect") for p, n in zip(pairs, size, strict=True)):
        mode = "zeros"
    if any(k + (s - 1) * (k - 1) > n + sum(p) for k, s, n, p in zip(kernel, dilation, size, pairs, strict=True)):
        return  # the kernel does not fit
    arrays = [_laid_out(rng, batch, inputs, *size), _laid_out(rng, outputs, inputs // groups, *kernel)]
    arrays += [normal(rng, outputs)] if rng.random() < 0.6 else []
    ours, theirs = getattr(F, f"conv{d}d"), getattr(TF, f"conv{d}d")
    ways = {"stride": _spelt(rng, stride), "dilation": _spelt(rng, dilation), "groups": groups}
    agree(
        lambda x, w, b=None: ours(x, w, b, padding=padding, padding_mode=mode, **ways),
        lambda x, w, b=None: theirs(_bordered(x, pairs, mode), w, b, stride, 0, dilation, groups),
        *arrays,
        order=3 if rng.random() < 0.2 else 2,
    )


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("d", [1, 2, 3])
@cases(75)
def test_conv_transpose(rng: np.random.Generator, d: int, part: int) -> None:
    groups, batch = int(pick(rng, [1, 1, 2, 3])), int(pick(rng, [1, 2, 3]))
    inputs, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    size = _lengths(rng, d, 1, 6 if d < 3 else 4)
    kernel, stride, dilation = _lengths(rng, d, 1, 4 if d < 3 else 3), _lengths(rng, d, 1, 3), _lengths(rng, d, 1, 2)
    extra = tuple(int(rng.integers(0, max(s, k))) for s, k in zip(stride, dilation, strict=True))
    extent = tuple(s * (k - 1) + 1 for k, s in zip(kernel, dilation, strict=True))
    most = [(n - 1) * s + e + o - 1 for n, s, e, o in zip(size, stride, extent, extra, strict=True)]
    padding = tuple(int(rng.integers(0, min(3, m // 2) + 1)) for m in most)
    arrays = [_laid_out(rng, batch, inputs, *size), _laid_out(rng, inputs, outputs // groups, *kernel)]
    arrays += [normal(rng, outputs)] if rng.random() < 0.6 else []
    ours, theirs = getattr(F, f"conv_transpose{d}d"), getattr(TF, f"conv_transpose{d}d")
    spelt = [_spelt(rng, option) for option in (stride, padding, extra)]
    agree(
        lambda x, w, b=None: ours(x, w, b, *spelt, groups, _spelt(rng, dilation)),
        lambda x, w, b=None: theirs(x, w, b, stride, padding, extra, groups, dilation),
        *arrays,
        order=3 if rng.random() < 0.2 and not any(extra) else 2,  # PyTorch stops at the second with output_padding
    )


@cases(60)
def test_conv_transpose_crops_unevenly(rng: np.random.Generator) -> None:
    """One (before, after) pair per axis, which PyTorch spells as cropping afterwards."""
    pairs = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (2, 2)))
    stride = int(rng.integers(1, 3))
    x, w = _laid_out(rng, 2, 3, 4, 3), _laid_out(rng, 3, 2, 3, 3)

    def theirs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = TF.conv_transpose2d(x, w, stride=stride)
        (top, bottom), (left, right) = pairs
        return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]

    agree(lambda x, w: F.conv_transpose2d(x, w, stride=stride, padding=pairs), theirs, x, w)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("word", ["valid", "same"])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_words_that_pytorch_knows(d: int, word: str) -> None:
    for k in (1, 2, 3, 4):
        x, w = normal(np.random.default_rng(k), 2, 2, *(5, 4, 6)[:d]), normal(np.random.default_rng(d), 3, 2, *(k,) * d)
        agree(*same(f"conv{d}d", padding=word), x, w)


@cases(60)
def test_convolve2d(rng: np.random.Generator) -> None:
    groups = int(pick(rng, [1, 2]))
    x, w, b = _laid_out(rng, 2, 2 * groups, 6, 5), _laid_out(rng, 2 * groups, 2, 3, 2), normal(rng, 2 * groups)
    stride, padding, dilation = int(rng.integers(1, 3)), int(rng.integers(0, 3)), int(rng.integers(1, 3))
    agree(lambda x, w, b: F.convolve2d(x, w, b, stride, padding, dilation, groups),
          lambda x, w, b: TF.conv2d(x, w.flip(2, 3), b, stride, padding, dilation, groups), x, w, b)  # fmt: skip


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 6, 5, 5), (6, 1, 3, 3), {"groups": 6, "padding": 1}),  # depthwise
        ((2, 3, 5, 5), (12, 1, 3, 3), {"groups": 3, "stride": 2}),  # depthwise with a multiplier
        ((2, 4, 5, 5), (8, 4, 1, 1), {}),  # pointwise
        ((2, 4, 5, 5), (8, 4, 1, 1), {"stride": 2}),
        ((2, 4, 5, 5), (8, 4, 1, 1), {"padding": 1}),
        ((2, 3, 5, 4), (4, 3, 5, 4), {}),  # the kernel covers the image
        ((2, 3, 5, 4), (4, 3, 2, 2), {"stride": 5}),  # pixels that no window reads
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
        ((2, 1, 8, 8), (1, 1, 3, 3), {"dilation": 3, "padding": 3}),
        ((3, 2, 7, 6), (4, 2, 3, 3), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)}),
        ((2, 16, 12, 12), (16, 16, 3, 3), {"padding": 1}),  # large enough for the fast paths
        ((1, 3, 33, 31), (8, 3, 7, 5), {"stride": 2, "padding": 3}),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_of_networks(x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], layout: str) -> None:
    rng = np.random.default_rng(0)
    arrays = LAYOUTS[layout](normal(rng, *x)), LAYOUTS[layout](normal(rng, *w)), normal(rng, w[0])
    agree(*same("conv2d", **options), *arrays)
    agree(*same("conv2d", **options), *(a.astype(np.float32) for a in arrays), order=1, rtol=1e-5)


@cases(40)
def test_chains(rng: np.random.Generator) -> None:
    """Convolution after convolution, with what lies between: the gradient arrives in any memory order."""
    x, w1, w2 = _laid_out(rng, 2, 2, 6, 6), _laid_out(rng, 4, 2, 3, 3), _laid_out(rng, 3, 4, 2, 2)
    v = normal(rng, 3 * 3 * 2, 2)

    def ours(x: Any, w1: Any, w2: Any, v: Any) -> Any:
        y = F.conv2d(x, w1, padding=1).tanh()
        y = F.max_pool2d(F.conv2d(y, w2, stride=1), (2, 2), (2, 2))[:, :, :, :-1] + 0.5
        return y.reshape(y.shape[0], 3 * 2 * 1).exp() @ v[:6]

    def theirs(x: Any, w1: Any, w2: Any, v: Any) -> Any:
        y = TF.conv2d(x, w1, padding=1).tanh()
        y = TF.max_pool2d(TF.conv2d(y, w2, stride=1), (2, 2), (2, 2))[:, :, :, :-1] + 0.5
        return y.reshape(y.shape[0], 3 * 2 * 1).exp() @ v[:6]

    agree(ours, theirs, x, w1, w2, v, rtol=1e-10)


@cases(80)
def test_unfold_and_fold(rng: np.random.Generator) -> None:
    size, kernel = _lengths(rng, 2, 3, 7), _lengths(rng, 2, 1, 3)
    stride, padding, dilation = _lengths(rng, 2, 1, 3), _lengths(rng, 2, 0, 2), _lengths(rng, 2, 1, 2)
    extents = [s * (k - 1) + 1 for k, s in zip(kernel, dilation, strict=True)]
    if any(e > n + 2 * p for e, n, p in zip(extents, size, padding, strict=True)):
        return
    x = _laid_out(rng, 2, 3, *size)
    agree(lambda x: F.unfold(x, kernel, dilation, padding, stride) ** 2,
          lambda t: TF.unfold(t, kernel, dilation, padding, stride) ** 2, x)  # fmt: skip
    windows = np.prod([(n + 2 * p - e) // s + 1 for n, p, e, s in zip(size, padding, extents, stride, strict=True)])
    columns = _laid_out(rng, 2, 3 * kernel[0] * kernel[1], int(windows))
    agree(lambda x: F.fold(x, size, kernel, dilation, padding, stride) ** 2,
          lambda t: TF.fold(t, size, kernel, dilation, padding, stride) ** 2, columns)  # fmt: skip


@cases(200)
def test_pad(rng: np.random.Generator) -> None:
    """All modes, PyTorch's flat spelling and pairs; negative amounts crop in the constant mode."""
    mode = pick(rng, ["constant", *BORDERS[1:]])
    d = int(rng.integers(1, 4))
    if mode == "constant":
        x = _laid_out(rng, *_lengths(rng, int(rng.integers(d, 5)), 1, 4))
        pairs = tuple((int(a), int(b)) for a, b in rng.integers(-1, 4, (d, 2)))
        sizes = x.shape[-d:]
        if any(min(n + a, n + b, n + a + b) < 0 for n, (a, b) in zip(sizes, pairs, strict=True)):
            return
    else:
        x = _laid_out(rng, 2, 2, *_lengths(rng, d, 2, 5))
        most = [n - 1 if mode == "reflect" else n if mode == "circular" else 4 for n in x.shape[2:]]
        pairs = tuple((int(rng.integers(0, m + 1)), int(rng.integers(0, m + 1))) for m in most)
    flat = tuple(amount for pair in reversed(pairs) for amount in pair)
    value = float(pick(rng, [0.0, 1.5, -np.inf]))
    spelling = pick(rng, [flat, pairs, list(flat)])
    order = 2 if np.isfinite(value) else 0
    if mode == "constant":
        agree(lambda x: F.pad(x, spelling, mode, value), lambda t: TF.pad(t, flat, mode, value), x, order=order)
    else:
        agree(lambda x: F.pad(x, spelling, mode) ** 2, lambda t: TF.pad(t, flat, mode) ** 2, x)


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((16, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),  # few channels: planes
        ((16, 3, 32, 32), (32, 3, 3, 3), {"padding": 1}),
        ((8, 32, 32, 32), (32, 32, 3, 3), {"padding": 1}),  # many: columns, in float32 Winograd's
        ((3, 32, 17, 19), (24, 32, 3, 3), {"padding": 1}),  # an odd number of rows
        ((8, 32, 16, 16), (64, 32, 3, 3), {"stride": 2, "padding": 1}),
        ((4, 48, 16, 16), (48, 1, 3, 3), {"groups": 48, "padding": 1}),  # depthwise
        ((4, 64, 16, 16), (32, 64, 1, 1), {}),
        ((2, 16, 64, 64), (16, 8, 3, 3), {"groups": 2, "padding": 2, "dilation": 2}),
        ((1, 8, 150, 140), (8, 8, 5, 5), {"padding": 2}),  # one image in several blocks of rows
        ((40, 16, 10, 10), (16, 16, 3, 3), {}),  # many images in several blocks
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_larger_ones(x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], dtype: Any) -> None:
    """Large enough for every way to compute them, for blocks and for threads."""
    rng = np.random.default_rng(0)
    arrays = (normal(rng, *shape).astype(dtype) for shape in (x, w, (w[0],)))
    agree(*same("conv2d", **options), *arrays, order=1, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@cases(25)
def test_what_is_not_finite_stays_in_its_windows(rng: np.random.Generator, bad: float, dtype: Any) -> None:
    """In the image or in the upstream gradient; the rest of the result is as exact as ever."""
    groups = int(pick(rng, [1, 1, 4]))
    channels = 4 if groups == 4 else int(rng.integers(1, 17))
    x = normal(rng, 2, channels, *_lengths(rng, 2, 5, 12)).astype(dtype)
    w = normal(rng, 4 if groups == 4 else int(rng.integers(1, 9)), channels // groups, 3, 3).astype(dtype)
    stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 2))
    ours, theirs = same("conv2d", stride=stride, padding=padding, groups=groups)
    spoilt = x.copy()
    spoilt[tuple(int(rng.integers(n)) for n in x.shape)] = bad
    agree(ours, theirs, spoilt, w, order=1, rtol=1e-5 if dtype == np.float32 else 1e-12)
    g = np.ones(ours(x, w).shape, dtype)
    g[tuple(int(rng.integers(n)) for n in g.shape)] = bad
    scale = torch.tensor(g).double()
    agree(lambda x, w: ours(x, w) * g, lambda x, w: theirs(x, w) * scale, x, w, order=1,
          rtol=1e-5 if dtype == np.float32 else 1e-12)  # fmt: skip
