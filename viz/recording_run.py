"""Run: a recorded training run as plain data. Its first step in full, of all others the numbers, now and then the maps.

The computation is drawn once, from the first recorded step; a later step is that Trace with other numbers in it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from viz.figure import Figure, Options
from viz.judging import KINDS, Finding, Report
from viz.trace import Crop, Edge, Magnitude, Node, Silent, Step, Thumb, Trace

PATIENCE = 5  # recorded steps for which a channel must stay silent, to the end, before it counts as dead


@dataclass
class Maps:
    """What a step looked like: thumbnails and histograms by node and parameter, crops by node."""

    nodes: dict[str, dict[str, Thumb]] = field(default_factory=dict)
    parameters: dict[str, dict[str, Thumb]] = field(default_factory=dict)
    crops: dict[str, dict[str, list[Crop]]] = field(default_factory=dict)
    histograms: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Frame:
    """One recorded step: a magnitude for each slot of the run's Trace, and the little that has no slot."""

    step: Step
    sizes: list[list[float] | None]  # norm, rms, largest (and shares of NaN and Inf), by slot
    updates: list[float | None] = field(default_factory=list)  # by parameter
    active: dict[str, float] = field(default_factory=dict)  # by node: units of a rectifier that pass
    values: dict[str, float] = field(default_factory=dict)  # by node: of a scalar
    maps: Maps | None = None


@dataclass
class Channels:
    """A rectifier over the whole run: the last frame in which each channel was active, and the highest value since."""

    last: list[int]
    since: list[float]
    usual: float = 0.0


