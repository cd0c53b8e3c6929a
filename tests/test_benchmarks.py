"""The benchmarks' table: what it says of a value, and how two runs are compared. Nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # the benchmarks belong to the sources, not to the package

from benchmarks import report  # noqa: E402
from benchmarks.match import Ratio  # noqa: E402
from benchmarks.report import Row  # noqa: E402

MACHINE = {
    "processor": "P", "cores": 2, "threads": 2, "load": 0.1, "python": "3.11", "numpy": "2.4", "blas": "openblas",
    "sgemm": {"1": 100, "2": 200}, "commit": "abc", "date": "2026-01-01",
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "target", "verdict"),
    [(0.8, 0.8, "pass"), (0.81, 0.8, "falls short"), (5.0, None, ""), (None, 0.8, "not measured")],
)
def test_verdict(value: float | None, target: float | None, verdict: str) -> None:
    assert Row("P1", "step", value, target).verdict == verdict


def test_ratio_is_the_median_of_pairs() -> None:
    ratio = Ratio.of([2.0, 4.0, 30.0], [1.0, 4.0, 10.0], {"layout": "NCHW", "threads": 2})
    assert (ratio.median, ratio.of_fastest, ratio.pairs, ratio.setting) == (2.0, 2.0, 3, "NCHW, 2 threads")


def test_results_survive_the_file(tmp_path: Path) -> None:
    rows = [Row("P1", "step", 0.5, 0.8, 0.4, 0.6, "note"), Row("P4", "rival", None, note="not installed")]
    report.save(tmp_path / "deep" / "r.json", {"steps": report.entry(MACHINE, rows)})
    results = report.load(tmp_path / "deep" / "r.json")
    assert list(report.rows_of(results)) == rows
    table = report.markdown(results)
    assert "| P1 | step | 0.50 | 0.40 – 0.60 | ≤ 0.8 | pass | note |" in table
    assert "200 GFLOP/s on 2 threads" in table


def test_comparison_says_which_way(tmp_path: Path) -> None:
    old = {"steps": report.entry(MACHINE, [Row("P1", "step", 1.0), Row("P2", "gone", 1.0)])}
    new = {"steps": report.entry(MACHINE, [Row("P1", "step", 0.5), Row("P3", "new", 1.0)])}
    (line,) = report.compare(old, new)
    assert "1.00 →     0.50" in line
    assert "50.0 % faster" in line


def test_help_lists_the_measures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in ("steps", "operations", "overheads", "--quick", "--compare"))


def test_the_page_shows_the_results() -> None:
    results = report.load(ROOT / "benchmarks" / "results" / "performance.json")
    assert "steps" in results
    assert report.markdown(results) in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
