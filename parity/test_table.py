"""Every public function and method, one typical call each: layouts, float32, empty batches; and nothing left out."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import agree
from parity.layouts import LAYOUTS
from parity.table import TABLE
from tinygrad_cnn import operations
from tinygrad_cnn.core import tape
from tinygrad_cnn.core.operators import Operators

# Differentiable records that no line of the table reaches, and why.
WITHOUT_COUNTERPART = {
    "alias": "the engine's own: a leaf's earlier values, met after it was overwritten",
    "dropout": "PyTorch draws other masks; test_dropout.py applies ours by hand",
}
# Public names that compute nothing PyTorch could be asked for with the same inputs.
ELSEWHERE = {
    "F.dropout": "random; test_dropout.py",
    "F.dropout2d": "random; test_dropout.py",
    **{f"tc.{name}": "makes a tensor; test_creation.py" for name in (
        "arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "ones", "ones_like", "tensor", "zeros",
        "zeros_like",
    )},
    **{f"tc.{name}": "random" for name in ("rand", "randint", "randn", "manual_seed")},
    **{f"tc.{name}": "no operation on tensors" for name in (
        "checkpoint", "detect_anomaly", "enable_grad", "get_default_dtype", "grad", "is_grad_enabled", "load",
        "no_grad", "op", "ops", "save", "set_fast_math", "set_default_dtype", "summary",
    )},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", TABLE)
def test_layouts(name: str, layout: str) -> None:
    row = TABLE[name]
    for seed in range(3):
        agree(row.ours, row.theirs, *map(LAYOUTS[layout], row.inputs(seed)), order=row.order)


@pytest.mark.parametrize("name", TABLE)
def test_float32(name: str) -> None:
    """Within rounding of PyTorch in float64 on the same numbers; outputs and gradients are float32."""
    row = TABLE[name]
    for seed in range(3):
        inputs = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in row.inputs(seed)]
        outputs = row.ours(*map(tc.tensor, inputs))
        for y in outputs if isinstance(outputs, tuple) else (outputs,):
            assert y.dtype != np.float64
        agree(row.ours, row.theirs, *inputs, order=row.order, rtol=2e-5)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.batch])
def test_empty_batch(name: str) -> None:
    """All inputs that share the first one's leading length are emptied with it."""
    row = TABLE[name]
    inputs = row.inputs(0)
    length, rank = inputs[0].shape[0], inputs[0].ndim
    emptied = [a[:0] if a.shape[0] == length and a.ndim == rank and name != "@" else a for a in inputs]
    agree(row.ours, row.theirs, *emptied, order=row.order)


def test_every_differentiable_record_is_compared() -> None:
    for module in pkgutil.iter_modules(operations.__path__):
        importlib.import_module(f"{operations.__name__}.{module.name}")
    reached: set[str] = set()
    with tape.observe(on_backward=lambda node, g, grads: reached.add(node.op.name)):
        for row in TABLE.values():
            agree(row.ours, row.theirs, *row.inputs(0), order=row.order)
    differentiable = {name for name, op in tc.ops().items() if op.differentiable and _built_in(op)}
    assert differentiable - reached == set(WITHOUT_COUNTERPART)


def test_every_public_function_is_compared() -> None:
    public = {f"F.{name}" for name in F.__all__}
    public |= {f"tc.{name}" for name in tc.__all__ if name[0].islower() and callable(getattr(tc, name))}
    public |= {f"Tensor.{name}" for name, value in vars(Operators).items() if name[0] != "_" and _computes(value)}
    assert public - set(TABLE) == set(ELSEWHERE)


def _built_in(op: tc.Op) -> bool:
    """Not defined by a test in the same process."""
    return all(rule.function.__module__.startswith(operations.__name__) for rule in op.rules)


def _computes(member: object) -> bool:
    return callable(member) or isinstance(member, property)
