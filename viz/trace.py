"""What was seen of a computation, as plain data that goes to JSON and back. Renderers read a Trace and nothing else.

Nodes, edges and parameters are numbered in the order in which they came about, so the same program gives the same
Trace, and the same picture byte for byte, in every process.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

FORMAT = "tinygrad_cnn.viz.trace"
VERSION = 1


@dataclass
class Magnitude:
    """How large an array is. `flow` is its L2 norm per sample: norm / sqrt(batch), or the norm without a batch axis."""

    flow: float
    norm: float
    rms: float
    largest: float
    nan: float = 0.0  # shares of the elements, 0 to 1
    inf: float = 0.0


@dataclass
class Thumb:
    """A few small maps, 8 bits a pixel. `kind`: "signed" (-scale to scale), "range" (low to scale), "rgb" (0 to 1)."""

    kind: str
    shape: list[int]  # tiles, height, width (and 3 for rgb)
    scale: float
    pixels: str  # base64
    of: int  # how many maps there were to choose from
    low: float = 0.0

    def array(self) -> np.ndarray:
        """The maps as float64, in their own units, rounded to 8 bits; NaN where a pixel was not finite."""
        raw = np.frombuffer(base64.b64decode(self.pixels), dtype=np.uint8).reshape(self.shape).astype(np.float64)
        if self.kind == "rgb":
            return raw / 255
        if self.kind == "signed":
            values = (raw - 127) / 127 * self.scale
        else:
            values = self.low + raw / 254 * (self.scale - self.low)
        values[raw == 255] = math.nan
        return values


@dataclass
class Crop:
    """A few real numbers from inside an op: rows of values, what stands before them, and the cells to ring."""

    label: str
    values: list[list[float]]
    kind: str = "signed"  # -max to max, or "range", 0 to max
    rings: list[list[int]] = field(default_factory=list)
    numbers: bool = False  # small enough to write the values themselves
    at: list[int] = field(default_factory=lambda: [0, 0])  # row and column of the first cell in the whole map


@dataclass
class Silent:
    """Channels of a rectifier that were never active: how many, how many of them far below zero, out of how many."""

    channels: int
    far: int
    of: int
    samples: int  # over which they were watched
    steps: int


@dataclass
class Node:
    """One operation, or one thing that came from outside: `kind` is "op", "input" or "constant"."""

    id: int
    kind: str
    op: str
    path: str = ""  # the module path, such as "features.conv1"
    calls: list[int] = field(default_factory=list)  # which call of each module on the path, outermost first
    name: str = ""
    shape: list[int] = field(default_factory=list)
    dtype: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    saved: list[str] = field(default_factory=list)
    recorded: bool = True
    inside: bool = False  # belongs to the model, not to the loss
    batched: bool = False  # depends on the model's input and has its length along the first axis
    value: float | None = None  # of a scalar
    active: float | None = None  # share of units that pass the gradient, for rectifiers
    silent: Silent | None = None
    out: Magnitude | None = None
    grad: Magnitude | None = None  # of the summed gradient at the output
    partial: dict[str, Magnitude] = field(default_factory=dict)  # gradient sent back by the consumers under a path
    thumbs: dict[str, Thumb] = field(default_factory=dict)  # "out" and "grad"
    crops: dict[str, list[Crop]] = field(default_factory=dict)  # "forward" and "backward", in reading order

    @property
    def levels(self) -> list[str]:
        """The path, each module with the number of its call: ["layer1:0", "conv:1"]."""
        parts = self.path.split(".") if self.path else []
        calls = [*self.calls, *[0] * (len(parts) - len(self.calls))]
        return [f"{part}:{call}" for part, call in zip(parts, calls, strict=False)]

    @property
    def groups(self) -> list[str]:
        """What a picture may draw this node as part of: itself, each module call around it, or the loss."""
        parts = self.levels
        around = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        return [f"n{self.id}", *around, *([] if self.inside else ["loss"])]


@dataclass
class Edge:
    """A tensor on its way from one node to another, and the gradient that came back along it."""

    source: int
    target: int
    position: int  # which input of the target
    input: str = ""
    grad: Magnitude | None = None
    differentiable: bool = True  # False: no gradient was asked for here


@dataclass
class Parameter:
    """A leaf that training changes, or a frozen one."""

    id: int
    name: str
    shape: list[int]
    requires_grad: bool = True
    weight: Magnitude | None = None
    grad: Magnitude | None = None
    update: float | None = None  # norm of the optimiser's step over norm of the weight
    histogram: list[int] = field(default_factory=list)  # of log10 |gradient|, see measure.HISTOGRAM
    reached: bool = True  # whether the loss depends on it
    ran: bool = True  # whether the forward pass read it
    uses: list[list[Any]] = field(default_factory=list)  # [node id, input name]
    thumbs: dict[str, Thumb] = field(default_factory=dict)  # "weight" and "grad"
    values: Crop | None = None  # of a small one, all of it, and of its gradient
    gradients: Crop | None = None


@dataclass
class Module:
    """A part of the model: its path, type and hyper-parameters."""

    path: str
    type: str
    detail: str = ""
    leaf: bool = True


@dataclass
class Step:
    """The scalars of one training step."""

    step: int
    loss: float | None = None
    lr: float | None = None
    batch: int | None = None


@dataclass
class Trace:
    """A computation, forward and backward."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    title: str = ""
    output: int | None = None  # the node whose gradient is the reference
    loss: int | None = None
    backward: str = "full"  # "full", "freed" (only leaf gradients are left) or "none"

    @cached_property
    def inputs(self) -> dict[int, list[int]]:
        """Node id -> ids of the nodes that feed it; made when first asked for."""
        found: dict[int, list[int]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            found[edge.target].append(edge.source)
        return found

    def to_json(self) -> str:
        """This trace as strict JSON."""
        return json.dumps({"format": FORMAT, "version": VERSION, **as_plain(self)}, ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str) -> Trace:
        """The trace that `to_json` wrote.

        >>> Trace.from_json(Trace(title="empty").to_json()) == Trace(title="empty")
        True
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"Trace.from_json: not a trace; expected an object whose 'format' is {FORMAT!r}")
        if data.get("version") != VERSION:
            raise ValueError(f"Trace.from_json: version {data.get('version')!r} is not {VERSION}, which this viz reads")
        try:
            return from_plain(Trace, {k: v for k, v in data.items() if k not in ("format", "version")})
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"Trace.from_json: the file is damaged: {error}") from error


def as_plain(value: Any) -> Any:
    """Dataclasses to dicts; infinities and NaN, which JSON lacks, to words; fields at their default left out."""
    if is_dataclass(value) and not isinstance(value, type):
        blank = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(value)}
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: as_plain(v) for name, v in pairs if v != blank[name]}
    if isinstance(value, Mapping):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def from_plain(hint: Any, value: Any) -> Any:
    """The inverse of `as_plain`, guided by the type hints."""
    if is_dataclass(hint) and isinstance(hint, type):
        hints = _hints(hint)
        unknown = value.keys() - hints.keys()
        if unknown:
            raise ValueError(f"{hint.__name__} has no field {sorted(unknown)}")
        return hint(**{name: from_plain(hints[name], v) for name, v in value.items()})
    if value is None or hint is Any:
        return value
    arguments = get_args(hint)
    if get_origin(hint) is list:
        return [from_plain(arguments[0], v) for v in value]
    if get_origin(hint) is dict:
        return {k: from_plain(arguments[1], v) for k, v in value.items()}
    if len(arguments) == 2 and type(None) in arguments:
        return from_plain(next(a for a in arguments if a is not type(None)), value)
    return float(value) if hint is float else value
