"""What a page knows of a picture besides its SVG: the numbers behind each card and each line, as plain data."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from viz import wording
from viz.cards import detail_of, weight_shape
from viz.diagram import Card, Diagram, Link
from viz.figure import Figure
from viz.judging import where
from viz.trace import Crop, Magnitude, Node, Parameter

Data = dict[str, Any]


def level_data(figure: Figure) -> Data:
    """The cards and lines of a picture that was laid out."""
    diagram = figure.diagram
    return {
        "level": figure.level,
        "cards": [card_data(diagram, card) for card in diagram.cards],
        "links": [link_data(diagram, link) for link in diagram.links],
    }


def card_data(diagram: Diagram, card: Card) -> Data:
    """All that is known of one card; what is not known is None or empty."""
    main = None if not card.nodes else card.nodes[0] if len(card.nodes) == 1 else wording.main_of(card.nodes)
    last = card.last if card.nodes else None
    data: Data = {
        "id": card.id,
        "kind": card.kind,
        "family": card.family,
        "name": name_of(card),
        "path": card.path,
        "detail": detail_of(diagram, card),
        "ops": list(dict.fromkeys(node.op for node in card.nodes)),
        "shape": wording.shape_of(last.shape) if last is not None else "",
        "dtype": last.dtype if last is not None else "",
        "forward": forward_of(main, card) if main is not None and card.family != "group" else "",
        "backward": wording.rule_of(main.op) if main is not None and card.family != "group" else "",
        "routing": wording.routing(main, diagram.trace) if main is not None and card.family != "group" else "",
        "saved": [name for name in last.saved if not name.endswith(("_shape", "_shapes"))] if last else [],
        "value": plain(last.value) if last is not None else None,
        "active": plain(last.active) if last is not None else None,
        "output": _magnitude(last.out if last is not None else None),
        "gradient": _magnitude(card.out if card.kind != "loss" else None),
        "gain": plain(card.gain if card.kind != "loss" else None),
        "usual": plain(card.neutral),
        "decades": plain(card.decades if card.kind != "loss" else None),
        "parameters": [_parameter(p) for p in card.parameters],
        "marks": [{"kind": mark.kind, "badge": mark.badge, "message": mark.message} for mark in card.marks],
    }
    if card.kind == "op" and last is not None:
        data["crops"] = {side: [_crop(c) for c in crops] for side, crops in last.crops.items()}
        data["route"] = route_of(last, weight_shape(card))
    return data


def link_data(diagram: Diagram, link: Link) -> Data:
    """One tensor between two cards, and the gradient that came back."""
    return {
        "source": link.source,
        "target": link.target,
        "shape": wording.shape_of(link.tensor.shape),
        "gradient": _magnitude(link.grad),
        "gain": plain(link.gain),
        "decades": plain(link.decades),
    }


def name_of(card: Card) -> str:
    """The module path of a card, with the operation and the number of the call where they tell cards apart."""
    name = where(card)
    if card.kind == "op" and card.path:
        name = f"{card.path}.{card.name}"
    return name + (f" (call {card.call + 1})" if card.call else "")


def badge_of(kind: str, words: str) -> str:
    """A mark as HTML."""
    return f'<span class="badge {kind}">{html.escape(words)}</span>'


def plain(value: float | None) -> float | str | None:
    """A number as strict JSON can hold it: four digits, and what is not finite as a word."""
    if value is None:
        return None
    if not math.isfinite(value):
        return wording.number(value)
    return float(f"{value:.4g}")


def _magnitude(m: Magnitude | None) -> Data | None:
    if m is None:
        return None
    data: Data = {"flow": plain(m.flow), "rms": plain(m.rms), "largest": plain(m.largest)}
    return {**data, "bad": wording.not_finite(m)} if m.nan or m.inf else data


def _parameter(p: Parameter) -> Data:
    return {
        "name": p.name,
        "shape": wording.shape_of(p.shape),
        "trained": p.requires_grad,
        "weight": _magnitude(p.weight),
        "gradient": _magnitude(p.grad),
        "update": plain(p.update),
        "histogram": p.histogram,
        "uses": len(p.uses),
    }


def _crop(crop: Crop) -> Data:
    rows, columns = len(crop.values), len(crop.values[0])
    values = [[plain(v) for v in row] for row in crop.values]
    return {"label": crop.label, "at": crop.at, "size": [rows, columns], "values": values, "rings": crop.rings}


# ---- how a pixel travels ---------------------------------------------------------------------------------------


def route_of(node: Node, weight: Sequence[int] | None) -> Data | None:
    """How the cells of an operation's crops belong together; None where they do not, or not in a plain way."""
    if "pool" in node.op and "max" in node.op and node.crops:
        return {"kind": "pool"}
    if node.op == "relu" and node.crops.get("backward"):
        return {"kind": "cells"}
    geometry = node.options.get("geometry")
    if node.op != "conv2d" or not isinstance(geometry, dict) or weight is None:
        return None
    whole = any(crop.numbers for crop in node.crops.get("forward", []))
    if whole and list(weight[:2]) != [1, 1]:
        return None  # channels are stacked
    stride = geometry["stride"]
    dilated = not whole and stride[0] == stride[1]  # the gaps are drawn
    return {
        "kind": "convolution",
        "kernel": list(weight[2:]),
        "stride": stride,
        "padding": [pair[0] for pair in geometry["padding"]],
        "dilation": geometry["dilation"],
        "gaps": stride if dilated else [1, 1],
    }


# ---- formulas --------------------------------------------------------------------------------------------------

_FORWARD = {
    "conv1d": "y = corr(x, W) + b",
    "conv2d": "y = corr(x, W) + b",
    "conv3d": "y = corr(x, W) + b",
    "conv_transpose2d": "y = the vjp of conv2d, applied to x",
    "linear": "y = x Wᵀ + b",
    "matmul": "y = a b",
    "relu": "y = max(x, 0)",
    "leaky_relu": "y = x where x > 0, slope x elsewhere",
    "sigmoid": "y = 1 / (1 + e⁻ˣ)",
    "tanh": "y = tanh x",
    "softmax": "y = eˣ / Σ eˣ",
    "log_softmax": "y = x − log Σ eˣ",
    "max_pool1d": "y = the largest of each window",
    "max_pool2d": "y = the largest of each window",
    "max_pool3d": "y = the largest of each window",
    "avg_pool2d": "y = the mean of each window",
    "batch_norm": "y = γ (x − mean) / σ + β",
    "standardize": "y = (x − mean) / σ",
    "dropout": "y = scale · x where kept, 0 elsewhere",
    "cross_entropy": "L = −log softmax(logits)[target]",
    "add": "y = a + b",
    "sub": "y = a − b",
    "mul": "y = a · b",
    "div": "y = a / b",
    "neg": "y = −x",
    "square": "y = x²",
    "pow": "y = aᵇ",
    "exp": "y = eˣ",
    "log": "y = log x",
    "sqrt": "y = √x",
    "sum": "y = Σ x",
    "mean": "y = Σ x / n",
    "reshape": "y = x, in another shape",
    "maximum": "y = max(a, b)",
    "abs": "y = |x|",
}


def forward_of(node: Node, card: Card) -> str:
    """The formula of an operation's forward; empty for those that have none here, such as users' own."""
    formula = _FORWARD.get(node.op, "")
    biased = any(use == [node.id, "bias"] for p in card.parameters for use in p.uses)
    return formula if biased else formula.removesuffix(" + b")
