"""Opening closed cards in a page: for each of them a picture in which it, and it alone, is open.

A closed card is a container, a run of layers, or blocks that repeat those before them. What is inside it may be closed
in turn; the pictures are laid out beforehand, as a page has no layout engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from viz import folding, layout
from viz.diagram import Card, Diagram
from viz.figure import Figure
from viz.repeats import Groups, Key, repeats_folded
from viz.trace import Trace

MOST_PICTURES = 8
MOST_CARDS = 100  # of a picture


def opened(figure: Figure) -> Iterator[tuple[str, str, Figure]]:
    """The number of each closed card of a figure by module (as "n5"), what to call it, and the picture it opens to.

    A card inside an opened one has both numbers: "n5/n7", the second in the picture of the first.
    """
    names: dict[Key, list[str]] = {}
    groups = _groups_of(figure, names)
    waiting = [("", figure.diagram, groups, {card.id for card in figure.diagram.cards})]
    made = 0
    while waiting and made < MOST_PICTURES:
        prefix, diagram, groups, candidates = waiting.pop(0)
        for card in diagram.cards:
            finer = _inside(figure.trace, card, diagram.depth) if card.id in candidates and len(card.nodes) > 1 else {}
            if len(finer) < 2 or len(diagram.cards) + len(finer) > MOST_CARDS or made >= MOST_PICTURES:
                continue
            inner = dict(groups)
            del inner[_key_of(groups, card)]
            inner = dict(sorted({**inner, **finer}.items(), key=lambda item: item[1][-1].id))
            drawn = _figure(figure, inner, diagram, names)
            nodes = {node.id for node in card.nodes}
            new = {c.id for c in drawn.diagram.cards if c.nodes and c.nodes[0].id in nodes}
            identity = f"{prefix}{card.id}"
            made += 1
            waiting.append((f"{identity}/", drawn.diagram, inner, new))
            yield identity, card.path or card.name, drawn


def _groups_of(figure: Figure, names: dict[Key, list[str]]) -> Groups:
    """What the cards of a diagram were made from, under the keys that make them again."""
    trace, diagram = figure.trace, figure.diagram
    cut = folding._grouped(trace, folding._by_module(trace, diagram.depth))
    known = {**repeats_folded(trace, cut, names), **cut}
    by_nodes = {tuple(node.id for node in nodes): key for key, nodes in known.items()}
    groups: Groups = {}
    for card in diagram.cards:
        if card.nodes:
            key = by_nodes.get(tuple(node.id for node in card.nodes), ("fold", str(card.nodes[0].id)))
            groups[key] = card.nodes
    return groups


def _key_of(groups: Groups, card: Card) -> Key:
    return next(key for key, nodes in groups.items() if nodes[-1] is card.nodes[-1])


def _inside(trace: Trace, card: Card, depth: int) -> Groups:
    """The cards inside a card: at the depth of the picture if it is a run of them, else at the first that parts it."""
    if card.kind not in ("module", "fold"):
        return {}
    mine = {node.id for node in card.nodes}
    finer: Groups = {}
    for cut in range(max(depth, 0), folding._deepest(trace) + 1):
        grouped = folding._grouped(trace, folding._by_module(trace, cut))
        finer = {key: nodes for key, nodes in grouped.items() if nodes[0].id in mine}
        if len(finer) > 1 and {node.id for nodes in finer.values() for node in nodes} == mine:
            return finer
    return {}


def _figure(figure: Figure, groups: Groups, around: Diagram, names: dict[Key, list[str]]) -> Figure:
    drawn = Figure(figure.trace, replace(figure.options, level="module"))
    diagram = folding._diagram(
        figure.trace, groups, depth=around.depth, max_nodes=len(groups), note=around.note, names=names
    )
    drawn.diagram = drawn._marked(diagram)
    return drawn


def pictures(figure: Figure) -> Iterator[tuple[str, str, Figure, str]]:
    """What `opened` gives and its SVG; those that can not be laid out in time are left out."""
    for identity, name, drawn in opened(figure):
        try:
            yield identity, name, drawn, drawn.svg()
        except layout.LayoutTimeout:
            continue
