"""Worked examples: the panels that explain each operation, as grids of numbers with signs between them.

Every number stands in an array that the engine computed, or follows from one in the way that the panel's formula says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from viz.wording import number, rule_of, shape_of

Array = np.ndarray
Cells = list[tuple[int, int]]
STACKED = 3  # channels or samples drawn one under the other


@dataclass
class Call:
    """One operation that ran: inputs, output, upstream gradient, gradients of the inputs, options of the record."""

    op: str
    inputs: dict[str, Array]
    y: Array
    dy: Array
    grads: dict[str, Array]
    record: dict[str, Any]
    options: dict[str, Any]
    whole: bool = False  # no upstream gradient was given: all ones


@dataclass
class Grid:
    """A matrix of numbers: what it is, the cells to ring, and the cells that were put in, not computed."""

    label: str
    values: Array
    rings: Cells = field(default_factory=list)
    put_in: Array | None = None  # True where padding or a gap was filled
    kind: str = "signed"  # or "range": 0 to the largest


Part = Grid | list[Grid] | str
_SIGNS = {"add": "+", "sub": "−", "mul": "·", "div": "/"}


@dataclass
class Panel:
    """One line of the explanation: a title, its formula, grids and signs, and the sum behind the ringed cell."""

    title: str
    formula: str
    parts: list[Part]
    note: str = ""


def panels_of(call: Call) -> list[Panel]:
    """Forward first, then a panel for each gradient."""
    from viz.worked_windows import convolution, pooling

    makers: dict[str, Callable[[Call], list[Panel]]] = {
        "conv2d": convolution,
        "max_pool2d": pooling,
        "avg_pool2d": pooling,
        "relu": _relu,
        "batch_norm": _batch_norm,
        "cross_entropy": _cross_entropy,
        "matmul": _matmul,
        "linear": _linear,
        "dropout": _dropout,
        **dict.fromkeys(_SIGNS, _elementwise),
    }
    maker = makers.get(call.op)
    return (maker(call) if maker is not None else []) or _any_operation(call)


# ---- helpers shared by the panels ------------------------------------------------------------------------------


def plane(array: Array) -> Array:
    """What is drawn of an array: its last two axes, at the first place of all others; a vector as a row."""
    array = np.asarray(array, dtype=np.float64)
    array = array.reshape(1, -1) if array.ndim < 2 else array
    return array.reshape(-1, *array.shape[-2:])[0]


def name_of(name: str, array: Array) -> str:
    """x[0,0] for the plane that is drawn of a larger array."""
    extra = max(np.ndim(array) - 2, 0)
    return name + (f"[{','.join('0' * extra)}]" if extra and math.prod(array.shape[:extra]) > 1 else "")


def grid(name: str, array: Array, **more: Any) -> Grid:
    return Grid(name_of(name, array), plane(array), **more)


def sum_of(pairs: Sequence[tuple[float, float]], total: float, what: str, rest: float = 0.0) -> str:
    """y[1,1] = 2×0.5 + 1×3 = 4; terms that are zero are left out."""
    terms = [f"{_bracketed(a)}×{_bracketed(b)}" for a, b in pairs if a and b]
    words = " + ".join(terms[:9]) + (f" + {len(terms) - 9} more" if len(terms) > 9 else "")
    words += f" + {number(rest, 3)} (bias)" if rest else ""
    return f"{what} = {words} = {number(total, 3)}".replace("-", "−") if words else f"{what} = 0, from zeros alone"


def _settled(value: float) -> float:
    """Zero where nothing but rounding is left."""
    return 0.0 if abs(value) < 1e-12 else value


def _bracketed(value: float) -> str:
    return f"({number(value, 3)})" if value < 0 else number(value, 3)


def upstream(call: Call, label: str = "∂y") -> str:
    return label + (" (all ones)" if call.whole else "")


# ---- one operation each ----------------------------------------------------------------------------------------


def _any_operation(call: Call) -> list[Panel]:
    ins: list[Part] = []
    for name, array in call.inputs.items():
        ins += [grid(name, array), ","]
    forward = Panel("forward", f"y = {call.op}({', '.join(call.inputs)})", [*ins[:-1], "→", grid("y", call.y)])
    backward = [
        Panel(f"backward to {name}", rule_of(call.op), [grid(upstream(call), call.dy), "→", grid(f"∂{name}", g)])
        for name, g in call.grads.items()
    ]
    return [forward, *backward]


def _elementwise(call: Call) -> list[Panel]:
    """a + b and its like: the gradient of what was broadcast is summed over the copies."""
    sign, (a, b) = _SIGNS[call.op], call.inputs.values()
    dy: Part = grid(upstream(call), call.dy)
    ways: dict[str, tuple[list[Part], list[Part]]] = {
        "add": ([], []),
        "sub": ([], ["· (−1)"]),
        "mul": (["·", grid("b", b)], ["·", grid("a", a)]),
        "div": (["/", grid("b", b)], ["· (−y) /", grid("b", b)]),
    }
    panels = [Panel("forward", f"y = a {sign} b", [grid("a", a), sign, grid("b", b), "=", grid("y", call.y)])]
    rules = rule_of(call.op).replace(", a copy to each", "").split("   ")
    for (name, g), rule, way in zip(call.grads.items(), rules, ways[call.op], strict=False):
        spread = g.shape != call.y.shape
        formula = f"{rule}, summed over the copies" if spread else rule
        note = f"{name} was broadcast from {shape_of(g.shape)} to {shape_of(call.y.shape)}" if spread else ""
        panels.append(
            Panel(f"backward to {name}", formula, [dy, *way, "Σ =" if spread else "=", grid(f"∂{name}", g)], note)
        )
    return panels


def _relu(call: Call) -> list[Panel]:
    x = call.inputs["x"]
    mask = Grid("x > 0", plane(~(x <= 0)), kind="range")
    share = f"{(x > 0).mean():.0%} of the units pass the gradient"
    return [
        Panel("forward", "y = max(x, 0)", [grid("x", x), "·", mask, "=", grid("y", call.y)]),
        Panel("backward", rule_of("relu"), [grid(upstream(call), call.dy), "·", mask, "=", grid("∂x", call.grads["x"])],
              share),
    ]  # fmt: skip


def _dropout(call: Call) -> list[Panel]:
    if "mask" not in call.record:
        return []
    scale = call.record["scale"]
    kept = np.broadcast_to(call.record["mask"], call.y.shape)
    mask = Grid("kept", plane(kept), kind="range")
    words = f"{kept.mean():.0%} are kept and scaled by {number(scale, 3)}, so that the mean stays what it was"
    sign = f"· {number(scale, 3)} ·"
    return [
        Panel("forward", "y = scale · x where kept, 0 elsewhere",
              [grid("x", call.inputs["x"]), sign, mask, "=", grid("y", call.y)], words),
        Panel("backward", "the same mask and the same scale",
              [grid(upstream(call), call.dy), sign, mask, "=", grid("∂x", call.grads["x"])]),
    ]  # fmt: skip


def _matmul(call: Call) -> list[Panel]:
    a, b = call.inputs.values()
    if a.ndim < 2 or b.ndim < 2:
        return []
    left, right = call.grads.values()
    dy, (names) = plane(call.dy), list(call.inputs)
    r, c = plane(call.y).shape[0] // 2, plane(call.y).shape[1] // 2
    pairs = list(zip(plane(a)[r], plane(b)[:, c], strict=True))
    return [
        Panel("forward", f"y = {names[0]} {names[1]}",
              [grid(names[0], a, rings=row(r, a)), "·", grid(names[1], b, rings=column(c, b)), "=",
               grid("y", call.y, rings=[(r, c)])], sum_of(pairs, plane(call.y)[r, c], f"y[{r},{c}]")),
        Panel(f"backward to {names[0]}", f"∂{names[0]} = ∂y {names[1]}ᵀ",
              [grid(upstream(call), call.dy, rings=row(r, dy)), "·", Grid(f"{names[1]}ᵀ", plane(b).T), "=",
               grid(f"∂{names[0]}", left, rings=row(r, left))]),
        Panel(f"backward to {names[1]}", f"∂{names[1]} = {names[0]}ᵀ ∂y",
              [Grid(f"{names[0]}ᵀ", plane(a).T), "·", grid(upstream(call), call.dy, rings=column(c, dy)), "=",
               grid(f"∂{names[1]}", right, rings=column(c, right))]),
    ]  # fmt: skip


def row(r: int, array: Array) -> Cells:
    return [(r, j) for j in range(array.shape[-1])]


def column(c: int, array: Array) -> Cells:
    return [(i, c) for i in range(array.shape[-2])]


def _linear(call: Call) -> list[Panel]:
    x, weight, bias = call.inputs["x"], call.inputs["weight"], call.inputs.get("bias")
    if x.ndim != 2:
        return []
    r, c = call.y.shape[0] // 2, call.y.shape[1] // 2
    pairs = list(zip(x[r], weight[c], strict=True))
    ways: list[Part] = [grid("x", x, rings=row(r, x)), "·", Grid("Wᵀ", weight.T, column(c, weight.T))]
    ways += ["+", grid("b", bias)] if bias is not None else []
    words = sum_of(pairs, call.y[r, c], f"y[{r},{c}]", float(bias[c]) if bias is not None else 0.0)
    dy = grid(upstream(call), call.dy)
    panels = [
        Panel("forward", "y = x Wᵀ" + (" + b" if bias is not None else ""),
              [*ways, "=", grid("y", call.y, rings=[(r, c)])], words),
        Panel("backward to x", "∂x = ∂y W", [dy, "·", Grid("W", weight), "=", grid("∂x", call.grads["x"])]),
        Panel("backward to W", "∂W = ∂yᵀ x",
              [Grid("∂yᵀ", call.dy.T), "·", grid("x", x), "=", grid("∂W", call.grads["weight"])]),
    ]  # fmt: skip
    if bias is not None:
        panels.append(Panel("backward to b", "∂b = Σ ∂y over the batch", [dy, "Σ", grid("∂b", call.grads["bias"])]))
    return panels


def _cross_entropy(call: Call) -> list[Panel]:
    logits, target = call.inputs["logits"], call.inputs["target"]
    if logits.ndim != 2 or target.shape != logits.shape[:1] or set(call.options) - {"reduction"} or call.y.ndim:
        return []
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    hit = [(i, int(t)) for i, t in enumerate(target) if 0 <= t < logits.shape[1]]
    if len(hit) < len(target):
        return []
    onehot = np.zeros_like(p)
    onehot[tuple(np.transpose(hit))] = 1
    losses = -np.log([[p[place]] for place in hit])
    n = len(logits)
    mean = call.options.get("reduction", "mean") == "mean"
    g = float(call.dy)
    over = f"{'' if g == 1 else f' · {number(g, 3)}'}{f' / {n}' if mean else ''}"
    return [
        Panel("forward", "p = softmax(logits), loss = −log p[target]" + (f", mean over {n}" if mean else ", summed"),
              [Grid("logits", logits, hit), "→", Grid("p", p, hit, kind="range"), "→",
               Grid("−log p", losses, kind="range"), "Σ / N" if mean else "Σ", grid("loss", call.y)],
              "ringed: the target of each sample"),
        Panel("backward", f"∂logits = (p − onehot){over}",
              [Grid("p", p, hit, kind="range"), "−", Grid("onehot", onehot, hit, kind="range"), f"{over.strip()} =",
               Grid("∂logits", call.grads["logits"], hit)],
              "each row sums to 0: what the target gains, the other classes lose"),
    ]  # fmt: skip


def _batch_norm(call: Call) -> list[Panel]:
    """The first channel over the whole batch: samples down, pixels across."""
    x = call.inputs["x"]
    if "axes" not in call.record or x.ndim < 2:
        return []  # evaluation mode: running statistics
    eps = call.record["eps"]
    gamma, beta = (float(call.inputs[k][0]) if k in call.inputs else d for k, d in (("weight", 1.0), ("bias", 0.0)))
    z, y, dy, dx = (np.asarray(a)[:, 0].reshape(len(x), -1) for a in (x, call.y, call.dy, call.grads["x"]))
    mean, std = float(z.mean()), math.sqrt(float(z.var()) + eps)
    hat = (z - mean) / std
    dbeta, dgamma = _settled(float(dy.sum())), _settled(float((dy * hat).sum()))
    mean_dy, mean_dyhat = dbeta / dy.size, dgamma / dy.size
    extra = f", channel 0 of {x.shape[1]}" if x.shape[1] > 1 else ""
    numbers = f"mean = {number(mean, 3)}, σ = √(var + ε) = {number(std, 3)}"
    scaled = f"γ = {number(gamma, 3)}, β = {number(beta, 3)}"
    means = f"mean ∂y = {number(mean_dy, 3)}, mean(∂y x̂) = {number(mean_dyhat, 3)}"
    minus = f"− {_bracketed(mean_dy)} − {_bracketed(mean_dyhat)} ·"
    sums = f"∂β = Σ ∂y = {number(dbeta, 3)}, ∂γ = Σ ∂y x̂ = {number(dgamma, 3)}"
    return [
        Panel("forward", f"x̂ = (x − mean) / σ,  y = γ x̂ + β{extra}",
              [Grid("x", z), "→", Grid("x̂", hat), "→", Grid("y", y)],
              f"{numbers}, {scaled}".replace("-", "−")),
        Panel("backward", "∂x = γ/σ (∂y − mean ∂y − x̂ · mean(∂y x̂))",
              ["(", Grid(upstream(call), dy), minus.replace("-", "−"),
               Grid("x̂", hat), f") · {number(gamma / std, 3)} =".replace("-", "−"), Grid("∂x", dx)],
              f"{means}, {sums}; ∂x sums to 0: shifting a channel changes nothing".replace("-", "−")),
    ]  # fmt: skip


def described(call: Call) -> str:
    """stride 2 · padding 1, x 1×1×5×5 → y 1×1×3×3."""
    words = [f"{name} {value}" for name, value in call.options.items()]
    shapes = ", ".join(f"{name} {shape_of(a.shape)}" for name, a in call.inputs.items())
    return " · ".join([*words, f"{shapes} → y {shape_of(call.y.shape)}"])
