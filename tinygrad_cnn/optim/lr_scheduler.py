"""Learning rates that change while training; call `step()` once per epoch (OneCycleLR: once per batch)."""

from tinygrad_cnn.optim.one_cycle import OneCycleLR
from tinygrad_cnn.optim.plateau import ReduceLROnPlateau
from tinygrad_cnn.optim.schedule import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    StepLR,
)
from tinygrad_cnn.optim.sequence import SequentialLR

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
