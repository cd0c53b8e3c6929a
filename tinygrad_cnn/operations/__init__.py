"""The differentiable operations, one file per family; importing this package fills the registry."""

from tinygrad_cnn.operations import (
    convolution,
    dropout,
    einsum,
    elementwise,
    elementwise_loss,
    embedding,
    indexing,
    interpolation,
    linalg,
    loss,
    normalization,
    padding,
    pooling,
    reduction,
    shape,
    unfolding,
)

__all__ = [
    "convolution",
    "dropout",
    "einsum",
    "elementwise",
    "elementwise_loss",
    "embedding",
    "indexing",
    "interpolation",
    "linalg",
    "loss",
    "normalization",
    "padding",
    "pooling",
    "reduction",
    "shape",
    "unfolding",
]
