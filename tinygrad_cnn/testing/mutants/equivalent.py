"""Survivors, with the reason: mutants that no test could tell from the op, and mutants that the kit misses.

The list is exact: a mutant named here that is killed after all is a failure too.
"""

from __future__ import annotations

_SELECTS = "what is saved only selects, and a selection has no derivative"
_OWN = "the op makes the indices that it saves itself, in row-major order"
_ZERO = "its output is 0"

_SELECTING = {
    "abs": "x",
    "amax": "x",
    "amin": "x",
    "clip": "x",
    "gather_winners": "x",
    "hardtanh": "x",
    "l1_loss": "input target",
    "leaky_relu": "x",
    "max_unpool2d": "x",
    "maximum": "a b",
    "minimum": "a b",
    "relu": "x",
    "relu6": "x",
    "remainder": "b",
    "scatter_winners": "x",
    "where": "a b",
}

EQUIVALENT: dict[str, str] = {
    **{
        f"{op}: gradient of {name}: what was saved is a constant": _SELECTS
        for op, names in _SELECTING.items()
        for name in names.split()
    },
    "max: gradient of x: reads what was saved in the order of its memory": _OWN,
    "min: gradient of x: reads what was saved in the order of its memory": _OWN,
    "zeros_like: output: scaled by 1.01": _ZERO,
    "zeros_like: output: last element zero": _ZERO,
    "zeros_like: output and gradient: scaled by 1.01 alike": _ZERO,
    "mul: gradients are always float64": "the walk casts every gradient to its input's dtype",
}

MISSED: dict[str, str] = {}
