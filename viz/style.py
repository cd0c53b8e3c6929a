"""How to draw, and an empty page to draw on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import graphviz

from viz.diagram import Diagram
from viz.markup import FONT, plain
from viz.palette import Theme
from viz.pictures import Album


@dataclass
class Drawing:
    """A finished DOT graph and the images that it refers to."""

    graph: graphviz.Digraph
    album: Album = field(default_factory=Album)


@dataclass(frozen=True)
class Style:
    """How to draw: the caller's choices."""

    theme: Theme
    show: Collection[str]
    direction: str = "TB"
    scale: str = "flow"
    shared_thumbs: bool = False
    quick: bool = False  # cheaper splines for a very large graph


def new_graph(diagram: Diagram, style: Style) -> graphviz.Digraph:
    """An empty graph with the attributes that all our pictures share. Neither size nor dpi: SVG is scaled by CSS."""
    theme = style.theme
    graph = graphviz.Digraph(name=plain(diagram.trace.title or "computation"))
    quick = {"nslimit": "2", "splines": "line"} if style.quick else {"splines": "true"}
    graph.attr(
        "graph",
        fontname=FONT,
        bgcolor=theme.page,
        pad="0.25",
        nodesep="0.4",
        ranksep="0.15" if style.direction == "LR" else "0.3",
        rankdir=style.direction,
        outputorder="edgesfirst",
        **quick,
    )
    graph.attr("node", shape="plain", fontname=FONT, fontsize="10")
    graph.attr("edge", fontname=FONT, fontsize="9", fontcolor=theme.muted, arrowhead="normal")
    return graph
