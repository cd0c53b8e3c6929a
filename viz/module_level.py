"""The picture by module: activations down in a blue lane, gradients up in an orange one, a card for each module."""

from __future__ import annotations

from itertools import pairwise

import graphviz

from viz import wording
from viz.cards import card_rows, title_row
from viz.diagram import Card, Diagram, Link
from viz.legend import heading, legend
from viz.lines import gradient_line, gradient_words
from viz.markup import cell, fixed, label, plain, table, text
from viz.palette import Theme
from viz.pictures import Album
from viz.style import Drawing, Style, new_graph

WIDTH = 470  # of a card, in points


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
    path = ".".join(part.rpartition(":")[0] for part in frame)
    kind = next((m.type for m in diagram.trace.modules if m.path == path), "")
    depth = sum(1 for i in range(1, len(frame)) if frame[:i] in known)
    words = text(path, theme.muted, 11, bold=True, room=300)
    words += text(f"   {kind}" if kind else "", theme.muted, 9)
    words += _call(int(frame[-1].rpartition(":")[2]), theme)
    return {
        "label": label(words),
        "labeljust": "l",
        "style": "rounded,filled",
        "color": theme.cluster_edge,
        "fillcolor": theme.clusters[depth % len(theme.clusters)],
        "margin": "12",
    }


def _call(call: int, theme: Theme) -> str:
    return text(f"   call {call + 1}, same weights", theme.muted, 8) if call else ""


def _card(graph: graphviz.Digraph, diagram: Diagram, card: Card, style: Style, album: Album) -> None:
    theme = style.theme
    mark = card.marks[0] if card.marks else None
    edge = theme.badges[mark.kind][0] if mark else theme.card_edge
    rows = [title_row(diagram, card, theme, WIDTH - 14), *card_rows(diagram, card, style, album, WIDTH - 14)]
    body = table(
        (cell(row, ALIGN="LEFT") for row in rows),
        BORDER=2 if mark else 1,
        COLOR=edge,
        STYLE="ROUNDED" + (",DASHED" if mark and mark.kind in ("unused", "no-grad") else ""),
        BGCOLOR=theme.card,
        CELLSPACING=2,
        CELLPADDING=2,
        WIDTH=WIDTH,
    )
    ported = with_ports(body, style, _words_above(diagram, card, style), _words_below(diagram, card, style))
    straight = {"group": "spine"} if card.spine else {}
    graph.node(card.id, label=label(ported), id=card.id, tooltip=plain(_tooltip(diagram, card)), **straight)


def _words_above(diagram: Diagram, card: Card, style: Style) -> list[str]:
    """What the gradient is where it leaves the card, one line for each way that it takes."""
    if "grads" not in style.show or diagram.trace.backward != "full":
        return []
    links = [link for link in diagram.links if link.target == card.id]
    if len(links) <= 1:
        return [gradient_words(diagram, link, style) for link in links]
    names = [".".join(diagram.card(link.source).name.split(".")[-2:]) for link in links]
    return [
        f"{gradient_words(diagram, link, style)} to {name}".removeprefix("‖∂L‖ ")
        for link, name in zip(links, names, strict=True)
    ]


def _words_below(diagram: Diagram, card: Card, style: Style) -> tuple[str, str]:
    """The shape of what the card gives, and the sum of the gradients that come back where its output fans out."""
    links = [link for link in diagram.links if link.source == card.id]
    shapes = list(dict.fromkeys(wording.shape_of(link.tensor.shape) for link in links))
    shape = ", ".join(shapes) if "shapes" in style.show else ""
    fans_out = len(links) > 1 and "grads" in style.show and card.out is not None
    return shape, f"Σ {wording.number(card.out.flow)}" if fans_out and card.out is not None else ""


def with_ports(body: str, style: Style, above: list[str], below: tuple[str, str]) -> str:
    """Thin cells around a card where its lanes begin and end: fi, fo forward in and out; gi, go backward.

    From top to bottom the words of the lanes stand in rows of the card's own node, beside where the lines pass: so
    no line bends around a label, and the lanes stay straight.
    """
    if style.direction == "LR":
        first = [fixed("", 1, 30, PORT="fi"), cell(body, ROWSPAN=2), fixed("", 1, 30, PORT="fo")]
        second = [fixed("", 1, 30, PORT="go"), fixed("", 1, 30, PORT="gi")]
        return table([first, second])
    half, theme = WIDTH / 2, style.theme
    rows: list[list[str] | str] = [[_beside("", theme.muted), _beside(line, theme.backward_text)] for line in above]
    rows += [[fixed("", half, 1, PORT="fi"), fixed("", half, 1, PORT="go")]]
    rows += [cell(body, COLSPAN=2)]
    rows += [[fixed("", half, 1, PORT="fo"), fixed("", half, 1, PORT="gi")]]
    if any(below):
        rows += [[_beside(below[0], theme.muted), _beside(below[1], theme.backward_text)]]
    return table(rows)


def _beside(words: str, colour: str) -> str:
    """Half a card's width, with words to the right of the lane in its middle."""
    lane = WIDTH / 4
    if not words:
        return fixed("", 2 * lane, 13)
    row = [fixed("", lane + 7, 13), fixed(text(words, colour, 9, room=lane - 7), lane - 7, 13, ALIGN="LEFT")]
    return cell(table([row]))


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
    name, labelled = f"{link.source}-{link.target}", style.direction == "LR"
    down, up = ("e", "w") if labelled else ("s", "n")
    weight = "8" if link.spine else "1"
    words = f"  {shape}  " if labelled and "shapes" in style.show else ""
    graph.edge(
        f"{link.source}:fo:{down}",
        f"{link.target}:fi:{up}",
        id=f"{name}-f",
        color=theme.forward,
        penwidth="1.3",
        arrowsize="0.6",
        label=words,
        tooltip=plain(f"{shape} {link.tensor.dtype}"),
        weight=weight,
    )
    if diagram.trace.backward != "full" or "grads" not in style.show:
        return
    words = f"  {gradient_words(diagram, link, style)}  " if labelled else ""
    graph.edge(
        f"{link.source}:gi:{down}",
        f"{link.target}:go:{up}",
        id=f"{name}-g",
        dir="back",
        label=words,
        fontcolor=theme.backward_text,
        weight=weight,
        **gradient_line(diagram, link, style),
    )
