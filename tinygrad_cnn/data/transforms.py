"""Transforms: a batch of images (N, C, H, W) and a random generator in, float32 images out.

A function of one's own, `lambda images, rng: ...` or `lambda images: ...`, serves as well.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

import numpy as np

from tinygrad_cnn.checks import integer, number
from tinygrad_cnn.data.datasets import channels_last
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.operations.geometry import per_axis

__all__ = ["Compose", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomShift"]


def with_generator(transform: Callable[..., np.ndarray]) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """The transform as a function of (images, rng), also where it takes the images alone.

    It gets the generator if it needs a second argument, or has one called rng. Raises TypeError for what cannot be
    called so.

    >>> with_generator(np.negative)(np.ones(2), np.random.default_rng(0))
    array([-1., -1.])
    """
    if not callable(transform):
        raise TypeError(f"transform must be a function of (images, rng), or of the images alone, got {transform!r}")
    try:
        parameters = [p for p in inspect.signature(transform).parameters.values() if p.kind in _POSITIONAL]
    except ValueError:  # of NumPy's ufuncs nothing is known
        parameters = []
    second = parameters[1] if len(parameters) > 1 else None
    if second is not None and (second.name == "rng" or second.default is second.empty):
        return transform
    return lambda images, rng: transform(images)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Compose:
    """Applies transforms one after the other.

    >>> augment = Compose([RandomShift(2), Normalize(0.5, 0.5)])
    >>> augment(np.zeros((4, 1, 28, 28), np.float32), np.random.default_rng(0)).mean()
    np.float32(-1.0)
    """

    def __init__(self, transforms: Sequence) -> None:
        if not isinstance(transforms, list | tuple) or not all(map(callable, transforms)):
            raise TypeError(f"Compose: transforms must be a list of functions of (images, rng), got {transforms!r}")
        self.transforms = [with_generator(transform) for transform in transforms]

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            images = transform(images, rng)
        return images


class Normalize:
    """(images - mean) / std; `mean` and `std` are numbers, or one number per channel.

    Raises ValueError for a std of zero or less.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = _per_channel("mean", mean)
        self.std = _per_channel("std", std, above=0)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        for what, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, images.shape[1]):
                raise ShapeError(
                    f"Normalize: {what} has {len(given)} numbers for images of {images.shape[1]} channels "
                    f"(images.shape = {images.shape})"
                )
        return (images - self.mean) / self.std


def _per_channel(what: str, given: float | Sequence[float], above: float | None = None) -> np.ndarray:
    numbers = given if isinstance(given, list | tuple | np.ndarray) else [given]
    checked = [number("Normalize", what, n, above=above, below=math.inf) for n in numbers]
    return np.array(checked, np.float32).reshape(-1, 1, 1)


class RandomCrop:
    """Cuts a random window of `size` (an int or (height, width)) out of each image, padded by `padding` zeros.

    Raises ValueError where the window is larger than the padded image.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0) -> None:
        self.size = per_axis("RandomCrop", "size", size, 2)
        self.padding = integer("RandomCrop", "padding", padding, least=0)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        p, (height, width) = self.padding, self.size
        padded = np.pad(channels_last(images).transpose(0, 2, 3, 1), ((0, 0), (p, p), (p, p), (0, 0)))
        n, full_height, full_width, _ = padded.shape
        if height > full_height or width > full_width:
            raise ValueError(f"RandomCrop: a window of {self.size} in images of {padded.shape[1:3]}, padding included")
        rows = rng.integers(0, full_height - height + 1, (n, 1, 1)) + np.arange(height)[:, None]
        columns = rng.integers(0, full_width - width + 1, (n, 1, 1)) + np.arange(width)
        return padded[np.arange(n)[:, None, None], rows, columns].transpose(0, 3, 1, 2)


class RandomShift:
    """Moves each image by up to `pixels` in every direction, whole pixels; what comes in is zero.

    >>> moved = RandomShift(1)(np.ones((1, 1, 3, 3), np.float32), np.random.default_rng(0))
    >>> moved.shape
    (1, 1, 3, 3)
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = integer("RandomShift", "pixels", pixels, least=0)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return RandomCrop(images.shape[2:], padding=self.pixels)(images, rng)


class RandomHorizontalFlip:
    """Mirrors each image left to right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = number("RandomHorizontalFlip", "p", p, least=0, most=1)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flip = rng.random(len(images)) < self.p
        return np.where(flip[:, None, None, None], images[..., ::-1], images)
