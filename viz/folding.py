"""From a Trace to what is drawn: cards (a module, an operation, an input, the loss) and the links between them.

The picture, the table and the report all read this Diagram, so they can not disagree.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from viz.trace import Edge, Magnitude, Module, Node, Parameter, Trace
from viz.wording import family_of, main_of, neutral_gain

MOST_CARDS = 60  # with depth=None: the deepest cut that has no more


@dataclass
class Link:
    """A tensor between two cards, and the gradient that came back; `gain` is that of the card it has just left."""

    source: str
    target: str
    tensor: Node
    grad: Magnitude | None = None
    differentiable: bool = True
    gain: float | None = None
    decades: float | None = None
    spine: bool = False  # on the longest way to its target: drawn straight


@dataclass
class Mark:
    """Something to say about a card: `kind` as in Finding, the word on the badge, and its number."""

    kind: str
    badge: str
    value: float | None
    message: str
    first: bool = False  # the first of its kind in the order of computation


@dataclass
class Card:
    """One box of the picture: some nodes of the trace, and what they amount to."""

    id: str
    kind: str  # "input", "module", "op", "loss", "unused" or "fold"
    name: str
    path: str
    type: str
    family: str
    cluster: tuple[str, ...] = ()
    nodes: list[Node] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    call: int = 0
    out: Magnitude | None = None  # the gradient at its output
    gain: float | None = None
    neutral: float = 1.0
    decades: float | None = None  # log10 of the gradient at its output over the reference
    judged: bool = False
    rank: int = 0  # links on the longest way from an input
    spine: bool = False  # on the longest way of all: drawn in one straight line
    marks: list[Mark] = field(default_factory=list)

    @property
    def last(self) -> Node:
        """The node whose output is the card's."""
        return self.nodes[-1]


@dataclass
class Diagram:
    """Cards in forward order, links, and the containers around them."""

    trace: Trace
    cards: list[Card]
    links: list[Link]
    clusters: list[tuple[str, ...]]
    depth: int
    reference: float | None
    note: str = ""

    def card(self, identity: str) -> Card:
        """The card of that id; ids count the cards."""
        return self.cards[int(identity[1:])]


def fold(trace: Trace, *, depth: int | None = None, max_nodes: int = 250, ops: bool = False) -> Diagram:
    """The diagram of a trace: module cards cut at a depth, or with `ops` one card for each operation.

    With depth None the deepest cut of at most 60 cards is taken; whatever is asked for, at most `max_nodes` are drawn.
    """
    if ops:
        return _folded(trace, _by_operation, depth=-1, max_nodes=max_nodes)
    deepest = _deepest(trace)
    limit = min(MOST_CARDS, max_nodes) if depth is None else max_nodes
    wanted = deepest if depth is None else min(max(depth, 0), deepest)
    cut = wanted
    while cut > min(wanted, 1) and len(set(map(_by_module(trace, cut), _drawn(trace)))) > limit:
        cut -= 1
    note = f"collapsed to depth {cut}: deeper there are more than {limit} cards" if cut < wanted else ""
    return _folded(trace, _by_module(trace, cut), depth=cut, max_nodes=max_nodes, note=note)


def unfolded(trace: Trace, *, ops: bool = False) -> Diagram:
    """The diagram with every module open, however large: what is judged, whatever is drawn."""
    key = _by_operation if ops else _by_module(trace, _deepest(trace))
    return _folded(trace, key, depth=-1, max_nodes=len(trace.nodes) + 1)


def _deepest(trace: Trace) -> int:
    """The depth at which everything is open: operations of a container stand one below it."""
    containers = containers_of(trace)
    paths = {node.path for node in trace.nodes if node.path}
    return max((path.count(".") + 1 + (path in containers) for path in paths), default=1)


Key = tuple[str, ...]


def _by_operation(node: Node) -> Key:
    return ("op" if node.kind == "op" else "input", str(node.id))


