"""Looking at a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_cnn.core.tape import no_grad
from tinygrad_cnn.nn.module import Module


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode, without recording; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
