"""What is wrong, where, and how we know: marks on cards, and the same as a list of findings.

Gradients are compared with the gradient at the model's output and layers with the gain that is usual for their kind
(usual.py), so no threshold depends on the batch size, the loss or its scale. Only cards between the model's input and
its output are judged. The size of an update is shown but never a finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from viz.diagram import Card, Diagram, Mark
from viz.trace import Magnitude, Parameter
from viz.wording import factor, not_finite, number, percent

SHRINKS = 0.1  # a gain below this share of the usual one
EXPLODES = 10.0  # a gain above this multiple of it
EXPLODED = 2.0  # decades above the reference
VANISHED = -2.0  # decades below it, behind a card that shrinks
FADED = -6.0  # decades below it, with no single culprit: ten plain convolutions reach -5.3
SQUASHED = -4.0  # where each layer keeps less than a fifth, as sigmoids do
DEAD_SHARE = 0.85  # of a rectifier's channels silent: many are by chance, and one batch proves little
DEAD_SAMPLES = 16  # fewer prove less: then all channels must be silent
DEAD_CHANNELS = 6  # fewer may all be silent by chance, unless they stay far below zero

# Most severe first.
KINDS = ("nan", "inf", "exploding", "shrinks", "vanishing", "dead", "no-grad", "unused", "frozen")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `where` is a module path or node name, `value` the number that shows it."""

    kind: str
    where: str
    value: float | None
    message: str

    def __str__(self) -> str:
        return f"{self.where} ({self.kind}): {self.message}."

    @property
    def sentence(self) -> str:
        """The finding and what to do about it, as sentences."""
        return f"{self} {_ADVICE[self.kind]}."


_ADVICE = {
    "nan": "Repeat the step under tc.detect_anomaly(): it names the source line",
    "inf": "Lower the learning rate or the scale of the inputs",
    "exploding": "Start it smaller (nn.init), normalise, or clip with nn.utils.clip_grad_norm_",
    "shrinks": "Start it larger (nn.init), or look for a saturated activation",
    "vanishing": "Mend the layer that shrinks it; where none does, normalise or add shortcuts",
    "dead": "Lower the learning rate, look at the biases before it, or use leaky_relu",
    "no-grad": "Remove the detach() or no_grad() between it and the loss",
    "unused": "Use its result in forward, or remove it",
    "frozen": "If that is not meant: requires_grad_(True)",
}


class Report(list[Finding]):
    """Findings, most severe first; prints as sentences. `gap` says what could not be judged, "" if nothing."""

    def __init__(self, findings: Iterable[Finding] = (), *, judged: int = 0, gap: str = "") -> None:
        super().__init__(findings)
        self.judged, self.gap = judged, gap

    @property
    def ok(self) -> bool:
        """Whether the gradients were judged and nothing was found."""
        return not self and not self.gap

    def __str__(self) -> str:
        layers = f"{self.judged} layer{'s' if self.judged != 1 else ''} judged"
        lines = [f"Not judged: {self.gap}."] if self.gap else []
        told: set[str] = set()
        for finding in self:  # the advice once for each kind
            lines.append(str(finding) if finding.kind in told else finding.sentence)
            told.add(finding.kind)
        if not lines:
            lines = [f"Nothing is wrong: {layers}."]
        return "\n".join(lines)

    __repr__ = __str__


def judge(diagram: Diagram) -> list[Finding]:
    """Put marks on the diagram's cards and return them as findings, most severe first.

    The diagram must be unfolded: thresholds are for single layers, a container of many may well shrink more.
    """
    first_forward, first_backward = _first_bad(diagram)
    before = {link.target: where(diagram.card(link.source)) for link in diagram.links if link.spine}
    for card in diagram.cards:
        card.marks = []
        _mark_nonfinite(card, card is first_forward, card is first_backward)
        broken = bool(card.marks)
        _mark_dead(card, before.get(card.id, ""))
        if card.judged and not broken and not _is_dead_end(card) and not _silent_by_chance(card):
            _mark_gain(card)
        _mark_parameters(card, diagram)
    _mark_distant(diagram)
    for card in diagram.cards:
        card.marks.sort(key=_severity)
    found = [(mark, card) for card in diagram.cards for mark in card.marks]
    found.sort(key=lambda pair: _severity(pair[0]))
    return [Finding(mark.kind, where(card), mark.value, mark.message) for mark, card in found]


