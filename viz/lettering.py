"""Words in a pixel image: a bitmap face of 6 x 12, enough to caption a grid without any font installed."""

from __future__ import annotations

import base64
import zlib

import numpy as np

WIDTH, HEIGHT = 6, 12
CHARACTERS = "".join(map(chr, range(32, 127))) + "±×−→…∂‖"

# DejaVu Sans Mono (free, https://dejavu-fonts.github.io) drawn at 10 pixels, one bit a pixel.
_FACE = (
    "eNpNUz1s00AUvosPcoqKc6aO0qFKzkNFMrF2abFL3CZIKZgqMyARNiRUid1JPaAMiBYxU1KJGSHB3KDC3E6sBoXdQnTnvXexwbLkL9/7+d777s"
    "JY8QgVCOYDqLSODVNpX25GyIiNnXLtB4D1k5O6+wyArb/udc+pyqdcLvVY6hFjJQl91Bio2vovE2Nq50wVOmNJH/ufckz1ntAJ8mEt6qQAVqGP"
    "kyHTUd88A5ZHFCqtvH8rNYBGkAZXkKk+Kh9SqLmkExVTn2XDAJhdS3OhOAc0hpjbgggr3TSz+OkuDd2QW5KS7bXng8H+Vdx0+jLENRph/TAk0a"
    "FQj3GwRt+N+qQelM+DLAe05lBcUI4T1i+ovFnsBZZ1TzHU23Z7GELnqNx5+imiZGf4Zq+vaAvX2ALqr0xnYk6JeR0axjL+oASdi5NXOZ3phBjv"
    "8/ejHlrntN5V2soAk9yUnkSfLTrKA5xHj4TUPrPwbqjbwMj7mv333GJCFj94ejfM6B7No9AYPlc+gkD8iTqZYR74APgL76fU5iwwtItVT2hlzt"
    "iM/OGMz4BdwdDaKvpj02APSetyMLhHwFRhZ7Mp46A+V3lnsup3N9eq0m2RqG6S3cVg/PqkRQfPa3fM/ecfk/aHRQjHAJAl6A9P1DbMFDNOtsC/"
    "Bvzxz8gfxspWceedReekbSasxgunbn4pTCuh1pK8cdSDkyxNWlN8/wJvb5yk"
)


def written(words: str) -> np.ndarray:
    """Words as a mask (12, 6 * len(words)), True where there is ink; unknown characters become question marks."""
    indices = [CHARACTERS.find(c) if c in CHARACTERS else CHARACTERS.index("?") for c in words]
    return np.hstack([_glyphs()[i] for i in indices]) if indices else np.zeros((HEIGHT, 0), dtype=bool)


def _glyphs() -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(_FACE)), dtype=np.uint8))
    return bits[: len(CHARACTERS) * WIDTH * HEIGHT].reshape(-1, HEIGHT, WIDTH).astype(bool)
