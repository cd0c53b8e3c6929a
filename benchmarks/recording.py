"""What recording costs: the same training loop with and without `viz.record`. Run: python benchmarks/recording.py

Both loops run in one process, a block of each in turn, and no block of the plain loop while a step is being watched.
The three kinds of steps of the recorded loop (not watched, measured in passing, captured with thumbnails) are timed one
by one; the totals are those of their medians, times how many of each there are with every=10 and thumbs=100.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict

import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz

BATCH = 64
STEPS = {"lenet5": 400, "convnet_preview": 120, "vgg_small": 60, "resnet8": 60, "resnet20": 40}
EVERY, THUMBS = 10, 100


class Loop:
    """One model in training; each `step` says how long it took."""

    def __init__(self, name: str) -> None:
        tc.manual_seed(0)
        self.model = getattr(tc.models, name)()
        self.optimizer = tc.optim.SGD(self.model.parameters(), lr=0.01)
        rng = np.random.default_rng(0)
        shape = (1, 28, 28) if name == "lenet5" else (3, 32, 32)
        self.x = rng.normal(size=(BATCH, *shape)).astype(np.float32)
        self.y = rng.integers(0, 10, BATCH)

    def step(self, recorder: viz.record | None = None) -> float:
        start = time.perf_counter()
        loss = F.cross_entropy(self.model(self.x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if recorder is not None:
            recorder.step(loss)
        return time.perf_counter() - start


def measure(name: str, steps: int) -> None:
    """Print one line for a model."""
    plain, recorded = Loop(name), Loop(name)
    for loop in (plain, recorded):
        loop.step()
    times = defaultdict(list)
    recorder = viz.record(recorded.model, recorded.optimizer, every=EVERY, thumbs=max(steps // 4 // EVERY, 2) * EVERY)
    with recorder:
        for i in range(steps):
            kind = "captured" if i % recorder.thumbs == 0 else "measured" if i % EVERY == 0 else "idle"
            times[kind].append(recorded.step(recorder))
            if i % EVERY == EVERY // 2:
                times["plain"] += [plain.step() for _ in range(EVERY)]
    times["captured"] = times["captured"][1:]  # the first loads what the others use
    t = {kind: statistics.median(values) for kind, values in times.items()}
    counts = {"captured": 1, "measured": THUMBS // EVERY - 1, "idle": THUMBS - THUMBS // EVERY}
    cost = sum(n * t[kind] for kind, n in counts.items()) / (THUMBS * t["plain"]) - 1
    words = "  ".join(f"{kind} {1e3 * t[kind]:8.2f} ms" for kind in ("plain", "idle", "measured", "captured"))
    print(f"{name:<16} {words}   cost {cost:+.1%}")


if __name__ == "__main__":
    for model in sys.argv[1:] or STEPS:
        measure(model, STEPS[model])
