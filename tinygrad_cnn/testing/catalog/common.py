"""What the families share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.testing.specs import ErrorCase

Errors = Callable[[], Iterable[ErrorCase]]


def refuses_objects(name: str, count: int = 1, **kwargs: Any) -> Errors:
    """An array of Python objects as any of the inputs."""

    def errors() -> Iterable[ErrorCase]:
        good, bad = np.ones(2), np.array(["a", "b"], dtype=object)
        for i in range(count):
            args = tuple(bad if j == i else good for j in range(count))
            yield ErrorCase(
                args, kwargs, TypeError, rf"{name}: input '\w+(\[0\])?' must be a Tensor, an array or a number"
            )

    return errors


def refuses_shapes(name: str) -> Errors:
    """Two shapes that do not broadcast; and objects."""

    def errors() -> Iterable[ErrorCase]:
        yield from refuses_objects(name, 2)()
        yield ErrorCase((np.ones((2, 3)), np.ones((2, 4))), {}, ShapeError, rf"{name}: shapes \(2, 3\) and \(2, 4\)")

    return errors
