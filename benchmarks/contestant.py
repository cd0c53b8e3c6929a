"""A process that holds one library, makes what it is told to and times it when it is its turn.

Libraries share no process: one's threads, allocator settings and garbage would tell on the other. Commands come as
lines of JSON on the standard input, answers go to the standard output:

    {"case": name, "setting": {...}}, with "batch" or "image" for another size     gets ready for a case
    {"chain": operation, "length": n}                                              ... for a chain on one element
    {"times": n}                                                                   runs, and answers the seconds of one
    {"resident": "VmRSS" | "VmHWM"}                                                memory in bytes
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cases import CASES, Step


def main() -> None:
    library = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    threads = int(sys.argv[2])
    clock = time.process_time if threads == 1 else time.perf_counter  # alone, it is not charged for its neighbours
    run: Callable[[], Any] = lambda: None  # noqa: E731
    _answer({"settings": library.settings(threads)})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "case" in command:
                case = CASES[command["case"]]
                if "batch" in command or "image" in command:
                    case = case._replace(**{k: command[k] for k in ("batch", "image") if k in command})
                make = library.step if isinstance(case, Step) else library.operation
                run = make(case, **command["setting"])
                _answer({})
            elif "chain" in command:
                run = library.chain(command["chain"], command["length"])
                _answer({})
            elif "resident" in command:
                _answer({"bytes": _resident(command["resident"])})
            else:
                _answer({"seconds": _timed(run, command["times"], clock)})
        except Exception as error:  # a library that lacks something says so, and the table shows it
            _answer({"error": f"{type(error).__name__}: {error}"})


def _timed(run: Callable[[], Any], times: int, clock: Callable[[], float]) -> float:
    """Seconds of one run, on average over some; the garbage collector waits meanwhile, as in `timeit`."""
    gc.collect()
    gc.disable()
    start = clock()
    for _ in range(times):
        run()
    elapsed = clock() - start
    gc.enable()
    return elapsed / times


def _resident(kind: str) -> int:
    """Memory of this process: VmRSS now, VmHWM at its highest (Linux)."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind + ":"))


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
