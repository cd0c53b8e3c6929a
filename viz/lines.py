"""The line of a gradient: width and colour say how large it is, words say it too."""

from __future__ import annotations

from viz import wording
from viz.diagram import Diagram, Link
from viz.linking import decades
from viz.palette import flow_colour, flow_width
from viz.style import Style


def gradient_line(diagram: Diagram, link: Link, style: Style) -> dict[str, str]:
    """How the gradient of a link looks: width and colour say how large it is."""
    theme, m = style.theme, link.grad
    if m is None:
        return {
            "color": theme.stopped,
            "penwidth": "1",
            "style": "dotted",
            "arrowtail": "tee",
            "arrowsize": "0.8",
            "tooltip": gradient_words(diagram, link, style),
        }
    shape = wording.shape_of(link.tensor.shape)
    sizes = f"per sample {wording.number(m.flow)}, rms {wording.number(m.rms)}, largest {wording.number(m.largest)}"
    tip = f"gradient {shape}: {sizes}"
    if m.nan or m.inf:
        return {
            "color": theme.ink,
            "penwidth": "3",
            "style": "dashed",
            "arrowtail": "normal",
            "arrowsize": "0.8",
            "tooltip": tip,
        }
    f = shown_decades(diagram, link, style.scale)
    if f is None:
        return {"color": theme.stopped, "penwidth": "1.2", "arrowtail": "normal", "arrowsize": "0.6", "tooltip": tip}
    width = flow_width(f)
    return {
        "color": flow_colour(f, theme),
        "penwidth": f"{width:.2f}",
        "arrowtail": "normal",
        "arrowsize": f"{0.42 + 0.09 * width:.2f}",
        "style": "dashed" if f < -2 else "solid",
        "tooltip": tip,
    }


def gradient_words(diagram: Diagram, link: Link, style: Style, *, gain: bool = True) -> str:
    """What a gradient line says in words."""
    m = link.grad
    if m is None:
        return "no gradient came" if link.differentiable else "no gradient asked for"
    if m.nan or m.inf:
        return wording.not_finite(m)
    if style.scale == "rms":
        return f"rms {wording.number(m.rms)}"
    if style.scale == "update" and (update := _update_of(diagram, link)) is not None:
        return f"‖Δw‖/‖w‖ {wording.number(update)}"
    left = f"  {wording.factor(link.gain)}" if gain and link.gain is not None else ""
    return f"‖∂L‖ {wording.number(m.flow)}{left}"


def shown_decades(diagram: Diagram, link: Link, scale: str) -> float | None:
    """What width and colour encode: decades from the reference of the scale asked for; None: nothing."""
    assert link.grad is not None
    if scale == "rms":
        output = next((n for n in diagram.trace.nodes if n.id == diagram.trace.output), None)
        return decades(link.grad.rms, output.grad.rms if output is not None and output.grad is not None else None)
    if scale == "update":
        return decades(_update_of(diagram, link), 1e-3)
    return link.decades


def _update_of(diagram: Diagram, link: Link) -> float | None:
    """The largest update/weight of the card that a gradient has just left."""
    return max((p.update for p in diagram.card(link.target).parameters if p.update is not None), default=None)
