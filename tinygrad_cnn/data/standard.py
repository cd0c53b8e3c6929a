"""The standard data sets, read from the files they are published in: MNIST, Fashion-MNIST, CIFAR-10, image folders."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import tarfile
import urllib.request
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinygrad_cnn.checks import choice, integer
from tinygrad_cnn.data.datasets import TensorDataset
from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.serialization import write_atomically

Root = str | os.PathLike[str]


class MNIST(TensorDataset):
    """Handwritten digits, (60000 or 10000, 1, 28, 28), float32 in [0, 1] when indexed; labels 0 to 9.

    Reads the four published files, `train-images-idx3-ubyte` and so on, packed (.gz) or not, in `root` or, as
    torchvision leaves them, in `root`/MNIST/raw. `split` is "train" or "test". With `download`, a missing file is
    fetched and its checksum compared. Raises FileNotFoundError, or ValueError for a damaged file.
    """

    url = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    md5: ClassVar = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }

    def __init__(self, root: Root, split: str, download: bool = False) -> None:
        part = _choose(type(self).__name__, split, train="train", test="t10k")
        images, labels = (
            _read_idx(self._find(Path(root), f"{part}-{kind}-ubyte.gz", download))
            for kind in ("images-idx3", "labels-idx1")
        )
        if images.ndim != 3 or labels.ndim != 1:
            raise ValueError(f"{type(self).__name__}: images of shape {images.shape}, labels {labels.shape}")
        super().__init__(images[:, None], labels)

    def _find(self, root: Path, packed: str, download: bool) -> Path:
        folders = [root, root / type(self).__name__ / "raw"]
        for folder in folders:
            for path in (folder / packed, folder / packed.removesuffix(".gz")):
                if path.exists():
                    return path
        if download:
            return _fetched(self.url + packed, self.md5[packed], folders[1] / packed)
        raise FileNotFoundError(_not_found(type(self).__name__, packed, folders))


class FashionMNIST(MNIST):
    """Photographs of clothes in MNIST's format and sizes; the options are MNIST's."""

    url = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    md5: ClassVar = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }


class CIFAR10(TensorDataset):
    """Small colour photographs of ten kinds, (50000 or 10000, 3, 32, 32), float32 in [0, 1] when indexed.

    Reads the binary version (never the pickled one): `cifar-10-binary.tar.gz` in `root`, or the folder
    `cifar-10-batches-bin` unpacked from it. `split` is "train" or "test". With `download`, a missing archive (170 MB)
    is fetched and its checksum compared. Raises FileNotFoundError, or ValueError for a damaged file.
    """

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"

    def __init__(self, root: Root, split: str, download: bool = False) -> None:
        train = [f"data_batch_{i}.bin" for i in range(1, 6)]
        names = _choose("CIFAR10", split, train=train, test=["test_batch.bin"])
        records = np.concatenate([_records(name, raw) for name, raw in self._read(Path(root), names, download).items()])
        super().__init__(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])

    def _read(self, root: Path, names: list[str], download: bool) -> dict[str, bytes]:
        folder, archive = root / "cifar-10-batches-bin", root / "cifar-10-binary.tar.gz"
        for place in (folder, root):
            if (place / names[0]).exists():
                return {name: (place / name).read_bytes() for name in names}
        if not archive.exists():
            if not download:
                raise FileNotFoundError(_not_found("CIFAR10", archive.name, [root]))
            _fetched(self.url, self.md5, archive)
        try:
            with tarfile.open(archive) as tar:
                members = {name: tar.extractfile(f"cifar-10-batches-bin/{name}") for name in names}
                return {name: member.read() for name, member in members.items() if member is not None}
        except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
            raise ValueError(f"CIFAR10: {archive} is damaged ({error})") from error


class ImageFolder:
    """A folder of images, one folder per class: `root`/cat/1.png. Images are read when indexed.

    Items are (image (3, H, W) float32 in [0, 1], label); the labels number the folders in alphabetical order, see
    `classes`. With `size`, each image is resized to (size, size); a batch needs images of one size. Raises
    FileNotFoundError for a folder without classes, or without images.
    """

    endings = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")

    def __init__(self, root: Root, *, size: int | None = None) -> None:
        self.size = None if size is None else integer("ImageFolder", "size", size, least=1)
        if not Path(root).is_dir():
            raise FileNotFoundError(f"ImageFolder: there is no folder {os.fspath(root)!r}")
        self._images = import_extra("PIL.Image", "data", "data.ImageFolder")
        folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
        self.classes = [folder.name for folder in folders]
        self.samples = [
            (path, label)
            for label, folder in enumerate(folders)
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in self.endings
        ]
        if not self.samples:
            raise FileNotFoundError(f"ImageFolder: no images such as {Path(root) / 'some_class' / 'image.png'}")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.samples[index]
        with self._images.open(path) as file:
            image = file.convert("RGB")
        if self.size is not None:
            image = image.resize((self.size, self.size), self._images.Resampling.BILINEAR)
        return np.asarray(image).transpose(2, 0, 1) * np.float32(1 / 255), label


# --- files ------------------------------------------------------------------------------------------------


def _choose(name: str, split: str, **parts: Any) -> Any:
    return parts[choice(name, "split", split, tuple(parts))]


def _not_found(name: str, file: str, folders: list[Path]) -> str:
    places = " or ".join(map(str, folders))
    return f"data.{name}: no {file} in {places}; put it there, or pass download=True"


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes: two zeros, type 8, number of axes, big-endian lengths, data."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes: it starts with {content[:4]!r}")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start].ljust(start - 4, b"\0"))
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} declares shape {shape}, {math.prod(shape)} bytes, and holds {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _records(name: str, content: bytes) -> np.ndarray:
    """CIFAR's records: a label, then 3 x 32 x 32 bytes."""
    size = 1 + 3 * 32 * 32
    if not content or len(content) % size:
        raise ValueError(f"CIFAR10: {name} has {len(content)} bytes, not a multiple of {size}")
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def _fetched(url: str, md5: str, target: Path) -> Path:
    """The file at `url`, saved as `target` once its checksum is right."""
    with urllib.request.urlopen(url, timeout=60) as response:
        content = response.read()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"{url}: checksum {found}, expected {md5}; nothing was saved")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda file: file.write(content))
    return target
