"""`record`: watch a training run from beside it, and keep a film of its gradients."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from viz.capturing import capture, updates
from viz.describing import title_of
from viz.figure import Figure
from viz.judging import Report
from viz.recording_maps import maps_of
from viz.recording_meter import Key, Meter, Pass, groups_of
from viz.recording_meter import measured as size_in_passing
from viz.recording_run import Channels, Frame, Maps, Run, places_of, size_of, sizes_of
from viz.trace import Magnitude, Step, Trace


class record:
    """Record every n-th training step inside the block: what flowed, how large, what died, and the maps now and then.

    `step(loss)` closes the record of a step and runs nothing; call it last in the loop, after the optimiser's step.
    Between recorded steps nothing is watched. every: how many steps apart the recorded ones are; thumbs: the same for
    those that keep thumbnails, which cost more. The first step is recorded in full; the picture is laid out from it.
    Leaving the block, by an exception or Ctrl-C too, removes what watched, and keeps what was recorded.

    Raises ValueError if `every` or `thumbs` is not positive; RuntimeError if the block is entered twice.

    >>> import tinygrad_cnn as tc
    >>> w = tc.tensor([[1.0, 2.0]], requires_grad=True, name="w")
    >>> optimizer = tc.optim.SGD([w], lr=0.1)
    >>> with record(None, optimizer, every=2) as rec:
    ...     for _ in range(5):
    ...         loss = (w * w).sum()
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         optimizer.step()
    ...         rec.step(loss)
    >>> rec.steps
    [0, 2, 4]
    """

    def __init__(
        self, model: Any = None, optimizer: Any = None, every: int = 10, thumbs: int = 100, *, title: str | None = None
    ) -> None:
        for name, value in (("every", every), ("thumbs", thumbs)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"viz.record: {name} counts steps, so it must be a positive whole number, got {value!r}"
                )
        self.model, self.optimizer, self.thumbs = model, optimizer, thumbs
        self.title = title if title is not None else title_of(model)
        self.run = Run(every=every)
        self._done = 0  # steps that were closed
        self._meter: Meter | None = None
        self._capture: capture | None = None
        self._ids: dict[Key, int] = {}  # what names an operation -> its node in the run's trace
        self._groups: dict[Key, Any] = {}
        self._whole = False  # whether steps must be captured whole, as norms in passing are not enough
        self._open = False

    def __enter__(self) -> record:
        if self._open:
            raise RuntimeError("viz.record: this recorder is already open; make a new one for a nested block")
        self._open = True
        self._watch()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()
        self._open = False
        if exc[0] is not None:
            self.run.stopped = getattr(exc[0], "__name__", str(exc[0]))

    def step(self, loss: Any = None) -> None:
        """Close the record of a training step. loss: a scalar Tensor or a number, for the curve."""
        if not self._open:
            raise RuntimeError("viz.record: step() belongs inside the block: with viz.record(model, optimizer) as rec:")
        value = math.nan if loss is None else float(loss.item() if hasattr(loss, "item") else loss)
        self.run.losses.append(value)
        if self._meter is not None:
            self._close(value if loss is not None else None)
        self._done += 1
        if self._done % self.run.every == 0:
            self._watch()

    # -- what was recorded --

    @property
    def steps(self) -> list[int]:
        """The numbers of the recorded steps."""
        return self.run.steps

    def figure(self, step: int | None = None, level: str = "auto", **options: Any) -> Figure:
        """The picture of a recorded step, by default of the last; see `Run.figure`."""
        return self.run.figure(step, level, **options)

    def movie(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the film as one HTML file; options are those of `viz.graph`."""
        return self.run.movie(path, **options)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The run as JSON, written to the path if one is given; `tinygrad-cnn viz` and `viz.Run.from_json` read it."""
        return self.run.to_json(path)

    def report(self) -> Report:
        """What is wrong at the end, and every NaN on the way, with the step at which it began."""
        return self.run.report()

    @property
    def ok(self) -> bool:
        """Whether the report is empty."""
        return self.run.ok

    def __repr__(self) -> str:
        return f"<viz.record {self.title!r}: {len(self.run.frames)} of {self._done} steps recorded>"

    # -- watching --

    def _watch(self) -> None:
        self._meter = Meter(self.model, self._groups, keep=self._done % self.thumbs == 0)
        self._meter.start()
        if self._whole or not self.run.frames:
            self._capture = capture(self.model, self.optimizer, title=self.title)
            self._capture.__enter__()

    def _stop(self) -> tuple[Pass | None, Trace | None]:
        """End watching; what was seen, if a backward pass was."""
        meter, seen = self._meter, self._capture
        self._meter = self._capture = None
        trace = None
        if seen is not None:
            seen.__exit__(None, None, None)
            trace = seen.trace if seen.trace.backward == "full" else None
        if meter is not None:
            meter.stop()
        return (meter.last if meter is not None else None), trace

    def _close(self, loss: float | None) -> None:
        measured, trace = self._stop()
        if measured is None or (trace is None and (self._whole or not self.run.frames)):
            return  # no backward pass: nothing flowed
        if trace is not None and not self.run.frames:
            self._begin(trace, measured)
        if measured.again and trace is None:
            self._whole = True  # several backward passes over one node: from now on these steps are captured whole
            return
        frame = self._captured(trace) if trace is not None else self._measured(measured)
        if frame is None:
            self.run.skipped += 1
            return
        frame.step.step, frame.step.loss = self._done, loss
        self._follow_channels(measured)
        self.run.frames.append(frame)

    def _begin(self, trace: Trace, measured: Pass) -> None:
        """The first step is what all others are drawn as."""
        self.run.trace = trace
        nodes = [node for node in trace.nodes if node.kind == "op" and node.recorded and node.grad is not None]
        visited = [node for node in measured.visited() if node in measured.names]
        if [n.op for n in nodes] != [measured.names[v][2] for v in visited]:
            self._whole = True
            return
        made = {n.id: v for n, v in zip(nodes, visited, strict=True)}
        self._ids = {measured.names[v]: number for number, v in made.items()}
        self._forget_what_training_did_not_compute(trace, measured, made)
        self._groups = groups_of(trace, {number: measured.names[v] for number, v in made.items()})

    def _forget_what_training_did_not_compute(self, trace: Trace, measured: Pass, made: dict[int, Any]) -> None:
        """A capture goes further than training does, to the inputs; later steps are measured without computing more."""
        for edge in trace.edges:
            if (made.get(edge.target), edge.position) not in measured.sent:
                edge.grad = None
        reached = set(self._ids.values())
        reached |= {edge.source for edge in trace.edges if edge.grad is not None}
        for node in trace.nodes:
            if node.id not in reached:
                node.grad, node.partial = None, {}
                node.thumbs.pop("grad", None)

    # -- frames --

    def _captured(self, trace: Trace) -> Frame | None:
        """A step that was captured whole: all numbers, and its maps."""
        first = self.run.trace
        if [(n.op, n.path) for n in trace.nodes] != [(n.op, n.path) for n in first.nodes] or [
            (e.source, e.target) for e in trace.edges
        ] != [(e.source, e.target) for e in first.edges]:
            return None
        frame = Frame(trace.steps[0], sizes_of(trace), [p.update for p in trace.parameters])
        frame.active = {str(n.id): n.active for n in trace.nodes if n.active is not None}
        frame.values = {str(n.id): n.value for n in trace.nodes if n.value is not None}
        frame.maps = Maps(
            {str(n.id): n.thumbs for n in trace.nodes if n.thumbs},
            {str(p.id): p.thumbs for p in trace.parameters if p.thumbs},
            {str(n.id): n.crops for n in trace.nodes if n.crops},
            {str(p.id): p.histogram for p in trace.parameters if p.histogram},
        )
        return frame

    def _measured(self, measured: Pass) -> Frame | None:
        """A step that was measured in passing, its numbers put where the first step has them."""
        nodes = {self._ids[name]: node for node, name in measured.names.items() if name in self._ids}
        if len(nodes) < len(self._ids) or len(measured.at) != len(self._ids):
            return None
        trace = self.run.trace
        batch = next((nodes[n.id].shape[0] for n in trace.nodes if n.batched and n.id in nodes), None)
        rate = trace.steps[0].lr if self.optimizer is None else float(self.optimizer.param_groups[0]["lr"])
        leaves = self._leaves(nodes)
        found = updates(self.optimizer, measured.before, measured.totals)
        changes = [found.get(id(leaves.get(f"p{p.id}"))) for p in trace.parameters]
        frame = Frame(Step(0, lr=rate, batch=batch), self._sizes(measured, nodes, leaves), changes)
        for number, node in nodes.items():
            if node in measured.rectified:
                frame.active[str(number)] = measured.rectified[node].active
            if node in measured.values:
                frame.values[str(number)] = measured.values[node]
        if measured.outputs:
            frame.maps = maps_of(trace, measured, nodes, leaves)
        return frame

    def _leaves(self, nodes: dict[int, Any]) -> dict[str, Any]:
        """The Tensors that this step read as parameters ("p" and number) and inputs ("n" and number)."""
        found: dict[str, Any] = {}
        for parameter in self.run.trace.parameters:
            for number, name in parameter.uses:
                for position, parent in enumerate(nodes[number].parents if number in nodes else ()):
                    if parent is not None and nodes[number].op.input_name(position) == name:
                        found[f"p{parameter.id}"] = parent
        for edge in self.run.trace.edges:
            if edge.target in nodes and edge.source not in nodes:
                found[f"n{edge.source}"] = nodes[edge.target].parents[edge.position]
        return found

    def _sizes(self, measured: Pass, nodes: dict[int, Any], leaves: dict[str, Any]) -> list[list[float] | None]:
        """What was measured, in the order of the slots."""
        trace = self.run.trace
        ids = {node: number for number, node in nodes.items()}
        known: dict[tuple[str, int, str], Magnitude] = {}
        for node, number in ids.items():
            known["node", number, "out"] = measured.out[node]
            known["node", number, "grad"] = measured.at[node]
        for (node, group), m in measured.partial.items():
            known["node", ids[node], group] = m
        for index, edge in enumerate(trace.edges):
            place = (nodes.get(edge.target), edge.position)
            if place in measured.sent:
                known["edge", index, "grad"] = measured.sent[place]
            if place in measured.outside:
                known["node", edge.source, "out"] = measured.outside[place]
        for name, leaf in leaves.items():
            kind, number = ("parameter", int(name[1:])) if name[0] == "p" else ("node", int(name[1:]))
            if id(leaf) in measured.before:
                known[kind, number, "weight" if kind == "parameter" else "out"] = size_in_passing(
                    measured.before[id(leaf)]
                )
            if id(leaf) in measured.totals:
                known[kind, number, "grad"] = size_in_passing(measured.totals[id(leaf)])
        for parameter in trace.parameters:
            if f"p{parameter.id}" not in leaves and parameter.weight is not None:
                known["parameter", parameter.id, "weight"] = parameter.weight  # nobody trains it
        return [size_of(known.get(place)) for place in places_of(trace)]

    def _follow_channels(self, measured: Pass) -> None:
        """When each channel of each rectifier was last active."""
        now = len(self.run.frames)
        for node, seen in measured.rectified.items():
            number = self._ids.get(measured.names[node])
            if number is None:
                continue
            key = str(number)
            known = self.run.channels.get(key)
            if known is None or len(known.last) != len(seen.highest):
                known = self.run.channels[key] = Channels([-1] * len(seen.highest), [-math.inf] * len(seen.highest))
            known.usual = max(known.usual, seen.usual)
            for channel, highest in enumerate(seen.highest.tolist()):
                if highest > 0 or math.isnan(highest):
                    known.last[channel], known.since[channel] = now, -math.inf
                else:
                    known.since[channel] = max(known.since[channel], highest)
