"""What is wrong, where, and how we know: marks on cards, and the same as a list of findings.

Gradients are compared with the gradient at the model's output and layers with the gain that is neutral for their
kind, so no threshold depends on the batch size, the loss or its scale. Only cards between the model's input and its
output are judged. The size of an update is shown but never a finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from viz.diagram import Card, Diagram, Mark
from viz.trace import Magnitude, Parameter
from viz.wording import factor, number, percent

SHRINKS = 0.1  # a gain below this share of the neutral one
EXPLODES = 10.0  # a gain above this multiple of it
EXPLODED = 2.0  # decades above the reference
VANISHED = -2.0  # decades below it, behind a card that shrinks
FADED = -4.0  # decades below it, with no single culprit
DEAD_SHARE = 0.85  # of a rectifier's channels silent: many are by chance, and one batch proves little

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
        return f"{self.kind:<10} {self.where}: {self.message}"

    @property
    def sentence(self) -> str:
        """The finding and what to do about it, as sentences."""
        return f"{self.where} ({self.kind}): {self.message}. {_ADVICE[self.kind]}."


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
        """Whether there is no finding."""
        return not self

    def __str__(self) -> str:
        layers = f"{self.judged} layer{'s' if self.judged != 1 else ''} judged"
        lines = [f"Not judged: {self.gap}."] if self.gap else []
        lines += [finding.sentence for finding in self]
        if not lines:
            lines = [f"Nothing is wrong: {layers}."]
        return "\n".join(lines)

    __repr__ = __str__


def judge(diagram: Diagram) -> list[Finding]:
    """Put marks on the diagram's cards and return them as findings, most severe first.

    The diagram must be unfolded: thresholds are for single layers, a container of many may well shrink more.
    """
    first_forward, first_backward = _first_bad(diagram)
    for card in diagram.cards:
        card.marks = []
        _mark_nonfinite(card, card is first_forward, card is first_backward)
        broken = bool(card.marks)
        _mark_dead(card)
        if card.judged and not broken and not _is_dead_end(card):
            _mark_gain(card)
        _mark_parameters(card, diagram)
    _mark_vanishing(diagram)
    for card in diagram.cards:
        card.marks.sort(key=lambda mark: KINDS.index(mark.kind))
    found = [(mark, card) for card in diagram.cards for mark in card.marks]
    found.sort(key=lambda pair: (not pair[0].first, _severity(*pair)))
    return [Finding(mark.kind, where(card), mark.value, mark.message) for mark, card in found]


def _is_dead_end(card: Card) -> bool:
    """Whether dead channels are why hardly any gradient leaves the card: then that is said, and not that it shrinks."""
    dead = any(mark.kind == "dead" for mark in card.marks)
    return dead and card.gain is not None and card.gain / card.neutral < SHRINKS


def _severity(mark: Mark, card: Card) -> int:
    """The place of a mark among KINDS; a dead end is a culprit, as is a card that shrinks."""
    return KINDS.index("shrinks" if mark.kind == "dead" and _is_dead_end(card) else mark.kind)


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
            home.marks.append(Mark(mark.kind, badge, mark.value, message, mark.first))
    for card in drawn.cards:
        card.marks.sort(key=lambda mark: (not mark.first, KINDS.index(mark.kind)))


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
    seen = {
        "output": _worst(node.out for node in card.nodes),
        "weights": _worst(p.weight for p in card.parameters),
        "gradient": _worst([card.out, *(p.grad for p in card.parameters)]),
    }
    bad = {what: m for what, m in seen.items() if m is not None and _bad(m)}
    first = " · FIRST" if first_forward or first_backward else ""
    order = f"; FIRST in {'forward' if first_forward else 'backward'} order" if first else ""
    if bad:
        what, m = next(iter(bad.items()))
        kind, word, share = ("nan", "NaN", m.nan) if m.nan else ("inf", "Inf", m.inf)
        weights = "; so are some of its weights" if "weights" in bad and what != "weights" else ""
        message = f"{percent(share)} of the {what} is {word}{weights}{order}"
        card.marks.append(Mark(kind, f"{word} {percent(share)}{first}", share, message, first=bool(first)))
    elif first:
        card.marks.append(Mark("nan", f"NaN{first}", None, f"the gradient it sends is not finite{order}", first=True))


def _mark_gain(card: Card) -> None:
    if card.gain is None:
        return
    relative = card.gain / card.neutral
    usual = "" if card.neutral == 1 else f", where {factor(card.neutral)} is usual"
    if relative < SHRINKS:
        message = f"the gradient leaves it {factor(card.gain)} as large as it came{usual}"
        card.marks.append(Mark("shrinks", f"SHRINKS GRADIENT {factor(card.gain)}", card.gain, message))
    elif relative > EXPLODES:
        message = f"the gradient leaves it {factor(card.gain)} as large as it came{usual}"
        card.marks.append(Mark("exploding", f"▲ EXPLODING {factor(card.gain)}", card.gain, message))
    elif card.decades is not None and card.decades > EXPLODED and card.parameters:
        message = f"its gradient is 10^{card.decades:.1f} times the one at the model's output"
        badge = f"▲ EXPLODING {card.decades:+.1f} decades"
        card.marks.append(Mark("exploding", badge, card.decades, message))


def _mark_vanishing(diagram: Diagram) -> None:
    """Cards with parameters that little gradient reaches; the way from the output to each is followed once."""
    culprits: dict[str, Card] = {}  # card -> the nearest card that shrinks on its way from the output
    end = max((card.rank for card in diagram.cards if card.judged), default=0)
    for link in sorted(diagram.links, key=lambda link: -diagram.card(link.target).rank):
        target = diagram.card(link.target)
        shrinks = _is_dead_end(target) or any(mark.kind == "shrinks" for mark in target.marks)
        culprit = target if shrinks else culprits.get(target.id)
        if culprit is not None:
            culprits[link.source] = culprit
    for card in diagram.cards:
        f = card.decades
        culprit = culprits.get(card.id)
        if not card.judged or not card.parameters or f is None or card.marks:
            continue
        if f < (VANISHED if culprit else FADED):
            card.marks.append(_vanishing(f, culprit, end - card.rank))


def _vanishing(f: float, culprit: Card | None, layers: int) -> Mark:
    if culprit is not None:
        why = f"shrunk by {where(culprit)} ({factor(culprit.gain)})"
    else:
        why = f"gradually, {factor(10 ** (f / max(layers, 1)))} a layer"
    if not math.isfinite(f):
        return Mark("vanishing", "▼ VANISHING to 0", None, f"its gradient is zero, {why}")
    message = f"its gradient is {-f:.1f} decades below the model's output, {why}"
    return Mark("vanishing", f"▼ VANISHING −{-f:.1f} decades", f, message)


def _mark_dead(card: Card) -> None:
    """Silent channels are dead if nearly all are, or if they stay far below zero."""
    rectifiers = [node.silent for node in card.nodes if node.silent is not None]
    worst = max(rectifiers, key=lambda s: (s.far / s.of, s.channels / s.of), default=None)
    if worst is None:
        return
    window = f"{worst.samples} samples" + (f" of {worst.steps} steps" if worst.steps > 1 else "")
    if worst.channels / worst.of > DEAD_SHARE:
        message = f"{worst.channels} of {worst.of} channels were never active in {window}, so no gradient passes them"
        card.marks.append(Mark("dead", f"{worst.channels}/{worst.of} DEAD", worst.channels / worst.of, message))
    elif worst.far:
        message = f"{worst.far} of {worst.of} channels stayed far below zero in {window}, so no gradient passes them"
        card.marks.append(Mark("dead", f"{worst.far}/{worst.of} DEAD", worst.far / worst.of, message))


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
