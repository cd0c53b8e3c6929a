"""Pixels: arrays to small pictures to PNG, with zlib alone. Signed values in PuOr about zero, others in cividis."""

from __future__ import annotations

import struct
import zlib

import numpy as np

# Cividis (Nunez, Anderton, Renslow 2018) and PuOr (ColorBrewer), as anchors to interpolate between.
_CIVIDIS = (
    "00224E 002E6A 1A386F 32436D 434E6C 535A6D 61656F 6F7073 7D7C78 8C8878 9B9476 ABA072 BCAE6C CDBB63 DEC958 F0D846 "
    "FEE838"
)
_PUOR = "7F3B08 B35806 E08214 FDB863 FEE0B6 F7F7F7 D8DAEB B2ABD2 8073AC 542788 2D004B"
NOT_FINITE = (255, 0, 200)  # NaN and infinities: a colour that neither map contains


def colour_table(name: str, steps: int = 256) -> np.ndarray:
    """The colours of "cividis" or "puor" as uint8, shape (steps, 3)."""
    anchors = {"cividis": _CIVIDIS, "puor": _PUOR}[name].split()
    points = np.array([[int(a[i : i + 2], 16) for i in (0, 2, 4)] for a in anchors], dtype=np.float64)
    where = np.linspace(0, len(anchors) - 1, steps)
    columns = [np.interp(where, np.arange(len(anchors)), points[:, channel]) for channel in range(3)]
    return np.stack(columns, axis=1).round().astype(np.uint8)


CIVIDIS = colour_table("cividis")
PUOR = colour_table("puor", 255)  # odd: zero has a colour of its own


def coloured(values: np.ndarray, low: float, high: float, *, signed: bool) -> np.ndarray:
    """An array as colours (..., 3) in uint8: -high to high in PuOr if signed, else low to high in cividis."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    clean = np.where(finite, values, 0.0)
    if signed:
        index = np.clip(clean / high if high > 0 else clean * 0, -1, 1) * 127 + 127
    else:
        index = np.clip((clean - low) / ((high - low) or 1.0), 0, 1) * 255
    colours = (PUOR if signed else CIVIDIS)[index.round().astype(np.intp)]
    colours[~finite] = NOT_FINITE
    return colours


def strip(tiles: np.ndarray, *, cell: int = 1, gap: int = 0, columns: int | None = None) -> np.ndarray:
    """Tiles (n, H, W, 3) side by side, each pixel a block of cell x cell, as RGBA with transparent gaps."""
    n, height, width, _ = tiles.shape
    columns = n if columns is None else max(1, min(columns, n))
    rows = -(-n // columns)
    tall, wide = height * cell + gap, width * cell + gap
    sheet = np.zeros((max(rows * tall - gap, 1), max(columns * wide - gap, 1), 4), dtype=np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * tall, (i % columns) * wide
        block = tile.repeat(cell, axis=0).repeat(cell, axis=1)
        sheet[y : y + height * cell, x : x + width * cell, :3] = block
        sheet[y : y + height * cell, x : x + width * cell, 3] = 255
    return sheet


def png(pixels: np.ndarray) -> bytes:
    """A PNG file from uint8 pixels (H, W, 3) or (H, W, 4)."""
    height, width, channels = pixels.shape
    colour_type = {3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # a leading 0: no filter
    rows[:, 1:] = np.ascontiguousarray(pixels, dtype=np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
