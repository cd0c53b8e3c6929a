"""The picture by module: activations down in a blue lane, gradients up in an orange one, a card for each module."""

from __future__ import annotations

from itertools import pairwise

import graphviz

from viz import wording
from viz.cards import card_rows, title_rows
from viz.diagram import Card, Diagram, Link
from viz.lanes import LANE, NARROW, WIDTH, with_lanes, words_of
from viz.legend import heading, legend
from viz.lines import gradient_line
from viz.markup import cell, label, plain, table, text, width_of
from viz.palette import Theme
from viz.pictures import Album
from viz.style import Drawing, Style, new_graph


def draw(diagram: Diagram, style: Style, facts: str, banner: str) -> Drawing:
    """The DOT graph of a diagram."""
    theme, drawing = style.theme, Drawing(new_graph(diagram, style))
    graph = drawing.graph
    with graph.subgraph(name="cluster_page") as page:
        page.attr(
            label=label(heading(diagram, "module", facts, banner, theme)),
            peripheries="0",
            margin="0",
            style="",
            labeljust="c",
        )
        _containers(page, diagram, style, drawing.album)
        for link in diagram.links:
            _link(page, diagram, link, style)
        _appendix(page, diagram)
    graph.attr(label=label(legend(diagram, style.scale, style.show, theme)), labelloc="b", labeljust="c")
    return drawing


def _appendix(page: graphviz.Digraph, diagram: Diagram) -> None:
    """What the loss does not use stands below everything else, one under the other."""
    used = [card for card in diagram.cards if card.kind != "unused"]
    stacked = used[-1:] + [card for card in diagram.cards if card.kind == "unused"]
    for above, below in pairwise(stacked):
        page.edge(f"{above.id}:gi:s", f"{below.id}:go:n", style="invis", weight="8")


# ---- containers and cards --------------------------------------------------------------------------------------


Frame = tuple[str, ...]


def _containers(page: graphviz.Digraph, diagram: Diagram, style: Style, album: Album) -> None:
    """Cards in forward order, each inside the rounded frames of its containers; no recursion, however deep the nest."""
    known = set(diagram.clusters)
    frames: dict[Frame, graphviz.Digraph] = {(): page}
    for number, frame in enumerate(diagram.clusters):
        frames[frame] = graphviz.Digraph(name=f"cluster_c{number}")
        frames[frame].attr(**_frame_look(diagram, frame, known, style.theme))
    for card in diagram.cards:
        _card(frames[_innermost(card.cluster, known)], diagram, card, style, album)
    for frame in sorted(diagram.clusters, key=lambda f: -len(f)):  # inner frames are complete before their outer one
        frames[_innermost(frame[:-1], known)].subgraph(frames[frame])


def _innermost(cluster: Frame, known: set[Frame]) -> Frame:
    """The smallest drawn frame around a cluster."""
    return next((cluster[:i] for i in range(len(cluster), 0, -1) if cluster[:i] in known), ())


def _frame_look(diagram: Diagram, frame: Frame, known: set[Frame], theme: Theme) -> dict[str, str]:
    """The name stands left of where the lines pass; what the frame around it says already is left out."""
    path = ".".join(part.rpartition(":")[0] for part in frame)
    kind = next((m.type for m in diagram.trace.modules if m.path == path), "")
    outer = _innermost(frame[:-1], known)
    name = own_name(path, len(outer))
    words = text(name, theme.muted, 11, bold=True, room=LANE)
    left = LANE + 8 - width_of(name, 11, bold=True)
    words += text(f"   {kind}", theme.muted, 9) if kind and width_of(kind, 9) < left else ""
    words += _call(int(frame[-1].rpartition(":")[2]), theme)
    return {
        "label": label(words),
        "labeljust": "l",
        "style": "rounded,filled",
        "color": theme.cluster_edge,
        "fillcolor": theme.clusters[sum(1 for i in range(1, len(frame)) if frame[:i] in known) % len(theme.clusters)],
        "margin": "12",
    }


def own_name(path: str, around: int) -> str:
    """The end of a path inside a frame of so many parts; never a bare number, which says nothing."""
    parts = path.split(".")
    while around and parts[around].isdigit():
        around -= 1
    return ".".join(parts[around:])


def _call(call: int, theme: Theme) -> str:
    return text(f"   call {call + 1}, same weights", theme.muted, 8) if call else ""


def _card(graph: graphviz.Digraph, diagram: Diagram, card: Card, style: Style, album: Album) -> None:
    theme = style.theme
    mark = card.marks[0] if card.marks else None
    edge = theme.badges[mark.kind][0] if mark else theme.card_edge
    width = NARROW if style.direction == "LR" else WIDTH
    rows = [*title_rows(diagram, card, style, width - 14), *card_rows(diagram, card, style, album, width - 14)]
    body = table(
        (cell(row, ALIGN="LEFT") for row in rows),
        BORDER=2 if mark else 1,
        COLOR=edge,
        STYLE="ROUNDED" + (",DASHED" if mark and mark.kind in ("unused", "no-grad") else ""),
        BGCOLOR=theme.card,
        CELLSPACING=2,
        CELLPADDING=2,
        WIDTH=width,
    )
    ported = with_lanes(body, words_of(diagram, card, style), style.direction)
    straight = {"group": "spine"} if card.spine else {}
    graph.node(card.id, label=label(ported), id=card.id, tooltip=plain(_tooltip(diagram, card)), **straight)


def _tooltip(diagram: Diagram, card: Card) -> str:
    parts = [f"{card.path or card.name}: {card.type or card.name}"]
    if card.nodes:
        parts.append(f"output {wording.shape_of(card.last.shape)}")
    if card.out is not None:
        parts.append(
            f"gradient at the output: per sample {wording.number(card.out.flow)}, rms {wording.number(card.out.rms)}"
        )
    if card.gain is not None:
        parts.append(f"gain {wording.factor(card.gain)}")
    parts.extend(mark.message for mark in card.marks)
    return "; ".join(parts)


# ---- links -----------------------------------------------------------------------------------------------------


def _link(graph: graphviz.Digraph, diagram: Diagram, link: Link, style: Style) -> None:
    theme = style.theme
    shape = wording.shape_of(link.tensor.shape)
    name = f"{link.source}-{link.target}"
    out, into = ("e", "w") if style.direction == "LR" else ("s", "n")
    weight = "8" if link.spine else "1"
    graph.edge(
        f"{link.source}:fo:{out}",
        f"{link.target}:fi:{into}",
        id=f"{name}-f",
        color=theme.forward,
        penwidth="1.3",
        arrowsize="0.6",
        tooltip=plain(f"{shape} {link.tensor.dtype}"),
        weight=weight,
    )
    if diagram.trace.backward != "full" or "grads" not in style.show:
        return
    graph.edge(
        f"{link.source}:gi:{out}",
        f"{link.target}:go:{into}",
        id=f"{name}-g",
        dir="back",
        weight=weight,
        **gradient_line(diagram, link, style),
    )
