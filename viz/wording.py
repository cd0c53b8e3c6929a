"""What operations are called in a picture: families, hyper-parameters, formulas, and the neutral gain of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from viz.trace import Magnitude, Node, Trace

_FAMILIES = (
    ("loss", ("cross_entropy", "nll", "mse", "l1_loss", "huber", "kl_div", "binary_cross")),
    ("convolution", ("conv",)),
    ("pooling", ("pool",)),
    ("normalization", ("norm", "standardize")),
    ("linear", ("linear", "matmul", "einsum", "embedding")),
    (
        "activation",
        ("relu", "elu", "gelu", "silu", "swish", "sigmoid", "tanh", "softplus", "softmax", "dropout", "swish"),
    ),
    (
        "shape",
        (
            "reshape",
            "flatten",
            "transpose",
            "permute",
            "squeeze",
            "expand",
            "broadcast",
            "pad",
            "cat",
            "stack",
            "getitem",
            "flip",
            "roll",
            "astype",
            "alias",
            "moveaxis",
            "swapaxes",
        ),
    ),
)


def family_of(op: str) -> str:
    """The colour family of an operation, by its name."""
    return next((family for family, words in _FAMILIES if any(word in op for word in words)), "other")


def number(value: float | None, digits: int = 2) -> str:
    """A number as a picture shows it: 0.027, 7.5e-3, 1.3, 4200."""
    if value is None:
        return "n/a"
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "−inf"}.get(value, "NaN")
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 10_000:
        text = f"{value:.{digits}g}"
        return f"{float(text):g}" if "e" in text else text
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def short(value: float) -> str:
    """A number in a cell: −375, 0.11, 1.5e5, −1.1e-3."""
    whole = math.isfinite(value) and value == round(value) and abs(value) < 10_000
    return (str(round(value)) if whole else number(value)).replace("-", "−", 1 if value < 0 else 0)


def factor(value: float | None) -> str:
    """A gain: ×1.33, ×0.65, ×2.8e-3."""
    if value is None:
        return ""
    return f"×{value:.2f}" if 0.095 <= value < 100 else f"×{number(value)}"


def shape_of(shape: Sequence[int]) -> str:
    """32×8×28×28, or scalar."""
    return "×".join(map(str, shape)) if shape else "scalar"


def percent(share: float) -> str:
    """12%, <1%, >99%."""
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{share:.0%}"


def not_finite(m: Magnitude) -> str:
    """NaN 12% or Inf 3%, NaN first."""
    return f"NaN {percent(m.nan)}" if m.nan else f"Inf {percent(m.inf)}"


def option(node: Node, name: str) -> Any:
    """An option of a node, also from inside a geometry or window."""
    if name in node.options:
        return node.options[name]
    for value in node.options.values():
        if isinstance(value, dict) and name in value:
            return value[name]
    return None


def kernel_of(node: Node, weight: Sequence[int] | None = None) -> list[int]:
    """The window of a convolution or pool, one length per spatial axis; empty if it has none."""
    if family_of(node.op) == "convolution" and weight is not None:
        return list(weight[2:])
    kernel = next((k for k in (option(node, "kernel"), option(node, "kernel_size")) if k is not None), None)
    if kernel is None:
        return []
    return [kernel] * (len(node.shape) - 2) if isinstance(kernel, int) else list(kernel)


def averaged(node: Node, trace: Trace) -> float:
    """Over how many inputs an operation takes a mean, such as kh kw for an average pool; 1 if it takes none."""
    kernel = kernel_of(node)
    if "avg_pool" in node.op and kernel and "adaptive" not in node.op and "global" not in node.op:
        return math.prod(kernel)
    if (node.op == "mean" or "avg_pool" in node.op) and trace.inputs[node.id]:
        source = trace.nodes[trace.inputs[node.id][0]]
        return max(math.prod(source.shape) / max(math.prod(node.shape), 1), 1.0)
    return 1.0


def main_of(nodes: Sequence[Node]) -> Node:
    """The operation that a card of several is named and coloured after."""
    order = ("convolution", "linear", "normalization", "pooling", "activation")
    return min(nodes, key=lambda n: order.index(f) if (f := family_of(n.op)) in order else len(order))


def hyper_parameters(node: Node, weight: Sequence[int] | None, trace: Trace) -> str:
    """1→8 · 3×3 · stride 2 · pad 1, for what has such; shapes in and out for what changes the shape."""
    family = family_of(node.op)
    words: list[str] = []
    if family == "convolution" and weight is not None:
        groups = option(node, "groups") or 1
        ins, outs = (weight[0], weight[1] * groups) if "transpose" in node.op else (weight[1] * groups, weight[0])
        words.append(f"{ins}→{outs}")
    if family == "linear" and weight is not None and len(weight) == 2 and node.op == "linear":
        words.append(f"{weight[1]}→{weight[0]}")
    kernel = kernel_of(node, weight)
    if kernel:
        words.append(_times(kernel))
    usual = {"stride": kernel if family == "pooling" else 1, "dilation": 1, "groups": 1}
    for name, expected in usual.items():
        value = option(node, name)
        if value is not None and not _all_equal(value, expected):
            words.append(f"{name} {_one_or_all(value)}")
    padding = option(node, "padding")
    if padding is not None and not _all_equal(padding, 0):
        words.append(f"pad {_one_or_all(padding)}")
    if node.op == "dropout" and (scale := option(node, "scale")):
        words.append(f"p {1 - 1 / scale:.2g}")
    if family == "shape" and trace.inputs[node.id]:
        drop = 1 if node.batched else 0
        source = trace.nodes[trace.inputs[node.id][0]]
        words.append(f"{shape_of(source.shape[drop:])} → {shape_of(node.shape[drop:])}")
    return " · ".join(words)


def routing(node: Node, trace: Trace) -> str:
    """How an operation passes the gradient on, in words, where it is worth a line."""
    kernel = kernel_of(node)
    if "max_pool" in node.op and kernel:
        n = math.prod(kernel)
        if _all_equal(option(node, "stride"), kernel):
            return f"gradient goes to 1 winner of {n}, the other {n - 1} get 0"
        return f"gradient goes to the winner of each {_times(kernel)} window, summed where windows overlap"
    if (n := round(averaged(node, trace))) > 1:
        return f"each of {n} inputs gets 1/{n} of the gradient, so {factor(1 / math.sqrt(n))} is usual"
    if node.op == "dropout" and (scale := option(node, "scale")):
        return f"the units that are kept pass {factor(scale)} the gradient, the others 0"
    if node.op == "add" and len(trace.inputs[node.id]) > 1:
        return "the gradient is copied to both inputs"
    return ""


def loss_formula(nodes: Sequence[Node]) -> str:
    """The gradient at the model's output, for the losses that everybody uses, if they are the whole loss."""
    ops = [node.op for node in nodes]
    if ops == ["cross_entropy"]:
        divisor = nodes[0].options.get("divisor", 1)
        over = f" / {number(divisor, 6)}" if divisor != 1 else ""
        return f"∂L/∂logits = (softmax − target){over}"
    if ops in (["sub", "square", "mean"], ["sub", "square", "sum"]):
        over = f" / {math.prod(nodes[1].shape)}" if ops[-1] == "mean" else ""
        return f"∂L/∂y = 2 (y − target){over}"
    return ""


