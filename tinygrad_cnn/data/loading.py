"""DataLoader: a data set in batches, in a new order each epoch, the same order in each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from tinygrad_cnn.checks import flag, integer
from tinygrad_cnn.data.datasets import Batch, TensorDataset, as_input
from tinygrad_cnn.data.transforms import with_generator
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.random_state import generator

Transform = Callable[..., np.ndarray]  # of (images, rng), or of the images alone


class Dataset(Protocol):
    """Whatever has a length and gives the tuple (image, label, ...) at an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> tuple[Any, ...]: ...


class DataLoader:
    """Iterates over a data set in batches of arrays: float32 images (N, C, H, W), int64 labels (N,).

    With `shuffle`, every pass over the loader (epoch) draws a new order. `seed` and the number of the epoch
    decide it, and the draws of `transform` with it, so a run can be repeated, and continued by setting `epoch`.
    Without `seed`, one is drawn when the loader is made, from the generator that `tc.manual_seed` seeds.
    `transform` maps a batch of images and a NumPy generator, or the images alone, to images (see `data.transforms`).
    The last batch is smaller where the lengths do not divide, or left out with `drop_last`.

    Raises TypeError or ValueError for what is no data set, and for options out of range; while running ShapeError
    where the items of a batch differ in shape.

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
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"DataLoader: dataset must have a length and items (image, label), got {type(dataset).__name__}; put "
                "arrays into a data.TensorDataset(images, labels)"
            )
        if transform is not None and not callable(transform):
            raise TypeError(f"DataLoader: transform must be a function of (images, rng) or images, got {transform!r}")
        self.dataset = dataset
        self.batch_size = integer("DataLoader", "batch_size", batch_size, least=1)
        self.shuffle = flag("DataLoader", "shuffle", shuffle)
        given = int(generator().integers(2**63)) if seed is None else seed
        self.seed = integer("DataLoader", "seed", given, least=0)
        self.drop_last = flag("DataLoader", "drop_last", drop_last)
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
        transform = None if self.transform is None else with_generator(self.transform)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            images, *rest = self._fetch(order[start : start + self.batch_size])
            if transform is not None:
                images = as_input(transform(images, rng))
            yield images, *rest

    def _fetch(self, indices: np.ndarray) -> Batch:
        if isinstance(self.dataset, TensorDataset):
            return self.dataset[indices]
        items = [self.dataset[int(index)] for index in indices]
        items = [item if isinstance(item, tuple | list) else (item,) for item in items]
        shapes = [[np.shape(part) for part in item] for item in items]
        for index, shape in zip(indices, shapes, strict=True):
            if shape != shapes[0]:
                raise ShapeError(
                    f"DataLoader: item {index} has arrays of shapes {shape}, item {indices[0]} of {shapes[0]}; a batch "
                    "needs items of one shape"
                )
        return TensorDataset(*map(np.stack, zip(*items, strict=True)))[:]
