"""Numbers for a picture, from arrays: magnitudes, thumbnails, histograms, what a rectifier lets through."""

from __future__ import annotations

import base64
import math

import numpy as np

from viz.trace import Magnitude, Thumb

HISTOGRAM = (-8, 2)  # decades of |gradient|; two bins a decade
TILES = 6  # maps in a thumbnail strip
SIDE = 56  # pixels of a map at most


def magnitude(array: np.ndarray, *, batched: bool = False) -> Magnitude:
    """The sizes of an array, computed in float64 so that nothing overflows; NaN and Inf are counted and left out."""
    values = np.asarray(array, dtype=np.float64)
    finite = np.isfinite(values)
    nan = inf = 0.0
    if not finite.all():
        nan = float(np.isnan(values).mean())
        inf = float(np.isinf(values).mean())
        values = np.where(finite, values, 0.0)
    largest = float(np.abs(values).max(initial=0.0))
    scaled = values / largest if largest > 0 else values
    norm = largest * math.sqrt(float(np.square(scaled).sum()))
    count = max(int(finite.sum()), 1)
    samples = max(values.shape[0], 1) if batched and values.ndim else 1
    return Magnitude(norm / math.sqrt(samples), norm, norm / math.sqrt(count), largest, nan, inf)


def histogram(array: np.ndarray) -> list[int]:
    """How many elements have log10 |value| in each half decade of HISTOGRAM; the end bins take what lies beyond."""
    values = np.abs(np.asarray(array, dtype=np.float64)).ravel()
    values = values[np.isfinite(values) & (values > 0)]
    bins = (HISTOGRAM[1] - HISTOGRAM[0]) * 2
    index = np.floor((np.log10(values) - HISTOGRAM[0]) * 2).astype(int) if values.size else np.zeros(0, int)
    return np.bincount(np.clip(index, 0, bins - 1), minlength=bins).tolist()


def maps(array: np.ndarray, *, signed: bool | None = None, limit: int = TILES) -> Thumb | None:
    """The first few channels of one sample's maps (C, H, W), or a vector (F,) as one row; None if there is nothing."""
    array = np.asarray(array)
    if array.size <= 1 or array.dtype.kind not in "fiub":
        return None
    if array.ndim == 1:
        array = array[None, None, :]
    if array.ndim == 2:
        array = array[None]
    if array.ndim > 3:
        array = array.reshape(-1, *array.shape[-2:])
    wide = array.shape[1] == 1  # a row keeps more of its length
    chosen = np.stack([shrunk(tile, side=SIDE * (4 if wide else 1)) for tile in array[:limit]])
    return quantised(chosen, signed=signed, of=len(array))


def signed_maps(array: np.ndarray) -> Thumb | None:
    """The maps of a gradient: about zero, whatever its signs."""
    return maps(array, signed=True)


def samples(array: np.ndarray, *, limit: int = TILES) -> Thumb | None:
    """The first few samples of a batch of images (N, C, H, W): colour if C is 3, else the first channel."""
    array = np.asarray(array)[:limit]
    if array.ndim != 4 or not array.size:
        return None
    if array.shape[1] == 3:
        return _colour_samples(array)
    images = np.stack([shrunk(image) for image in array[:, 0]])
    return quantised(images, signed=False, of=len(array), low=float(np.nanmin(images, initial=0.0)))


def strongest(array: np.ndarray, *, limit: int = TILES) -> Thumb | None:
    """For each of the first few samples (N, C, H, W), at each pixel the channel of largest magnitude, with its sign."""
    array = np.asarray(array)[:limit]
    if array.ndim != 4 or not array.size:
        return None
    winner = np.abs(array).argmax(axis=1)[:, None]
    return maps(np.take_along_axis(array, winner, axis=1)[:, 0], signed=True, limit=limit)


def filters(weight: np.ndarray, *, limit: int = TILES) -> Thumb | None:
    """The first few filters of a convolution's weight, each its first input channel; None if there are no kernels."""
    weight = np.asarray(weight)
    if weight.ndim < 3 or weight.shape[-1] * weight.shape[-2] == 1:
        return None
    return maps(weight.reshape(len(weight), -1, *weight.shape[-2:])[:, 0], signed=True, limit=limit)


def _colour_samples(array: np.ndarray) -> Thumb:
    """Images stretched to 0..1 together, so that normalised data shows its colours."""
    images = np.stack([np.stack([shrunk(channel) for channel in image]) for image in array])
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    unit = (images - low) / (high - low) if high > low else images * 0
    pixels = np.nan_to_num(np.clip(unit, 0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return Thumb("rgb", list(pixels.shape), 1.0, _encoded(pixels), len(array))


def shrunk(tile: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A map of at most `side` pixels a side: each block becomes its value of largest magnitude, so none is lost."""
    tile = np.asarray(tile, dtype=np.float64)
    for axis in (0, 1):
        length = tile.shape[axis]
        if length > side:
            step = -(-length // side)
            padding = [(0, 0), (0, 0)]
            padding[axis] = (0, -length % step)
            blocks = np.moveaxis(np.pad(tile, padding), axis, 0)
            blocks = blocks.reshape(-1, step, blocks.shape[1])
            index = np.abs(np.nan_to_num(blocks, nan=np.inf)).argmax(axis=1)[:, None]
            tile = np.moveaxis(np.take_along_axis(blocks, index, axis=1)[:, 0], 0, axis)
    return tile


def quantised(tiles: np.ndarray, *, signed: bool | None = None, of: int | None = None, low: float = 0.0) -> Thumb:
    """Maps (n, H, W) in 8 bits, with one scale for all; signed None: by whether any value is negative."""
    tiles = np.asarray(tiles, dtype=np.float64)
    finite = np.isfinite(tiles)
    clean = np.where(finite, tiles, 0.0)
    signed = bool((clean < 0).any()) if signed is None else signed
    if signed:
        scale = float(np.abs(clean).max(initial=0.0))
        levels = (clean / scale if scale > 0 else clean * 0) * 127 + 127
    else:
        scale = max(float(clean.max(initial=0.0)), low)
        levels = (np.clip(clean, low, scale) - low) / ((scale - low) or 1.0) * 254
    pixels = np.where(finite, levels.round(), 255).astype(np.uint8)
    return Thumb("signed" if signed else "range", list(tiles.shape), scale, _encoded(pixels), of or len(tiles), low)


def highest_by_channel(values: np.ndarray, *, batched: bool) -> np.ndarray:
    """The largest value of each channel (axis 1 with a batch axis, else axis 0); shape (C,)."""
    channel = 1 if batched and values.ndim > 1 else 0
    others = tuple(axis for axis in range(values.ndim) if axis != channel)
    return np.asarray(values.max(axis=others), dtype=np.float64).reshape(-1)


def _encoded(pixels: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode("ascii")
