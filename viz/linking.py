"""The links of a Diagram, and the numbers on them: flow, gain, decades from the reference."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from viz.diagram import Card, Diagram, Link
from viz.trace import Edge, Magnitude, Node, Trace
from viz.usual import usual_gain


def links_of(trace: Trace, owner: dict[int, Card]) -> list[Link]:
    """One link for each tensor and each card that reads it."""
    by_id = {node.id: node for node in trace.nodes}
    grouped: dict[tuple[int, str], list[Edge]] = {}
    readers: Counter[int] = Counter(edge.source for edge in trace.edges)
    for edge in trace.edges:
        start, end = owner.get(edge.source), owner.get(edge.target)
        if start is not None and end is not None and start is not end:
            grouped.setdefault((edge.source, end.id), []).append(edge)
    links = []
    for (number, target), edges in grouped.items():
        tensor = by_id[number]
        grad = _summed(tensor, edges, readers[number], by_id)
        wanted = any(edge.differentiable for edge in edges)
        links.append(Link(owner[number].id, target, tensor, grad, wanted))
    return links


def _summed(tensor: Node, edges: list[Edge], readers: int, by_id: dict[int, Node]) -> Magnitude | None:
    """The gradient that came back along some edges of one tensor, together."""
    present = [edge.grad for edge in edges if edge.grad is not None]
    if len(present) <= 1:
        return present[0] if present else None
    if len(edges) == readers and tensor.grad is not None:
        return tensor.grad
    shared = set.intersection(*(set(by_id[edge.target].groups) for edge in edges))
    known = [magnitude for key, magnitude in tensor.partial.items() if key in shared]
    return known[-1] if known else max(present, key=lambda m: m.flow)


def reference_of(trace: Trace) -> float | None:
    """The flow at the model's output: what every other flow is compared with."""
    node = next((n for n in trace.nodes if n.id == trace.output), None)
    return node.grad.flow if node is not None and node.grad is not None else None


def measure(diagram: Diagram, owner: dict[int, Card]) -> None:
    """Fill in the numbers of the cards and links: gains, decades, ranks, and who is judged."""
    arriving: dict[str, list[Link]] = defaultdict(list)
    leaving: dict[str, list[Link]] = defaultdict(list)
    for link in diagram.links:
        arriving[link.target].append(link)
        leaving[link.source].append(link)
    before_output = _ancestors(diagram, owner)
    by_id = {card.id: card for card in diagram.cards}
    for card in diagram.cards:
        farthest = max(arriving[card.id], key=lambda link: by_id[link.source].rank, default=None)
        if farthest is not None:
            farthest.spine = True
            card.rank = by_id[farthest.source].rank + 1
        card.out = _card_output(diagram, card, leaving[card.id])
        card.decades = decades(card.out.flow if card.out else None, diagram.reference)
        inward = [link.grad.flow for link in arriving[card.id] if link.grad is not None]
        if card.out is not None and inward:
            card.gain = ratio(math.hypot(*inward), card.out.flow)
        card.neutral = usual_gain(card.family, card.nodes, card.parameters, card.gain, diagram.trace)
        layer = card.kind in ("module", "op", "fold")
        inside = all(node.inside for node in card.nodes) and any(node.recorded for node in card.nodes)
        card.judged = layer and inside and card.id in before_output
    _mark_spine(diagram, by_id)
    for link in diagram.links:
        target = by_id[link.target]
        link.decades = decades(link.grad.flow if link.grad else None, diagram.reference)
        if link.grad is not None and target.out is not None and target.kind != "loss":
            link.gain = ratio(link.grad.flow, target.out.flow)


def _mark_spine(diagram: Diagram, by_id: dict[str, Card]) -> None:
    """The longest way to the last card, which the picture keeps straight."""
    straight = {link.target: link.source for link in diagram.links if link.spine}
    linked = {link.target for link in diagram.links}
    card = next((card for card in reversed(diagram.cards) if card.id in linked), None)
    while card is not None:
        card.spine = True
        card = by_id[straight[card.id]] if card.id in straight else None


def _card_output(diagram: Diagram, card: Card, leaving: list[Link]) -> Magnitude | None:
    """The gradient at a card's outputs: of one tensor as it is, of several put end to end."""
    tensors = {link.tensor.id: link.tensor for link in leaving}
    if not tensors and card.nodes:
        tensors = {card.last.id: card.last}
    grads = [tensor.grad for tensor in tensors.values() if tensor.grad is not None]
    if len(grads) <= 1:
        return grads[0] if grads else None
    return Magnitude(
        flow=math.hypot(*(g.flow for g in grads)),
        norm=math.hypot(*(g.norm for g in grads)),
        rms=max(g.rms for g in grads),
        largest=max(g.largest for g in grads),
        nan=max(g.nan for g in grads),
        inf=max(g.inf for g in grads),
    )


def _ancestors(diagram: Diagram, owner: dict[int, Card]) -> set[str]:
    """The cards on a way from an input to the model's output, that of the output included."""
    output = owner.get(diagram.trace.output) if diagram.trace.output is not None else None
    if output is None:
        return set()
    sources: dict[str, list[str]] = defaultdict(list)
    for link in diagram.links:
        sources[link.target].append(link.source)
    seen, stack = {output.id}, [output.id]
    while stack:
        for source in sources[stack.pop()]:
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return seen


def decades(size: float | None, reference: float | None) -> float | None:
    """log10 of a size over the reference; -inf for zero, None where either is unknown."""
    if size is None or not reference:
        return None
    return math.log10(size / reference) if size > 0 else -math.inf


def ratio(a: float, b: float) -> float | None:
    """a / b; None where it says nothing."""
    return a / b if b > 0 else None
