"""Pictures of a computation, forward and backward in one: `viz.graph(loss, model)`, or `viz.capture` around a step."""

from viz.capturing import capture
from viz.checking import CheckError, check, passes
from viz.comparing import Difference, diff
from viz.explaining import explain
from viz.explanation import Explanation
from viz.figure import Figure, Options
from viz.grids import ImageGrid, maximize_activation, show_activations, show_filters
from viz.judging import Finding, Report
from viz.layout import Engine, EngineNotFound, engines
from viz.recording import record
from viz.recording_run import Run
from viz.trace import Trace
from viz.walking import graph

__all__ = [
    "CheckError", "Difference", "Engine", "EngineNotFound", "Explanation", "Figure", "Finding", "ImageGrid", "Options",
    "Report", "Run", "Trace", "capture", "check", "diff", "engines", "explain", "graph", "maximize_activation",
    "passes", "record", "show_activations", "show_filters",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
