"""The public face of the operations: `import tinygrad_cnn.functional as F`, in PyTorch's names."""

from tinygrad_cnn.operations.dropout import dropout, dropout2d
from tinygrad_cnn.operations.elementwise import (
    elu,
    gelu,
    hardswish,
    hardtanh,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    silu,
    softplus,
    tanh,
)  # fmt: skip
from tinygrad_cnn.operations.linalg import linear
from tinygrad_cnn.operations.loss import cross_entropy, l1_loss, log_softmax, mse_loss, softmax

__all__ = [
    "cross_entropy", "dropout", "dropout2d", "elu", "gelu", "hardswish", "hardtanh", "l1_loss", "leaky_relu", "linear",
    "log_softmax", "mse_loss", "relu", "relu6", "sigmoid", "silu", "softmax", "softplus", "tanh",
]  # fmt: skip
