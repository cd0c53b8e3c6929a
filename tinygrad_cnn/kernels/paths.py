"""Which path convolves: the cheapest that applies, or the one that a test names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .columns import PER_PASS, PER_RUN, Columns, Depthwise, Path, Planes, product_cost
from .geometry import Geometry
from .winograd import FastWinograd, Winograd

PATHS: dict[str, type[Path]] = {path.name: path for path in (Columns, Planes, Winograd, FastWinograd, Depthwise)}


class set_fast_math:
    """Let convolutions in float32 round twice as much where that is faster; off at the start. Also a context manager.

    3 x 3 kernels at stride 1 then use Winograd's F(4, 3), with half the multiplications. The setting is the
    process's. docs/performance.md says what it gains and what it costs.

    >>> with set_fast_math(True):
    ...     pass  # train
    """

    enabled: ClassVar[bool] = False

    def __init__(self, enabled: bool) -> None:
        self._before = set_fast_math.enabled
        set_fast_math.enabled = bool(enabled)

    def __enter__(self) -> None:
        """The setting holds since it was made."""

    def __exit__(self, *error: object) -> None:
        set_fast_math.enabled = self._before


def choose(
    w_shape: Sequence[int], geometry: Geometry, output: Sequence[int], dtype: np.dtype[Any], name: str | None = None
) -> tuple[Path, float]:
    """The cheapest path, or the one of that name, and its nanoseconds an image."""
    if name is not None:
        if not PATHS[name].applies(w_shape, geometry, dtype):
            raise ValueError(f"conv: path {name!r} does not apply to weights {tuple(w_shape)} with {geometry}")
        return PATHS[name](w_shape, geometry, dtype), PATHS[name].cost(w_shape, geometry, output)
    usable = [path for path in PATHS.values() if path.exact or set_fast_math.enabled]
    able = [path for path in usable if path.applies(w_shape, geometry, dtype)]
    cost, best = min(((path.cost(w_shape, geometry, output), path) for path in able), key=lambda pair: pair[0])
    return best(w_shape, geometry, dtype), cost


def cost_of_shifts(w_shape: Sequence[int], geometry: Geometry, output: Sequence[int]) -> float:
    """Of the input gradient as shifted products: next to no copy, but every tap reads and writes the result."""
    filters, channels, *kernel = w_shape
    m, groups = math.prod(output), geometry.groups
    run = channels * groups * (output[-1] if geometry.stride[-1] == 1 else 1)
    added = m * channels * groups * (PER_PASS + PER_RUN / max(run, 1))
    return math.prod(kernel) * (added + groups * product_cost(m, filters / groups, channels))
