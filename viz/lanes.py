"""Around a card: where the two lanes begin and end, and the words beside them.

fi, fo are the ports forward, in and out; gi, go those backward. The words stand in the card's own node, beside where
the lines pass, so no line bends around a label and the lanes stay straight.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from viz import wording
from viz.diagram import Card, Diagram, Link
from viz.lines import gradient_words
from viz.markup import cell, cut, fixed, table, text, width_of
from viz.style import Style

WIDTH = 470  # of a card, in points
NARROW = 216  # where the picture runs from left to right
LANE = WIDTH / 4 - 7  # room for words beside a lane
BEND = 18  # room for the lines to bend, where several end or begin
LINE = 13  # height of a line of words


@dataclass
class Words:
    """What stands beside the lanes of a card, as markup."""

    leaving: list[str] = field(default_factory=list)  # of the gradients where they leave it
    shape: str = ""  # of what it gives
    given: str = ""  # the shape of what it is given, where it stands here and not with the giver
    arriving: str = ""  # of the gradient that comes back to it
    joins: bool = False  # several lines come in
    forks: bool = False  # several go out


def words_of(diagram: Diagram, card: Card, style: Style) -> Words:
    """A gradient is named where it leaves a card; where several leave it, at their ends, if those have room."""
    into = [link for link in diagram.links if link.target == card.id]
    out = [link for link in diagram.links if link.source == card.id]
    words = Words(joins=len(into) > 1, forks=len(out) > 1)
    if "shapes" in style.show:
        sideways = style.direction == "LR"  # where one line leads to the next card, both its words stand there
        words.given = _shapes(into, style) if sideways and len(into) == 1 and _is_alone(diagram, into[0]) else ""
        words.shape = "" if sideways and len(out) == 1 and _is_alone(diagram, out[0]) else _shapes(out, style)
    if "grads" in style.show and diagram.trace.backward == "full":
        words.leaving = _leaving(diagram, into, style)
        words.arriving = _arriving(diagram, card, out, style)
    return words


def _shapes(links: list[Link], style: Style) -> str:
    shapes = dict.fromkeys(wording.shape_of(link.tensor.shape) for link in links)
    return text(", ".join(shapes), style.theme.muted, 9, room=LANE)


def _is_alone(diagram: Diagram, link: Link) -> bool:
    """Whether nothing else leaves its source or enters its target."""
    others = [other for other in diagram.links if other is not link]
    return not any(other.source == link.source or other.target == link.target for other in others)


def _leaving(diagram: Diagram, into: list[Link], style: Style) -> list[str]:
    if len(into) == 1:
        return [_words(diagram, into[0], style)]
    branching = [link for link in into if sum(1 for other in diagram.links if other.source == link.source) > 1]
    return [_words(diagram, link, style, to=diagram.card(link.source).name) for link in branching]


def _arriving(diagram: Diagram, card: Card, out: list[Link], style: Style) -> str:
    """The sum where the output fans out: beginners miss that; or what a card of several inputs sent here."""
    if len(out) > 1 and card.out is not None:
        return text(f"Σ {wording.number(card.out.flow)}", style.theme.backward_text, 9)
    joined = len(out) == 1 and sum(1 for link in diagram.links if link.target == out[0].target) > 1
    return _words(diagram, out[0], style) if joined else ""


def _words(diagram: Diagram, link: Link, style: Style, to: str = "") -> str:
    """What a gradient line says; where it goes is cut before the numbers are."""
    words = gradient_words(diagram, link, style)
    if to:
        words = words.removeprefix("‖∂L‖ ")
        words += f" to {cut(to, max(LANE - width_of(f'{words} to ', 9), 24), 9)}"
    colour = style.theme.backward_text if link.grad is not None else style.theme.muted
    return text(words, colour, 9, room=LANE)


# ---- from top to bottom ----------------------------------------------------------------------------------------


def with_lanes(body: str, words: Words, direction: str) -> str:
    """The card with its ports and words."""
    return _sideways(body, words) if direction == "LR" else _downwards(body, words)


def _downwards(body: str, words: Words) -> str:
    rows: list[list[str] | str] = [_space(BEND)] if words.joins else []
    rows += [[_beside(""), _beside(line)] for line in words.leaving]
    rows += [_space(3)] if words.leaving else []
    rows += [[fixed("", WIDTH / 2, 1, PORT="fi"), fixed("", WIDTH / 2, 1, PORT="go")]]
    rows += [cell(body, COLSPAN=2)]
    rows += [[fixed("", WIDTH / 2, 1, PORT="fo"), fixed("", WIDTH / 2, 1, PORT="gi")]]
    if words.shape or words.arriving:
        rows += [_space(2), [_beside(words.shape), _beside(words.arriving)]]
    rows += [_space(BEND)] if words.forks else []
    return table(rows)


def _space(height: float) -> list[str]:
    return [fixed("", WIDTH / 2, height), fixed("", WIDTH / 2, height)]


def _beside(words: str) -> str:
    """Half a card's width, with words to the right of the lane in its middle."""
    if not words:
        return fixed("", WIDTH / 2, LINE)
    return cell(table([[fixed("", WIDTH / 4 + 7, LINE), fixed(words, LANE, LINE, ALIGN="LEFT")]]))


# ---- from left to right ----------------------------------------------------------------------------------------


def _sideways(body: str, words: Words) -> str:
    """Columns left and right of the card, of one height and so with level lanes: forward above, backward below."""
    lines = max(len(words.leaving), 1)
    left = _column(words.given, words.leaving, lines, ("fi", "go"), LANE + 4 if words.leaving or words.given else 5)
    right = _column(words.shape, [words.arriving], lines, ("fo", "gi"), LANE - 25 if words.shape else 5, mirrored=True)
    return table([[left, cell(body), right]])


def _column(
    above: str, below: list[str], lines: int, ports: tuple[str, str], width: float, *, mirrored: bool = False
) -> str:
    """A line of words above the upper lane and some above the lower one; the ports stand at the card's side."""
    rows = [(above, LINE, ""), ("", 1, ports[0]), ("", 15, "")]
    rows += [(line, LINE, "") for line in [*below, *[""] * lines][:lines]]
    rows += [("", 1, ports[1]), ("", 15 + LINE * lines, "")]
    made = []
    for content, high, port in rows:
        line = [fixed("", 4, high), fixed(content, width - 4, high, ALIGN="LEFT")]
        port_cell = fixed("", 1, high, PORT=port or None)
        made.append([port_cell, *line] if mirrored else [*line, port_cell])
    high = sum(row[1] for row in rows)
    inner = table(made, FIXEDSIZE="TRUE", WIDTH=round(width) + 1, HEIGHT=high)
    return fixed(inner, width + 1, high)