def _severity(mark: Mark) -> tuple[bool, int, bool]:
    """Where a mark stands in a report: what began it all, then by kind; victims after the culprits."""
    kind = KINDS.index("shrinks" if mark.dead_end else mark.kind)
    return not mark.first, max(kind, KINDS.index("dead")) if mark.victim else kind, mark.victim


def _is_dead_end(card: Card) -> bool:
    """Whether dead channels are why hardly any gradient leaves the card: then that is said, and not that it shrinks."""
    return any(mark.dead_end for mark in card.marks)


def _silent_by_chance(card: Card) -> bool:
    """Whether so few channels and samples were seen, none of them active, that it proves nothing."""
    silent = any(node.silent is not None and node.silent.channels == node.silent.of for node in card.nodes)
    return silent and not any(mark.kind == "dead" for mark in card.marks)


def carry_marks(judged: Diagram, drawn: Diagram) -> None:
    """Copy the marks of an unfolded diagram to the one that is drawn; a container's badge names the part inside."""
    owner = {node.id: card for card in drawn.cards for node in card.nodes}
    holder = {p.id: card for card in drawn.cards for p in card.parameters}
    for card in drawn.cards:
        card.marks = []
    for card in judged.cards:
        home = owner[card.last.id] if card.nodes else holder[card.parameters[0].id]
        for mark in card.marks:
            inside = len(home.nodes) > len(card.nodes)
            badge = f"{card.name}: {mark.badge}" if inside else mark.badge
            message = f"{where(card)}: {mark.message}" if inside else mark.message
            home.marks.append(replace(mark, badge=badge, message=message))
    for card in drawn.cards:
        card.marks.sort(key=_severity)


def where(card: Card) -> str:
    """The module path of a card, or its name where it has none."""
    return card.path or card.name


def _first_bad(diagram: Diagram) -> tuple[Card | None, Card | None]:
    """The earliest card with a value that is not finite, in forward order and in backward order."""
    forward = next((c for c in diagram.cards if _bad(_forward_worst(c))), None)
    if forward is not None:
        return forward, None  # a bad forward makes a bad backward; the cause is the forward one
    # In backward order, the first to send on what is bad.
    senders = {link.target for link in diagram.links if _bad(link.grad)}
    senders.update(c.id for c in diagram.cards if _bad(_worst(p.grad for p in c.parameters)))
    return None, next((card for card in reversed(diagram.cards) if card.id in senders), None)


def _forward_worst(card: Card) -> Magnitude | None:
    return _worst([*(node.out for node in card.nodes), *(p.weight for p in card.parameters)])


def _worst(magnitudes: Iterable[Magnitude | None]) -> Magnitude | None:
    present = [m for m in magnitudes if m is not None]
    return max(present, key=lambda m: m.nan + m.inf, default=None)


def _bad(magnitude: Magnitude | None) -> bool:
    return magnitude is not None and magnitude.nan + magnitude.inf > 0


def _mark_nonfinite(card: Card, first_forward: bool, first_backward: bool) -> None:
    """The cause before the effect: weights that are not finite, else the output, else the gradient."""
    if card.kind == "input" and not _bad(_forward_worst(card)):
        return  # where the gradient ends up
    seen = {
        "weights": _worst(p.weight for p in card.parameters),
        "output": _worst(node.out for node in card.nodes),
        "gradient": _worst([card.out, *(p.grad for p in card.parameters)]),
    }
    bad = {what: m for what, m in seen.items() if m is not None and _bad(m)}
    first = " · FIRST" if first_forward or first_backward else ""
    order = f"; FIRST in {'forward' if first_forward else 'backward'} order" if first else ""
    if bad:
        what, m = next(iter(bad.items()))
        kind, word, share = ("nan", "NaN", m.nan) if m.nan else ("inf", "Inf", m.inf)
        then = f", and so {not_finite(bad['output'])} of the output" if what == "weights" and "output" in bad else ""
        message = f"{percent(share)} of the {what} is {word}{then}{order}"
        card.marks.append(Mark(kind, f"{word} {percent(share)}{first}", share, message, first=bool(first)))
    elif first:
        card.marks.append(Mark("nan", f"NaN{first}", None, f"the gradient it sends is not finite{order}", first=True))


