"""Summaries of a hunt: the numbers as plain values, which are printed, written to a file, and shown in the docs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tinygrad_cnn.testing.mutants import workers
from tinygrad_cnn.testing.mutants.equivalent import EQUIVALENT, MISSED
from tinygrad_cnn.testing.mutants.hunting import Hunt
from tinygrad_cnn.testing.mutants.sources import SOURCES
from tinygrad_cnn.testing.reports import versions

Summary = dict[str, Any]


def of_hunts(hunts: Sequence[Hunt], seed: int) -> Summary:
    """How many mutants there were of each family, and of each class of bugs; which laws killed them; who survived."""
    survivors = [h.name for h in hunts if not h.killed]
    laws = Counter(h.law for h in hunts if h.law)
    return {
        "versions": versions(),
        "seed": seed,
        "families": {
            name: _counts([h for h in hunts if name in (h.family, "all")])
            for name in [*dict.fromkeys(h.family for h in hunts), "all"]
        },
        "laws": dict(laws.most_common()),
        "kills by case": {str(at): n for at, n in sorted(Counter(h.cases for h in hunts if h.killed).items())},
        "sources": _by_source(hunts),
        "raised": [h.name for h in hunts if h.raised],
        "equivalent": {name: EQUIVALENT[name] for name in survivors if name in EQUIVALENT},
        "missed": {name: MISSED.get(name, "no reason known") for name in survivors if name not in EQUIVALENT},
        "stale": [h.name for h in hunts if h.killed and h.name in EQUIVALENT | MISSED],
        "seconds of hunting": round(sum(h.seconds for h in hunts)),
    }


def of_alarms(examples: int, seconds: float, alarms: Sequence[str]) -> Summary:
    """How the right ops fared."""
    return {"examples": examples, "alarms": list(alarms), "seconds of holding": round(seconds)}


def text(summary: Summary) -> str:
    """As a terminal shows it."""
    lines = [f"\n{'family':<14} {'mutants':>8} {'killed':>8} {'raised':>8} {'equivalent':>11} {'missed':>7}"]
    for name, n in summary["families"].items():
        lines.append(
            f"{name:<14} {n['mutants']:>8} {n['killed']:>8} {n['raised']:>8} {n['equivalent']:>11} {n['missed']:>7}"
        )
    lines.append("\nkilled by the law  " + ", ".join(f"{law} {count}" for law, count in summary["laws"].items()))
    at = {int(case): count for case, count in summary["kills by case"].items()}
    if at:
        lines.append(
            f"by the first case {at.get(1, 0)}, by the fifth {sum(n for case, n in at.items() if case <= 5)}, "
            f"by the {max(at)}th all; seed {summary['seed']}"
        )
    for reason in dict.fromkeys(summary["equivalent"].values()):
        lines.append(f"\nequivalent: {reason}")
        lines += [f"  {name}" for name, why in summary["equivalent"].items() if why == reason]
    lines += [f"\nMISSED {name}: {why}" for name, why in summary["missed"].items()]
    lines += [f"\nSTALE {name} is listed as a survivor, but is killed" for name in summary["stale"]]
    total = summary["families"]["all"]
    lines.append(f"\n{total['mutants'] - total['missed']} of {total['mutants']} mutants are killed or equivalent")
    if "examples" in summary:
        lines += [f"\nFALSE ALARM {alarm}" for alarm in summary["alarms"]]
        lines.append(f"{len(summary['alarms'])} false alarms in {summary['examples']} examples of right ops")
    lines.append(
        f"{summary['seconds']} s; {', '.join(f'{name} {version}' for name, version in summary['versions'].items())}"
    )
    return "\n".join(lines)


def _counts(hunts: Sequence[Hunt]) -> dict[str, int]:
    killed = sum(h.killed for h in hunts)
    equivalent = sum(not h.killed and h.name in EQUIVALENT for h in hunts)
    return {
        "mutants": len(hunts),
        "killed": killed,
        "raised": sum(h.raised for h in hunts),
        "equivalent": equivalent,
        "missed": len(hunts) - killed - equivalent,
    }


def _by_source(hunts: Sequence[Hunt]) -> list[dict[str, Any]]:
    by_name = {m.name: m for m in workers.everyone()}
    rows = []
    for source in SOURCES:
        own = [h for h in hunts if source.cited_by(by_name[h.name])]
        laws = Counter(h.law for h in own if h.law)
        rows.append({"bugs": source.bugs, "seen": source.seen, **_counts(own), "laws": dict(laws.most_common())})
    return rows
