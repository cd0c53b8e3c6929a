"""The film: the page of a recorded run, with a slider. It is laid out once; a step is other numbers in it."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from viz import page, svg
from viz.cards import BLOCKS
from viz.diagram import Card, Diagram
from viz.figure import Figure, Options
from viz.judging import Report
from viz.page_data import Data, level_data, name_of
from viz.palette import DARK, LIGHT, Theme
from viz.recording_run import Run
from viz.trace import Magnitude
from viz.wording import not_finite, number

SCRIPTS = (*page.SCRIPTS, "curve", "film")
FLAGGED = ("nan", "inf", "exploding", "shrinks", "dead", "vanishing")  # kinds of findings that stand on the curve

STRIPS = ("filters", "∂W", "out", "∂L")  # what strips of maps are called in a card
_WITH_NAME = tuple(f"{name} " for name in STRIPS)

_NODE = re.compile(r"\b(n\d+) \[label=<(.*?</TABLE>)> ")
_RUN = re.compile(r"<FONT[^>]*>(.*?)</FONT>|<IMG SRC=\"([^\"]+)\"")


class _Stage(Figure):
    """The picture that the film plays in: without marks, which come and go."""

    def _marked(self, diagram: Diagram) -> Diagram:
        for card in diagram.cards:
            card.marks = []
        return diagram


def movie_of(run: Run, options: Options | None = None) -> str:
    """The film of a run as one HTML document."""
    options = replace(options or Options(), level="module", theme="light" if options is None else options.theme)
    light = replace(options, theme="light")
    stage = _Stage(run.trace_at(0), light)
    picture = svg.fragment(stage.svg())
    level = level_data(stage)
    film, report = _film(run, light, stage)
    return page.Page(
        run.trace.title,
        f"{len(run.losses)} steps, {len(run.frames)} recorded",
        "module",
        [level],
        [picture],
        report,
        theme=options.theme,
        banner=f"the run was stopped by {run.stopped}" if run.stopped else "",
        note=_left_out(run),
        film=_CONTROLS,
        data={"film": film, "themes": {"light": _tints(LIGHT), "dark": _tints(DARK)}},
        scripts=SCRIPTS,
        styles=("page", "film"),
    ).html()


def _left_out(run: Run) -> str:
    if not run.skipped:
        return ""
    return f"{run.skipped} recorded steps ran another computation than the first, and are left out."


# ---- numbers ---------------------------------------------------------------------------------------------------


def _film(run: Run, options: Options, stage: Figure) -> tuple[Data, Report]:
    """Columns of numbers, one entry for each frame; and what is wrong in the run."""
    cards: list[Data] = [{"flow": [], "gain": [], "rms": [], "update": [], "active": [], "marks": []}
                         for _ in stage.diagram.cards]  # fmt: skip
    links: list[Data] = [{"flow": [], "gain": []} for _ in stage.diagram.links]
    film: Data = {"steps": run.steps, "losses": [_short(loss) for loss in run.losses], "cards": cards, "links": links,
                  "lr": [], "loss": [], "batch": [], "reference": [], "strips": STRIPS}  # fmt: skip
    reports = []
    for trace in run.traces():
        figure = Figure(trace, options)
        diagram = figure.diagram
        reports.append(figure.report())
        step = trace.steps[0]
        film["lr"].append(_short(step.lr))
        film["loss"].append(_short(step.loss))
        film["batch"].append(step.batch)
        film["reference"].append(_short(diagram.reference))
        for column, card in zip(cards, diagram.cards, strict=True):
            _add_card(column, card)
        for column, link in zip(links, diagram.links, strict=True):
            column["flow"].append(_flow(link.grad))
            column["gain"].append(_short(link.gain))
    for column in cards:
        column["marks"] = _changes(column["marks"])
    film["events"] = _events(stage.diagram, cards, run.steps)
    film["maps"] = _maps(run, options, stage)
    film["facts"] = stage.facts()
    return film, run.joined(reports)


def _add_card(column: Data, card: Card) -> None:
    loss = card.kind == "loss"
    lead = next((p for p in card.parameters if len(p.shape) >= 2), next(iter(card.parameters), None))
    rectifier = next((n for n in reversed(card.nodes) if n.active is not None), None)
    column["flow"].append(_flow(None if loss else card.out))
    column["gain"].append(None if loss else _short(card.gain))
    column["rms"].append((_bad(lead.grad) or _short(lead.grad.rms)) if lead is not None and lead.grad else None)
    column["update"].append(_short(lead.update) if lead is not None else None)
    column["active"].append(_activity(rectifier))
    column["marks"].append([[mark.kind, mark.badge, mark.message] for mark in card.marks])


def _activity(rectifier: Any) -> list[float | int] | None:
    """Share of units that pass, channels that are never active again, and of how many."""
    if rectifier is None:
        return None
    silent = rectifier.silent
    return [round(rectifier.active, 3), silent.channels if silent else 0, silent.of if silent else 0]


def _flow(m: Magnitude | None) -> float | str | None:
    """A number, or in words what is not finite."""
    return None if m is None else _bad(m) or _short(m.flow)


def _bad(m: Magnitude) -> str:
    return not_finite(m) if m.nan or m.inf else ""


def _short(value: float | None) -> float | str | None:
    if value is None:
        return None
    return float(f"{value:.3g}") if math.isfinite(value) else number(value)


def _changes(marks: list[Any]) -> list[Any]:
    """[frame, marks] wherever they change."""
    return [[i, each] for i, each in enumerate(marks) if i == 0 or each != marks[i - 1]]


def _events(diagram: Diagram, cards: list[Data], steps: list[int]) -> list[Data]:
    """Where a finding begins, in the order of the film; the same one again is another event."""
    found = []
    for card, column in zip(diagram.cards, cards, strict=True):
        before: set[str] = set()
        for frame, marks in column["marks"]:
            for kind, badge, message in marks:
                if kind in FLAGGED and kind not in before:
                    found.append({"frame": frame, "step": steps[frame], "kind": kind, "card": card.id,
                                  "where": name_of(card), "badge": badge, "message": message})  # fmt: skip
            before = {kind for kind, *_ in marks}
    return sorted(found, key=lambda e: (e["frame"], not e["badge"].endswith("FIRST"), FLAGGED.index(e["kind"])))


# ---- maps ------------------------------------------------------------------------------------------------------


def _maps(run: Run, options: Options, stage: Figure) -> list[Data]:
    """For each frame that kept maps, by card: its images, their scales, and the histogram of its gradient."""
    found = []
    for index in (i for i, frame in enumerate(run.frames) if frame.maps is not None):
        figure = _Stage(run.trace_at(index), options) if index else stage
        files = figure._drawing.album.files
        cards = {name: _strips(label, files) for name, label in _NODE.findall(figure.dot())}
        found.append({"frame": index, "cards": cards})
    return found


def _strips(label: str, files: Mapping[str, bytes]) -> Data:
    """What a card's label shows of maps, in the order in which Graphviz will draw it."""
    runs = _RUN.findall(label)
    words = [html.unescape(word).replace("\u00a0", " ").strip() for word, image in runs if not image]
    scales = [word for i, word in enumerate(words) if word.startswith(_WITH_NAME) or (i and words[i - 1] in STRIPS)]
    blocks = next((word for word in words if word and not set(word) - set(BLOCKS)), "")
    return {"images": [_uri(files[image]) for _, image in runs if image], "scales": scales, "blocks": blocks}


def _uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


# ---- markup ----------------------------------------------------------------------------------------------------


def _tints(theme: Theme) -> Data:
    badges = {kind: list(colours) for kind, colours in theme.badges.items()}
    return {"ramp": list(theme.ramp), "stopped": theme.stopped, "ink": theme.ink, "good": theme.good, "bad": theme.bad,
            "badges": badges}  # fmt: skip


_CONTROLS = """<section class="film" aria-label="Film">
<div class="row">
<button type="button" id="play" aria-label="Play" aria-pressed="false">▶</button>
<div class="track">
<svg id="curve" role="img" aria-label="Loss over the steps"></svg>
<input type="range" id="time" aria-label="Training step">
<div id="flags"></div>
</div>
<button type="button" id="speed" aria-label="Speed">1×</button>
</div>
<p class="row"><output id="now" aria-live="off"></output><span id="event"></span></p>
</section>"""
