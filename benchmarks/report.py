"""The table of measures with their targets, and its form as JSON, so that two commits can be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.match import Ratio

Facts = dict[str, Any]
Results = dict[str, Any]  # {"steps": {"machine": Facts, "rows": [...]}, ...}: each measure with the facts of its run


class Row(NamedTuple):
    """One measure: its value, what it should be, and how it was found."""

    measure: str  # P1 ... P10
    name: str
    value: float | None  # None: it could not be measured
    target: float | None = None  # at most; None: nothing is asked
    low: float | None = None  # quartiles
    high: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.target is None:
            return ""
        return "pass" if self.value <= self.target else "falls short"

    @staticmethod
    def of_ratio(measure: str, name: str, ratio: Ratio, target: float | None) -> Row:
        times = f"{_time(ratio.ours)} against {_time(ratio.theirs)}"
        words = ", ".join(filter(None, [ratio.setting, f"{ratio.pairs} pairs"]))
        return Row(measure, name, ratio.median, target, ratio.low, ratio.high, f"{times} ({words})")


# ---- on the screen ---------------------------------------------------------------------------------------------

HEADER = f"{'':4} {'measure':46} {'value':>7} {'quartiles':>13} {'target':>7}  {'':12} note"


def facts_line(machine: Facts) -> str:
    """What the figures were measured on, in one line."""
    gflops = ", ".join(f"{g} GFLOP/s on {n} thread{'s' * (int(n) > 1)}" for n, g in machine["sgemm"].items())
    load = "" if machine["load"] is None else f", load {machine['load']:.1f}"
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads{load}; "
        f"Python {machine['python']}, NumPy {machine['numpy']}, {machine['blas']}; sgemm {gflops}; "
        f"commit {machine['commit'] or 'unknown'}, {machine['date']}"
    )


def line(row: Row) -> str:
    """A row of the table."""
    value, spread, target = _cells(row)
    return f"{row.measure:4} {row.name:46} {value:>7} {spread:>13} {target:>7}  {row.verdict:12} {row.note}".rstrip()


def _cells(row: Row) -> tuple[str, str, str]:
    value = "" if row.value is None else f"{row.value:.2f}"
    spread = "" if row.low is None or row.high is None else f"{row.low:.2f} – {row.high:.2f}"
    return value, spread, "" if row.target is None else f"≤ {row.target:g}"


# ---- as JSON ---------------------------------------------------------------------------------------------------


def load(path: Path) -> Results:
    """The results in a file; none if there is no file yet."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def save(path: Path, results: Results) -> None:
    """Write the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def entry(machine: Facts, rows: Iterable[Row]) -> dict[str, Any]:
    """What a file keeps of one measure."""
    return {"machine": machine, "rows": [row._asdict() for row in rows]}


def rows_of(results: Results) -> Iterator[Row]:
    """All rows, as they were measured."""
    for measured in results.values():
        yield from (Row(**row) for row in measured["rows"])


def compare(old: Results, new: Results) -> Iterator[str]:
    """How the values moved from one run to another, a line for each that both have."""
    before = {(row.measure, row.name): row.value for row in rows_of(old)}
    for row in rows_of(new):
        was = before.get((row.measure, row.name))
        if was and row.value:
            change = 100 * (row.value / was - 1)
            verdict = "slower" if change > 0 else "faster"
            yield f"{row.measure:4} {row.name:46} {was:8.2f} → {row.value:8.2f}  {abs(change):5.1f} % {verdict}"


# ---- as Markdown -----------------------------------------------------------------------------------------------


def markdown(results: Results) -> str:
    """The table of docs/performance.md, a section for each run that had other facts."""
    lines: list[str] = []
    last = ""
    for measured in results.values():
        facts = facts_line(measured["machine"])
        if facts != last:
            lines += [
                "",
                f"{facts}.",
                "",
                "| | measure | value | quartiles | target | | ours against theirs |",
                "|" + "---|" * 7,
            ]
            last = facts
        for row in (Row(**row) for row in measured["rows"]):
            cells = (row.measure, row.name, *_cells(row), row.verdict, row.note)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def _time(seconds: float) -> str:
    exponent = 0 if seconds <= 0 else math.floor(math.log10(seconds))
    if exponent >= 0:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if exponent >= -4 else f"{seconds * 1e6:.2f} µs"
