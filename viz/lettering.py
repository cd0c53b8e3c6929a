"""Words in a pixel image: a proportional face with soft edges, enough to caption a grid without any font installed."""

from __future__ import annotations

import base64
import zlib

import numpy as np

HEIGHT = 16
CHARACTERS = "".join(map(chr, range(32, 127))) + "±×−→…∂‖"

# DejaVu Sans (free, https://dejavu-fonts.github.io) drawn at 13 pixels: the widths, then all letters side by side, four
# bits a pixel.
_FACE = (
    "eNrtmH9sE+cZx793PvvOPts5AhQaIHGmqVqbgS/aH6sEDa60MU1AYqbtn4YFMyFtYyUx0ioN0aRWtGmigdbZ9kcZTTAwqpKizDDowro6jtqEUEYWwo"
    "9A1aVOHH4nIbaTwqSA97x3duKAoaHVtKnitXz33nvv/Xif5/083+c9wWiSJatFMNJeMAqCNFkEQZZl0WY2my2SaLEIglmULRbJYpbobzNLZqNglE0m"
    "SRIlyci6S4KNXWcU6UhmzYIks2ITTXhcHpfH5UuUVTj6lR+j1Z2uFShsax7KbGV7q+d/8V5bzN5sLyt0f3VMb5ugTWtk8vgX+q49fczF2NZ4erK1g3"
    "76/gsX+TrKUfXBDHsbj4RpO4aj5YDF/SEgeGAadmE/sPq6A7LbEIHNhafZ7MkYF167rpiToxBCFxW+mTqiVTUnk16sGnLZk8k413xD5ZqvK1mfuXZI"
    "Bd9w9whVX/FATt7xwdA8tJkq++goOUb/oKH5zu/QAnTShv0WtMk+eogHyyPyGKxeLL3ZTp2HXFTpYBU3nhk5kpNMJkfPA5ctAeBYNUxjKHB1QjzdRI"
    "dldFI9izNACUFwS3+XjVkR2YZHRORh/jIOwBhEnn9GTLhRvor2OS75R0Ggx66gaGQvP1CKFwD75u+B4tWrwE5T7e8D4EYnr+Mj1cXvAWXAkdkn8Jtc"
    "qm9NYCedKVnPfLcLBwsbcTL3b+kLvp9ib5tKm7zCBhgvFM49QZ59E2TtEo9wu/BZdwu+Mc6cwP7U8JSffGD1ydpv4SHWKv8D5i6EwjiOstonrqCFa1"
    "SocpUqVapt75wgLH7YPLB7ShU4vxXHQZ8QMwwaotx5VJOpFwZsLoncH4F4+VKmIe5BxOyf1vr5iDzUXy+CEGF2TDud/gscWJqlq1jtzUCETaFuef9L"
    "3pXoX6SAG2O8uWUvTGHj+/XTENli8/BxCMxFIkU04ygWO1U2DFkbSr6bnXeqhrjYzc4/+69a/TrDa70O7RpDD+3eghCOgsx+DBfZs3wwdzMQ2J81ZC"
    "CyOKC1tpzhLkfkHR6r1+aHMS77uPFUBeNcgl1yAGCI0EYK2z32taiD2NMLYaCE5oKlDWdJFQkRY1QYTIeUZC+sdUMq13BNWTBcpTzZd1hO3uZD52PW"
    "umGX1UM/d94h2tYNf7vPj87QWeSN1NP+A7DunSFT318syQmbi4+9CD7+Y7zuKOEvYZcpDOfXCXgyH0NEDEw6nZmtUi2dxJJi02S1NBMRU+BXwLkVIE"
    "RYF5kZ7SgbXwXKLyqZiMhrErC7GSIAhQO+CVZqabxTj1tdFPdMEdQVbucTWO6qRjXmdf2BZh25+zZN/eZ3FRgHcUToe6e4G/tFP0PE7VR1+5c5Uoho"
    "DVOIhHxaq/xb/8ZStFQox+nmyPG0oOAHeoWrctj2sbGlEBHD5JUmQ3c/hTf5BiCdIkilHhZ/BwgRQ5R8lB6N4Ry6nq9R3incIO/5ZsxyeH6Y5tZHuf"
    "9UThXX6Cqy0E/bU8WN9Uvc1jPzIvLhoqB1cF4/626N8gmDjxA5C+esBOq4uPW8GBAGKpV8VaKw87LCNWmIbHLoT0sZorLGNTXBn0urN18Y0xHRZhfe"
    "kl0wfVwPcfi7e0J7pP1RxMHGZ4z87OmlqRvpTu53OshTGiKVDlRNOMRAAZlwWaDgzLwBNq+51jsO66Gice0V/p0pJnm3mS0W4dKchE1ZjEUKaUZAiO"
    "v25xN0FKP/D+NYl0QreyRDJBTVwWnJX/idiOzrtHrLaHy9su/Jfr2STJLSfdo+hYhTrVBMkS1s6qCKIoqNhmmiu5yFxcNUJLOYAlYfztOQ+BjKcuOw"
    "qzvhVISY1UvmZYjs8FJUsnqFGN6mcFnwtTiWK52w/YS6K8exRGUhjSFi8dvc1vWXA+9C6nPhj6C4uEkx3XUwRNAa4JsvFP40hQh2kxN2k019LDIlVf"
    "1NpJO7FQ0RO3Mf08QEuK0X6JrT2/I2x42Dq6n5rywM8v70jdYlybzl3CQilXQvriH3tBYyymbdpumJ5Q58NKvG8czIK9o00BBJFaGxQ8FW8OHFsBVH"
    "xGTyM7J3USAbIsLoFCJvRHVEfE3dhIgwkEKk9e6HKVa4g3TdE2MaIl72DgcofDqL3FsqgCWNDs1TAs0PQqScqUhmlnFzggwq/3qURQw+RgYaN/uFCP"
    "mkHTkOhkhXG7R0qwRmH2l8nMadIChaWHc6Lj+h6ogopUI/Xi3PL3CgIEjn6NmlDnAnNEQqVLw0u5FlOlrwz4oI32+O6IikxJo5R1hP03W/7Pq5UxWG"
    "aW5JgbTKTamIxTOpIjXMlHxinR6RYjYfzQtzEAQMzQ9jv96fqYg2HXhdRcAQEcbeRg/pCJm9MquKlGWoiBTVERFuCYSI5c20ipCJqRIjObnM8j8vM/"
    "wxJoBClDzV22+4GITVv0sLZvwVMES4/umIFKwRw5mIMGFPIULG1xDZ2MYQYTnnG+SXnGmIMM2vUAgRtyGGcwcgXPMe74bcTBnkyz4w7RKDmooEp2GZ"
    "XUXWkvqnVIQdvkAhHX9aUamQR7flef9evIzFnBI2irQcMZGmNGoA6URrBxl4H99IZxPYN/skNhXXKBz54uNZVY5fzukFU5F7Ey1sh6YiHSAE7SohEs"
    "6SaDnmZyDiEwd1RNg0boHzCtbVzr2qdS6rnUsZF71Z0fM6IsZLucSL7RNtjWe/AqmN62WIcMzrhIiWzU8VfszwiaYi7xVusGoqMjuQUpE0Iu3mtmmI"
    "yId0FWHdaalWa4pZfGjKbVWkkAp7VLpGuXapioo4FruzJFrIkmhJ3YYELgjhJWo60WKNXlqAGEI3XFjk4EJ7uIaJDWNa3rd6KmNj2a05SE6ktYiJAn"
    "4B5f7GLrYWKVCFLhL/GlpnVLLbDLkpVyE7me/PwaUwhB7oIkzBJXl377S1yGfM7rQW2Ze5FjFdojOjzFWECF73YiVbglBHqoyzSr5n5UiHFptM2vvQ"
    "KgfrfPizKpCER9mjqghSN02uLdMREW92hq3bh1ws0SqizGl+XzsNkw/1TiHilnoyEXHkjexBJyUwrHs7RLrguQk+1BGDk4wZQpmbHkiZ9g2IU4mWlE"
    "60tFhxn012YLlq88nve3REMsuKe44pqkzRZdNCjuR7hMVqT9ZWU6/jqbaZft3wPvx8/iO8DiHCR6aryINK6UMXfvrKUV+6PKDYU3YjJSkH1zKTZ/IK"
    "MlQk5YAZfLo58+U/ZBga7sz0Q5lh7HM6lLlm/txPw7DJd2fwGWPNshTb+dnv3p6xus9exPR3p+aAMWiacMzwDe9D5P+vXP0v3Zcyy9EHnswbrk9NdP"
    "8XRCRnMMPKM38rQuQ/zC7org=="
)


def written(words: str, *, bold: bool = False) -> np.ndarray:
    """Words as the share of ink at each pixel (16, width), 0 to 1; unknown characters become question marks."""
    letters = _letters()
    known = [letters.get(c, letters["?"]) for c in words]
    ink = np.hstack([*known, np.zeros((HEIGHT, 1))]) if known else np.zeros((HEIGHT, 0))
    if bold and ink.size:
        ink[:, 1:] = np.maximum(ink[:, 1:], 0.8 * ink[:, :-1])
    return ink


def _letters() -> dict[str, np.ndarray]:
    raw = np.frombuffer(zlib.decompress(base64.b64decode(_FACE)), dtype=np.uint8)
    widths, packed = raw[: len(CHARACTERS)], raw[len(CHARACTERS) :]
    strip = np.stack([packed >> 4, packed & 15], axis=1).ravel()[: HEIGHT * int(widths.sum())]
    pieces = np.split(strip.reshape(HEIGHT, -1) / 15, np.cumsum(widths)[:-1], axis=1)
    return dict(zip(CHARACTERS, pieces, strict=True))
