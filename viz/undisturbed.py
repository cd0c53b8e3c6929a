"""Looking changes nothing: the random generator and the modules' modes are afterwards as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_cnn import random_state


@contextmanager
def same_random_state() -> Iterator[None]:
    """The calling thread's generator is afterwards where it was."""
    bits = random_state.generator().bit_generator
    state = bits.state
    try:
        yield
    finally:
        bits.state = state


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode for the block, then back to each module's own mode; draws leave no trace."""
    modes = [(module, module.training) for _, module in model.named_modules()]
    for module, _ in modes:
        module.training = False
    try:
        with same_random_state():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
