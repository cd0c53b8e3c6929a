"""Thumbnails as cells of a card: pixels from the trace, in files named by their content."""

from __future__ import annotations

import hashlib

import numpy as np

from viz import images
from viz.markup import cell, fixed, table, text
from viz.palette import Theme
from viz.trace import Thumb
from viz.wording import number

FOLDER = "thumbs"
DENSITY = 3.0  # image pixels per point: sharp at 110 to 220 dots per inch


class Album:
    """The images of one picture, by file name; equal images are one file."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, pixels: np.ndarray) -> str:
        """Keep an image (H, W, 3 or 4, uint8) and return its relative path. The name depends on the pixels alone."""
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
        name = f"{FOLDER}/{digest}.png"
        if name not in self.files:
            self.files[name] = images.png(pixels)
        return name


def strip_cells(
    album: Album,
    thumb: Thumb | None,
    caption: str,
    theme: Theme,
    *,
    width: float,
    height: float,
    caption_width: float = 42,
    scale: float | None = None,
) -> list[str]:
    """A caption with its scale and a strip of maps, as cells of fixed size; empty cells without a thumbnail."""
    if thumb is None:
        return [fixed("", caption_width, 1), fixed("", 4, 1), fixed("", width, 1)]
    n, tall, wide = thumb.shape[:3]
    row = tall == 1
    high = 10.0 if row else height
    gap = 3.0 if n > 1 else 0.0
    tile = min(high * wide / tall, (width - gap * (n - 1)) / n) if not row else width
    high = high if row else tile * tall / wide
    pixels = _pixels(thumb, scale, tile, gap)
    drawn = tile * n + gap * (n - 1)
    if row:  # of the cell's proportions: browsers keep those of an image, whatever its cell
        pixels = pixels[:1].repeat(max(1, round(pixels.shape[1] * high / drawn)), axis=0)
    image = fixed(f'<IMG SRC="{album.add(pixels)}" SCALE="{"BOTH" if row else "TRUE"}"/>', drawn, max(high, 3))
    filler = [fixed("", width - drawn, 1)] if width - drawn >= 1 else []
    lines = (text(caption, theme.muted, 8), text(_scale(thumb, scale), theme.muted, 6.5))
    words = "".join(f'{line}<BR ALIGN="RIGHT"/>' for line in lines)
    if row:
        words = text(f"{caption} {_scale(thumb, scale)}", theme.muted, 6.5 if len(caption) > 5 else 7)
    caption_cell = cell(words, ALIGN="RIGHT", WIDTH=round(caption_width))
    return [caption_cell, fixed("", 4, 1), cell(table([[image, *filler]]), ALIGN="LEFT")]


def _pixels(thumb: Thumb, scale: float | None, tile: float, gap: float) -> np.ndarray:
    values = thumb.array()
    if thumb.kind == "rgb":
        tiles = (values * 255).round().astype(np.uint8)
    else:
        tiles = images.coloured(values, thumb.low, scale or thumb.scale, signed=thumb.kind == "signed")
    size = max(1, round(tile * DENSITY / thumb.shape[2]))
    return images.strip(tiles, cell=size, gap=round(gap * size * thumb.shape[2] / tile))


def _scale(thumb: Thumb, scale: float | None) -> str:
    if thumb.kind == "rgb":
        return ""
    value = scale or thumb.scale
    low = number(thumb.low).replace("-", "−", 1)
    return (
        f"±{number(value)}"
        if thumb.kind == "signed"
        else f"{low} to {number(value)}"
        if thumb.low
        else f"0–{number(value)}"
    )
