"""DataLoader: a data set in batches, in a new order each epoch, the same order in each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from tinygrad_cnn.data.datasets import Batch, TensorDataset, as_input
from tinygrad_cnn.random_state import generator

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Dataset(Protocol):
    """Whatever has a length and gives the tuple (image, label, ...) at an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> tuple[Any, ...]: ...


class DataLoader:
    """Iterates over a data set in batches of arrays: float32 images (N, C, H, W), int64 labels (N,).

    With `shuffle`, every pass over the loader (epoch) draws a new order. `seed` and the number of the epoch
    decide it, and the draws of `transform` with it, so a run can be repeated, and continued by setting `epoch`.
    Without `seed`, one is drawn when the loader is made, from the generator that `tc.manual_seed` seeds.
    `transform` maps a batch of images and a NumPy generator to images (see `data.transforms`). The last batch is
    smaller where the lengths do not divide, or left out with `drop_last`. Raises ValueError for a batch size
    below one.

    >>> from tinygrad_cnn import data
    >>> loader = DataLoader(data.TensorDataset(np.zeros((10, 1, 8, 8)), np.arange(10)), 4, shuffle=True, seed=0)
    >>> len(loader), [len(labels) for images, labels in loader]
    (3, [4, 4, 2])
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        shuffle: bool = False,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        transform: Transform | None = None,
    ) -> None:
        if batch_size != int(batch_size) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be a positive integer, got {batch_size!r}")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.seed = int(generator().integers(2**63)) if seed is None else seed
        self.drop_last = drop_last
        self.transform = transform
        self.epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        return self._batches(rng)

    def _batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        count = len(self.dataset)
        order = rng.permutation(count) if self.shuffle else np.arange(count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            images, *rest = self._fetch(order[start : start + self.batch_size])
            if self.transform is not None:
                images = as_input(self.transform(images, rng))
            yield images, *rest

    def _fetch(self, indices: np.ndarray) -> Batch:
        if isinstance(self.dataset, TensorDataset):
            return self.dataset[indices]
        items = [self.dataset[int(index)] for index in indices]
        return TensorDataset(*map(np.stack, zip(*items, strict=True)))[:]
