"""Data sets in memory: arrays that are indexed together."""

from __future__ import annotations

from typing import Any

import numpy as np

Batch = tuple[np.ndarray, ...]


class TensorDataset:
    """Arrays of one length, indexed together: images (N, C, H, W) and labels (N,), say.

    Items are in the types a model takes: floats as float32, integers as int64, and images of bytes (uint8, three
    or more axes) as float32 in [0, 1]. Images are laid out channels-last in memory, once, which is what the
    convolutions read fastest; the shape stays (N, C, H, W). Raises ValueError for arrays of different lengths.

    >>> dataset = TensorDataset(np.zeros((10, 1, 8, 8)), np.arange(10))
    >>> image, label = dataset[3]
    >>> image.shape, image.dtype.name, int(label)
    ((1, 8, 8), 'float32', 3)
    >>> images, labels = dataset[2:5]
    >>> labels
    array([2, 3, 4])
    """

    def __init__(self, *arrays: Any) -> None:
        self.tensors = tuple(_stored(np.asarray(array)) for array in arrays)
        shapes = [array.shape for array in self.tensors]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(f"TensorDataset: needs arrays of one length along axis 0, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> Batch:
        return tuple(as_input(array[index], pixels=_is_pixels(array)) for array in self.tensors)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{array.dtype}{array.shape}' for array in self.tensors)})"


def as_input(array: Any, pixels: bool = False) -> np.ndarray:
    """The array in the type a model takes: float32, or int64 for integers; bytes are scaled to [0, 1]."""
    array = np.asarray(array)
    if pixels:
        return array * np.float32(1 / 255)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float32, copy=False)


def _is_pixels(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim >= 3


def _stored(array: np.ndarray) -> np.ndarray:
    array = array if _is_pixels(array) else as_input(array)
    return channels_last(array) if array.ndim == 4 else array


def channels_last(images: np.ndarray) -> np.ndarray:
    """The same (N, C, H, W) images in (N, H, W, C) memory; themselves where they are so already."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
