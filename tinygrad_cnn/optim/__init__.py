"""Optimisers in PyTorch's names, options and arithmetic; `lr_scheduler` changes their learning rates."""

from tinygrad_cnn.optim import lr_scheduler
from tinygrad_cnn.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
