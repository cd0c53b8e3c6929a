"""A few real numbers from inside an operation, for the picture by operation."""

from __future__ import annotations

from typing import Any

from viz.trace import Crop


def crops_of(call: Any, g: Any, gradients: Any, batched: bool) -> dict[str, Crop]:
    return {}
