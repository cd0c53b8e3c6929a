"""python -m tinygrad_cnn.testing.mutants [OP ...]: seed every bug; the battery finds it and nothing else."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tinygrad_cnn.testing import mutants
from tinygrad_cnn.testing.mutants import EQUIVALENT, MISSED, Hunt, workers
from tinygrad_cnn.testing.reports import versions


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt; 0 if every mutant that can be told from its op is killed and no right op is refused, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_cnn.testing.mutants", description=__doc__)
    parser.add_argument("op", nargs="*", help="ops whose mutants to hunt (default: all)")
    parser.add_argument("--false-alarms", type=int, default=5000, metavar="N", help="examples of right ops (5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first drawn case (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--verbose", action="store_true", help="print every mutant and the law that killed it")
    options = parser.parse_args(arguments)
    chosen = [number for number, m in enumerate(workers.everyone()) if not options.op or m.op in options.op]
    if not chosen and options.op:
        print(f"no mutants of {', '.join(options.op)}", file=sys.stderr)
        return 2
    start = time.monotonic()
    hunts = workers.mapped(workers.hunt, [(number, options.seed) for number in chosen], options.jobs)
    found = list(_shown(hunts, options.verbose))
    faults = _report(found, time.monotonic() - start, options.seed)
    if options.false_alarms and not options.op:
        faults += _hold_the_right_ones(options.false_alarms, options.seed, options.jobs)
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    return 1 if faults else 0


def _shown(hunts: Iterable[Hunt], verbose: bool) -> Iterator[Hunt]:
    for number, found in enumerate(hunts, 1):
        if verbose:
            print(f"{found.law or 'survives':<12} {found.cases:>3}  {found.name}", flush=True)
        elif number % 500 == 0:
            print(f"{number} mutants hunted", file=sys.stderr, flush=True)
        yield found


def _report(hunts: list[Hunt], seconds: float, seed: int) -> int:
    """Print the tables; returns the number of faults."""
    survivors = [h for h in hunts if not h.killed]
    missed = [h.name for h in survivors if h.name not in EQUIVALENT]
    stale = [h.name for h in hunts if h.killed and h.name in EQUIVALENT | MISSED]
    print(f"\n{'family':<14} {'mutants':>8} {'killed':>8} {'equivalent':>11} {'missed':>7}")
    for family in [*dict.fromkeys(h.family for h in hunts), "all"]:
        own = [h for h in hunts if family in (h.family, "all")]
        kills, same = sum(h.killed for h in own), sum(not h.killed and h.name in EQUIVALENT for h in own)
        print(f"{family:<14} {len(own):>8} {kills:>8} {same:>11} {len(own) - kills - same:>7}")
    laws = Counter(h.law for h in hunts if h.killed)
    print("\nkilled by the law  " + ", ".join(f"{law} {count}" for law, count in laws.most_common()))
    at = sorted(h.cases for h in hunts if h.killed)
    if at:
        first = sum(n == 1 for n in at)
        print(f"by the first case {first}, by the fifth {sum(n <= 5 for n in at)}, by the {at[-1]}th all; seed {seed}")
    for reason in dict.fromkeys(EQUIVALENT[h.name] for h in survivors if h.name in EQUIVALENT):
        print(f"\nequivalent: {reason}")
        print("".join(f"  {h.name}\n" for h in survivors if EQUIVALENT.get(h.name) == reason), end="")
    for name in missed:
        print(f"\nMISSED {name}: {MISSED.get(name, 'no reason known')}")
    for name in stale:
        print(f"\nSTALE {name} is listed as a survivor, but is killed")
    print(f"\n{len(hunts) - len(missed)} of {len(hunts)} mutants are killed or equivalent, in {seconds:.0f} s")
    return len(missed) + len(stale)


def _hold_the_right_ones(examples: int, seed: int, jobs: int) -> int:
    start = time.monotonic()
    places = list(mutants.places(examples, seed))
    alarms = [alarm for found in workers.mapped(workers.alarms, places, jobs) for alarm in found]
    for alarm in alarms:
        print(f"\nFALSE ALARM {alarm}")
    print(
        f"{len(alarms)} false alarms in {examples} examples of right ops, seed {seed}, {time.monotonic() - start:.0f} s"
    )
    return len(alarms)


if __name__ == "__main__":
    sys.exit(main())
