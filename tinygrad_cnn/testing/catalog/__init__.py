"""The cases of every built-in op, by family: how it is called, what kind it is of, a reference, what it refuses.

References are plain NumPy or the loops of `naive`; none imports the kernels. Importing this package registers all.
"""

from tinygrad_cnn.testing.catalog import (
    convolution,
    elementwise,
    indexing,
    linalg,
    loss,
    normalization,
    pooling,
    reduction,
    resampling,
    shape,
    singular_points,
    stateful,
)

INTERNAL = {
    "alias": "gives an array a leaf's place on the tape; as a function of its input it is constant, by design",
}

__all__ = [
    "INTERNAL",
    "convolution",
    "elementwise",
    "indexing",
    "linalg",
    "loss",
    "normalization",
    "pooling",
    "reduction",
    "resampling",
    "shape",
    "singular_points",
    "stateful",
]
