"""The 1,797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.checks import choice, integer
from tinygrad_cnn.data.datasets import TensorDataset
from tinygrad_cnn.errors import import_extra


def digits(split: str, size: int = 8) -> TensorDataset:
    """Scikit-learn's handwritten digits: images (N, 1, size, size), float32 in [0, 1], and labels 0 to 9.

    `split` is "train" (1,437 digits) or "test" (360): scikit-learn's `train_test_split(test_size=0.2,
    random_state=0)`, stratified by label. The images are 8 pixels wide, of 17 grey levels (16 is 1.0); another `size`
    resizes them bilinearly, with PyTorch's `align_corners=False` and no smoothing. Raises ImportError without
    scikit-learn, ValueError for another split.

    >>> test = digits("test", size=28)
    >>> test.tensors[0].shape, len(test)
    ((360, 1, 28, 28), 360)
    """
    choice("digits", "split", split, ("train", "test"))
    integer("digits", "size", size, least=1)
    bundled = import_extra("sklearn.datasets", "data", "data.digits").load_digits()
    model_selection = import_extra("sklearn.model_selection", "data", "data.digits")
    parts = model_selection.train_test_split(
        bundled.images, bundled.target, test_size=0.2, random_state=0, stratify=bundled.target
    )
    images, labels = parts[split == "test" :: 2]
    resize = bilinear_matrix(8, size)
    pixels = resize @ (images / 16) @ resize.T
    return TensorDataset(pixels[:, None].astype(np.float32), labels)


def bilinear_matrix(old: int, new: int) -> np.ndarray:
    """The (new, old) matrix that resizes a signal linearly: pixel centres are aligned, the ends repeated.

    >>> bilinear_matrix(2, 4)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """
    centres = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(0, old - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))
