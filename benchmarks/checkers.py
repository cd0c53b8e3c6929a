"""How many of our seeded bugs other gradient checkers find: PyTorch's, JAX's and HIPS autograd's, and ours.

    python -m benchmarks.checkers                  # goes on where it stopped; some twenty minutes on two idle cores
    python -m benchmarks.checkers --seconds 150    # stops after that time, the rest another time
    python -m benchmarks.checkers --every 1        # all mutants; else the historic ones, and one in eight of the others
    python -m benchmarks.checkers --page           # writes the tables of docs/mutants.md from the results

Needs pip install "tinygrad_cnn[checkers]". Every checker is given the same calls: first each op as it is, where a
refusal is a false alarm, then the mutants. A call on which a checker refuses the right op convicts no mutant.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from benchmarks import checked, mutants_page
from benchmarks.checked_layers import layers
from benchmarks.rival_checkers import CHECKERS
from tinygrad_cnn.testing import OpCase, cases
from tinygrad_cnn.testing.mutants import EQUIVALENT, Mutant, all_mutants
from tinygrad_cnn.testing.mutants.journal import Journal

CASES = 5  # calls per op at the small size, as the kit draws them
SEED = 0
RESULTS = Path(__file__).parent / "results"
JOURNAL = Path("runs/checkers.jsonl")
SIZES = ("small", "layers")


class Trial(NamedTuple):
    """A checker on the calls of an op; `mutant` is empty for the op as it is."""

    size: str
    checker: str
    op: str
    mutant: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checker", choices=list(CHECKERS), action="append", help="only this one (default: all)")
    parser.add_argument("--size", choices=SIZES, action="append", help="only this size (default: both)")
    parser.add_argument("--every", type=int, default=8, metavar="N", help="one in N of those not historic (8)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after that time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--journal", type=Path, default=JOURNAL, help=f"what has been tried ({JOURNAL})")
    parser.add_argument("--page", action="store_true", help="only write docs/mutants.md from the results")
    options = parser.parse_args()
    if not options.page:
        done = Journal(options.journal)
        asked = list(trials(options.every))
        todo = [trial for trial in asked if trial not in done and trial.size in (options.size or SIZES)
                and trial.checker in (options.checker or CHECKERS)]  # fmt: skip
        left = run(todo, done, options.jobs, options.seconds)
        print(f"{len(todo) - left} trials made, {left} left; in {options.journal}")
        RESULTS.mkdir(exist_ok=True)
        write = json.dumps(summary(done, asked) | {"every": options.every}, indent=1, ensure_ascii=False)
        (RESULTS / "checkers.json").write_text(write + "\n", encoding="utf-8")
    mutants_page.write()


def trials(every: int) -> Iterator[Trial]:
    """Everything to try: right ops first. Bugs of our tape can not show on a rival's, which runs on its own."""
    comparable = [m for m in all_mutants() if m.family != "tape" and _calls("small", m.op)]
    ops = list(dict.fromkeys(m.op for m in comparable))
    comparable = [m for m in comparable if m.family == "historic" or crc32(m.name.encode()) % every == 0]
    for size in SIZES:
        known = layers() if size == "layers" else ops
        for checker in CHECKERS:
            if (size, checker) == ("layers", "torch slow"):
                continue  # the Jacobian of one convolution would have 10⁹ elements
            yield from (Trial(size, checker, op) for op in ops if op in known)
            yield from (Trial(size, checker, m.op, m.name) for m in comparable if m.op in known)


def run(todo: list[Trial], done: Journal, jobs: int, seconds: float) -> int:
    """Try them in several processes and note each at once; returns how many are left when the time is over."""
    end, made, size = time.monotonic() + seconds, 0, 32 * jobs
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        while made < len(todo) and time.monotonic() < end:
            batch = todo[made : made + size]
            for trial, found in zip(batch, pool.map(attempt, batch, chunksize=1), strict=True):
                done.note(trial, found)
            made += len(batch)
    return len(todo) - made


# ---- one trial -------------------------------------------------------------------------------------------------------


def attempt(trial: Trial) -> dict[str, Any]:
    """What came of it: the calls that were refused, for a mutant up to the first that counts; and what was raised."""
    start = time.process_time()
    refused: list[int] = []
    raised = ""
    for number, call in enumerate(_calls(trial.size, trial.op)):
        if not trial.mutant:
            refused += [number] * (not _accepts(trial.size, trial.checker, trial.op, number))
        elif _accepts(trial.size, trial.checker, trial.op, number):
            with _mutants()[trial.mutant].seeded():
                verdict = _verdict(trial.checker, trial.op, call)
            if verdict is not True:
                refused, raised = [number], verdict or ""
                break
    return {"refused": refused, "raised": raised, "seconds": round(time.process_time() - start, 3)}


@cache
def _accepts(size: str, checker: str, op: str, number: int) -> bool:
    """Whether a checker accepts a call of the op as it is."""
    return _verdict(checker, op, _calls(size, op)[number]) is True


def _verdict(checker: str, op: str, call: OpCase) -> bool | str:
    """True if accepted, False if refused, else the name of what was raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return CHECKERS[checker](checked.Checked(cases()[op], call))
        except Exception as error:
            return type(error).__name__


@cache
def _calls(size: str, op: str) -> tuple[OpCase, ...]:
    if size == "layers":
        return (layers(SEED)[op],)
    return tuple(checked.small(cases()[op], CASES, SEED))


@cache
def _mutants() -> dict[str, Mutant]:
    return {m.name: m for m in all_mutants()}


# ---- results ---------------------------------------------------------------------------------------------------------


def summary(done: Journal, asked: Iterable[Trial]) -> dict[str, Any]:
    """Counts by size, checker and family; what a checker missed, by kind of bug; versions and seeds.

    Mutants that are no different from their op are left out. "all laws" is what `make mutants` found of the same ones.
    """
    mutants = {m.name: m for m in all_mutants() if m.name not in EQUIVALENT}
    survivors = json.loads((RESULTS / "mutants.json").read_text(encoding="utf-8"))["missed"]
    sizes: dict[str, Any] = {size: {} for size in SIZES}
    for trial in asked:
        if trial not in done:
            continue
        found = done[trial]
        entry = sizes[trial.size].setdefault(trial.checker, _nothing())
        entry["seconds"] += found["seconds"]
        if not trial.mutant:
            entry["right calls"] += len(_calls(trial.size, trial.op))
            entry["false alarms"] += [trial.op] * len(found["refused"])
        elif trial.mutant in mutants:
            _count(entry, mutants[trial.mutant], bool(found["refused"]), bool(found["raised"]))
            if trial.checker == "ours":
                laws = sizes[trial.size].setdefault("all laws", _nothing())
                _count(laws, mutants[trial.mutant], trial.mutant not in survivors, False)
    packages = ("numpy", "torch", "jax", "autograd")
    return {"versions": {name: version(name) for name in packages}, "seed": SEED, "cases": CASES, "sizes": sizes}


def _nothing() -> dict[str, Any]:
    return {"seconds": 0.0, "right calls": 0, "false alarms": [], "families": {}, "missed": {}}


def _count(entry: dict[str, Any], mutant: Mutant, killed: bool, raised: bool) -> None:
    family = entry["families"].setdefault(mutant.family, {"mutants": 0, "killed": 0, "raised": 0})
    family["mutants"] += 1
    family["killed"] += killed
    family["raised"] += raised
    if not killed:
        kind = mutant.name if mutant.family == "historic" else mutant.bug.rpartition(": ")[2]
        entry["missed"][kind] = entry["missed"].get(kind, 0) + 1


if __name__ == "__main__":
    main()
