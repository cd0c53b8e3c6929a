"""Reports a person can act on: which law, which argument, the worst element, a hint, and a snippet that repeats it."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tinygrad_cnn.testing.snippets import is_written, literal


@dataclass(frozen=True)
class Failure:
    """One broken law. `index` is the worst element of the argument; `kit` marks a failure of the kit, not of the op."""

    law: str
    message: str
    argument: int | None = None
    argument_name: str | None = None
    index: tuple[int, ...] | None = None
    analytic: float | None = None
    numeric: float | None = None
    tolerance: float | None = None
    oracle: str | None = None
    wrong: int | None = None
    total: int | None = None
    hint: str | None = None
    kit: bool = False

    def __str__(self) -> str:
        where = f" w.r.t. argument {self.argument} {self.argument_name!r}" if self.argument is not None else ""
        what = f"law {self.law} broken{where}" if not self.kit else f"the kit could not judge law {self.law}{where}"
        lines = [f"{what}: {self.message}"]
        if self.analytic is not None and self.numeric is not None:
            lines.append(f"  worst element {self._element()}: {_distance(self.analytic, self.numeric)}")
            lines.append(f"  numeric by {self.oracle}, tolerance {self.tolerance:.3g}")
        if self.wrong is not None:
            lines.append(f"  wrong in {self.wrong}/{self.total} elements" + (f": {self.hint}" if self.hint else ""))
        elif self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def _element(self) -> str:
        name = self.argument_name or "output"
        return name if not self.index else f"{name}[{', '.join(map(str, self.index))}]"


@dataclass
class GradReport:
    """What a check did and found. True when every law held and enough could be judged."""

    name: str
    oracles: dict[str, str] = field(default_factory=dict)  # argument name -> oracle that judged it
    failures: list[Failure] = field(default_factory=list)
    comparisons: int = 0
    inconclusive: int = 0
    kinks: int = 0  # comparisons that had only a bracket, or none, because they stand at a kink
    laws: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # law -> why it does not apply
    seed: int = 0
    order: int = 1
    call: str = ""  # how to call the check again, with `inputs` for the arrays
    inputs: tuple[Any, ...] = ()
    case: str = ""  # the drawn call, as source
    sources: dict[int, str] = field(default_factory=dict)  # of inputs too large to write: others that fail as well
    culprit: str | None = None  # which of the operations that the function calls is wrong

    @property
    def ok(self) -> bool:
        return not self.failures

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        judged = f"{self.comparisons} comparisons, {self.inconclusive} inconclusive, {self.kinks} at kinks"
        how = ", ".join(f"{name}: {oracle}" for name, oracle in self.oracles.items())
        title = self.name if self.order == 1 else f"{self.name} (second order)"
        if self.ok:
            return f"{title}: all laws hold ({judged}; {how})"
        shown = "\n".join(f"{title}: {failure}" for failure in self.failures)
        where = f"case: {self.case}" if self.case else f"inputs: {_sketch(self.inputs)}"
        culprit = f"  culprit: {self.culprit}\n" if self.culprit else ""
        return f"{shown}\n{culprit}  ({judged}; {how})\n  {where}\n  repeat with:\n{_indent(self.repro())}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, as plain Python values."""
        return {
            "name": self.name,
            "ok": self.ok,
            "order": self.order,
            "seed": self.seed,
            "oracles": dict(self.oracles),
            "laws": list(self.laws),
            "skipped": dict(self.skipped),
            "comparisons": self.comparisons,
            "inconclusive": self.inconclusive,
            "kinks": self.kinks,
            "culprit": self.culprit,
            "failures": [asdict(failure) for failure in self.failures],
            "versions": versions(),
        }

    def repro(self) -> str:
        """A snippet that repeats the check; needs NumPy and tinygrad_cnn only.

        Large arrays are drawn from a seed: numbers that break the same law, if such were found, else a comment says so.
        """
        lines = ["import numpy as np", "import tinygrad_cnn as tc", "from tinygrad_cnn import testing", ""]
        if any(not is_written(x) for i, x in enumerate(self.inputs) if i not in self.sources):
            lines.append("# Too many numbers to print; these are others. Keep yours: np.savez(path, *report.inputs)")
        sources = (self.sources.get(i) or literal(x) for i, x in enumerate(self.inputs))
        lines.append(f"inputs = ({''.join(f'{source}, ' for source in sources)})")
        lines.append(self.call)
        return "\n".join(lines)


class GradcheckError(AssertionError):
    """A derivative that breaks a law; `report` has the details."""

    def __init__(self, report: GradReport) -> None:
        super().__init__(str(report))
        self.report = report


def versions() -> dict[str, str]:
    """The versions and the BLAS that a number may depend on."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }


def _sketch(inputs: tuple[Any, ...]) -> str:
    parts = [f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x) for x in inputs]
    return ", ".join(parts)


def _distance(analytic: float, numeric: float) -> str:
    gap = abs(analytic - numeric)
    largest = max(abs(analytic), abs(numeric))
    relative = gap / largest if largest else 0.0
    ulps = gap / float(np.spacing(largest)) if np.isfinite(largest) and largest else 0.0
    return (
        f"analytic {analytic:.17g}, numeric {numeric:.17g}, abs {gap:.3g}, rel {relative:.3g}, ulp {ulps:.2g}"
        if np.isfinite(gap)
        else f"analytic {analytic}, numeric {numeric}"
    )


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
