"""Time tinygrad_cnn next to the libraries that users would take instead; the measures are docs/performance.md's."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks import machine, report
from benchmarks.match import Plan
from benchmarks.measures import MEASURES


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="measures:\n"
        + "\n".join(f"  {name:11} {(measure.__doc__ or '').splitlines()[0]}" for name, measure in MEASURES.items())
        + "\n\nRun it while the machine does nothing else. Rivals that are not installed are said to be missing.",
    )
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help="which to take (default: all)")
    parser.add_argument("--quick", action="store_true", help="end within five minutes")
    parser.add_argument("--threads", type=int, default=machine.cores(),
                        help="for both sides; with 1 the processor's time is measured, not the clock's")  # fmt: skip
    parser.add_argument("--json", type=Path, default=Path("runs/benchmarks.json"),
                        help="where the results go; measures not taken now stay in it")  # fmt: skip
    parser.add_argument("--compare", type=Path, nargs=2, metavar="FILE", help="only compare two files of results")
    parser.add_argument(
        "--markdown", action="store_true", help="only print the results as docs/performance.md has them"
    )
    arguments = parser.parse_args()
    if arguments.compare:
        print("\n".join(report.compare(*map(report.load, arguments.compare))))
        return
    results = report.load(arguments.json)
    if arguments.markdown:
        print(report.markdown(results), end="")
        return
    unknown = set(arguments.measures) - set(MEASURES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; the measures are {', '.join(MEASURES)}")
    start = time.monotonic()
    facts = machine.describe(arguments.threads)
    print(f"{report.facts_line(facts)}\n\n{report.HEADER}")
    for name in arguments.measures or MEASURES:
        rows = []
        for row in MEASURES[name](Plan(arguments.threads, arguments.quick)):
            rows.append(row)
            print(report.line(row), flush=True)
        results[name] = report.entry(facts, rows)
        report.save(arguments.json, {name: results[name] for name in MEASURES if name in results})
    print(f"\n{time.monotonic() - start:.0f} s; results in {arguments.json}")


if __name__ == "__main__":
    main()
