"""Bugs that autograd engines have had, in convolution, pooling, padding and unfolding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.operations import convolution, geometry, pooling
from tinygrad_cnn.testing import naive
from tinygrad_cnn.testing.battery import patched
from tinygrad_cnn.testing.mutants.bugs_of_values import record_rule
from tinygrad_cnn.testing.mutants.mutant import Mutant, attribute, elsewhere, historic, record
from tinygrad_cnn.testing.mutants.rewriting import on_output, with_forward, with_gradient, with_rule

OVERLAPS = "Flux.jl#1197, NNlib.jl#205, joey#5, deep-learning-from-scratch#27"
REMAINDER = "backpack#30, FlagGems#1576, CMU10-714#6, mlpack#2986, daceml#89, tinygrad#7581, #81"


def bugs() -> Iterator[Mutant]:
    """All of them."""
    yield from _overlaps()
    yield from _convolution()
    yield from _transposed()
    yield from _max_pooling()
    yield from _average_pooling()
    yield from _padding()


# ---- overlapping windows: assigned, not added --------------------------------------------------------------------------


def _overlaps() -> Iterator[Mutant]:
    bug = "overlapping windows assigned, not added"
    conv = record("conv2d")
    slow = {
        conv.inputs[rule.position or 0]: rule.function for rule in conv.rules
    }  # conv2d's gradient by its Tensor rules
    yield elsewhere("conv2d", bug, OVERLAPS, partial(patched, "conv2d", vjp=slow),
                    partial(patched, "conv_transpose2d", forward=with_forward(record("conv_transpose2d"), _stamped)))  # fmt: skip
    yield historic("conv_transpose2d", bug, OVERLAPS, body=_stamped)
    yield historic("max_pool2d", bug, OVERLAPS, record="scatter_winners", body=_winners_assigned)
    yield historic("avg_pool2d", bug, OVERLAPS, record="avg_pool2d_gradient", body=_shares_assigned)
    yield historic("fold", bug, OVERLAPS, body=_columns_assigned)
    yield historic("unfold", bug, OVERLAPS, record="fold", body=_columns_assigned)
    yield historic("extend", "the border assigned, not added", "reflect padding", record="extend_gradient",
                   body=lambda f, xs, o: _cropped(xs[0], o["pads"]))  # fmt: skip


def _stamped(forward: Any, inputs: Any, options: Any) -> Any:
    """Transposed convolution in which the last stamp stays."""
    x, w, *rest = inputs
    stride, padding, dilation, groups = options["geometry"]
    y = _blank(len(x), w.shape[1] * groups, options["size"], np.result_type(x, w))
    per_group = len(w) // groups
    for n, position, tap in itertools.product(range(len(x)), np.ndindex(*x.shape[2:]), np.ndindex(*w.shape[2:])):
        pixel = naive.tap_pixel(position, tap, stride, padding, dilation)
        if naive.is_inside(pixel, options["size"]):
            at: Any = (slice(None), *position)
            values = [
                x[n][at][k * per_group : (k + 1) * per_group]
                @ w[(slice(k * per_group, (k + 1) * per_group), slice(None), *tap)]
                for k in range(groups)
            ]
            to: Any = (n, slice(None), *pixel)
            y[to] = np.concatenate(values)
    bias = rest[0] if rest else None
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _winners_assigned(forward: Any, inputs: Any, options: Any) -> Any:
    x, winners = inputs
    window, size = options["window"], options["size"]
    y = _blank(x.shape[0], x.shape[1], size, x.dtype)
    taps = list(np.ndindex(*window.kernel))
    for n, c in np.ndindex(*x.shape[:2]):
        for position in np.ndindex(*x.shape[2:]):
            tap = taps[int(winners[n, c][position])]
            y[n, c][naive.tap_pixel(position, tap, window.stride, window.padding, window.dilation)] = x[n, c][position]
    return y


def _shares_assigned(forward: Any, inputs: Any, options: Any) -> Any:
    x = inputs[0]
    y = _blank(x.shape[0], x.shape[1], options["size"], x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for position, pixels, padded in naive.pool_windows(y, *options["window"]):
            for pixel in pixels:
                y[n, c][pixel] = x[n, c][position] / (padded if options["include_pad"] else len(pixels))
    return y


def _columns_assigned(forward: Any, inputs: Any, options: Any) -> Any:
    x, kernel, (stride, padding, dilation, _) = inputs[0], options["kernel"], options["geometry"]
    area, size = math.prod(kernel), options["size"]
    y = _blank(len(x), x.shape[1] // area, size, x.dtype)
    output = options["geometry"].output_shape(size, kernel)
    for n, c in np.ndindex(*y.shape[:2]):
        for (t, tap), (j, position) in itertools.product(
            enumerate(np.ndindex(*kernel)), enumerate(np.ndindex(*output))
        ):
            pixel = naive.tap_pixel(position, tap, stride, padding, dilation)
            if naive.is_inside(pixel, size):
                y[n, c][pixel] = x[n, c * area + t, j]
    return y


def _blank(batch: int, channels: int, size: Any, dtype: Any) -> np.ndarray:
    """Zeros that lie channels-last in memory, as kernels leave them."""
    return np.moveaxis(np.zeros((batch, *size, channels), dtype), -1, 1)


def _cropped(x: np.ndarray, pads: Any) -> np.ndarray:
    return x[tuple(slice(before, x.shape[i] - after) for i, (before, after) in enumerate(pads))].copy()


# ---- convolution -------------------------------------------------------------------------------------------------------


def _convolution() -> Iterator[Mutant]:
    def of(input: str, bug: str, seen: str, change: Callable[..., Any], *more: str) -> Mutant:
        conv = record("conv2d")
        position = conv.inputs.index(input)
        return historic("conv2d", f"gradient of {input}: {bug}", seen, vjp=with_gradient(conv, position, change, more))

    yield of(
        "x", "what no window reads put first instead of last", REMAINDER, _remainder_first, "g", "weight", "geometry"
    )
    yield of(
        "x",
        "what no window reads gets its neighbour's gradient",
        REMAINDER,
        _remainder_filled,
        "g",
        "weight",
        "geometry",
    )
    yield of("weight", "groups interleaved", "burn#1891", _interleaved, "geometry")
    yield of("x", "doubled for groups with a stride", "MLX#3800, #1449, #2187",
             lambda d, o: d * 2 if o["geometry"].groups > 1 and max(o["geometry"].stride) > 1 else d, "geometry")  # fmt: skip
    yield of("x", "doubled for depthwise filters", "pytorch#75219",
             lambda d, o: d * 2 if o["weight_shape"][1] == 1 < o["geometry"].groups else d, "weight_shape", "geometry")  # fmt: skip
    yield of("weight", "divided by the batch", "cTensor#3", lambda d, o: d / max(o["x_shape"][0], 1), "x_shape")
    yield of("weight", "NaN for an empty batch", "pytorch#64306, #15870, opacus#530, tensorflow#14657",
             lambda d, o: d if o["x_shape"][0] else d + np.nan, "x_shape")  # fmt: skip
    yield of(
        "bias", "averaged over pixels", "sum against mean", lambda d, o: d / max(math.prod(o["y"].shape[2:]), 1), "y"
    )
    conv, swapped = record("conv2d"), "stride and dilation swapped"
    yield historic("conv2d", f"gradient of weight: {swapped}", "candle#2337", vjp=with_rule(conv, 1, _swapped))
    yield historic("conv2d", "gradient of x: the kernel not turned", "needle", vjp=with_rule(
        conv, 0, lambda original, named: original(weight=_turned(named["weight"]))))  # fmt: skip
    yield historic(
        "conv2d",
        "kernel turned in forward and gradients alike",
        "MLX#2495: convolution for correlation",
        **_turned_alike(),
    )
    yield historic("conv2d", "all samples get the first one's output", "CNN-from-scratch#1: return inside the loop",
                   body=on_output(lambda y: np.broadcast_to(y[:1], y.shape).copy() if len(y) else y))  # fmt: skip
    yield elsewhere("conv2d", "negative padding accepted when recording", "pytorch#77514",
                    partial(attribute, convolution, "paddings", _lenient(geometry.paddings)))  # fmt: skip
    yield historic("conv2d", "refuses what the stride leaves over", "MyGrad conv, minitorch conv", body=_refusing)


def _refusing(forward: Any, inputs: Any, options: Any) -> Any:
    (x, weight, *_), (stride, padding, dilation, _) = inputs, options["geometry"]
    per_axis = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    if any((n + sum(p) - t * (k - 1) - 1) % s for n, k, s, p, t in per_axis):
        raise ValueError("the stride must divide the image")
    return forward(*inputs, **options)


def _gap(o: Any, d: Tensor) -> tuple[int, ...]:
    """How many pixels at the end of each axis no window reaches."""
    stride, padding, dilation, _ = o["geometry"]
    windows, kernel = o["g"].shape[2:], o["weight"].shape[2:]
    reach = [(n - 1) * s + t * (k - 1) + 1 for n, s, k, t in zip(windows, stride, kernel, dilation, strict=True)]
    return tuple(max(0, n + before - r) for n, (before, _), r in zip(d.shape[2:], padding, reach, strict=True))


def _remainder_first(d: Tensor, o: Any) -> Tensor:
    for axis, gap in enumerate(_gap(o, d)):
        d = record("roll")(d, shift=gap, axis=axis + 2)
    return d


def _remainder_filled(d: Tensor, o: Any) -> Tensor:
    for axis, gap in enumerate(_gap(o, d), 2):
        n = d.shape[axis]
        if 0 < gap < n:
            d = d[(slice(None),) * axis + (np.minimum(np.arange(n), n - gap - 1),)]
    return d


def _interleaved(d: Tensor, o: Any) -> Tensor:
    groups = o["geometry"].groups
    order = np.arange(d.shape[0]).reshape(groups, -1).T.reshape(-1)
    return d[order]


def _swapped(original: Any, named: Any) -> Any:
    geometry = named["geometry"]
    swapped = geometry._replace(stride=geometry.dilation, dilation=geometry.stride)
    x, kernel = named["x"], named["weight_shape"][2:]
    fits = swapped.output_shape(x.shape[2:], kernel) == named["g"].shape[2:]
    return original(geometry=swapped) if fits else original()


def _turned(weight: Tensor) -> Tensor:
    return record("flip")(weight, axis=tuple(range(2, weight.ndim)))


def _turned_alike() -> dict[str, Any]:
    """Right by every law that holds a gradient against its own forward."""
    conv, rules = record("conv2d"), {}
    rules["x"] = with_rule(conv, 0, lambda original, named: original(weight=_turned(named["weight"])))["x"]
    rules["weight"] = with_rule(conv, 1, lambda original, named: _turned(original()))["weight"]
    rules["bias"] = record_rule("conv2d", 2)

    def body(forward: Any, inputs: Any, options: Any) -> Any:
        x, weight, *bias = inputs
        return forward(x, np.flip(weight, tuple(range(2, weight.ndim))), *bias, **options)

    return {"body": body, "vjp": rules}


def _lenient(paddings: Callable[..., Any]) -> Callable[..., Any]:
    def accepting(name: str, padding: Any, *rest: Any, **options: Any) -> Any:
        if tape.is_grad_enabled() and isinstance(padding, int):
            padding = max(padding, 0)
        return paddings(name, padding, *rest, **options)

    return accepting


# ---- transposed convolution --------------------------------------------------------------------------------------------


def _transposed() -> Iterator[Mutant]:
    name = "conv_transpose2d"
    op = record(name)
    yield historic(
        name, "output and gradient turned alike", "pytorch#1565: forward wrong; gradcheck green", **_all_turned()
    )
    yield historic(name, "padding does not crop the output", "tinygrad#823: needs shrink", body=_not_cropped)
    yield historic(name, "output_padding at the start", "tinygrad#875", body=_rolled_by_output_padding)
    yield historic(name, "gradient of x: padding swapped, before for after", "tinygrad#840", vjp=with_rule(
        op, 0, lambda original, named: original(geometry=_padding_swapped(named["geometry"]))))  # fmt: skip
    yield historic(name, "gradient of x: not the adjoint: dilation dropped", "pytorch#14272, #5057", vjp=with_rule(
        op, 0, _without_dilation))  # fmt: skip
    yield historic(name, "gradient of weight: the kernel turned", "mxnet#11203", vjp=with_gradient(
        op, 1, lambda d, _: _turned(d)))  # fmt: skip


def _all_turned() -> dict[str, Any]:
    op = record("conv_transpose2d")
    rules = {
        "x": with_rule(op, 0, lambda original, named: original(weight=_turned(named["weight"])))["x"],
        "weight": with_rule(op, 1, lambda original, named: _turned(original()))["weight"],
        "bias": record_rule("conv_transpose2d", 2),
    }

    def body(forward: Any, inputs: Any, options: Any) -> Any:
        x, weight, *bias = inputs
        return forward(x, np.flip(weight, (2, 3)), *bias, **options)

    return {"body": body, "vjp": rules}


def _not_cropped(forward: Any, inputs: Any, options: Any) -> Any:
    """The first rows and columns instead of those in the middle."""
    geometry = options["geometry"]
    at_end = geometry._replace(padding=tuple((0, before + after) for before, after in geometry.padding))
    return forward(*inputs, **{**options, "geometry": at_end})


def _rolled_by_output_padding(forward: Any, inputs: Any, options: Any) -> Any:
    y = forward(*inputs, **options)
    extra = [before - after for before, after in options["geometry"].padding]
    return np.roll(y, [max(e, 0) for e in extra], axis=(2, 3))


def _padding_swapped(geometry: Any) -> Any:
    return geometry._replace(padding=tuple((after, before) for before, after in geometry.padding))


def _without_dilation(original: Any, named: Any) -> Any:
    geometry = named["geometry"]
    plain = geometry._replace(dilation=(1, 1))
    d, right = original(geometry=plain), original()
    return d[tuple(slice(0, n) for n in right.shape)] if min(geometry.dilation) < max(geometry.dilation) else right


# ---- max pooling -------------------------------------------------------------------------------------------------------


def _max_pooling() -> Iterator[Mutant]:
    name = "max_pool2d"
    yield historic(name, "every maximum of a window gets the gradient", "tensorflow#51681, pytorch#56734",
                   vjp=_every_maximum)  # fmt: skip
    yield historic(name, "the last maximum of a window wins", "argmax with >=", body=_last_wins)
    yield historic(
        name, "padding counts as 0", "NNlib.jl#133, pytorch#33382, SmallPebble pool", body=_padded_with_zeros
    )
    yield historic("max_pool1d", "starts from -1e9", "minitorch pool", body=on_output(lambda y: np.maximum(y, -1e9)))
    yield historic("max_pool1d", "ignores NaN", "pytorch#7645, FastNN#5", body=_pool_without_nan)
    yield historic("max_pool1d", "padding wins against -inf", "pytorch#1465: index -1", body=_padding_wins)
    yield historic(name, "windows taken over the wrong axes", "HIPS#245: the shape is right", body=_wrong_axes)
    yield historic(
        name, "a window of nothing but padding", "pytorch#45357, #94887: ceil_mode gives -inf", body=_one_window_more
    )
    yield elsewhere(name, "padding of more than half the window passes", "pytorch#33382: a window of nothing but padding",
                    partial(attribute, pooling, "check_half", lambda *_: None))  # fmt: skip
    yield historic(name, "only the first channel pooled", "CNN-from-scratch#1: return inside the loop",
                   body=on_output(lambda y: np.broadcast_to(y[:, :1], y.shape).copy()))  # fmt: skip


def _every_maximum(g: Tensor, x: Tensor, y: Tensor, window: Any) -> Tensor:
    d = np.zeros(x.shape, x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for position, pixels, _ in naive.pool_windows(x.data, *window):
            for pixel in pixels:
                if x.data[n, c][pixel] == y.data[n, c][position]:
                    d[n, c][pixel] += g.data[n, c][position]
    return Tensor(d)


def _last_wins(forward: Any, inputs: Any, options: Any) -> Any:
    y, winners = forward(*inputs, **options)
    x, window, last = inputs[0], options["window"], winners.copy()
    for n, c in np.ndindex(*x.shape[:2]):
        for position in np.ndindex(*y.shape[2:]):
            for code, tap in enumerate(np.ndindex(*window.kernel)):
                pixel = naive.tap_pixel(position, tap, window.stride, window.padding, window.dilation)
                if naive.is_inside(pixel, x.shape[2:]) and x[n, c][pixel] == y[n, c][position]:
                    last[n, c][position] = code
    return y, last


def _padded_with_zeros(forward: Any, inputs: Any, options: Any) -> Any:
    y, winners = forward(*inputs, **options)
    y = y.copy()
    x, window = inputs[0], options["window"]
    for position in np.ndindex(*y.shape[2:]):
        taps = [
            naive.tap_pixel(position, t, window.stride, window.padding, window.dilation)
            for t in np.ndindex(*window.kernel)
        ]
        if not all(naive.is_inside(pixel, x.shape[2:]) for pixel in taps):
            at = (slice(None), slice(None), *position)
            y[at] = np.maximum(y[at], 0)
    return y, winners


def _pool_without_nan(forward: Any, inputs: Any, options: Any) -> Any:
    x = inputs[0]
    return forward(np.where(np.isnan(x), -np.inf, x) if x.dtype.kind == "f" else x, **options)


def _padding_wins(forward: Any, inputs: Any, options: Any) -> Any:
    y, winners = forward(*inputs, **options)
    return y, np.where(np.isneginf(y), 0, winners).astype(winners.dtype)


def _wrong_axes(forward: Any, inputs: Any, options: Any) -> Any:
    """For windows that tile the image: reshaped to (k, H / k) instead of (H / k, k)."""
    y, winners = forward(*inputs, **options)
    x, (h, w) = inputs[0], options["window"].kernel
    tiles = options["window"].stride == (h, w) and x.shape[2] % h == x.shape[3] % w == 0
    if not tiles or any(map(any, options["window"].padding)) or max(options["window"].dilation) > 1:
        return y, winners
    return x.reshape(*x.shape[:2], h, x.shape[2] // h, w, x.shape[3] // w).max((2, 4)), winners


def _one_window_more(forward: Any, inputs: Any, options: Any) -> Any:
    y, winners = forward(*inputs, **options)
    if not options["window"].ceil_mode or not any(map(any, options["window"].padding)):
        return y, winners
    more = ((0, 0), (0, 0), (0, 1), (0, 1))
    return np.pad(y, more, constant_values=-np.inf), np.pad(winners, more)


# ---- average pooling ---------------------------------------------------------------------------------------------------


def _average_pooling() -> Iterator[Mutant]:
    name = "avg_pool2d"
    seen = "pytorch#188345, #198119, onnxruntime#27375, burn#5604, xla#6409"
    yield historic(name, "count_include_pad taken for its opposite", seen, body=lambda f, xs, o:
                   f(xs[0], **{**o, "include_pad": not o["include_pad"]}))  # fmt: skip
    yield historic(name, "always divided by the whole window", seen, body=_whole_window)
    yield historic(name, "channels-last images read as channels-first", "pytorch#188344, #60524", body=lambda f, xs, o:
                   f(np.reshape(np.ravel(xs[0], order="K"), xs[0].shape), **o))  # fmt: skip
    yield historic(name, "gradient not divided", "sum pooling's", vjp=with_gradient(
        record(name), 0, lambda d, o: d * math.prod(o["window"].kernel), ("window",)))  # fmt: skip
    yield historic(name, "gradient of an option: count_include_pad", seen, vjp=with_rule(
        record(name), 0, lambda original, o: original(include_pad=True)))  # fmt: skip


def _whole_window(forward: Any, inputs: Any, options: Any) -> Any:
    x, window = inputs[0], options["window"]
    sums = np.zeros((*x.shape[:2], *window.output_shape(x.shape[2:])), x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for position, pixels, _ in naive.pool_windows(x, *window):
            sums[n, c][position] = sum(x[n, c][pixel] for pixel in pixels)
    return sums / math.prod(window.kernel)


# ---- padding -----------------------------------------------------------------------------------------------------------


def _padding() -> Iterator[Mutant]:
    yield historic("pad", "sliced to -p, also for p = 0", "tinygrad Pad2D, HIPS 7b61be3", vjp=lambda g, pads:
                   g[tuple(slice(max(b, 0), -max(a, 0)) for b, a in pads)])  # fmt: skip
    yield historic("pad", "before taken for after", "tinygrad#840", vjp=_before_for_after)
    yield historic("extend", "the border's gradient lost", "reflect and replicate",
                   vjp=lambda g, pads: record("pad")(g, pads=tuple((-b, -a) for b, a in pads), value=0.0))  # fmt: skip
    yield historic("unfold", "the last window lost", REMAINDER, vjp=with_rule(
        record("unfold"), 0, lambda original, named: original(g=_without_last(named["g"]))))  # fmt: skip


def _before_for_after(g: Tensor, x_shape: Any, pads: Any) -> Tensor:
    if min(min(pair) for pair in pads or ((0, 0),)) < 0:
        return record("pad")(g, pads=tuple((-b, -a) for b, a in pads), value=0.0)
    return g[tuple(slice(after, after + n) for n, (_, after) in zip(x_shape, pads, strict=True))]


def _without_last(g: Tensor) -> Tensor:
    keep = np.arange(g.shape[-1]) < g.shape[-1] - 1
    return g * keep.astype(g.dtype)
