"""Small computations to draw, and what the tests of pictures share."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn


class Small(nn.Module):
    """Two convolutions and a linear layer: every kind of card."""

    def __init__(self) -> None:
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()
        )
        self.fc = nn.Linear(6 * 16, 5)

    def forward(self, x: Any) -> Any:
        return self.fc(self.features(x).flatten(1))


@pytest.fixture
def small() -> Small:
    tc.manual_seed(0)
    return Small()


@pytest.fixture(scope="session")
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 1, 8, 8)).astype(np.float32), rng.integers(0, 5, 8)


@pytest.fixture(scope="session")
def captured(batch: tuple[np.ndarray, np.ndarray]) -> viz.capture:
    """A step of the small net, its input wanting a gradient; seen once, drawn by many tests."""
    x, y = batch
    tc.manual_seed(0)
    small = Small()
    with viz.capture(small) as cap:
        F.cross_entropy(small(tc.tensor(x, requires_grad=True)), y).backward()
    return cap


@pytest.fixture
def decode() -> Callable[[bytes], np.ndarray]:
    """Reads back a PNG of 8 bits a channel, with any filter."""
    return _decode


def _decode(data: bytes) -> np.ndarray:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body = 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + chunk) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", chunk[:10])
        if kind == b"IDAT":
            body += chunk
        at += 12 + length
    assert depth == 8
    channels = {2: 3, 6: 4}[colour]
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * channels)
    image = np.zeros((height, width * channels), np.uint8)
    for y, row in enumerate(rows):
        above = image[y - 1] if y else np.zeros_like(image[0])
        image[y] = _unfiltered(int(row[0]), row[1:], above, channels)
    return image.reshape(height, width, channels)


def _unfiltered(kind: int, row: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    if kind == 0:
        return row
    if kind == 2:
        return row + above
    out = np.zeros(len(row), np.uint8)
    for i in range(len(row)):
        left, up, corner = (
            (int(out[i - step]), int(above[i]), int(above[i - step])) if i >= step else (0, int(above[i]), 0)
        )
        guess = {1: left, 3: (left + up) // 2, 4: min((left, up, corner), key=lambda p: abs(left + up - corner - p))}[
            kind
        ]
        out[i] = (int(row[i]) + guess) % 256
    return out
