"""What `tinygrad-cnn doctor` finds out: what limits this machine, or this environment, and what to set."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# What an environment can do to OpenBLAS, MKL and OpenMP.
SETTINGS = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
    "TINYGRAD_CNN_MALLOC",
)  # fmt: skip
EXTRAS = {
    "data": "sklearn", "demo": "matplotlib", "onnx": "onnx", "safetensors": "safetensors", "testing": "hypothesis",
    "viz": "pygraphviz",
}  # fmt: skip
# float32 operations a cycle and core: two units that multiply and add in vectors of 16, 8 or 4.
_PER_CYCLE = (("avx512f", 64), ("fma", 32), ("asimd", 16))
# OpenBLAS's kernels for processors that are older than the instruction set.
_WITHOUT_AVX512 = ("Haswell", "Zen", "Excavator", "Sandybridge", "Nehalem", "Prescott", "Core2", "Barcelona", "Generic")
_WITHOUT_AVX2 = _WITHOUT_AVX512[2:]

_SGEMM = """
import json, time
import numpy as np
import threadpoolctl
n = 1536
a, b = np.random.default_rng(0).normal(size=(2, n, n)).astype(np.float32)
a @ b
best = float("inf")
for _ in range(6):
    start = time.perf_counter()
    a @ b
    best = min(best, time.perf_counter() - start)
blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
print(json.dumps({"gflops": 2 * n**3 / best / 1e9, "blas": blas}))
"""


@dataclass(frozen=True)
class Advice:
    """Something that limits, and what to do about it."""

    what: str
    remedy: str


@dataclass
class Examination:
    """All that was found."""

    python: str = platform.python_version()
    numpy: str = ""
    processor: str = ""
    cores: int = 1
    blas: str = ""
    core_type: str = ""
    threads: int = 1
    gflops: float = 0.0
    gflops_without_settings: float | None = None
    gflops_of_the_processor: float | None = None
    settings: dict[str, str] = field(default_factory=dict)
    graphviz: list[str] = field(default_factory=list)
    missing_extras: list[str] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        speed = f"{self.gflops:.0f} GFLOP/s in a product of 1536 x 1536 float32 matrices"
        if self.gflops_of_the_processor:
            speed += f"; at its nominal clock the processor could do {self.gflops_of_the_processor:.0f}"
        rows = {
            "Python, NumPy": f"{self.python}, {self.numpy}",
            "processor": f"{self.processor or 'unknown'}, {self.cores} core{'s' * (self.cores != 1)} to use",
            "BLAS": f"{self.blas}, code for {self.core_type or '?'}, {self.threads} thread{'s' * (self.threads != 1)}",
            "speed": speed,
            "settings": ", ".join(f"{name}={value}" for name, value in self.settings.items()) or "none",
            "Graphviz": ", ".join(self.graphviz) or "none",
            "extras": "all installed" if not self.missing_extras else f"without {', '.join(self.missing_extras)}",
        }
        lines = [f"{name:<15}{text}" for name, text in rows.items()]
        if not self.advice:
            return "\n".join([*lines, "", "Nothing limits this machine that a setting could mend."])
        return "\n".join([*lines, "", *(f"! {advice.what}\n  {advice.remedy}" for advice in self.advice)])


def examine() -> Examination:
    """Looks at processor, BLAS, threads and engines, and times a product of matrices: some seconds."""
    import numpy as np

    import viz

    found = Examination(numpy=np.__version__, cores=_cores(), settings=_settings())
    processor = _processor()
    found.processor = processor.get("model name", platform.processor() or platform.machine())
    here = _sgemm(os.environ)
    libraries = here["blas"]
    found.gflops = here["gflops"]
    if libraries:
        first = libraries[0]
        found.blas = f"{first['internal_api']} {first['version']}"
        found.core_type, found.threads = first.get("architecture") or "", int(first["num_threads"])
    if found.settings:
        found.gflops_without_settings = _sgemm({k: v for k, v in os.environ.items() if k not in SETTINGS})["gflops"]
    found.gflops_of_the_processor = _of_the_processor(processor, found.cores)
    found.graphviz = [f"{engine.name} {engine.version}" for engine in viz.engines()]
    found.missing_extras = [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is None]
    found.advice = advise(found, _flags(processor))
    return found


def advise(found: Examination, flags: frozenset[str]) -> list[Advice]:
    """What limits, most important first."""
    advice = []
    old = _WITHOUT_AVX512 if "avx512f" in flags else _WITHOUT_AVX2 if "avx2" in flags else ()
    forced = found.settings.get("OPENBLAS_CORETYPE")
    if forced and found.core_type in old:
        advice.append(
            Advice(
                f"OPENBLAS_CORETYPE={forced} makes BLAS run code for an older processor than this one",
                "unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE",
            )
        )
    elif found.core_type in old:
        advice.append(
            Advice(
                f"BLAS runs code for {found.core_type}, an older processor than this one",
                "a newer NumPy brings a newer OpenBLAS: pip install --upgrade numpy",
            )
        )
    limit = next((name for name in SETTINGS if name.endswith("_THREADS") and name in found.settings), None)
    if found.threads < found.cores and limit:
        advice.append(
            Advice(f"{limit}={found.settings[limit]} leaves {found.cores} cores to {found.threads}", f"unset {limit}")
        )
    if found.gflops_without_settings and found.gflops_without_settings > 1.25 * found.gflops and not advice:
        times = found.gflops_without_settings / found.gflops
        advice.append(
            Advice(f"without its settings BLAS is {times:.1f} times as fast", f"unset {' '.join(found.settings)}")
        )
    if found.gflops_of_the_processor and found.gflops < 0.4 * found.gflops_of_the_processor and not advice:
        advice.append(
            Advice(
                f"BLAS reaches {found.gflops / found.gflops_of_the_processor:.0%} of what the processor could do",
                "other programs may be running, or a container may limit the processor: see top, and nproc",
            )
        )
    if found.settings.get("TINYGRAD_CNN_MALLOC") == "0":
        advice.append(
            Advice(
                "memory of large results goes back to the system each time, and is faulted in again",
                "unset TINYGRAD_CNN_MALLOC",
            )
        )
    if not found.blas:
        advice.append(Advice("NumPy has no BLAS that threadpoolctl knows", "pip install --force-reinstall numpy"))
    if not found.graphviz:
        advice.append(Advice("no engine lays out pictures", 'pip install "tinygrad_cnn[viz]"'))
    return advice


def _sgemm(environment: Mapping[str, str]) -> dict[str, Any]:
    """Speed and libraries in a process of that environment: both are fixed when a process starts."""
    done = subprocess.run([sys.executable, "-c", _SGEMM], env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a product of matrices failed: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout))


def _settings() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> dict[str, str]:
    """What Linux says of the first core; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _flags(processor: Mapping[str, str]) -> frozenset[str]:
    return frozenset(processor.get("flags", processor.get("Features", "")).split())


def _of_the_processor(processor: Mapping[str, str], cores: int) -> float | None:
    """float32 GFLOP/s at the clock that the system states; None where it states none."""
    flags = _flags(processor)
    per_cycle = next((operations for flag, operations in _PER_CYCLE if flag in flags), None)
    try:
        megahertz = float(processor["cpu MHz"])
    except (KeyError, ValueError):
        return None
    return per_cycle * cores * megahertz / 1000 if per_cycle else None
