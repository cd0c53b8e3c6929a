"""The differentiable operations, one file per family; importing this package fills the registry."""

from tinygrad_cnn.operations import elementwise, indexing, linalg, reduction, shape
