"""A few real numbers from inside an operation: a kernel and its 180 degree turn, a mask, the winners of a pool.

The place is where the upstream gradient of the first sample is largest, so there is something to see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from viz.trace import Crop, Node
from viz.wording import kernel_of, option

Array = np.ndarray
Crops = dict[str, list[Crop]]


SMALL = 6  # rows and columns of an array that is shown whole, in numbers


def crops_of(
    op: str, node: Node, inputs: Sequence[Array | None], y: Array | None, g: Array | None, sent: Sequence[Array | None]
) -> Crops:
    """The crops of one operation from its inputs, output, upstream gradient and the gradients that it sent on."""
    if any(a is not None and not np.isfinite(a).all() for a in (y, g, *sent)):
        return {}
    if op == "cross_entropy":
        return _cross_entropy(inputs, sent)
    if op == "conv2d" and node.shape[0] == 1 and small(inputs[0], "") and small(inputs[1], ""):
        return _whole_convolution(inputs, y, g, sent)
    if small(y, "") is not None:  # the value of a scalar stands beside its shape
        return {"forward": _present(small(y, "y =")) if node.shape else [], "backward": _present(small(g, "∂y ="))}
    crops = {"conv2d": _convolution, "max_pool2d": _max_pool, "relu": _relu}.get(op)
    return crops(node, inputs, y, g, sent) if crops is not None else {}


def small(array: Array | None, label: str) -> Crop | None:
    """All of a small array, in numbers: its last axis as columns, the others as rows; None if it is larger."""
    if array is None or not array.size or array.dtype.kind not in "fiu":
        return None
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    if max(rows.shape) > SMALL or not np.isfinite(rows).all():
        return None
    return Crop(label, _rows(rows), "signed", numbers=True)


def _present(*crops: Crop | None) -> list[Crop]:
    return [crop for crop in crops if crop is not None]


def _whole_convolution(
    inputs: Sequence[Array | None], y: Array | None, g: Array | None, sent: Sequence[Array | None]
) -> Crops:
    """Every number of a convolution of one small image with one small kernel."""
    kernel = inputs[1]
    crops = {"forward": _present(small(inputs[0], "x"), small(kernel, "corr W"), small(y, "→ y"))}
    if kernel is not None:
        turned = small(kernel[..., ::-1, ::-1], "corr rot180 W")
        crops["backward"] = _present(small(g, "∂y"), turned, small(sent[0], "→ ∂x"))
    return crops


def _cross_entropy(inputs: Sequence[Array | None], sent: Sequence[Array | None]) -> Crops:
    """Softmax of the first sample's logits, and the gradient (p - onehot) / N, the target ringed."""
    logits, target = inputs[0], inputs[1] if len(inputs) > 1 else None
    if logits is None or logits.ndim != 2 or not 2 <= logits.shape[1] <= 16 or not np.isfinite(logits).all():
        return {}
    shifted = np.exp(logits[0] - logits[0].max())
    labelled = target is not None and target.shape == logits.shape
    rings = [[0, int(target[0].argmax())]] if labelled and target is not None else []
    crops: Crops = {"forward": [Crop("softmax", _rows((shifted / shifted.sum())[None]), "range", rings)]}
    if sent[0] is not None:
        crops["backward"] = [Crop("∂logits", _rows(sent[0][:1]), "signed", rings)]
    return crops