def _by_module(trace: Trace, depth: int) -> Callable[[Node], Key]:
    containers = containers_of(trace)
    before = _before_model(trace)

    def key(node: Node) -> Key:
        if node.kind != "op":
            return ("input", str(node.id))
        if not node.inside and node.id not in before:
            return ("loss",)
        parts = levels(node)
        if len(parts) >= depth:
            return ("module", *parts[:depth])
        if parts and node.path not in containers:
            return ("module", *parts)
        return ("op", str(node.id))

    return key


def _before_model(trace: Trace) -> set[int]:
    """Nodes that the model reads, directly or not; without a model, all."""
    inside = {node.id for node in trace.nodes if node.inside}
    if not inside:
        return {node.id for node in trace.nodes}
    before = set(inside)
    for edge in sorted(trace.edges, key=lambda e: -e.target):
        if edge.target in before:
            before.add(edge.source)
    return before


def containers_of(trace: Trace) -> set[str]:
    """Paths of modules that have modules inside, and the root."""
    containers = {module.path for module in trace.modules if not module.leaf}
    for path in {node.path for node in trace.nodes} | {module.path for module in trace.modules}:
        parts = path.split(".")
        containers.update(".".join(parts[:i]) for i in range(1, len(parts)))
    return containers | {""}


def levels(node: Node) -> list[str]:
    """The path of a node with the number of each module's call: ["layer1:0", "conv:1"]."""
    parts = node.path.split(".") if node.path else []
    calls = [*node.calls, *[0] * (len(parts) - len(node.calls))]
    return [f"{part}:{call}" for part, call in zip(parts, calls, strict=False)]


def _drawn(trace: Trace) -> list[Node]:
    return [node for node in trace.nodes if node.kind != "constant"]


def _folded(trace: Trace, key: Callable[[Node], Key], *, depth: int, max_nodes: int, note: str = "") -> Diagram:
    grouped: dict[Key, list[Node]] = defaultdict(list)
    for node in _drawn(trace):
        grouped[key(node)].append(node)
    grouped = dict(sorted(grouped.items(), key=lambda item: item[1][-1].id))
    if len(grouped) > max_nodes:
        note = f"{len(grouped)} cards folded into runs: more than max_nodes={max_nodes}"
        grouped = _runs(grouped, max_nodes)
    cards = [_card(trace, key, nodes, i) for i, (key, nodes) in enumerate(grouped.items())]
    owner = {node.id: card for card in cards for node in card.nodes}
    _give_parameters(trace, cards, owner)
    links = _links(trace, owner)
    diagram = Diagram(trace, cards, links, _clusters(cards), depth, _reference(trace), note)
    _measure(diagram, owner)
    return diagram


