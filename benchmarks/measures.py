"""The measures P1 to P10: each yields its rows."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from benchmarks.agreement import agreement
from benchmarks.cases import ELEMENTWISE, OPERATIONS, OTHER_OPERATIONS, OTHER_STEPS, OVERHEADS, STEPS
from benchmarks.match import Contestant, Plan, Unable, play
from benchmarks.report import Row

CHAIN = 200


def steps(plan: Plan) -> Iterator[Row]:
    """P1 to P3: training steps against PyTorch's best layout and number of threads, without and with fast math."""
    targets = {"VGG-small": ("P1", 0.8), "LeNet-5": ("P2", 1.3), "ResNet-8": ("P3", 1.0)}
    with plan.start("ours") as ours, plan.start("rival_torch") as theirs:
        for case in STEPS:
            measure, target = targets[case.name]
            for fast in (False, True):
                ratio = play(ours, theirs, plan.pairs, plan.seconds, {"fast_math": fast}, case=case.name)
                name = f"{case.name} step / PyTorch" + ", fast math" * fast
                yield Row.of_ratio(measure, name, ratio, target)


def others(plan: Plan) -> Iterator[Row]:
    """Steps of other networks and other operations against PyTorch: a search for cliffs, no targets."""
    with plan.start("ours") as ours, plan.start("rival_torch") as theirs:
        for name in [case.name for case in OTHER_STEPS] + [case.name for case in OTHER_OPERATIONS]:
            yield Row.of_ratio("", name, play(ours, theirs, plan.pairs, plan.seconds / 2, case=name), None)


def rivals(plan: Plan) -> Iterator[Row]:
    """P4: the steps against JAX, MyGrad and HIPS autograd."""
    targets = {
        "rival_jax": ("JAX jit", 0.8),
        "rival_mygrad": ("MyGrad", 0.1),
        "rival_autograd": ("HIPS autograd", 0.05),
    }
    with plan.start("ours") as ours:
        for module, (label, target) in targets.items():
            try:
                with plan.start(module) as theirs:
                    for case in STEPS:
                        name = f"{case.name} step / {label}"
                        try:
                            ratio = play(ours, theirs, plan.pairs, plan.seconds, case=case.name)
                            yield Row.of_ratio("P4", name, ratio, target)
                        except Unable as error:
                            yield Row("P4", name, None, note=str(error))
            except Unable as error:
                yield Row("P4", f"steps / {label}", None, note=str(error))


def operations(plan: Plan) -> Iterator[Row]:
    """P5: single operations, forward and backward, against PyTorch; the median counts, and none above 2."""
    values = []
    with plan.start("ours") as ours, plan.start("rival_torch") as theirs:
        for case in OPERATIONS:
            ratio = play(ours, theirs, plan.pairs, plan.seconds / 2, case=case.name)
            values.append(ratio.median)
            yield Row.of_ratio("P5", case.name, ratio, 2.0)
    yield Row("P5", "median of the operations", float(np.median(values)), 1.0)


def overheads(plan: Plan) -> Iterator[Row]:
    """P6: a recorded operation on one element, forward and its share of backward, on one thread."""
    with Contestant("ours", 1) as ours, Contestant("rival_torch", 1) as theirs:
        for op in OVERHEADS:
            ratio = play(ours, theirs, plan.pairs, plan.seconds / 2, chain=op, length=CHAIN)
            ratio = ratio._replace(ours=ratio.ours / CHAIN, theirs=ratio.theirs / CHAIN)
            yield Row.of_ratio("P6", f"{op}, one element", ratio, 1.0 if op in ELEMENTWISE else 2.0)


def memory(plan: Plan) -> Iterator[Row]:
    """P7: peak memory of the VGG-small step beyond what the idle process holds, against PyTorch's leaner format."""
    with ExitStack() as stack:
        peaks = {
            module: min(_peak(stack.enter_context(plan.start(module)), setting) for setting in settings)
            for module, settings in (("ours", [0]), ("rival_torch", range(2)))
        }
    ours, theirs = (peak / 1e6 for peak in peaks.values())
    note = f"{ours:.0f} MB against {theirs:.0f} MB"
    yield Row("P7", "VGG-small step, peak memory / PyTorch", ours / theirs, 0.8, note=note)


def _peak(contestant: Contestant, which: int) -> int:
    idle = contestant.resident("VmRSS")
    formats = [setting for setting in contestant.settings if setting.get("threads") in (None, _most(contestant))]
    contestant.make(case="VGG-small", setting=formats[which])
    contestant.seconds(5)
    return contestant.resident("VmHWM") - idle


def _most(contestant: Contestant) -> int:
    return max(setting.get("threads", 1) for setting in contestant.settings)


def scaling(plan: Plan) -> Iterator[Row]:
    """P8: time per image as the batch grows, and the exponent of time as the image's pixels grow."""
    with plan.start("ours") as ours:
        batches = [1, 8, 64, 512]
        per_image = [_seconds(ours, plan, case="VGG-small", setting={}, batch=n) / n for n in batches]
        worst = max(later / min(per_image[:i]) for i, later in enumerate(per_image) if i)
        note = ", ".join(f"{n}: {1e3 * s:.2f} ms" for n, s in zip(batches, per_image, strict=True))
        yield Row("P8", "time per image, at most over any smaller batch", worst, 1.05, note=note)
        sides = [16, 32, 64, 128]
        times = [_seconds(ours, plan, case="VGG-small", setting={}, batch=16, image=(3, n, n)) for n in sides]
        exponent = float(np.polyfit(np.log(np.square(sides)), np.log(times), 1)[0])
        note = ", ".join(f"{n}: {1e3 * s:.1f} ms" for n, s in zip(sides, times, strict=True))
        yield Row("P8", "exponent of time over pixels", exponent, 1.05, note=note)


def chains(plan: Plan) -> Iterator[Row]:
    """P9: a chain of n operations, forward and backward: microseconds an operation beyond NumPy's own."""
    lengths = [100, 1_000, 10_000] if plan.quick else [100, 1_000, 10_000, 100_000]
    one = np.ones((1, 1), np.float32)
    with Contestant("ours", 1) as ours:
        numpy = 2 * min(timeit.repeat(lambda: one * 1.001, number=10_000, repeat=5)) / 10_000
        per_op = [_seconds(ours, plan, chain="mul by a number", length=n) / n - numpy for n in lengths]
        note = ", ".join(f"{n}: {1e6 * s:.2f} µs" for n, s in zip(lengths, per_op, strict=True))
        yield Row("P9", "µs an operation, forward and backward", 1e6 * max(per_op), 5.0, note=note)
        yield Row("P9", "the longest chain's / the shortest's", per_op[-1] / per_op[0], 1.25)


def _seconds(contestant: Contestant, plan: Plan, **what: object) -> float:
    contestant.make(**what)
    contestant.seconds(1)
    return min(contestant.seconds(1) for _ in range(5 if plan.quick else 12))


MEASURES: dict[str, Callable[[Plan], Iterator[Row]]] = {
    measure.__name__: measure
    for measure in (steps, rivals, operations, overheads, memory, scaling, chains, agreement, others)
}
