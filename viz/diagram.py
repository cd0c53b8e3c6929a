"""What is drawn: cards (a module, an operation, an input, the loss), the links between them, and marks.

The picture, the table and the report all read one Diagram, so they can not disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from viz.trace import Magnitude, Node, Parameter, Trace


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
    victim: bool = False  # another card is the cause
    dead_end: bool = False  # dead channels that let hardly any gradient through


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
    parameters: list[Parameter] = field(default_factory=list)  # each is shown on one card
    shared: list[Parameter] = field(default_factory=list)  # read here too, shown on an earlier card
    call: int = 0
    out: Magnitude | None = None  # the gradient at its output
    gain: float | None = None
    neutral: float = 1.0  # the usual gain of such a card
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
