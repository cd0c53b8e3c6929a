"""Figure: one picture of a Trace, and what is wrong in it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from html import escape

from viz import folding, layout, module_level, op_level, tables
from viz.diagram import Diagram
from viz.judging import Finding, Report, carry_marks, judge
from viz.palette import THEMES
from viz.picture import Picture
from viz.style import Drawing, Style
from viz.trace import Trace
from viz.wording import number

LEVELS = ("auto", "module", "op")
SHOWN = ("shapes", "grads", "thumbs", "stats")
SCALES = ("flow", "rms", "update")
THUMB_SCALES = ("strip", "shared")
LARGE = 1500  # cost (cards and the ranks their links span) above which cheaper splines are used
HUGE = 8000  # and above which the picture is collapsed one level further
_LARGEST_IN_NOTEBOOK = 2_000_000  # characters of a page, which the notebook's file would hold

_BANNERS = {
    "full": "",
    "freed": "intermediate gradients were freed: use viz.capture",
    "none": "no backward yet",
}


@dataclass(frozen=True)
class Options:
    """How a figure is drawn; see `viz.graph`."""

    level: str = "auto"
    depth: int | None = None
    show: Collection[str] = SHOWN
    theme: str = "light"
    direction: str = "TB"
    scale: str = "flow"
    max_nodes: int = 250
    timeout: float = 10
    thumb_scale: str = "strip"

    def __post_init__(self) -> None:
        _one_of("level", self.level, LEVELS)
        _one_of("theme", self.theme, tuple(THEMES))
        _one_of("direction", self.direction, ("TB", "LR"))
        _one_of("scale", self.scale, SCALES)
        _one_of("thumb_scale", self.thumb_scale, THUMB_SCALES)
        if isinstance(self.show, str):
            raise TypeError(f"viz: show is a collection of names such as {SHOWN}, got the string {self.show!r}")
        for name in self.show:
            _one_of("show", name, SHOWN)
        if self.max_nodes < 2:
            raise ValueError(f"viz: max_nodes must be at least 2, got {self.max_nodes}")


def _one_of(option: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise ValueError(f"viz: {option}={value!r} is unknown; choose from {', '.join(map(repr, known))}")


class Figure(Picture):
    """A picture of a computation: `save`, `svg`, `html`, `png`, `dot`, `text`, `digraph`, and `report`."""

    def __init__(self, trace: Trace, options: Options | None = None) -> None:
        self.trace = trace
        self.options = options or Options()
        self.title, self.theme, self.timeout = trace.title, self.options.theme, self.options.timeout

    # -- what is in it --

    @cached_property
    def diagram(self) -> Diagram:
        """The cards and links that are drawn, with their marks."""
        return self._marked(self._folded(self.options.depth, self.options.max_nodes))

    def report(self) -> Report:
        """What is wrong, most severe first; empty if nothing is. It is a list of findings, and prints as sentences."""
        judged = sum(1 for card in self._judged[0].cards if card.judged)
        gap = self.banner() or ("" if judged else "no layer lies between a model's input and its output")
        return Report(self._findings, judged=judged, gap=gap)

    @property
    def ok(self) -> bool:
        """Whether the gradients were judged, and nothing is wrong."""
        return self.report().ok

    @cached_property
    def _judged(self) -> tuple[Diagram, list[Finding]]:
        """Everything is judged layer by layer, so the report does not depend on how deep the picture is opened."""
        diagram = folding.unfolded(self.trace, ops=self.level == "op")
        return diagram, judge(diagram)

    @property
    def _findings(self) -> list[Finding]:
        return self._judged[1]

    @property
    def level(self) -> str:
        """The level that is drawn, "module" or "op"."""
        if self.options.level != "auto":
            return self.options.level
        return "module" if any(node.path for node in self.trace.nodes) else "op"

    # -- formats --

    def text(self) -> str:
        """A table with bars, for terminals; needs no engine."""
        return tables.table_of(self.diagram, self.facts(), self.banner())

    def html(self) -> str:
        """A self-contained page to touch: pan, zoom, search, cards, both levels, and the same as a table."""
        from viz.page import page_of

        return page_of(self)

    def _in_notebook(self, drawn: str) -> str:
        """The page, in a frame that keeps its scripts and styles to itself; of a large one the plain picture."""
        page = self.html()
        if len(page) > _LARGEST_IN_NOTEBOOK:
            return super()._in_notebook(drawn)
        return (
            f'<iframe srcdoc="{escape(page)}" title="{escape(self.title)}" '
            'style="width:100%;height:720px;border:1px solid #CBD5E1;border-radius:8px"></iframe>'
        )

    def json(self) -> str:
        """The trace behind the picture; `Trace.from_json` reads it."""
        return self.trace.to_json()

    def __repr__(self) -> str:
        state = "ok" if self.ok else f"{len(self._findings)} findings" if self._findings else "not judged"
        return f"<Figure {self.trace.title!r}: {len(self.diagram.cards)} cards at level {self.level!r}, {state}>"

    # -- words around the picture --

    def facts(self) -> str:
        """step 39   loss 0.218   lr 0.05   batch 32."""
        if not self.trace.steps:
            return ""
        step = self.trace.steps[-1]
        known = (("step", step.step or None), ("loss", step.loss), ("lr", step.lr), ("batch", step.batch))
        return "     ".join(f"{k} {number(v, 3) if isinstance(v, float) else v}" for k, v in known if v is not None)

    def banner(self) -> str:
        """What the reader must know first, such as that no backward pass has run."""
        return _BANNERS[self.trace.backward]

    def description(self) -> str:
        """One sentence on the state of the gradient."""
        findings = self.report()
        cards = sum(1 for card in self.diagram.cards if card.kind in ("module", "op"))
        head = f"{cards} layers, {self.banner() or 'gradients flowing back'}"
        if not findings:
            return f"{head}; {'not judged' if findings.gap else 'nothing is wrong'}."
        return f"{head}; {len(findings)} findings, first {findings[0].where}: {findings[0].message}."

    # -- drawing --

    def _folded(self, depth: int | None, max_nodes: int) -> Diagram:
        return folding.fold(self.trace, depth=depth, max_nodes=max_nodes, ops=self.level == "op")

    def _marked(self, diagram: Diagram) -> Diagram:
        carry_marks(self._judged[0], diagram)
        return diagram

    @cached_property
    def _drawing(self) -> Drawing:
        return self._drawn(self.diagram)

    def _drawn(self, diagram: Diagram) -> Drawing:
        o = self.options
        style = Style(
            THEMES[o.theme], frozenset(o.show), o.direction, o.scale, o.thumb_scale == "shared", cost(diagram) > LARGE
        )
        draw = op_level.draw if self.level == "op" else module_level.draw
        return draw(diagram, style, self.facts(), self.banner())

    def _laid_out(self, format: str, dpi: float | None = None) -> bytes:
        """Lay out; a picture too dear for the time given is collapsed one level further, and says so."""
        while True:
            drawing, collapsed = self._drawing, self._collapsed(self.diagram)
            try:
                if cost(self.diagram) <= HUGE or collapsed is None:
                    files = drawing.album.files
                    return layout.lay_out(
                        drawing.graph.source, format, dpi=dpi, images=files, timeout=self.options.timeout
                    )
            except layout.LayoutTimeout:
                if collapsed is None:
                    raise
            assert collapsed is not None
            self.diagram = self._marked(collapsed)  # from now on, so that a table and a page tell of what is drawn
            self.__dict__.pop("_drawing", None)

    def _collapsed(self, diagram: Diagram) -> Diagram | None:
        if self.level == "module" and diagram.depth > 1:
            coarser = self._folded(diagram.depth - 1, self.options.max_nodes)
        elif len(diagram.cards) > 8:
            coarser = self._folded(diagram.depth, len(diagram.cards) // 2)
        else:
            return None
        coarser.note = f"collapsed: the layout of {len(diagram.cards)} cards took too long"
        return coarser if len(coarser.cards) < len(diagram.cards) else None


def cost(diagram: Diagram) -> int:
    """What makes a layout slow: cards, and the ranks that long links cross."""
    rank = {card.id: card.rank for card in diagram.cards}
    return len(diagram.cards) + sum(rank[link.target] - rank[link.source] for link in diagram.links)