def _times(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _all_equal(value: Any, expected: Any) -> bool:
    if isinstance(value, list | tuple):
        wanted = expected if isinstance(expected, list | tuple) else [expected] * len(value)
        return len(wanted) == len(value) and all(_all_equal(v, e) for v, e in zip(value, wanted, strict=True))
    return bool(value == expected)


def _one_or_all(value: Any) -> str:
    """One number where all axes and sides agree."""
    flat: list[str] = []
    for v in value if isinstance(value, list | tuple) else [value]:
        flat += map(str, v) if isinstance(v, list | tuple) else [str(v)]
    return flat[0] if len(set(flat)) == 1 else ",".join(flat)


_RULES = {
    "conv1d": "∂x = corr(∂y, W reversed)   ∂W = corr(x, ∂y)   ∂b = Σ ∂y",
    "conv2d": "∂x = corr(∂y, rot180 W), pad k−1−p   ∂W = corr(x, ∂y)",
    "conv3d": "∂x = corr(∂y, W reversed)   ∂W = corr(x, ∂y)   ∂b = Σ ∂y",
    "conv_transpose2d": "∂x = corr(∂y, W)   ∂W = corr(∂y, x)",
    "linear": "∂x = ∂y W   ∂W = ∂yᵀ x   ∂b = Σ ∂y",
    "matmul": "∂a = ∂y bᵀ   ∂b = aᵀ ∂y",
    "relu": "∂x = ∂y · 1[x > 0]",
    "leaky_relu": "∂x = ∂y where x > 0, slope ∂y elsewhere",
    "sigmoid": "∂x = ∂y · y (1 − y)",
    "tanh": "∂x = ∂y (1 − y²)",
    "softmax": "∂x = y (∂y − Σ ∂y y)",
    "log_softmax": "∂x = ∂y − softmax(x) Σ ∂y",
    "max_pool1d": "∂x = ∂y scattered to the winners",
    "max_pool2d": "∂x = ∂y scattered to the winners",
    "max_pool3d": "∂x = ∂y scattered to the winners",
    "avg_pool2d": "∂x = ∂y / n, shared by the window",
    "batch_norm": "∂x = γ/σ (∂y − mean ∂y − x̂ mean(∂y x̂))",
    "standardize": "∂x = 1/σ (∂y − mean ∂y − x̂ mean(∂y x̂))",
    "dropout": "∂x = scale ∂y where kept, 0 elsewhere",
    "cross_entropy": "∂logits = (softmax − target) / N",
    "add": "∂a = ∂y   ∂b = ∂y, a copy to each",
    "sub": "∂a = ∂y   ∂b = −∂y",
    "mul": "∂a = ∂y · b   ∂b = ∂y · a",
    "div": "∂a = ∂y / b   ∂b = −∂y · y / b",
    "neg": "∂x = −∂y",
    "square": "∂x = 2 x ∂y",
    "pow": "∂a = b a^(b−1) ∂y",
    "exp": "∂x = y ∂y",
    "log": "∂x = ∂y / x",
    "sqrt": "∂x = ∂y / 2y",
    "sum": "∂x = ∂y, copied to each element",
    "mean": "∂x = ∂y / n, to each element",
    "reshape": "∂x = ∂y, reshaped",
    "transpose": "∂x = ∂y, axes back",
    "getitem": "∂x = ∂y put back, 0 elsewhere",
    "cat": "∂y cut where it was joined",
    "abs": "∂x = ∂y sign(x)",
    "maximum": "∂y to the larger, half each at a tie",
    "pad": "∂x = the inside of ∂y",
}


def rule_of(op: str) -> str:
    """The vjp of an operation as a formula; empty for operations that have none here, such as users' own."""
    return _RULES.get(op, "")