def _mark_gain(card: Card) -> None:
    if card.gain is None:
        return
    relative = card.gain / card.neutral
    usual = "" if card.neutral == 1 else f", where {factor(card.neutral)} is usual"
    message = f"the gradient leaves it {factor(card.gain)} as large as it came{usual}"
    if relative < SHRINKS and not _lets_pass(card):
        card.marks.append(Mark("shrinks", f"SHRINKS GRADIENT {factor(card.gain)}", card.gain, message))
    elif relative > EXPLODES:
        card.marks.append(Mark("exploding", f"▲ EXPLODING {factor(card.gain)}", card.gain, message))


def _lets_pass(card: Card) -> bool:
    """Whether it is a rectifier of which enough units are active: it is not to blame for where the gradient fell."""
    return all(node.active is not None and node.active > SHRINKS**2 for node in card.nodes)


@dataclass
class _Way:
    """What a gradient has passed on its way from the model's output to a card."""

    lost: float = 0.0  # decades that means take away by design
    gained: float = 0.0  # decades that normalisations add, which undo the small scale before them
    layers: int = 0  # with weights
    shrinks: Card | None = None  # the nearest card that does
    explodes: Card | None = None
    dead: Card | None = None  # has channels that pass nothing
    chance: bool = False  # a rectifier passed nothing, by chance


def _mark_distant(diagram: Diagram) -> None:
    """Cards with parameters that hardly any gradient reaches, or far too much; what lies between is followed once."""
    ways: dict[str, _Way] = {}
    for link in sorted(diagram.links, key=lambda link: -diagram.card(link.target).rank):
        way = _further(ways.get(link.target, _Way()), diagram.card(link.target))
        known = ways.setdefault(link.source, way)
        known.lost, known.layers = min(known.lost, way.lost), max(known.layers, way.layers)
        known.gained = max(known.gained, way.gained)
        known.shrinks, known.explodes = way.shrinks or known.shrinks, way.explodes or known.explodes
        known.dead, known.chance = way.dead or known.dead, way.chance or known.chance
    for card in diagram.cards:
        if card.judged and card.parameters and card.decades is not None and not card.marks:
            mark = _distant(card.decades, ways.get(card.id, _Way()))
            card.marks += [mark] if mark else []


def _further(way: _Way, card: Card) -> _Way:
    """The way, once it has passed a card."""
    if not card.judged:
        return replace(way)
    kinds = {mark.kind for mark in card.marks if not mark.victim}
    by_design = math.log10(card.neutral)
    undone = card.family == "normalization"
    return _Way(
        way.lost + (0.0 if undone else min(by_design, 0.0)),
        way.gained + (max(by_design, 0.0) if undone else 0.0),
        way.layers + bool(card.parameters),
        card if "shrinks" in kinds or _is_dead_end(card) else way.shrinks,
        card if "exploding" in kinds else way.explodes,
        card if "dead" in kinds else way.dead,
        way.chance or _silent_by_chance(card),
    )


