"""The tables of docs/mutants.md, from the results of a hunt and of the comparison of checkers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "mutants.md"
RESULTS = Path(__file__).parent / "results"
TITLES = {
    "ours": "ours: `gradcheck`, `gradgradcheck`",
    "torch slow": "PyTorch, slow mode",
    "torch fast": "PyTorch, fast mode",
    "jax": "JAX `check_grads`",
    "autograd": "HIPS autograd `check_grads`",
    "all laws": "ours: all laws",
}
COMPARED = ("gradient", "dropped term", "second order", "two forms", "side effect", "forward", "historic")


def write() -> None:
    """Put the tables into the page, each between its two marks."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(text: str) -> str:
    """The page with its tables written anew."""
    hunt = json.loads((RESULTS / "mutants.json").read_text(encoding="utf-8"))
    checkers = json.loads((RESULTS / "checkers.json").read_text(encoding="utf-8"))
    tables = {
        "numbers": numbers(hunt),
        "families": families(hunt),
        "sources": sources(hunt),
        "survivors": survivors(hunt),
        "alarms": alarms(hunt),
        "small": comparison(checkers, "small"),
        "small misses": misses(checkers, "small"),
        "layers": comparison(checkers, "layers"),
        "layers misses": misses(checkers, "layers"),
        "versions": versions(hunt, checkers),
    }
    for name, lines in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, found = re.subn(pattern, partial(_between, "\n".join(lines)), text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"{PAGE.name} must have one place for the table {name!r}, it has {found}")
    return text


def _between(body: str, marks: re.Match[str]) -> str:
    return f"{marks[1]}{body}\n{marks[2]}"


def numbers(hunt: dict[str, Any]) -> Iterator[str]:
    """What came of the whole, in one sentence."""
    n = hunt["families"]["all"]
    yield (
        f"**{n['mutants']} mutants: {n['killed']} killed, {n['equivalent']} equivalent, {n['missed']} missed. "
        f"{len(hunt['alarms'])} false alarms in {hunt['examples']:,} examples of right operations** "
        f"(seed {hunt['seed']}; {hunt['seconds of hunting']} s of one core for the mutants, "
        f"{hunt['seconds of holding']} s for the examples)."
    )


def families(hunt: dict[str, Any]) -> Iterator[str]:
    """Mutants by the way they were made."""
    columns = ("mutants", "killed", "raised", "equivalent", "missed")
    yield from _head("family", *columns)
    for name, n in hunt["families"].items():
        yield _row(name, *(n[column] for column in columns))
    yield ""
    laws = ", ".join(f"`{law}` {count}" for law, count in hunt["laws"].items())
    yield f"The law that killed first: {laws}."


def sources(hunt: dict[str, Any]) -> Iterator[str]:
    """Mutants by where such bugs were seen."""
    yield from _head("bugs", "seen in", "mutants", "killed", "first by")
    for n in hunt["sources"]:
        laws = ", ".join(f"`{law}`" for law in list(n["laws"])[:3])
        yield _row(n["bugs"], n["seen"], n["mutants"], n["killed"], laws)


def survivors(hunt: dict[str, Any]) -> Iterator[str]:
    """Mutants that nothing can kill, with the reason, and those that were missed."""
    reasons = dict.fromkeys(hunt["equivalent"].values())
    for reason in reasons:
        names = [f"`{name}`" for name, why in hunt["equivalent"].items() if why == reason]
        yield f"- Equivalent, for {reason}: {', '.join(names)}."
    for name, why in hunt["missed"].items():
        yield f"- **Missed**: `{name}` ({why})."


def alarms(hunt: dict[str, Any]) -> Iterator[str]:
    """The laws that accused a right operation, or the kit itself, in that run."""
    if not hunt["alarms"]:
        yield f"None in {hunt['examples']:,} examples."
    for alarm in hunt["alarms"]:
        yield f"- {alarm.partition(chr(10))[0]}"


def comparison(checkers: dict[str, Any], size: str) -> Iterator[str]:
    """How many mutants each checker kills, by family; and what it says of right ops."""
    entries = _complete(checkers["sizes"][size])
    yield from _head("mutants", "number", *(TITLES[name] for name in entries))
    for family in (*COMPARED, "all"):
        kills = [_sum(entry["families"], COMPARED if family == "all" else (family,)) for entry in entries.values()]
        if kills[0]["mutants"]:
            shares = (_share(n["killed"], n["mutants"]) for n in kills)
            yield _row(f"**{family}**" if family == "all" else family, kills[0]["mutants"], *shares)
    raised = (_sum(entry["families"], COMPARED)["raised"] for entry in entries.values())
    yield _row("of these, by another exception", "", *raised)
    accused = (len(e["false alarms"]) if e["right calls"] else "" for e in entries.values())
    calls = max(e["right calls"] for e in entries.values())
    yield _row("false alarms", f"{calls} calls", *accused)


def misses(checkers: dict[str, Any], size: str) -> Iterator[str]:
    """The kinds of bugs that each checker misses most, of those that a gradient checker could see."""
    entries = _complete(checkers["sizes"][size])
    for name, entry in entries.items():
        often = sorted(entry["missed"].items(), key=lambda item: -item[1])[:8]
        listed = ", ".join(f"{kind} {count}" for kind, count in often)
        yield f"- {TITLES[name]}: {listed or 'none'}."


def versions(hunt: dict[str, Any], checkers: dict[str, Any]) -> Iterator[str]:
    """What this was measured with."""
    named = ", ".join(f"{name} {version}" for name, version in {**hunt["versions"], **checkers["versions"]}.items())
    yield f"Measured with {named}; seed {checkers['seed']}, up to {checkers['cases']} calls of an operation when small."


def _complete(entries: dict[str, Any]) -> dict[str, Any]:
    """The checkers that have tried every mutant that any has."""
    tried = {name: _sum(entry["families"], COMPARED)["mutants"] for name, entry in entries.items()}
    return {name: entries[name] for name in TITLES if name in entries and tried[name] == max(tried.values())}


def _sum(families: dict[str, Any], chosen: Iterable[str]) -> dict[str, int]:
    own = [families[name] for name in chosen if name in families]
    return {key: sum(n[key] for n in own) for key in ("mutants", "killed", "raised")}


def _share(part: int, whole: int) -> str:
    """Never rounded up to all of them."""
    if not whole:
        return ""
    return f"{part} ({min(round(1000 * part / whole) / 10, 99.9) if part < whole else 100} %)"


def _head(*titles: str) -> Iterable[str]:
    return _row(*titles), _row(*["---"] * len(titles))


def _row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
