"""From a Trace to a Diagram: which operations share a card, at the depth asked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile

from viz.diagram import Card, Diagram
from viz.linking import links_of, measure, reference_of
from viz.repeats import Groups, Key, repeats_folded
from viz.trace import Module, Node, Parameter, Trace
from viz.wording import family_of, main_of

MOST_CARDS = 60  # with depth=None: the deepest cut that has no more


def fold(trace: Trace, *, depth: int | None = None, max_nodes: int = 250, ops: bool = False) -> Diagram:
    """The diagram of a trace: module cards cut at a depth, or with `ops` a card for each operation.

    With depth None the deepest cut of at most 60 cards is taken, repeated blocks folded where that is needed; whatever
    is asked for, at most `max_nodes` are drawn.
    """
    deepest = _deepest(trace)
    limit = min(MOST_CARDS, max_nodes) if depth is None else max_nodes
    wanted = deepest if depth is None else min(max(depth, 0), deepest)
    for cut in range(wanted, min(wanted, 1) - 1, -1):
        grouped = _grouped(trace, _by_operation(cut) if ops else _by_module(trace, cut))
        if len(grouped) <= limit:
            note = f"opened to depth {cut}: deeper there are more than {limit} cards" if cut < wanted else ""
            return _diagram(trace, grouped, depth=cut, max_nodes=limit, note=note)
        names: dict[Key, list[str]] = {}
        folded = repeats_folded(trace, grouped, names)
        if len(folded) <= limit:
            more = f"; depth={deepest} draws all" if depth is None and len(grouped) <= max_nodes else ""
            note = f"repeated blocks are drawn once: {len(grouped)} cards in {len(folded)}{more}"
            return _diagram(trace, folded, depth=cut, max_nodes=limit, note=note, names=names)
    return _diagram(trace, folded, depth=cut, max_nodes=limit, names=names)


def unfolded(trace: Trace, *, ops: bool = False) -> Diagram:
    """The diagram with every module open, however large: what is judged, whatever is drawn."""
    deepest = _deepest(trace)
    key = _by_operation(deepest) if ops else _by_module(trace, deepest)
    return _diagram(trace, _grouped(trace, key), depth=-1, max_nodes=len(trace.nodes) + 1)


def _deepest(trace: Trace) -> int:
    """The depth at which everything is open: operations of a container stand one below it."""
    containers = containers_of(trace)
    paths = {node.path for node in trace.nodes if node.path}
    return max((path.count(".") + 1 + (path in containers) for path in paths), default=1)


def _by_operation(depth: int) -> Callable[[Node], Key]:
    """Each operation alone, but those of modules below the depth with their module."""

    def key(node: Node) -> Key:
        if node.kind != "op":
            return ("input", str(node.id))
        return ("module", *node.levels[:depth]) if 0 < depth < len(node.levels) else ("op", str(node.id))

    return key


def _by_module(trace: Trace, depth: int) -> Callable[[Node], Key]:
    containers = containers_of(trace)
    before = _before_model(trace)

    def key(node: Node) -> Key:
        if node.kind != "op":
            return ("input", str(node.id))
        if not node.inside and node.id not in before:
            return ("loss",)
        parts = node.levels
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


def _drawn(trace: Trace) -> list[Node]:
    return [node for node in trace.nodes if node.kind != "constant"]


def _grouped(trace: Trace, key: Callable[[Node], Key]) -> Groups:
    """Nodes by the card they share, cards in the order in which they are done."""
    grouped: Groups = defaultdict(list)
    for node in _drawn(trace):
        grouped[key(node)].append(node)
    return dict(sorted(grouped.items(), key=lambda item: item[1][-1].id))


def _diagram(
    trace: Trace,
    grouped: Groups,
    *,
    depth: int,
    max_nodes: int,
    note: str = "",
    names: Mapping[Key, list[str]] | None = None,
) -> Diagram:
    if len(grouped) > max_nodes:
        note = f"{len(grouped)} cards folded into runs: more than max_nodes={max_nodes}"
        grouped = _runs(grouped, max_nodes)
    cards = [_card(trace, key, nodes, i, names or {}) for i, (key, nodes) in enumerate(grouped.items())]
    _tell_apart(trace, cards)
    owner = {node.id: card for card in cards for node in card.nodes}
    _give_parameters(trace, cards, owner)
    diagram = Diagram(trace, cards, links_of(trace, owner), _clusters(cards), depth, reference_of(trace), note)
    measure(diagram, owner)
    return diagram


def _runs(grouped: Groups, limit: int) -> Groups:
    """Neighbours in forward order put together until the limit is met; inputs and the last group stay alone."""
    fixed = [key for key in grouped if key[0] in ("input", "loss")][: limit // 2]
    items = [(key, nodes) for key, nodes in grouped.items() if key not in fixed]
    size = -(-len(items) // max(limit - len(fixed), 1))
    runs: Groups = {key: grouped[key] for key in fixed}
    for start in range(0, len(items), size):
        chunk = items[start : start + size]
        nodes = [node for _, group in chunk for node in group]
        runs[chunk[0][0] if len(chunk) == 1 else ("fold", str(nodes[0].id))] = nodes
    return dict(sorted(runs.items(), key=lambda item: item[1][-1].id))


# ---- cards -----------------------------------------------------------------------------------------------------


def _card(trace: Trace, key: Key, nodes: list[Node], number: int, names: Mapping[Key, list[str]]) -> Card:
    kind, identity = key[0], f"n{number}"
    first, last = nodes[0], nodes[-1]
    if kind == "input":
        name = first.name or "input"
        return Card(identity, "input", name, "", "", "input", nodes=nodes)
    if kind == "loss":
        return Card(identity, "loss", "loss", "", arrow_of(nodes), "loss", nodes=nodes)
    if kind == "fold":
        return Card(identity, "fold", f"{len(nodes)} operations", "", counted(nodes), "group", nodes=nodes)
    if kind == "more":
        return _more(key, nodes, identity, names[key])
    if kind == "op":
        cluster = tuple(last.levels)
        return Card(identity, "op", last.op, last.path, "", family_of(last.op), cluster, nodes)
    if len(key) == 1:  # depth 0: the whole model
        root = next((m for m in trace.modules if not m.path), Module("", ""))
        return Card(identity, "module", root.type or "model", "", "", "group", nodes=nodes)
    path = ".".join(part.rpartition(":")[0] for part in key[1:])
    module = next((m for m in trace.modules if m.path == path), Module(path, "", ""))
    single = len({node.op for node in nodes}) == 1 or module.leaf
    family = _family(module, nodes) if single else "group"
    name = key[-1].rpartition(":")[0]
    if name.isdigit():  # which says nothing alone
        numbers = len(list(takewhile(str.isdigit, reversed(path.split(".")))))
        name = ".".join(path.split(".")[-numbers - 1 :])
    card = Card(identity, "module", name, path, module.type, family, tuple(key[1:-1]), nodes)
    card.call = int(key[-1].rpartition(":")[2])
    return card


def _tell_apart(trace: Trace, cards: list[Card]) -> None:
    """relu, relu (2), relu (3): what stands in no module is numbered in the order of the tape, however it is folded."""
    seen: Counter[str] = Counter()
    number: dict[int, int] = {}
    for node in trace.nodes:
        if not node.path:
            name = node.op if node.kind == "op" else node.name or node.kind
            seen[name] += 1
            number[node.id] = seen[name]
    for card in cards:
        if card.kind in ("op", "input") and (count := number.get(card.last.id, 1)) > 1:
            card.name += f" ({count})"


def _more(key: Key, nodes: list[Node], identity: str, names: list[str]) -> Card:
    """The blocks that repeat the ones before them."""
    times = int(key[-1])
    period = len(names) // (times + 1)
    block, rest = names[:period], names[period:]
    which = ", ".join(rest) if len(rest) <= 3 else f"{rest[0]} … {rest[-1]}"
    like = " → ".join(block) if period <= 3 else f"{block[0]} → … → {block[-1]}"
    return Card(identity, "fold", f"×{times} more", "", f"{which}: as {like}", "group", key[1:-2], nodes)


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
    """Each parameter to the first card that reads it, or else to the card of its module, or to one made for it.

    Of what nobody reads, a module is one card, and so is a parameter of the model itself.
    """
    missing: dict[str, list[Parameter]] = defaultdict(list)
    for parameter in trace.parameters:
        path = parameter.name.rpartition(".")[0]
        readers = [owner[node] for node, _ in parameter.uses if node in owner]
        if not readers:
            readers = [card for card in cards if card.kind == "module" and card.path == path]
        if not readers:
            readers = [c for c in cards if c.kind == "module" and (not c.path or f"{path}.".startswith(f"{c.path}."))]
        if readers:
            readers[0].parameters.append(parameter)
            others = {card.id: card for card in readers[1:] if card is not readers[0]}
            for card in others.values() if parameter.uses else ():
                card.shared.append(parameter)
        else:
            missing[path or parameter.name].append(parameter)
    for name, parameters in missing.items():
        module = next((m for m in trace.modules if m.path == name), None)
        card = Card(f"n{len(cards)}", "unused", name, name, module.type if module else "Parameter", "other")
        card.parameters = parameters
        cards.append(card)


def _clusters(cards: list[Card]) -> list[tuple[str, ...]]:
    """The containers that hold at least two cards, outer before inner."""
    counts: Counter[tuple[str, ...]] = Counter()
    for card in cards:
        counts.update(card.cluster[: i + 1] for i in range(len(card.cluster)))
    return [cluster for cluster, count in counts.items() if count > 1]
