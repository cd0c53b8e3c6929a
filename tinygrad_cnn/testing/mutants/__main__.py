"""python -m tinygrad_cnn.testing.mutants [OP ...]: seed every bug; the battery finds it and nothing else."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tinygrad_cnn.testing import mutants
from tinygrad_cnn.testing.mutants import Hunt, summaries, workers
from tinygrad_cnn.testing.mutants.journal import Journal, Key

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt; 0 if every mutant that can be told from its op is killed and no right op is refused, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_cnn.testing.mutants", description=__doc__)
    parser.add_argument("op", nargs="*", help="ops whose mutants to hunt (default: all)")
    parser.add_argument("--false-alarms", type=int, default=5000, metavar="N", help="examples of right ops (5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first drawn case (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--journal", type=Path, help="note results there, and go on where an interrupted run stopped")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--verbose", action="store_true", help="print every mutant and the law that killed it")
    options = parser.parse_args(arguments)
    chosen = [number for number, m in enumerate(workers.everyone()) if not options.op or m.op in options.op]
    if not chosen:
        print(f"no mutants of {', '.join(options.op)}", file=sys.stderr)
        return 2
    journal, start = Journal(options.journal), time.monotonic()
    hunts = _hunted(chosen, options.seed, options.jobs, journal, options.verbose)
    summary = summaries.of_hunts(hunts, options.seed)
    if options.false_alarms and not options.op:
        summary |= summaries.of_alarms(*_held(options.false_alarms, options.seed, options.jobs, journal))
    summary |= {"seconds": round(time.monotonic() - start), "processes": options.jobs}
    print(summaries.text(summary))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if summary["missed"] or summary["stale"] or summary.get("alarms") else 0


def _hunted(numbers: list[int], seed: int, jobs: int, journal: Journal, verbose: bool) -> list[Hunt]:
    """What became of these mutants."""
    everyone = workers.everyone()

    def told(found: Any) -> None:
        if verbose:
            print(f"{found['law'] or 'survives':<12} {found['cases']:>3}  {found['name']}", flush=True)

    places = {("hunt", everyone[number].name, seed): (number, seed) for number in numbers}
    found = _noted(places, lambda todo: map(asdict, workers.mapped(workers.hunt, todo, jobs)), journal, "mutants", told)
    return [Hunt(**values) for values in found]


def _held(examples: int, seed: int, jobs: int, journal: Journal) -> tuple[int, float, list[str]]:
    """How many examples of right ops were held to their laws, in how many seconds; the false alarms."""
    places = {("hold", *place): place for place in mutants.places(examples, seed)}
    found = _noted(places, lambda todo: workers.mapped(workers.alarms, todo, jobs), journal, "cases of right ops")
    return examples, sum(seconds for _, seconds in found), [alarm for alarms, _ in found for alarm in alarms]


def _noted(
    places: dict[Key, T],
    run: Callable[[list[T]], Any],
    journal: Journal,
    what: str,
    tell: Callable[[Any], None] = lambda found: None,
) -> list[Any]:
    """The result for each place: from the journal, or run now; with a sign of life every ten seconds."""
    todo = {key: place for key, place in places.items() if key not in journal}
    last = time.monotonic()
    for number, (key, found) in enumerate(zip(todo, run(list(todo.values())), strict=True), 1):
        journal.note(key, found)
        tell(found)
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"{len(places) - len(todo) + number} of {len(places)} {what}", file=sys.stderr, flush=True)
    return [journal[key] for key in places]


if __name__ == "__main__":
    sys.exit(main())