@dataclass
class Run:
    """A recorded run: `figure(step)`, `movie(path)`, `report()`, and a file to come back to."""

    trace: Trace = field(default_factory=Trace)
    frames: list[Frame] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of every step, recorded or not; NaN where none was given
    channels: dict[str, Channels] = field(default_factory=dict)
    every: int = 10
    skipped: int = 0  # recorded steps that ran another computation than the first, and so have no place in it
    stopped: str = ""  # why the run ended early, if it did

    @property
    def steps(self) -> list[int]:
        """The numbers of the recorded steps."""
        return [frame.step.step for frame in self.frames]

    # -- pictures --

    def figure(self, step: int | None = None, level: str = "auto", **options: Any) -> Figure:
        """The picture of a recorded step, by default of the last; options are those of `viz.graph`.

        Maps are those of the newest step that kept them. Raises ValueError naming the neighbours of a step that was
        not recorded.
        """
        return Figure(self.trace_at(self._index_of(step)), Options(level=level, **options))

    def movie(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the film: one page in which the gradients move while one watches."""
        from viz.movie import movie_of

        target = Path(path)
        if target.suffix.lower() != ".html":
            raise ValueError(f"viz.record: a movie is a page, so its name ends in .html; got {target.name!r}")
        self._check_not_empty()
        target.write_text(movie_of(self, Options(**options)), encoding="utf-8")
        return target

    def _check_not_empty(self) -> None:
        if not self.frames:
            raise ValueError(
                "viz.record: no step was recorded; inside the block call rec.step(loss) after each loss.backward() and "
                "optimizer.step()"
            )

    def _index_of(self, step: int | None) -> int:
        self._check_not_empty()
        if step is None:
            return len(self.frames) - 1
        steps = self.steps
        if step in steps:
            return steps.index(step)
        below, above = (
            max((s for s in steps if s < step), default=None),
            min((s for s in steps if s > step), default=None),
        )
        near = " and ".join(str(s) for s in (below, above) if s is not None)
        raise ValueError(f"viz.record: step {step} was not recorded (every {self.every}th is); the nearest are {near}")

    # -- steps --

    def trace_at(self, index: int) -> Trace:
        """The Trace of a frame, one of its own."""
        trace = copy.deepcopy(self.trace)
        for _ in self._filled(trace, [index]):
            pass
        self._put_maps(trace, index)
        return trace

    def traces(self) -> Iterator[Trace]:
        """The numbers of all frames, one after the other in one and the same Trace; maps stay those of the first."""
        return self._filled(copy.deepcopy(self.trace), range(len(self.frames)))

    def _filled(self, trace: Trace, indices: Any) -> Iterator[Trace]:
        places = list(slots(trace))
        samples = list(accumulate((frame.step.batch or 1 for frame in self.frames), initial=0))
        for index in indices:
            frame = self.frames[index]
            batch = frame.step.batch
            for (holder, name, batched), size in zip(places, frame.sizes, strict=True):
                magnitude = _restored(size, batch if batched else None)
                if isinstance(holder, dict):
                    holder[name] = magnitude or Magnitude(0.0, 0.0, 0.0, 0.0)
                else:
                    setattr(holder, name, magnitude)
            trace.steps = [frame.step]
            for parameter, update in zip(trace.parameters, frame.updates, strict=True):
                parameter.update = update
            for node in trace.nodes:
                key = str(node.id)
                node.active = frame.active.get(key)
                node.value = frame.values.get(key)
                node.silent = self._silent(key, index, samples)
                if node.batched and batch is not None and node.shape:
                    node.shape[0] = batch
            yield trace

    def _silent(self, key: str, index: int, samples: list[int]) -> Silent | None:
        """The channels of a rectifier that are never active again from this frame on, where enough frames show it."""
        channels = self.channels.get(key)
        if channels is None or key not in self.frames[index].active:
            return None
        end = len(self.frames)
        dead = [i for i, last in enumerate(channels.last) if last < index and end - 1 - last >= min(PATIENCE, end)]
        far = sum(1 for i in dead if channels.usual > 0 and channels.since[i] < -4.0 * channels.usual)
        first = min((channels.last[i] + 1 for i in dead), default=0)
        return Silent(len(dead), far, len(channels.last), samples[end] - samples[first], end - first)

    def _put_maps(self, trace: Trace, index: int) -> None:
        """Thumbnails of the newest step that kept some; crops are numbers, so only of the step itself."""
        own = self.frames[index].maps
        maps = next((f.maps for f in reversed(self.frames[: index + 1]) if f.maps is not None), Maps())
        for node in trace.nodes:
            node.thumbs = maps.nodes.get(str(node.id), {})
            node.crops = own.crops.get(str(node.id), {}) if own is not None else {}
        for parameter in trace.parameters:
            parameter.thumbs = maps.parameters.get(str(parameter.id), {})
            parameter.histogram = maps.histograms.get(str(parameter.id), [])
            if own is None:
                parameter.values = parameter.gradients = None

    # -- what went wrong, and when --

    def report(self) -> Report:
        """What is wrong at the end, and every NaN or overflow on the way, each with the step at which it began."""
        self._check_not_empty()
        return self.joined([Figure(trace).report() for trace in self.traces()])

    def joined(self, reports: Sequence[Report]) -> Report:
        """The report of the run from those of its frames."""
        first: dict[tuple[str, str], tuple[int, Finding]] = {}
        for step, report in zip(self.steps, reports, strict=True):
            for finding in report:
                first.setdefault((finding.kind, finding.where), (step, finding))
        lasting = {(finding.kind, finding.where): finding for finding in reports[-1]}
        found = []
        for key, (step, finding) in first.items():
            if key in lasting or finding.kind in ("nan", "inf"):
                newest = lasting.get(key, finding)
                since = f", since step {step}" if step else ", from the first step"
                until = "" if key in lasting else ", not in the last"
                found.append((step, Finding(newest.kind, newest.where, newest.value, newest.message + since + until)))
        found.sort(key=lambda pair: (KINDS.index(pair[1].kind), pair[0]))
        return Report([finding for _, finding in found], judged=reports[-1].judged, gap=reports[-1].gap)

    @property
    def ok(self) -> bool:
        """Whether the report is empty."""
        return not self.report()

    # -- files --

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """This run as strict JSON, with a checksum; with a path it is written there, all of it or nothing."""
        from tinygrad_cnn.serialization import write_atomically
        from viz.recording_file import encoded

        text = encoded(self)
        if path is not None:
            write_atomically(Path(path), lambda file: file.write(text.encode()))
        return text

    @staticmethod
    def from_json(text: str, model: Any = None) -> Run:
        """The run that `to_json` wrote. Raises ValueError if it is damaged, of another version, or of another model."""
        from viz.recording_file import decoded

        return decoded(text, model)

    def fingerprint(self) -> str:
        """What tells one model from another: its operations, and the names and shapes of its parameters."""
        operations = [[node.op, node.path] for node in self.trace.nodes if node.kind == "op" and node.inside]
        parameters = [[p.name, p.shape] for p in self.trace.parameters]
        return hashlib.sha256(json.dumps([operations, parameters]).encode()).hexdigest()[:16]


def slots(trace: Trace) -> Iterator[tuple[Any, str, bool]]:
    """All places of a Trace that hold a magnitude, in one order: the holder, the name there, whether it has a batch."""
    for node in trace.nodes:
        yield node, "out", node.batched
        yield node, "grad", node.batched
        for group in node.partial:
            yield node.partial, group, node.batched
    batched = {node.id: node.batched for node in trace.nodes}
    for edge in trace.edges:
        yield edge, "grad", batched[edge.source]
    for parameter in trace.parameters:
        yield parameter, "weight", False
        yield parameter, "grad", False


def places_of(trace: Trace) -> list[tuple[str, int, str]]:
    """The slots of a Trace in the same order, by kind and number: ("node", 3, "grad"), ("edge", 0, "grad")."""
    numbers = {id(edge): index for index, edge in enumerate(trace.edges)}
    owner = {id(node.partial): node.id for node in trace.nodes}
    found = []
    for holder, name, _ in slots(trace):
        if isinstance(holder, Edge):
            found.append(("edge", numbers[id(holder)], name))
        elif isinstance(holder, dict):
            found.append(("node", owner[id(holder)], name))
        else:
            found.append(("node" if isinstance(holder, Node) else "parameter", holder.id, name))
    return found


def sizes_of(trace: Trace) -> list[list[float] | None]:
    """The magnitudes of a Trace by slot, six digits each."""
    held = (holder[name] if isinstance(holder, dict) else getattr(holder, name) for holder, name, _ in slots(trace))
    return [size_of(magnitude) for magnitude in held]


def size_of(m: Magnitude | None) -> list[float] | None:
    """Norm, rms and largest; the shares of NaN and Inf after them where there are any."""
    if m is None:
        return None
    short = [_short(v) for v in (m.norm, m.rms, m.largest)]
    return [*short, m.nan, m.inf] if m.nan or m.inf else short


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _restored(size: list[float] | None, batch: int | None) -> Magnitude | None:
    if size is None:
        return None
    norm, rms, largest, *bad = size
    return Magnitude(norm / math.sqrt(max(batch or 1, 1)), norm, rms, largest, *bad)
