"""tinygrad_cnn: an autograd engine for convolutional networks that people understand, in Python and NumPy.

    import tinygrad_cnn as tc

    x = tc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x * x).sum().backward()
    x.grad                      # 2x

`tc.functional` holds the operations, `tc.nn` the layers, `tc.optim` the optimisers, `tc.models` and `tc.data` what a
first training run needs, `tc.testing` the kit that proves gradients; the package `viz` draws them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.checkpointing import checkpoint
from tinygrad_cnn.core.gradients import grad
from tinygrad_cnn.core.op import Op, op, ops
from tinygrad_cnn.core.spelling import name_error
from tinygrad_cnn.core.tape import detect_anomaly, enable_grad, is_grad_enabled, no_grad
from tinygrad_cnn.core.tensor import Tensor, get_default_dtype, set_default_dtype, tensor
from tinygrad_cnn.creation import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    zeros,
    zeros_like,
)  # fmt: skip
from tinygrad_cnn.errors import CheckpointError, ShapeError, TapeError
from tinygrad_cnn.kernels.paths import set_fast_math
from tinygrad_cnn.operations.einsum import einsum
from tinygrad_cnn.operations.elementwise import (
    abs_ as abs,
)  # fmt: skip
from tinygrad_cnn.operations.elementwise import (
    atan,
    ceil,
    clip,
    cos,
    cosh,
    erf,
    exp,
    expm1,
    floor,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    reciprocal,
    relu,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    where,
)
from tinygrad_cnn.operations.elementwise import (
    pow_ as pow,
)
from tinygrad_cnn.operations.elementwise import (
    round_ as round,
)
from tinygrad_cnn.operations.linalg import matmul
from tinygrad_cnn.operations.loss import log_softmax, softmax
from tinygrad_cnn.operations.shape import cat, stack
from tinygrad_cnn.random_state import manual_seed

if TYPE_CHECKING:
    from tinygrad_cnn import data, func, functional, models, nn, onnx, optim, testing, train
    from tinygrad_cnn.serialization import load, save
    from tinygrad_cnn.summaries import summary

__version__ = "0.1.0"

# Imported when first used, so that `import tinygrad_cnn` stays quick.
_SUBMODULES = ("data", "func", "functional", "models", "nn", "onnx", "optim", "testing", "train")
_LAZY = {"summary": "summaries", "save": "serialization", "load": "serialization"}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY:
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise name_error(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES, *_LAZY])


__all__ = [
    "CheckpointError", "Op", "ShapeError", "TapeError", "Tensor", "abs", "arange", "atan", "cat", "ceil",
    "checkpoint", "clip", "cos", "cosh", "data", "detect_anomaly", "einsum", "empty", "empty_like", "enable_grad",
    "erf", "exp", "expm1", "eye", "floor", "full", "full_like", "func", "functional", "get_default_dtype", "grad",
    "is_grad_enabled", "isfinite", "isinf", "isnan", "linspace", "load", "log", "log1p", "log2", "log10",
    "log_softmax", "manual_seed", "matmul", "maximum", "minimum", "models", "nn", "no_grad", "ones", "ones_like",
    "onnx", "op", "ops", "optim", "pow", "rand", "randint", "randn", "reciprocal", "relu", "round", "rsqrt", "save",
    "set_default_dtype", "set_fast_math", "sigmoid", "sign", "sin", "sinh", "softmax", "sqrt", "square", "stack",
    "summary", "tan", "tanh", "tensor", "testing", "train", "where", "zeros", "zeros_like",
]  # fmt: skip
