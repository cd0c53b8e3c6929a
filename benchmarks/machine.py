"""What the figures were measured on: processor, BLAS, threads, load, and how fast a plain product of matrices is."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import date
from typing import Any

from benchmarks.match import environment

_PROBE = """
import json, time
import numpy as np
from threadpoolctl import ThreadpoolController
n = 1536
a, b = np.random.default_rng(0).normal(size=(2, n, n)).astype(np.float32)
a @ b
seconds = []
for _ in range(8):
    start = time.perf_counter(); a @ b; seconds.append(time.perf_counter() - start)
blas = ThreadpoolController().select(user_api="blas").info()
print(json.dumps({"gflops": 2 * n**3 / min(seconds) / 1e9, "numpy": np.__version__,
                  "blas": [f"{b['internal_api']} {b['version']} {b.get('architecture', '')}" for b in blas]}))
"""


def describe(threads: int) -> dict[str, Any]:
    """The facts that a reader of the table needs."""
    probes = {n: _probe(n) for n in sorted({1, threads})}
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": threads,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numpy": probes[threads]["numpy"],
        "blas": ", ".join(probes[threads]["blas"]),
        "sgemm": {str(n): round(probe["gflops"]) for n, probe in probes.items()},  # GFLOP/s by threads
        "commit": _commit(),
        "date": date.today().isoformat(),
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _probe(threads: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environment(threads), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
