"""Transforms: a batch of images (N, C, H, W) and a random generator in, float32 images out.

A function of one's own, `lambda images, rng: ...`, serves as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.data.datasets import channels_last

__all__ = ["Compose", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomShift"]


class Compose:
    """Applies transforms one after the other.

    >>> augment = Compose([RandomShift(2), Normalize(0.5, 0.5)])
    >>> augment(np.zeros((4, 1, 28, 28), np.float32), np.random.default_rng(0)).mean()
    np.float32(-1.0)
    """

    def __init__(self, transforms: Sequence) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            images = transform(images, rng)
        return images


class Normalize:
    """(images - mean) / std; `mean` and `std` are numbers, or one number per channel.

    Raises ValueError for a std of zero or less.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = np.asarray(mean, np.float32).reshape(-1, 1, 1)
        self.std = np.asarray(std, np.float32).reshape(-1, 1, 1)
        if not (self.std > 0).all():
            raise ValueError(f"Normalize: std must be positive, got {std}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        return (images - self.mean) / self.std


class RandomCrop:
    """Cuts a random window of `size` (an int or (height, width)) out of each image, padded by `padding` zeros.

    Raises ValueError where the window is larger than the padded image.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding
        if padding < 0 or min(self.size) < 1:
            raise ValueError(f"RandomCrop: size must be positive and padding not negative, got {size} and {padding}")

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
        if pixels < 0:
            raise ValueError(f"RandomShift: pixels must not be negative, got {pixels}")
        self.pixels = pixels

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return RandomCrop(images.shape[2:], padding=self.pixels)(images, rng)


class RandomHorizontalFlip:
    """Mirrors each image left to right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must lie in [0, 1], got {p}")
        self.p = p

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flip = rng.random(len(images)) < self.p
        return np.where(flip[:, None, None, None], images[..., ::-1], images)