def _distant(f: float, way: _Way) -> Mark | None:
    """The mark of a layer with weights, f decades from the model's output."""
    if f == -math.inf and way.chance and not way.shrinks:
        return None
    a_layer = 10 ** ((f - way.lost) / max(way.layers, 1))
    if f - way.lost < (VANISHED if way.shrinks else SQUASHED if a_layer < 0.2 else FADED):
        by = f"behind the dead channels of {where(way.dead)}" if way.dead else ""
        by = f"shrunk by {where(way.shrinks)} ({factor(way.shrinks.gain)})" if way.shrinks else by
        why = by or f"gradually, {factor(a_layer)} a layer"
        if not math.isfinite(f):
            return Mark("vanishing", "▼ VANISHING to 0", None, f"its gradient is zero, {why}", victim=bool(by))
        message = f"its gradient is {-f:.1f} decades below the model's output, {why}"
        return Mark("vanishing", f"▼ VANISHING −{-f:.1f} decades", f, message, victim=bool(by))
    if f - way.gained > EXPLODED:
        by = f"grown by {where(way.explodes)} ({factor(way.explodes.gain)})" if way.explodes else ""
        message = f"its gradient is 10^{f:.1f} times the one at the model's output, "
        message += by or f"gradually, {factor(a_layer)} a layer"
        return Mark("exploding", f"▲ EXPLODING {f:+.1f} decades", f, message, victim=bool(by))
    return None


def _mark_dead(card: Card, before: str) -> None:
    """Silent channels are dead if nearly all are, or if they stay far below zero."""
    rectifiers = [node.silent for node in card.nodes if node.silent is not None]
    worst = max(rectifiers, key=lambda s: (s.far / s.of, s.channels / s.of), default=None)
    if worst is None:
        return
    window = f"{worst.samples} samples" + (f" of {worst.steps} steps" if worst.steps > 1 else "")
    most = worst.channels / worst.of > DEAD_SHARE and worst.of >= DEAD_CHANNELS
    if most and (worst.samples >= DEAD_SAMPLES or worst.channels == worst.of):
        count, what = worst.channels, "were never active"
    elif worst.far:
        count, what = worst.far, "stayed far below zero"
    else:
        return
    behind = f" behind {before}" if before and not card.path else ""
    message = f"{count} of {worst.of} channels{behind} {what} in {window}, so no gradient passes them"
    end = card.gain is not None and card.gain / card.neutral < SHRINKS
    card.marks.append(Mark("dead", f"{count}/{worst.of} DEAD", count / worst.of, message, dead_end=end))


def _mark_parameters(card: Card, diagram: Diagram) -> None:
    trainable = [p for p in card.parameters if p.requires_grad]
    frozen = [p for p in card.parameters if not p.requires_grad]
    if diagram.trace.backward != "none":
        without = [p for p in trainable if p.grad is None]
        unused = [p for p in without if not p.reached]
        silent = [p for p in without if p.reached]
        if unused:
            ran = any(p.ran for p in unused)
            reason = "its result does not reach the loss" if ran else "nothing that the loss depends on reads it"
            message = f"{_names(unused)} unused by the loss: {reason}"
            card.marks.append(Mark("unused", "NO GRAD · unused by the loss", float(len(unused)), message))
        if silent:
            message = f"{_names(silent)} took part in the loss but got no gradient: detached, or under no_grad"
            card.marks.append(Mark("no-grad", "NO GRAD", float(len(silent)), message))
    if frozen:
        part = "" if not trainable else f" {len(frozen)} of {len(frozen) + len(trainable)}"
        message = f"{_names(frozen)}: requires_grad is False"
        card.marks.append(Mark("frozen", f"FROZEN{part}", float(len(frozen)), message))


def _names(parameters: list[Parameter]) -> str:
    names = [p.name for p in parameters[:3]]
    more = len(parameters) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def update_glyph(update: float | None) -> tuple[str, str]:
    """The glyph of an update/weight ratio and whether it is good: ● for 1e-4 to 1e-2, ▲ above, ▼ below."""
    if update is None or not math.isfinite(update):
        return "", "none"
    if update <= 0:
        return "▼", "low"
    decade = math.log10(update)
    return ("●", "good") if -4 <= decade <= -2 else ("▲", "high") if decade > -2 else ("▼", "low")


def update_text(update: float | None) -> str:
    """10^-2.5, or n/a."""
    if update is None:
        return "n/a"
    if not math.isfinite(update):
        return number(update)
    return f"10^{math.log10(update):.1f}" if update > 0 else "0"
