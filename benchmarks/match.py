"""Two libraries in turn: A B A B, so that whatever slows the machine down slows both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

REST = 0.004  # seconds before a turn, in which the other's idle threads stop spinning
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they pin BLAS to an older kind of processor
_LEAST_PAIRS = 3  # of a rival so slow that the budget of time ends first


class Unable(RuntimeError):
    """A library that is not installed, or lacks what is timed."""


def environment(threads: int) -> dict[str, str]:
    """The environment of a timed process: BLAS and OpenMP may use so many threads, and all of the processor."""
    kept = {k: v for k, v in os.environ.items() if k not in UNSET}
    return {**kept, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


class Contestant:
    """One library in a process of its own; see contestant.py."""

    def __init__(self, module: str, threads: int) -> None:
        self.module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestant", module, str(threads)], env=environment(threads),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.settings: list[dict[str, Any]] = self._read()["settings"]

    def make(self, **what: Any) -> None:
        """Get ready: case=..., setting={...} or chain=..., length=..."""
        self._ask(what)

    def seconds(self, times: int) -> float:
        """Of one run, on average over so many."""
        time.sleep(REST)
        return float(self._ask({"times": times})["seconds"])

    def resident(self, kind: str) -> int:
        """Bytes of memory: "VmRSS" now, "VmHWM" at most so far."""
        return int(self._ask({"resident": kind})["bytes"])

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise Unable(answer["error"])
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            last = self._process.stderr.read().strip().splitlines()[-1:]
            raise Unable(f"{self.module}: {''.join(last) or 'ended'}")
        return dict(json.loads(line))

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            pipe.close()  # type: ignore[union-attr]  # they were opened as pipes
        self._process.terminate()
        self._process.wait()


class Plan:
    """How much time there is: pairs and seconds for a case."""

    def __init__(self, threads: int, quick: bool = False) -> None:
        self.threads = threads
        self.quick = quick
        self.pairs = 20 if quick else 40
        self.seconds = 6.0 if quick else 20.0

    def start(self, module: str) -> Contestant:
        return Contestant(module, self.threads)


class Ratio(NamedTuple):
    """Ours over theirs: the median over pairs, its quartiles, and the ratio of the fastest runs."""

    median: float
    low: float
    high: float
    of_fastest: float
    ours: float  # seconds, medians
    theirs: float
    pairs: int
    setting: str

    @staticmethod
    def of(ours: list[float], theirs: list[float], setting: dict[str, Any]) -> Ratio:
        ratios = np.array(ours) / np.array(theirs)
        low, median, high = (float(v) for v in np.quantile(ratios, [0.25, 0.5, 0.75]))
        words = ", ".join(f"{v} {k}" if isinstance(v, int) else str(v) for k, v in setting.items())
        fastest = min(ours) / min(theirs)
        return Ratio(median, low, high, fastest, float(np.median(ours)), float(np.median(theirs)), len(ratios), words)


def play(
    ours: Contestant, theirs: Contestant, pairs: int, budget: float, setting: dict[str, Any] | None = None, **what: Any
) -> Ratio:
    """The ratio of two libraries on a case, theirs at its best setting, over so many pairs.

    budget: seconds after which a slow rival has run often enough; the ratio says how many pairs there were.
    """
    best: dict[str, Any] = {}
    if "case" in what:
        ours.make(**what, setting=setting or {})
        best = theirs.settings[0]
        if len(theirs.settings) > 1:
            best = min(theirs.settings, key=lambda s: _quickest(theirs, s, what))
        theirs.make(**what, setting=best)
    else:
        ours.make(**what)
        theirs.make(**what)
    times = [_repetitions(contestant) for contestant in (ours, theirs)]
    end = time.monotonic() + budget
    ours_seconds: list[float] = []
    theirs_seconds: list[float] = []
    while len(ours_seconds) < pairs and (len(ours_seconds) < _LEAST_PAIRS or time.monotonic() < end):
        ours_seconds.append(ours.seconds(times[0]))
        theirs_seconds.append(theirs.seconds(times[1]))
    return Ratio.of(ours_seconds, theirs_seconds, best)


def _quickest(contestant: Contestant, setting: dict[str, Any], what: dict[str, Any]) -> float:
    contestant.make(**what, setting=setting)
    contestant.seconds(2)
    return min(contestant.seconds(1) for _ in range(5))


def _repetitions(contestant: Contestant, wanted: float = 0.02) -> int:
    """Runs that take about 20 ms together, so that clocks and caches do not tell."""
    contestant.seconds(1)
    return max(1, min(200, round(wanted / max(1e-7, min(contestant.seconds(1) for _ in range(2))))))
