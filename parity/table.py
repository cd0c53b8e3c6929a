"""One line for every public function and method: ours, PyTorch's, and the inputs of a typical call.

Every line is run in all memory layouts, in float32, with an empty batch, and the lines together must reach every
differentiable record of the registry (`test_table.py`). The tests beside it try each function in depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as TF

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from parity.agreement import same

Maker = Callable[[np.random.Generator], np.ndarray]


class Row(NamedTuple):
    """One comparison; `batch` says whether the first axis of the first input may be empty."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    makers: tuple[Maker, ...]
    order: int
    batch: bool

    def inputs(self, seed: int) -> list[np.ndarray]:
        """Random inputs, always the same for one seed."""
        rng = np.random.default_rng(seed)
        return [maker(rng) for maker in self.makers]


TABLE: dict[str, Row] = {}


def _row(
    name: str,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *inputs: tuple[int, ...] | Maker,
    order: int = 2,
    batch: bool = True,
) -> None:
    assert name not in TABLE, name
    makers = tuple(i if callable(i) else _normal(i) for i in inputs)
    TABLE[name] = Row(ours, theirs, makers, order, batch)


def _normal(shape: tuple[int, ...]) -> Maker:
    return lambda rng: np.asarray(rng.standard_normal(shape))


def _positive(*shape: int) -> Maker:
    return lambda rng: rng.uniform(0.3, 2.0, shape)


def _below(n: int, *shape: int) -> Maker:
    return lambda rng: rng.integers(0, n, shape)


def _bools(*shape: int) -> Maker:
    return lambda rng: rng.random(shape) < 0.5


def _probabilities(*shape: int) -> Maker:
    def make(rng: np.random.Generator) -> np.ndarray:
        p = rng.uniform(0.1, 1.0, shape)
        return p / p.sum(1, keepdims=True)

    return make


X = (4, 3)  # for what acts on elements
IMAGES = (2, 4, 6, 5)

# ---- arithmetic ------------------------------------------------------------------------------------------------

