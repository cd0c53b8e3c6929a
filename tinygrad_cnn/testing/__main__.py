"""python -m tinygrad_cnn.testing [OP ...]: hold ops to their laws and print a table."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence

from tinygrad_cnn.testing.battery import PROFILES, BatteryReport, run_battery
from tinygrad_cnn.testing.specs import cases

_HELP = """\
examples:
  python -m tinygrad_cnn.testing                        every operation, some twenty laws each
  python -m tinygrad_cnn.testing conv2d max_pool2d      these two
  python -m tinygrad_cnn.testing --profile ci conv2d    longer
  python -m tinygrad_cnn.testing --import my_ops swish  one of your own, registered by my_ops.py

columns:
  kind         what the operation is said to be, which decides how exactly it is judged: multilinear and
               piecewise_linear by ==, analytic by complex steps, unknown by extrapolated differences
  laws, cases  how many laws it was held to, and in how many cases altogether
  comparisons  of an analytic with a numeric derivative
  result       "holds", or the laws that are broken; a report of each follows the table, with the smallest
               case that was found and a snippet that repeats it

The exit status is 0 if all laws hold, 1 if not, 2 for an unknown operation. docs/testing.md explains each law."""
_COLUMNS = ("op", "kind", "laws", "cases", "comparisons", "seconds", "result")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the battery; 0 if all laws hold, 1 if not, 2 for an unknown op."""
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_cnn.testing",
        description="Hold operations to the laws of differentiation, on cases drawn for each.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("op", metavar="OP", nargs="*", help="names of operations (default: all that are registered)")
    times = ", ".join(f"{name} {seconds:g} s" for name, seconds in PROFILES.items())
    parser.add_argument(
        "--profile", choices=PROFILES, default="fast", help=f"for all ops together: {times} (default: fast)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first drawn case (default: 0)")
    parser.add_argument(
        "--import", dest="module", action="append", default=[], metavar="MODULE", help="a module that registers ops"
    )
    options = parser.parse_args(arguments)
    for module in options.module:
        importlib.import_module(module)
    unknown = [name for name in options.op if name not in cases()]
    if unknown:
        print(f"not registered: {', '.join(unknown)}; known: {', '.join(sorted(cases()))}", file=sys.stderr)
        return 2
    names = options.op or sorted(cases())
    reports = (run_battery(name, profile=options.profile, seed=options.seed) for name in names)
    failed = [report for report in _shown(reports) if not report.ok]
    for report in failed:
        print(f"\n{report}")
    print(f"\n{len(names) - len(failed)} of {len(names)} operations hold all laws")
    return 1 if failed else 0


def _shown(reports: Iterator[BatteryReport]) -> list[BatteryReport]:
    """Print each report as a row of a table as soon as it is there."""
    try:
        live, table = _rich_table()
    except ImportError:
        print(_plain(_COLUMNS))
        done = []
        for report in reports:
            print(_plain(_row(report)), flush=True)
            done.append(report)
        return done
    with live:
        done = []
        for report in reports:
            row = _row(report)
            table.add_row(*row[:-1], f"[{'green' if report.ok else 'bold red'}]{row[-1]}[/]")
            done.append(report)
    return done


def _rich_table():  # type: ignore[no-untyped-def]  # the types of rich, which is optional
    from rich.live import Live
    from rich.table import Table

    table = Table()
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("op", "kind", "result") else "right")
    return Live(table, vertical_overflow="visible", refresh_per_second=4), table


def _row(report: BatteryReport) -> tuple[str, ...]:
    numbers = (len(report.held), sum(report.held.values()), report.comparisons)
    result = "holds" if report.ok else f"broken: {', '.join(report.failures)}"
    return (report.op, cases()[report.op].kind, *map(str, numbers), f"{report.seconds:.2f}", result)


def _plain(row: Sequence[str]) -> str:
    widths = (28, 20, 5, 6, 12, 8, 0)
    aligned = (
        f"{cell:<{w}}" if i in (0, 1, 6) else f"{cell:>{w}}"
        for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    )
    return " ".join(aligned).rstrip()


if __name__ == "__main__":
    sys.exit(main())