def _convolution(
    node: Node, inputs: Sequence[Array | None], y: Array | None, g: Array | None, sent: Sequence[Array | None]
) -> Crops:
    weight = inputs[1] if len(inputs) > 1 else None
    if weight is None or weight.ndim != 4 or max(weight.shape[2:]) > 7 or max(weight.shape[2:]) < 2:
        return {}
    channel, row, column = _largest(g[0]) if g is not None else (0, 0, 0)
    kernel = weight[channel, 0]
    crops: Crops = {"forward": [Crop(f"W[{channel},0]", _rows(kernel))]}
    if g is None or sent[0] is None:
        return crops
    stride = _first(option(node, "stride"))
    padding = _first(option(node, "padding"))
    upstream = _dilated(g[0, channel], stride)
    half = 2
    at_g, place_g = _window(upstream, row * stride, column * stride, half)
    reach = [(k - 1) // 2 - padding for k in kernel.shape]
    at_x, place_x = _window(sent[0][0, 0], row * stride + reach[0], column * stride + reach[1], half)
    crops["backward"] = [
        Crop("∂y dilated" if stride > 1 else "∂y", _rows(at_g), at=place_g),
        Crop("corr rot180 W", _rows(kernel[::-1, ::-1])),
        Crop("Σ channels → ∂x", _rows(at_x), at=place_x),
    ]
    return crops


def _relu(
    node: Node, inputs: Sequence[Array | None], y: Array | None, g: Array | None, sent: Sequence[Array | None]
) -> Crops:
    if y is None or y.ndim not in (2, 4) or not node.batched:
        return {}
    rows = (lambda a: _patch(a, y, g)) if y.ndim == 4 else (lambda a: a[0][:14][None])
    crops: Crops = {"forward": [Crop("mask", _rows(rows((y > 0).astype(np.float64))), "range")]}
    if g is not None and sent[0] is not None:
        crops["backward"] = [Crop("∂y", _rows(rows(g))), Crop("→ ∂x", _rows(rows(sent[0])))]
    return crops


def _patch(a: Array, y: Array, g: Array | None) -> Array:
    """Four rows of eight pixels of the first sample, where most is passed on as well as stopped."""
    size = (min(4, y.shape[2]), min(8, y.shape[3]))
    strength = np.abs(g[0]) if g is not None else np.ones(y.shape[1:])
    few = strength.sum(axis=(1, 2)).argsort(kind="stable")[-8:]  # channels worth searching
    active = y[0, few] > 0
    passed, stopped = (
        np.lib.stride_tricks.sliding_window_view(np.where(chosen, strength[few], 0), size, axis=(1, 2)).sum((3, 4))
        for chosen in (active, ~active)
    )
    both = np.minimum(passed, stopped)
    channel, top, left = _largest(both if both.any() else passed + stopped)
    return np.asarray(a[0, few[channel], top : top + size[0], left : left + size[1]])


def _max_pool(
    node: Node, inputs: Sequence[Array | None], y: Array | None, g: Array | None, sent: Sequence[Array | None]
) -> Crops:
    """Two by two windows; pads and dilations are left out, their windows do not fit a plain rectangle."""
    x, kernel, stride = inputs[0], kernel_of(node), option(node, "stride")
    plain = _first(option(node, "padding")) == 0 and _first(option(node, "dilation") or 1) == 1
    if (
        x is None
        or y is None
        or len(kernel) != 2
        or max(kernel) > 3
        or not plain
        or y.ndim != 4
        or min(y.shape[2:]) < 2
    ):
        return {}
    won = g[0] * (y[0] > 0) if g is not None else y[0]  # where something is seen, if the gradient goes there at all
    channel, row, column = _largest(won if g is None or won.any() else g[0])
    row, column = min(row, y.shape[2] - 2), min(column, y.shape[3] - 2)
    top, left = row * stride[0], column * stride[1]
    high, wide = stride[0] + kernel[0], stride[1] + kernel[1]
    area = (slice(top, top + high), slice(left, left + wide))
    pixels = x[0, channel][area]
    rings = []
    for i in range(2):
        for j in range(2):
            window = pixels[i * stride[0] : i * stride[0] + kernel[0], j * stride[1] : j * stride[1] + kernel[1]]
            r, c = np.unravel_index(int(window.argmax()), window.shape)
            rings.append([int(r) + i * stride[0], int(c) + j * stride[1]])
    outputs = (slice(row, row + 2), slice(column, column + 2))
    crops: Crops = {
        "forward": [
            Crop("x", _rows(pixels), "range", rings, at=[top, left]),
            Crop("max →", _rows(y[0, channel][outputs]), "range", at=[row, column]),
        ]
    }
    if g is not None and sent[0] is not None:
        crops["backward"] = [
            Crop("∂y", _rows(g[0, channel][outputs]), at=[row, column]),
            Crop("winners only →", _rows(sent[0][0, channel][area]), "signed", rings, at=[top, left]),
        ]
    return crops


def _largest(maps: Array) -> tuple[int, int, int]:
    """Channel, row and column of the entry of largest magnitude; (0, 0, 0) if all are zero."""
    place = np.unravel_index(int(np.abs(maps).argmax()), maps.shape)
    return int(place[0]), int(place[1]), int(place[2])


def _dilated(plane: Array, stride: int) -> Array:
    """The gradient with stride - 1 zeros between its entries, as the input's gradient sees it."""
    if stride == 1:
        return plane
    spread = np.zeros([(n - 1) * stride + 1 for n in plane.shape], plane.dtype)
    spread[::stride, ::stride] = plane
    return spread


def _window(plane: Array, row: int, column: int, half: int) -> tuple[Array, list[int]]:
    """The square around a place, moved inside where it would overhang, and where it begins."""
    top = min(max(row - half, 0), max(plane.shape[0] - 2 * half - 1, 0))
    left = min(max(column - half, 0), max(plane.shape[1] - 2 * half - 1, 0))
    return plane[top : top + 2 * half + 1, left : left + 2 * half + 1], [top, left]


def _first(value: object) -> int:
    while isinstance(value, list | tuple):
        value = value[0] if value else 0
    return int(value) if isinstance(value, int) else 0


def _rows(values: Array) -> list[list[float]]:
    return [[float(f"{v:.4g}") for v in row] for row in np.asarray(values, dtype=np.float64)]
