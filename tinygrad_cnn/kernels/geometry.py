"""Where the windows of a convolution lie, and the blocks of them that are computed at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .layout import Pairs
from .threads import pieces


class Geometry(NamedTuple):
    """Where the windows of a convolution lie; one entry per spatial axis."""

    stride: tuple[int, ...]
    padding: Pairs  # (before, after); a negative amount crops
    dilation: tuple[int, ...]
    groups: int

    def output_shape(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """Number of windows along each spatial axis."""
        per_axis = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(output_size(n, k, s, before, after, d) for n, k, s, (before, after), d in per_axis)


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Windows that fit: floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


class Block(NamedTuple):
    """Some images of a batch, all of their rows; or some rows (along the first spatial axis) of one image."""

    images: slice
    rows: slice


def blocks(
    batch: int, rows: int, bytes_per_row: int, budget: int, nanoseconds: float, multiple: int = 1
) -> list[Block]:
    """Cut a batch into blocks of about `budget` bytes, and of several images or of rows of one.

    nanoseconds: what an image takes; rows are cut at multiples of `multiple` only.
    """
    per_image = max(1, bytes_per_row * rows)
    if per_image > budget or batch == 1:
        cuts = pieces(rows, max(1, budget // max(1, bytes_per_row)), nanoseconds if batch == 1 else 0, multiple)
        return [Block(slice(i, i + 1), cut) for i in range(batch) for cut in cuts]
    return [Block(images, slice(0, rows)) for images in pieces(batch, budget // per_image, nanoseconds * batch)]