def _runs(grouped: dict[Key, list[Node]], limit: int) -> dict[Key, list[Node]]:
    """Neighbours in forward order put together until the limit is met; inputs and the last group stay alone."""
    fixed = [key for key in grouped if key[0] in ("input", "loss")][: limit // 2]
    items = [(key, nodes) for key, nodes in grouped.items() if key not in fixed]
    size = -(-len(items) // max(limit - len(fixed), 1))
    runs: dict[Key, list[Node]] = {key: grouped[key] for key in fixed}
    for start in range(0, len(items), size):
        chunk = items[start : start + size]
        nodes = [node for _, group in chunk for node in group]
        runs[chunk[0][0] if len(chunk) == 1 else ("fold", str(nodes[0].id))] = nodes
    return dict(sorted(runs.items(), key=lambda item: item[1][-1].id))


# ---- cards -----------------------------------------------------------------------------------------------------


def _card(trace: Trace, key: Key, nodes: list[Node], number: int) -> Card:
    kind, identity = key[0], f"n{number}"
    first, last = nodes[0], nodes[-1]
    if kind == "input":
        name = first.name or "input"
        return Card(identity, "input", name, "", "", "input", nodes=nodes)
    if kind == "loss":
        return Card(identity, "loss", "loss", "", arrow_of(nodes), "loss", nodes=nodes)
    if kind == "fold":
        return Card(identity, "fold", f"{len(nodes)} operations", "", counted(nodes), "group", nodes=nodes)
    if kind == "op":
        cluster = tuple(levels(last))
        return Card(identity, "op", last.op, last.path, "", family_of(last.op), cluster, nodes)
    if len(key) == 1:  # depth 0: the whole model
        root = next((m for m in trace.modules if not m.path), Module("", ""))
        return Card(identity, "module", root.type or "model", "", "", "group", nodes=nodes)
    path = ".".join(part.rpartition(":")[0] for part in key[1:])
    module = next((m for m in trace.modules if m.path == path), Module(path, "", ""))
    single = len({node.op for node in nodes}) == 1 or module.leaf
    family = _family(module, nodes) if single else "group"
    name = key[-1].rpartition(":")[0]
    name = path if name.isdigit() else name  # a bare number says nothing
    card = Card(identity, "module", name, path, module.type, family, tuple(key[1:-1]), nodes)
    card.call = int(key[-1].rpartition(":")[2])
    return card


def _family(module: Module, nodes: list[Node]) -> str:
    """By the module's own name if it tells, as GlobalAvgPool2d does, else by its main operation."""
    named = family_of(module.type.lower())
    return named if named != "other" else family_of(main_of(nodes).op)


def counted(nodes: Iterable[Node]) -> str:
    """`conv2d ×2, relu`: the operations of a card, in order of appearance."""
    counts = Counter(node.op for node in nodes)
    return ", ".join(op + (f" ×{n}" if n > 1 else "") for op, n in counts.items())


def arrow_of(nodes: list[Node]) -> str:
    """`sub → pow → mean`, or a count where that would be long."""
    names = [node.op for node in nodes]
    return " → ".join(names) if len(names) <= 4 else counted(nodes)


def _give_parameters(trace: Trace, cards: list[Card], owner: dict[int, Card]) -> None:
    """Each parameter to the first card that reads it, or else to the card of its module, or to one made for it."""
    missing: dict[str, list[Parameter]] = defaultdict(list)
    for parameter in trace.parameters:
        path = parameter.name.rpartition(".")[0]
        readers = [owner[node] for node, _ in parameter.uses if node in owner]
        readers += [card for card in cards if card.kind == "module" and card.path == path]
        readers += [c for c in cards if c.kind == "module" and (not c.path or f"{path}.".startswith(f"{c.path}."))]
        if readers:
            readers[0].parameters.append(parameter)
        else:
            missing[path].append(parameter)
    for path, parameters in missing.items():
        module = next((m for m in trace.modules if m.path == path), Module(path, "", ""))
        card = Card(f"n{len(cards)}", "unused", path or "parameters", path, module.type, "other")
        card.parameters = parameters
        cards.append(card)


def _clusters(cards: list[Card]) -> list[tuple[str, ...]]:
    """The containers that hold at least two cards, outer before inner."""
    counts: Counter[tuple[str, ...]] = Counter()
    for card in cards:
        counts.update(card.cluster[: i + 1] for i in range(len(card.cluster)))
    return [cluster for cluster, count in counts.items() if count > 1]


# ---- links and their numbers -----------------------------------------------------------------------------------


def _links(trace: Trace, owner: dict[int, Card]) -> list[Link]:
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
    shared = set.intersection(*(set(_keys(by_id[edge.target])) for edge in edges))
    known = [magnitude for key, magnitude in tensor.partial.items() if key in shared]
    return known[-1] if known else max(present, key=lambda m: m.flow)


def _keys(node: Node) -> list[str]:
    parts = levels(node)
    own = [f"n{node.id}", *("/".join(parts[: i + 1]) for i in range(len(parts)))]
    return own if node.inside else [*own, "loss"]


def _reference(trace: Trace) -> float | None:
    """The flow at the model's output: what every other flow is compared with."""
    node = next((n for n in trace.nodes if n.id == trace.output), None)
    return node.grad.flow if node is not None and node.grad is not None else None


def _measure(diagram: Diagram, owner: dict[int, Card]) -> None:
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
        card.neutral = neutral_gain(card.nodes, diagram.trace)
        layer = card.kind in ("module", "op", "fold")
        card.judged = layer and card.id in before_output and all(node.inside for node in card.nodes)
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
