"""The public face of the operations: `import tinygrad_cnn.functional as F`, in PyTorch's names."""

import difflib
from typing import NoReturn

from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.operations.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from tinygrad_cnn.operations.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    convolve2d,
)
from tinygrad_cnn.operations.dropout import dropout, dropout2d
from tinygrad_cnn.operations.elementwise import (
    elu,
    gelu,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softplus,
    tanh,
)
from tinygrad_cnn.operations.elementwise_loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from tinygrad_cnn.operations.embedding import embedding, one_hot
from tinygrad_cnn.operations.interpolation import interpolate
from tinygrad_cnn.operations.linalg import linear
from tinygrad_cnn.operations.loss import cross_entropy, log_softmax, nll_loss, softmax
from tinygrad_cnn.operations.normalization import batch_norm, group_norm, instance_norm, layer_norm
from tinygrad_cnn.operations.padding import pad
from tinygrad_cnn.operations.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from tinygrad_cnn.operations.unfolding import fold, unfold
from tinygrad_cnn.operations.unpooling import max_unpool2d

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "convolve2d", "cross_entropy", "dropout", "dropout2d", "elu", "embedding", "fold", "gelu",
    "global_avg_pool", "global_max_pool", "group_norm", "hardswish", "hardtanh", "huber_loss", "instance_norm",
    "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "logsigmoid",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool2d", "mish", "mse_loss", "nll_loss", "one_hot", "pad",
    "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus", "tanh", "unfold",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    """What PyTorch has here and this package elsewhere, or under another name."""
    close = [] if name.startswith("_") else difflib.get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if name == "upsample":
        hint = "; use interpolate(x, size, scale_factor, mode)"
    elif not name.startswith("_") and hasattr(Tensor, name):
        hint = f"; use the method x.{name}(...)"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