_row("+", lambda a, b: a + b, torch.add, X, X)
_row("-", lambda a, b: a - b, torch.sub, X, X)
_row("*", lambda a, b: a * b, torch.mul, X, X)
_row("/", lambda a, b: a / b, torch.div, X, _positive(*X))
_row("**", lambda a, b: a**b, torch.pow, _positive(*X), X)
_row("%", lambda a, b: a % b, torch.remainder, X, _positive(*X))
_row("//", lambda a, b: a // b, torch.floor_divide, X, _positive(*X), order=0)
_row("@", lambda a, b: a @ b, torch.matmul, (4, 3), (3, 5))
_row("neg", lambda x: -x, torch.neg, X)
for _sign, _ours, _theirs in (
    ("<", lambda a, b: a < b, torch.lt), ("<=", lambda a, b: a <= b, torch.le), (">", lambda a, b: a > b, torch.gt),
    (">=", lambda a, b: a >= b, torch.ge), ("==", lambda a, b: a == b, torch.eq), ("!=", lambda a, b: a != b, torch.ne),
    ("&", lambda a, b: a & b, torch.bitwise_and), ("|", lambda a, b: a | b, torch.bitwise_or),
    ("^", lambda a, b: a ^ b, torch.bitwise_xor),
):  # fmt: skip
    _row(_sign, _ours, _theirs, _below(3, *X), _below(3, *X))
_row("~", lambda x: ~x, torch.bitwise_not, _bools(*X))

# ---- elementwise -----------------------------------------------------------------------------------------------

for _name in ("exp", "expm1", "sin", "cos", "atan", "sinh", "cosh", "tanh", "sigmoid", "erf", "abs", "sign", "floor",
              "ceil", "round", "square", "relu", "isnan", "isinf", "isfinite"):  # fmt: skip
    _row(f"tc.{_name}", getattr(tc, _name), getattr(torch, _name), X)
for _name in ("log", "log2", "log10", "sqrt", "rsqrt", "reciprocal"):
    _row(f"tc.{_name}", getattr(tc, _name), getattr(torch, _name), _positive(*X))
_row("tc.log1p", tc.log1p, torch.log1p, _positive(*X))
_row("tc.tan", tc.tan, torch.tan, _positive(*X))
_row("tc.pow", tc.pow, torch.pow, _positive(*X), X)
_row("tc.maximum", tc.maximum, torch.maximum, X, X)
_row("tc.minimum", tc.minimum, torch.minimum, X, X)
_row("tc.where", tc.where, torch.where, _bools(*X), X, X)
_row("tc.clip", lambda x: tc.clip(x, -0.5, 0.5), lambda t: torch.clip(t, -0.5, 0.5), X)
_row("tc.matmul", tc.matmul, torch.matmul, (4, 3), (3, 5))
_row("tc.einsum", lambda a, b: tc.einsum("nij,jk->nik", a, b), lambda a, b: torch.einsum("nij,jk->nik", a, b),
     (4, 2, 3), (3, 5))  # fmt: skip
for _name in ("exp", "log", "log1p", "log2", "log10", "expm1", "sqrt", "rsqrt", "reciprocal", "square", "abs", "sign",
              "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "relu", "sigmoid", "erf", "floor", "ceil", "round",
              "isnan", "isinf", "isfinite"):  # fmt: skip
    _row(f"Tensor.{_name}", getattr(tc.Tensor, _name), getattr(torch, _name), _positive(*X))
_row("Tensor.clip", lambda x: x.clip(-0.5, 0.5), lambda t: t.clip(-0.5, 0.5), X)
_row("Tensor.maximum", lambda a, b: a.maximum(b), torch.maximum, X, X)
_row("Tensor.minimum", lambda a, b: a.minimum(b), torch.minimum, X, X)
_row("Tensor.masked_fill", lambda m, x: x.masked_fill(m, 7.0), lambda m, t: t.masked_fill(m, 7.0), _bools(*X), X)
_row("Tensor.clone", lambda x: x.clone(), torch.clone, X)
_row("Tensor.detach", lambda x: x.detach() * x, lambda t: t.detach() * t, X)
_row("Tensor.astype", lambda x: x.astype("float32"), lambda t: t.float().double(), X)

# ---- activations -----------------------------------------------------------------------------------------------

for _name in ("relu", "elu", "gelu", "silu", "hardswish", "relu6", "softplus", "sigmoid", "tanh", "leaky_relu",
              "hardtanh", "selu", "mish", "logsigmoid"):  # fmt: skip
    _row(f"F.{_name}", getattr(F, _name), getattr(TF, _name), lambda rng: 3 * rng.standard_normal(X))
_row("F.prelu", F.prelu, TF.prelu, (4, 3, 2), _positive(3))
_row("F.softmax", lambda x: F.softmax(x, 1), lambda t: torch.softmax(t, 1), X)
_row("F.log_softmax", lambda x: F.log_softmax(x, 1), lambda t: torch.log_softmax(t, 1), X)
_row("tc.softmax", lambda x: tc.softmax(x, 1), lambda t: torch.softmax(t, 1), X)
_row("tc.log_softmax", lambda x: tc.log_softmax(x, 1), lambda t: torch.log_softmax(t, 1), X)
_row("Tensor.softmax", lambda x: x.softmax(1), lambda t: t.softmax(1), X)
_row("Tensor.log_softmax", lambda x: x.log_softmax(1), lambda t: t.log_softmax(1), X)

# ---- reductions ------------------------------------------------------------------------------------------------

_row("Tensor.sum", lambda x: x.sum((0, 2)), lambda t: t.sum((0, 2)), (4, 3, 2))
_row("Tensor.mean", lambda x: x.mean(1), lambda t: t.mean(1), (4, 3, 2))
_row("Tensor.var", lambda x: x.var(1, correction=1), lambda t: t.var(1, correction=1), (4, 3, 2))
_row("Tensor.std", lambda x: x.std(1), lambda t: t.std(1, correction=0), (4, 3, 2))
_row("Tensor.prod", lambda x: x.prod(1), lambda t: t.prod(1), (4, 3, 2))
_row("Tensor.amax", lambda x: x.amax(1), lambda t: t.amax(1), (4, 3, 2))
_row("Tensor.amin", lambda x: x.amin(1), lambda t: t.amin(1), (4, 3, 2))
_row("Tensor.max", lambda x: x.max(1), lambda t: tuple(t.max(1)), (4, 3, 2))
_row("Tensor.min", lambda x: x.min(1), lambda t: tuple(t.min(1)), (4, 3, 2))
_row("Tensor.argmax", lambda x: x.argmax(1), lambda t: t.argmax(1), (4, 3, 2))
_row("Tensor.argmin", lambda x: x.argmin(1), lambda t: t.argmin(1), (4, 3, 2))
_row("Tensor.cumsum", lambda x: x.cumsum(1), lambda t: t.cumsum(1), (4, 3, 2))
_row("Tensor.logsumexp", lambda x: x.logsumexp(1), lambda t: t.logsumexp(1), (4, 3, 2))
_row("Tensor.norm", lambda x: x.norm(1), lambda t: torch.linalg.vector_norm(t, dim=1), (4, 3, 2))
_row("Tensor.all", lambda x: x.all(1), lambda t: t.all(1), _bools(4, 3, 2))
_row("Tensor.any", lambda x: x.any(1), lambda t: t.any(1), _bools(4, 3, 2))
_row("sum_to", lambda x: tc.ops()["sum_to"](x, shape=(3, 1)), lambda t: t.sum_to_size(3, 1), (4, 3, 2))

# ---- shape -----------------------------------------------------------------------------------------------------

_row("Tensor.reshape", lambda x: x.reshape(x.shape[0], 6), lambda t: t.reshape(t.shape[0], 6), (4, 3, 2))
_row("Tensor.flatten", lambda x: x.flatten(1), lambda t: t.flatten(1), (4, 3, 2))
_row("Tensor.transpose", lambda x: x.transpose(2, 0, 1), lambda t: t.permute(2, 0, 1), (4, 3, 2))
_row("Tensor.permute", lambda x: x.permute(2, 0, 1), lambda t: t.permute(2, 0, 1), (4, 3, 2))
_row("Tensor.swapaxes", lambda x: x.swapaxes(0, 2), lambda t: t.swapaxes(0, 2), (4, 3, 2))
_row("Tensor.T", lambda x: x.T, lambda t: t.T, (4, 3))
_row("Tensor.mT", lambda x: x.mT, lambda t: t.mT, (4, 3, 2))
_row("Tensor.squeeze", lambda x: x.squeeze(1), lambda t: t.squeeze(1), (4, 1, 2))
_row("Tensor.expand_dims", lambda x: x.expand_dims(1), lambda t: t.unsqueeze(1), (4, 2))
_row("Tensor.broadcast_to", lambda x: x.broadcast_to(4, 3), lambda t: t.broadcast_to(4, 3), (3,), batch=False)
_row("Tensor.flip", lambda x: x.flip((0, 2)), lambda t: t.flip((0, 2)), (4, 3, 2))
_row("Tensor.roll", lambda x: x.roll((1, -2), (0, 1)), lambda t: t.roll((1, -2), (0, 1)), (4, 3))
_row("Tensor.pad", lambda x: x.pad(((1, 0), (2, 3))), lambda t: TF.pad(t, (2, 3, 1, 0)), (4, 3))
_row("Tensor.tile", lambda x: x.tile(2, 1, 3), lambda t: t.tile(2, 1, 3), (4, 3))
_row("Tensor.split", lambda x: x.split([1, 2], 1), lambda t: t.split([1, 2], 1), (4, 3))
_row("Tensor.sort", lambda x: x.sort(1), lambda t: tuple(t.sort(stable=True, dim=1)), (4, 5))
_row("Tensor.topk", lambda x: x.topk(2, 1), lambda t: tuple(t.topk(2, 1)), (4, 5))
_row("tc.cat", lambda a, b: tc.cat([a, b], 1), lambda a, b: torch.cat([a, b], 1), (4, 3), (4, 2), batch=False)
_row("tc.stack", lambda a, b: tc.stack([a, b], 1), lambda a, b: torch.stack([a, b], 1), (4, 3), (4, 3), batch=False)

# ---- indexing --------------------------------------------------------------------------------------------------


def _written(x: Any, v: Any) -> Any:
    x = x * 1.0
    x[1:3] = v
    return x


def _added(t: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return torch.zeros(4, 5, dtype=t.dtype).scatter_add(1, i, t)


_REPEATED = np.array([2, 0, 2, 2])
_row("x[i]", lambda x: x[_REPEATED, 1:], lambda t: t[_REPEATED, 1:], (4, 3), batch=False)
_row("x[i] = v", _written, _written, (4, 3), (2, 3), batch=False)
_row("scatter", lambda x: tc.ops()["scatter"](x, index=_REPEATED, shape=(5, 3)),
     lambda t: torch.zeros(5, 3, dtype=t.dtype).index_add(0, torch.tensor(_REPEATED), t), (4, 3),
     batch=False)  # fmt: skip
_row("Tensor.take_along_axis", lambda x, i: x.take_along_axis(i, 1), lambda t, i: t.gather(1, i), (4, 5),
     _below(5, 4, 3), batch=False)  # fmt: skip
_row("put_along_axis", lambda x, i: tc.ops()["put_along_axis"](x, indices=i.data, axis=1, length=5), _added, (4, 3),
     _below(5, 4, 3), batch=False)  # fmt: skip

# ---- convolution, pooling --------------------------------------------------------------------------------------

for _d, _size in ((1, (7,)), (2, (7, 5)), (3, (4, 3, 5))):
    _kernel = (3, 2, 2)[:_d]
    _options: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
    _row(f"F.conv{_d}d", *same(f"conv{_d}d", **_options), (2, 4, *_size), (6, 2, *_kernel), (6,))
    _row(f"F.conv_transpose{_d}d", *same(f"conv_transpose{_d}d", **_options, output_padding=1), (2, 4, *_size),
         (4, 3, *_kernel), (6,))  # fmt: skip
    _row(f"F.max_pool{_d}d", *same(f"max_pool{_d}d", 3, 2, 1), (2, 4, *_size), order=3)
    _row(f"F.avg_pool{_d}d", *same(f"avg_pool{_d}d", 3, 2, 1), (2, 4, *_size), order=3)
    _row(f"F.adaptive_avg_pool{_d}d", *same(f"adaptive_avg_pool{_d}d", (4, 2, 3)[:_d]), (2, 4, *_size))
    _row(f"F.adaptive_max_pool{_d}d", *same(f"adaptive_max_pool{_d}d", (4, 2, 3)[:_d]), (2, 4, *_size))
_row("F.convolve2d", lambda x, w: F.convolve2d(x, w, padding=1), lambda x, w: TF.conv2d(x, w.flip(2, 3), padding=1),
     IMAGES, (3, 4, 3, 2))  # fmt: skip
_row("F.max_unpool2d", lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
     lambda t: TF.max_unpool2d(*TF.max_pool2d(t, 2, return_indices=True), 2), (2, 4, 6, 4))  # fmt: skip
_row("F.global_avg_pool", F.global_avg_pool, lambda t: t.mean((2, 3)), IMAGES)
_row("F.global_max_pool", F.global_max_pool, lambda t: t.amax((2, 3)), IMAGES)
_row("F.unfold", *same("unfold", (3, 2), padding=1), IMAGES)
_row("F.fold", *same("fold", (4, 5), (3, 2)), (2, 12, 8))
_row("F.pad", *same("pad", (1, 2, 2, 0), "reflect"), IMAGES)
_row("F.interpolate", *same("interpolate", (9, 4), mode="bilinear"), IMAGES)

# ---- layers ----------------------------------------------------------------------------------------------------

_row("F.linear", F.linear, TF.linear, (4, 3), (5, 3), (5,))
_row("F.embedding", F.embedding, TF.embedding, _below(6, 4, 3), (6, 2), batch=False)
_row("F.batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
     lambda x, w, b: TF.batch_norm(x, None, None, w, b, training=True), IMAGES, (4,), (4,), batch=False)  # fmt: skip
_row("F.layer_norm", lambda x, w, b: F.layer_norm(x, (6, 5), w, b), lambda x, w, b: TF.layer_norm(x, (6, 5), w, b),
     IMAGES, (6, 5), (6, 5))  # fmt: skip
_row("F.group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), lambda x, w, b: TF.group_norm(x, 2, w, b),
     IMAGES, (4,), (4,))  # fmt: skip
_row("F.instance_norm", lambda x, w, b: F.instance_norm(x, None, None, w, b),
     lambda x, w, b: TF.instance_norm(x, None, None, w, b), IMAGES, (4,), (4,), batch=False)  # fmt: skip

# ---- losses ----------------------------------------------------------------------------------------------------

_row("F.cross_entropy", F.cross_entropy, TF.cross_entropy, (4, 5), _below(5, 4), batch=False)
_row("F.nll_loss", lambda x, y: F.nll_loss(F.log_softmax(x, 1), y), lambda x, y: TF.nll_loss(TF.log_softmax(x, 1), y),
     (4, 5), _below(5, 4), batch=False)  # fmt: skip
_row("F.mse_loss", F.mse_loss, TF.mse_loss, (4, 5), (4, 5), batch=False)
_row("F.l1_loss", F.l1_loss, TF.l1_loss, (4, 5), (4, 5), batch=False)
_row("F.huber_loss", F.huber_loss, TF.huber_loss, (4, 5), (4, 5), batch=False)
_row("F.smooth_l1_loss", *same("smooth_l1_loss", beta=0.5), (4, 5), (4, 5), batch=False)
_row("F.binary_cross_entropy", *same("binary_cross_entropy"), _probabilities(4, 5), _probabilities(4, 5), order=1,
     batch=False)  # fmt: skip
_row("F.binary_cross_entropy_with_logits", *same("binary_cross_entropy_with_logits"), (4, 5), _probabilities(4, 5),
     batch=False)  # fmt: skip
_row("F.kl_div", lambda x, p: F.kl_div(F.log_softmax(x, 1), p, reduction="batchmean"),
     lambda x, p: TF.kl_div(TF.log_softmax(x, 1), p, reduction="batchmean"), (4, 5), _probabilities(4, 5),
     batch=False)  # fmt: skip
_row("F.one_hot", *same("one_hot", 5), _below(5, 4, 3))
