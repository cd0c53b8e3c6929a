"""What is wrong, where, and how we know: marks on cards, and the same as a list of findings.

Gradients are compared with the gradient at the model's output and layers with the gain that is neutral for their
kind, so no threshold depends on the batch size, the loss or its scale. Only cards between the model's input and its
output are judged. The size of an update is shown but never a finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from viz.folding import Card, Diagram, Mark
from viz.trace import Magnitude, Parameter
from viz.wording import factor, number, percent

SHRINKS = 0.1  # a gain below this share of the neutral one
EXPLODES = 10.0  # a gain above this multiple of it
EXPLODED = 2.0  # decades above the reference
VANISHED = -2.0  # decades below it, behind a card that shrinks
FADED = -4.0  # decades below it, with no single culprit
DEAD_SHARE = 0.5  # of a rectifier's channels silent; one batch proves little
DEAD_SHARE_OF_MANY = 1 / 8  # the same over at least so many steps
MANY_STEPS = 10

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


def judge(diagram: Diagram) -> list[Finding]:
    """Put marks on the diagram's cards and return them as findings, most severe first."""
    first_forward, first_backward = _first_bad(diagram)
    shrinking: set[str] = set()
    for card in diagram.cards:
        card.marks = []
        _mark_nonfinite(card, card is first_forward, card is first_backward)
        if card.judged and not any(mark.kind in ("nan", "inf") for mark in card.marks):
            _mark_gain(card)
            if any(mark.kind == "shrinks" for mark in card.marks):
                shrinking.add(card.id)
        _mark_dead(card)
        _mark_parameters(card, diagram)
    for card in diagram.cards:
        _mark_vanishing(card, diagram, shrinking)
        card.marks.sort(key=lambda mark: KINDS.index(mark.kind))
    found = [Finding(m.kind, where(c), m.value, m.message) for c in diagram.cards for m in c.marks]
    return sorted(found, key=lambda finding: KINDS.index(finding.kind))


def where(card: Card) -> str:
    """The module path of a card, or its name where it has none."""
    if card.kind == "op":
        return f"{card.path}.{card.name}" if card.path else card.name
    return card.path or card.name


def _first_bad(diagram: Diagram) -> tuple[Card | None, Card | None]:
    """The earliest card with a value that is not finite, in forward order and in backward order."""
    forward = next((c for c in diagram.cards if _bad(_worst(n.out for n in c.nodes))), None)
    backward = None
    if forward is None:  # a bad forward makes a bad backward; the cause is the forward one
        # A card is bad in backward order if the gradient that it sends on is, while the one it got is not.
        backward = next((c for c in reversed(diagram.cards) if _sends_bad(c, diagram)), None)
    return forward, backward


def _sends_bad(card: Card, diagram: Diagram) -> bool:
    sent = [link.grad for link in diagram.links if link.target == card.id]
    return _bad(_worst([*sent, *(p.grad for p in card.parameters)]))


def _worst(magnitudes: object) -> Magnitude | None:
    present = [m for m in magnitudes if m is not None]  # type: ignore[attr-defined]
    return max(present, key=lambda m: m.nan + m.inf, default=None)


def _bad(magnitude: Magnitude | None) -> bool:
    return magnitude is not None and magnitude.nan + magnitude.inf > 0


def _mark_nonfinite(card: Card, first_forward: bool, first_backward: bool) -> None:
    seen = (
        ("output", _worst(node.out for node in card.nodes), first_forward),
        ("weights", _worst(p.weight for p in card.parameters), False),
        ("gradient", _worst([card.out, *(p.grad for p in card.parameters)]), first_backward),
    )
    for what, magnitude, first in seen:
        if magnitude is not None and _bad(magnitude):
            kind = "nan" if magnitude.nan else "inf"
            share = magnitude.nan or magnitude.inf
            word = "NaN" if kind == "nan" else "Inf"
            order = "forward" if first_forward else "backward"
            message = f"{percent(share)} of the {what} is {word}" + (f"; FIRST in {order} order" if first else "")
            badge = f"{word} {percent(share)}" + (" · FIRST" if first else "")
            card.marks.append(Mark(kind, badge, share, message))
            return
    if first_backward:
        card.marks.append(
            Mark("nan", "NaN · FIRST", None, "the gradient it sends on is not finite; FIRST in backward order")
        )


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


def _mark_vanishing(card: Card, diagram: Diagram, shrinking: set[str]) -> None:
    f = card.decades
    if not card.judged or not card.parameters or f is None or card.marks:
        return
    culprits = [other for other in diagram.cards if other.id in shrinking and card.id in other.ancestors]
    if f < (VANISHED if culprits else FADED):
        shown = f"{f:.1f}".replace("-", "−") if math.isfinite(f) else "−∞"
        if culprits:
            why = f"shrunk on its way by {where(culprits[-1])} ({factor(culprits[-1].gain)})"
        else:
            behind = sum(1 for other in diagram.cards if other.judged and card.id in other.ancestors)
            rate = 10 ** (f / behind) if behind and math.isfinite(f) else 0.0
            why = f"gradually, {factor(rate)} a layer"
        below = shown.removeprefix("−")
        message = f"its gradient is {below} decades below the one at the model's output, {why}"
        card.marks.append(Mark("vanishing", f"▼ VANISHING {shown} decades", f if math.isfinite(f) else None, message))


def _mark_dead(card: Card) -> None:
    """Silent channels are dead if most are, if they were over many steps, or if they are far below zero."""
    rectifiers = [node.silent for node in card.nodes if node.silent is not None]
    worst = max(rectifiers, key=lambda s: (s.far / s.of, s.channels / s.of), default=None)
    if worst is None:
        return
    limit = DEAD_SHARE_OF_MANY if worst.steps >= MANY_STEPS else DEAD_SHARE
    window = f"{worst.samples} samples" + (f" of {worst.steps} steps" if worst.steps > 1 else "")
    if worst.channels / worst.of > limit or worst.channels == worst.of:
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
            reason = (
                "its result does not reach the loss" if any(p.ran for p in unused) else "the forward pass never read it"
            )
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
