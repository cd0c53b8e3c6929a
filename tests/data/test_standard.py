"""The standard data sets, read from small files in the published formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygrad_cnn import data

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, part: str, packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", PIXELS), ("labels-idx1", LABELS)):
        content, ending = (gzip.compress(idx(array)), ".gz") if packed else (idx(array), "")
        (folder / f"{part}-{kind}-ubyte{ending}").write_bytes(content)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("test", "t10k")])
def test_mnist(tmp_path: Path, name: str, split: str, part: str, packed: bool) -> None:
    for folder in (tmp_path / "flat", tmp_path / "torchvision" / name / "raw"):
        write_mnist(folder, part, packed)
    for root in (tmp_path / "flat", tmp_path / "torchvision"):
        dataset = getattr(data, name)(root, split)
        images, labels = dataset[:]
        assert (images.shape, images.dtype, labels.dtype) == ((5, 1, 28, 28), np.float32, np.int64)
        assert (np.round(images * 255) == PIXELS[:, None]).all()
        assert (labels == LABELS).all()
        (batch,) = data.DataLoader(dataset, 5)
        assert batch[0].transpose(0, 2, 3, 1).flags.c_contiguous


def test_missing_files_say_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train-images-idx3-ubyte\.gz in .*MNIST/raw.*download=True"):
        data.MNIST(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"no cifar-10-binary\.tar\.gz in .*download=True"):
        data.CIFAR10(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="no images such as"):
        data.ImageFolder(tmp_path)
    for dataset in (data.MNIST, data.CIFAR10):
        with pytest.raises(ValueError, match="split must be one of 'train', 'test', got 'val'"):
            dataset(tmp_path, "val")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(idx(PIXELS))[:-50], "damaged"),
        (b"not gzip", "damaged"),
        (gzip.compress(b"\0\0\x0d\x01" + b"\0" * 8), "not an IDX file"),
        (gzip.compress(b""), "not an IDX file"),
        (gzip.compress(b"\0\0\x08\x03\0\0"), "declares shape"),
        (gzip.compress(idx(PIXELS)[:-1]), r"declares shape \(5, 28, 28\), 3920 bytes, and holds 3919"),
        (gzip.compress(idx(LABELS)), "images of shape"),
    ],
    ids=["truncated", "not packed", "floats", "empty", "cut header", "one byte short", "labels"],
)
def test_damaged_idx_files(tmp_path: Path, content: bytes, reason: str) -> None:
    write_mnist(tmp_path, "train", packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        data.MNIST(tmp_path, "train")


def cifar_files() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    return {name: bytes([i, *rng.integers(0, 256, 3072).tolist()]) for i, name in enumerate(names)}


@pytest.fixture
def cifar_archive(tmp_path: Path) -> Path:
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in cifar_files().items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def check_cifar(root: Path) -> None:
    train, test = data.CIFAR10(root, "train"), data.CIFAR10(root, "test")
    assert (len(train), len(test)) == (5, 1)
    assert train[:][1].tolist() == [0, 1, 2, 3, 4]
    image, label = test[0]
    expected = np.frombuffer(cifar_files()["test_batch.bin"], np.uint8, offset=1).reshape(3, 32, 32)
    assert (np.round(image * 255) == expected).all()
    assert label == 5


def test_cifar10_from_the_archive(cifar_archive: Path) -> None:
    check_cifar(cifar_archive.parent)


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar10_unpacked(tmp_path: Path, inside: str) -> None:
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    for name, content in cifar_files().items():
        (folder / name).write_bytes(content)
    check_cifar(tmp_path)


def test_damaged_cifar(cifar_archive: Path) -> None:
    cifar_archive.write_bytes(cifar_archive.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged"):
        data.CIFAR10(cifar_archive.parent, "train")
    (cifar_archive.parent / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match=r"test_batch.bin has 3 bytes, not a multiple of 3073"):
        data.CIFAR10(cifar_archive.parent, "test")


def test_download_compares_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same path as over the network, with files as the server."""
    server = tmp_path / "server"
    write_mnist(server, "train", packed=True)
    digests = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in server.iterdir()}
    monkeypatch.setattr(data.MNIST, "url", server.as_uri() + "/")
    with pytest.raises(ValueError, match=r"checksum .*, expected f68b3c.*nothing was saved"):
        data.MNIST(tmp_path / "root", "train", download=True)
    assert not (tmp_path / "root").exists()
    monkeypatch.setattr(data.MNIST, "md5", digests)
    assert len(data.MNIST(tmp_path / "root", "train", download=True)) == 5
    monkeypatch.setattr(data.MNIST, "url", "file:///nowhere/")
    assert len(data.MNIST(tmp_path / "root", "train", download=True)) == 5


def test_download_cifar(cifar_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.CIFAR10, "url", cifar_archive.as_uri())
    monkeypatch.setattr(data.CIFAR10, "md5", hashlib.md5(cifar_archive.read_bytes()).hexdigest())
    root = tmp_path / "new"
    assert len(data.CIFAR10(root, "test", download=True)) == 1
    check_cifar(root)


def test_image_folder(tmp_path: Path) -> None:
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(np.full((4, 6, 3), 100 * label + i, np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    dataset = data.ImageFolder(tmp_path)
    assert dataset.classes == ["cat", "dog"]
    assert len(dataset) == 4
    images, labels = next(iter(data.DataLoader(dataset, 4)))
    assert (images.shape, images.dtype) == ((4, 3, 4, 6), np.float32)
    assert (np.round(images[:, 0, 0, 0] * 255) == [0, 1, 100, 101]).all()
    assert labels.tolist() == [0, 0, 1, 1]
    assert data.ImageFolder(tmp_path, size=8)[3][0].shape == (3, 8, 8)


def test_image_folder_mistakes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ImageFolder: there is no folder .*nowhere"):
        data.ImageFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="ImageFolder: size must be an integer of at least 1, got 0"):
        data.ImageFolder(tmp_path, size=0)
