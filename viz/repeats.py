"""Repeated blocks: the first is drawn, those that follow it and are built alike become one card, "×3 more"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viz.trace import Node, Trace

Key = tuple[str, ...]
Groups = dict[Key, list[Node]]
Item = tuple[Key, list[Node]]
Built = dict[int, list[Any]]  # node id -> operation, shape, options, weights
LONGEST = 8  # layers in a period


def repeats_folded(trace: Trace, grouped: Groups, names: dict[Key, list[str]]) -> Groups:
    """Groups in forward order with repeats put together under keys ("more", *frame, count); inputs stay as they are.

    Blocks are alike if they run the same operations, with the same options and shapes, weights of the same shapes, in
    the same order of parts.
    Blocks that lie directly one after another count as repeats, whether they are one module each (a residual stage),
    several (linear, relu, linear, relu), or calls of the same module. `names` is filled with the folded parts' names.
    """
    items = [(key, nodes) for key, nodes in grouped.items() if key[0] in ("module", "op")]
    others = {key: nodes for key, nodes in grouped.items() if key[0] not in ("module", "op")}
    built: Built = {node.id: [node.op, node.shape, sorted(node.options.items())] for _, ns in items for node in ns}
    for parameter in trace.parameters:
        for number, name in parameter.uses:
            if number in built:
                built[number].append([name, parameter.shape, parameter.requires_grad])
    folded = {**others, **_folded(items, 0, built, names)}
    return dict(sorted(folded.items(), key=lambda item: item[1][-1].id))


def _folded(items: Sequence[Item], depth: int, built: Built, names: dict[Key, list[str]]) -> Groups:
    """Repeats among the parts of one container, and inside the parts that remain."""
    parts = _parts(items, depth)
    kinds = [_signature(part, depth, built) for part in parts]
    weighted = [any(len(built[node.id]) > 3 for _, nodes in part for node in nodes) for part in parts]
    result: Groups = {}
    at = 0
    while at < len(parts):
        period, times = _repeat_at(kinds, at)
        if times > 1 and not weighted[at] and _spared(_repeat_at(kinds, at + 1)) >= _spared((period, times)):
            period, times = 1, 1  # a block rather begins with its weights: linear, relu and not relu, linear
        for part in parts[at : at + period]:
            opened = len(part) > 1 or len(_frame(*part[0])) > depth + 1
            result.update(_folded(part, depth + 1, built, names) if opened else part)
        more = [entry for part in parts[at + period : at + period * times] for entry in part]
        if more:
            nodes = sorted((node for _, group in more for node in group), key=lambda node: node.id)
            frame = _frame(*more[0])[:depth]
            key = ("more", *frame, str(nodes[0].id), str(times - 1))
            repeated = parts[at + period : at + period * times]
            names[key] = [_name(part, depth) for part in [*parts[at : at + period], *repeated]]
            result[key] = nodes
        at += period * times
    return result


def _parts(items: Sequence[Item], depth: int) -> list[list[Item]]:
    """Neighbours that belong to the same part of the container, in forward order."""
    parts: list[list[Item]] = []
    last: str | None = None
    for key, nodes in items:
        frame = _frame(key, nodes)
        name = frame[depth] if len(frame) > depth else None
        if name is None or name != last:
            parts.append([])
        parts[-1].append((key, nodes))
        last = name
    return parts


def _repeat_at(kinds: Sequence[Any], at: int) -> tuple[int, int]:
    """The period and number of the repeats that begin here and spare the most cards; (1, 1) if there are none."""
    best = (1, 1)
    for period in range(1, min(LONGEST, (len(kinds) - at) // 2) + 1):
        block = kinds[at : at + period]
        times = 1
        while kinds[at + period * times : at + period * (times + 1)] == block:
            times += 1
        if times > 1 and _spared((period, times)) > _spared(best):
            best = (period, times)
    return best


def _spared(repeat: tuple[int, int]) -> int:
    """How many parts need no card of their own."""
    period, times = repeat
    return period * (times - 1)


def _signature(part: Sequence[Item], depth: int, built: Built) -> list[Any]:
    """What a block is made of, without its own name."""
    return [
        ([level.rpartition(":")[0] for level in _frame(key, nodes)[depth + 1 :]], built[node.id])
        for key, nodes in part
        for node in nodes
    ]


def _frame(key: Key, nodes: list[Node]) -> tuple[str, ...]:
    """The containers around a group, its own module last; of a lone operation those it stands in."""
    return key[1:] if key[0] == "module" else tuple(nodes[-1].levels)


def _name(part: Sequence[Item], depth: int) -> str:
    key, nodes = part[0]
    levels = _frame(key, nodes)[: depth + 1]
    path = ".".join(level.rpartition(":")[0] for level in levels)
    call = int(levels[-1].rpartition(":")[2]) if levels else 0
    if len(levels) <= depth:
        return nodes[-1].op
    return path + (f" (call {call + 1})" if call else "")
