"""Worked examples of what slides a window: convolution with its zeros, pools with their winners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from viz.wording import number
from viz.worked import STACKED, Array, Call, Cells, Grid, Panel, grid, sum_of, upstream

Pair = tuple[int, int]


def convolution(call: Call) -> list[Panel]:
    """Forward, ∂x, ∂W and ∂b of a conv2d: sample 0, output channel 0, input channel 0 where there are several."""
    plain = "geometry" in call.record and call.options.get("padding_mode", "zeros") == "zeros"
    return _Convolution(call).panels() if plain else []


class _Convolution:
    """The planes that the three correlations slide over, with their zeros put in."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.x, self.weight, self.bias = call.inputs["x"], call.inputs["weight"], call.inputs.get("bias")
        geometry = call.record["geometry"]
        self.stride, self.pads, self.dilation = geometry.stride, geometry.padding, geometry.dilation
        outs, ins = self.weight.shape[:2]
        self.ins, self.outs = min(ins, STACKED), min(outs // geometry.groups, STACKED)
        self.left_out = (ins - self.ins, outs // geometry.groups - self.outs, len(self.x) - min(len(self.x), STACKED))
        self.r, self.c = (min(n // 2, 2) for n in call.y.shape[2:])  # the output that is followed
        self.i, self.j = self.followed_pixel()

    def panels(self) -> list[Panel]:
        panels = [self.forward(), self.to_x(), self.to_weight()]
        return [*panels, self.to_bias()] if self.bias is not None else panels

    def forward(self) -> Panel:
        call, (r, c) = self.call, (self.r, self.c)
        taps = self.taps((r * self.stride[0], c * self.stride[1]))
        xs, kernels, pairs = [], [], []
        for k in range(self.ins):
            padded, zeros = self.padded(self.x[0, k])
            xs.append(Grid(_indexed("x", 0, k, of=self.x), padded, taps, zeros))
            kernels.append(Grid(_indexed("W", 0, k, of=self.weight), *self.spread(self.weight[0, k])))
            pairs += [(padded[t], w) for t, w in zip(taps, self.weight[0, k].ravel(), strict=True)]
        y = call.y[0, 0]
        bias = float(self.bias[0]) if self.bias is not None else 0.0
        note = "" if self.left_out[0] else sum_of(pairs, y[r, c], f"y[{r},{c}]", bias)
        end: list[Any] = [f"+ {number(bias, 3)} =".replace("-", "−") if bias else "="]
        return Panel(
            "forward",
            f"y = corr(x, W){' + b' if self.bias is not None else ''}: {self.words()}",
            [xs, "corr", kernels, *end, Grid(_indexed("y", 0, 0, of=call.y), y, [(r, c)])],
            note + _more(self.left_out[0], "input channel"),
        )

    def to_x(self) -> Panel:
        """∂x is a plain correlation too: of ∂y with zeros between and around, and the kernel turned by 180 degrees."""
        call, (i, j) = self.call, (self.i, self.j)
        taps = self.taps((i, j))
        planes, kernels, pairs = [], [], []
        for k in range(self.outs):
            values, zeros = self.around(call.dy[0, k])
            turned = self.weight[k, 0, ::-1, ::-1]
            planes.append(Grid(upstream(call, _indexed("∂y", 0, k, of=call.dy)), values, taps, zeros))
            kernels.append(Grid(_indexed("rot180 W", k, 0, of=self.weight), *self.spread(turned)))
            pairs += [(values[t], w) for t, w in zip(taps, turned.ravel(), strict=True)]
        dx = call.grads["x"][0, 0]
        gaps = max(self.stride) > 1
        zeros_words = "zeros between ∂y's entries (stride) and around" if gaps else "∂y with zeros around"
        note = "" if self.left_out[1] else sum_of(pairs, dx[i, j], f"∂x[{i},{j}]")
        return Panel(
            "backward to x",
            f"∂x = corr(∂y, rot180 W): {zeros_words}, k − 1 − p of them",
            [planes, "corr", kernels, "=", Grid(_indexed("∂x", 0, 0, of=self.x), dx, [(i, j)])],
            note + _more(self.left_out[1], "output channel"),
        )

    def to_weight(self) -> Panel:
        """∂W is a correlation of the padded x with ∂y: what stride was is dilation here, and the other way round."""
        call = self.call
        a, b = (n // 2 for n in self.weight.shape[2:])
        xs, planes, pairs = [], [], []
        for n in range(min(len(self.x), STACKED)):
            padded, zeros = self.padded(self.x[n, 0])
            spots = [
                (a * self.dilation[0] + h * self.stride[0], b * self.dilation[1] + w * self.stride[1])
                for h in range(call.dy.shape[2])
                for w in range(call.dy.shape[3])
            ]
            xs.append(Grid(_indexed("x", n, 0, of=self.x), padded, spots, zeros))
            planes.append(Grid(upstream(call, _indexed("∂y", n, 0, of=call.dy)), *_spread(call.dy[n, 0], self.stride)))
            pairs += [(padded[s], g) for s, g in zip(spots, call.dy[n, 0].ravel(), strict=True)]
        dw = call.grads["weight"][0, 0]
        note = "" if self.left_out[2] else sum_of(pairs, dw[a, b], f"∂W[{a},{b}]")
        between = ", zeros between ∂y (stride)" if max(self.stride) > 1 else ""
        every = f", every {_both(self.dilation)} steps (dilation)" if max(self.dilation) > 1 else ""
        return Panel(
            "backward to W",
            f"∂W = corr(x, ∂y){between}{every}, summed over samples",
            [xs, "corr", planes, "=", Grid(_indexed("∂W", 0, 0, of=self.weight), dw, [(a, b)])],
            note + _more(self.left_out[2], "sample"),
        )

    def to_bias(self) -> Panel:
        call = self.call
        planes = [
            Grid(upstream(call, _indexed("∂y", n, 0, of=call.dy)), call.dy[n, 0])
            for n in range(min(len(call.dy), STACKED))
        ]
        total = Grid("∂b", call.grads["bias"].reshape(1, -1))
        return Panel(
            "backward to b",
            "∂b = Σ ∂y over samples and pixels",
            [planes, "Σ =", total],
            _more(self.left_out[2], "sample").strip(),
        )

    # -- planes --

    def followed_pixel(self) -> Pair:
        """Of the pixels that the ringed output reads, the one with the largest gradient."""
        corner = (self.r * self.stride[0] - self.pads[0][0], self.c * self.stride[1] - self.pads[1][0])
        dx = self.call.grads["x"][0, 0]
        read = [(i, j) for i, j in self.taps(corner) if 0 <= i < dx.shape[0] and 0 <= j < dx.shape[1]]
        return max(read, key=lambda place: abs(dx[place]), default=(0, 0))

    def padded(self, plane: Array) -> tuple[Array, Array]:
        """A plane with the padding's zeros, and where they are."""
        return np.pad(plane, self.pads), np.pad(np.zeros(plane.shape, bool), self.pads, constant_values=True)

    def spread(self, kernel: Array) -> tuple[Array, Cells, Array]:
        """A kernel with dilation - 1 zeros between its taps."""
        return _spread(kernel, self.dilation)

    def around(self, dy: Array) -> tuple[Array, Array]:
        """∂y as ∂x sees it: stride - 1 zeros between, and so many around that every pixel's window fits."""
        values, _, gaps = _spread(dy, self.stride)
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.weight.shape[2:], strict=True)]
        lengths = [n + extra for n, extra in zip(self.x.shape[2:], reach, strict=True)]
        board, put_in = np.zeros(lengths), np.ones(lengths, bool)
        inside, cut = [], []
        for length, n, extra, (before, _) in zip(lengths, values.shape, reach, self.pads, strict=True):
            start = extra - before  # negative where padding went beyond the kernel: those outputs read zeros only
            inside.append(slice(max(start, 0), min(start + n, length)))
            cut.append(slice(max(-start, 0), max(-start, 0) + inside[-1].stop - inside[-1].start))
        board[tuple(inside)], put_in[tuple(inside)] = values[tuple(cut)], gaps[tuple(cut)]
        return board, put_in

    def taps(self, corner: Pair) -> Cells:
        """The cells under a window, from its upper left corner."""
        rows, columns = (range(n) for n in self.weight.shape[2:])
        return [(corner[0] + self.dilation[0] * a, corner[1] + self.dilation[1] * b) for a in rows for b in columns]

    def words(self) -> str:
        flat = {n for pair in self.pads for n in pair}
        pads = str(flat.pop()) if len(flat) == 1 else ", ".join(f"{a}+{b}" for a, b in self.pads)
        return f"stride {_both(self.stride)}, padding {pads}, dilation {_both(self.dilation)}"


def _spread(plane: Array, step: Pair) -> tuple[Array, Cells, Array]:
    """A plane with step - 1 zeros between its entries; no rings; and where the zeros are."""
    values = np.zeros([(n - 1) * s + 1 for n, s in zip(plane.shape, step, strict=True)])
    put_in = np.ones(values.shape, bool)
    places = tuple(slice(None, None, s) for s in step)
    values[places], put_in[places] = plane, False
    return values, [], put_in


def _both(pair: Any) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"


def _indexed(name: str, *place: int, of: Array) -> str:
    several = math.prod(of.shape[:2]) > 1
    return f"{name}[{','.join(map(str, place))}]" if several else name


def _more(left_out: int, what: str) -> str:
    return f"   and {left_out} more {what}{'s' if left_out > 1 else ''}, not drawn" if left_out else ""


# ---- pools -----------------------------------------------------------------------------------------------------


def pooling(call: Call) -> list[Panel]:
    """Windows of the first channel: winners ringed, or each pixel with its share."""
    window = call.record.get("window")
    if window is None or window.ceil_mode:
        return []
    highest = call.op.startswith("max")
    x, y, dy, dx = (a[0, 0] for a in (call.inputs["x"], call.y, call.dy, call.grads["x"]))
    fill = -math.inf if highest else 0.0
    padded = np.pad(x, window.padding, constant_values=fill)
    put_in = np.pad(np.zeros(x.shape, bool), window.padding, constant_values=True)
    before = [pair[0] for pair in window.padding]
    size = " × ".join(map(str, window.kernel))
    words = f"{size} windows, stride {_both(window.stride)}, padding {before[0]}"
    if not highest:
        n = math.prod(window.kernel)
        backward = Grid("∂x", dx)
        return [
            Panel("forward", f"y = the mean of {words}", [Grid("x", padded, [], put_in), "→", grid("y", call.y)]),
            Panel("backward", f"each pixel gets ∂y / {n} from each window that it is in",
                  [Grid(upstream(call), dy), "→", backward]),
        ]  # fmt: skip
    winners = [_winner(padded, window, r, c) for r in range(y.shape[0]) for c in range(y.shape[1])]
    inside = [(r - before[0], c - before[1]) for r, c in winners]
    twice = len(set(winners)) < len(winners)
    return [
        Panel("forward", f"y = the largest of {words}",
              [Grid("x", padded, winners, put_in), "→", grid("y", call.y)], "ringed: the winner of each window"),
        Panel("backward", "∂x = ∂y where x won, 0 elsewhere", [Grid(upstream(call), dy), "→", Grid("∂x", dx, inside)],
              "a pixel that won several windows gets the sum" if twice else "of each window one pixel learns"),
    ]  # fmt: skip


def _winner(padded: Array, window: Any, r: int, c: int) -> Pair:
    """The first largest in row-major order, NaN counting as largest; padding never wins."""
    rows = [r * window.stride[0] + window.dilation[0] * a for a in range(window.kernel[0])]
    columns = [c * window.stride[1] + window.dilation[1] * b for b in range(window.kernel[1])]
    flat = padded[np.ix_(rows, columns)].ravel()
    best = int(np.nan_to_num(flat, nan=math.inf).argmax())
    return rows[best // len(columns)], columns[best % len(columns)]
