"""Data sets, the loader and the transforms."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import data
from tinygrad_cnn.data import transforms
from tinygrad_cnn.data.handwriting import bilinear_matrix


def is_channels_last(images: np.ndarray) -> bool:
    return images.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.fixture
def numbered() -> data.TensorDataset:
    """Ten images, each filled with its label."""
    labels = np.arange(10)
    return data.TensorDataset(np.broadcast_to(labels[:, None, None, None], (10, 3, 4, 4)).astype(float), labels)


# --- digits -----------------------------------------------------------------------------------------------


def test_digits_are_a_fixed_stratified_split() -> None:
    train, test = data.digits("train"), data.digits("test")
    assert (len(train), len(test)) == (1437, 360)
    train_counts, test_counts = (np.bincount(part.tensors[1]) for part in (train, test))
    assert (abs(train_counts - 4 * test_counts) <= 4).all()
    digest = hashlib.sha256(test.tensors[0].tobytes()).hexdigest()
    assert digest.startswith("53d6a8c3d406e86d")


@pytest.mark.parametrize("size", [5, 8, 28])
def test_digits_types_and_scale(size: int) -> None:
    images, labels = data.digits("test", size=size)[:]
    assert (images.dtype, labels.dtype, images.shape) == (np.float32, np.int64, (360, 1, size, size))
    assert images.min() >= 0
    assert images.max() <= 1
    if size == 8:
        assert images.max() == 1
        assert (images * 16 == np.round(images * 16)).all()


def test_bilinear_matrix_is_align_corners_false() -> None:
    """Values worked out by hand for 2 -> 4 and 4 -> 2; every row is a weighted mean."""
    assert (bilinear_matrix(4, 2) == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]).all()
    assert (bilinear_matrix(2, 4) == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]).all()
    for old, new in [(8, 28), (8, 5), (3, 7)]:
        np.testing.assert_allclose(bilinear_matrix(old, new).sum(1), 1)
    assert (bilinear_matrix(8, 8) == np.eye(8)).all()


def test_digits_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="digits: split must be one of 'train', 'test', got 'val'"):
        data.digits("val")
    with pytest.raises(ValueError, match="digits: size must be an integer of at least 1, got 0"):
        data.digits("test", size=0)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'data.digits needs scikit-learn: pip install "tinygrad_cnn\[data\]"'):
        data.digits("test")


# --- TensorDataset ----------------------------------------------------------------------------------------


def test_tensor_dataset_types(numbered: data.TensorDataset) -> None:
    images, labels = numbered[[2, 5]]
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    assert (labels == [2, 5]).all()
    assert (images[:, 0, 0, 0] == [2, 5]).all()
    assert is_channels_last(images)
    assert is_channels_last(numbered.tensors[0])


def test_bytes_become_floats_in_0_1() -> None:
    pixels = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    dataset = data.TensorDataset(pixels, np.array([7, 8, 255], np.uint8))
    images, labels = dataset[:]
    np.testing.assert_allclose(images.ravel(), [0, 0.2, 1], rtol=1e-6)
    assert images.dtype == np.float32
    assert (labels == [7, 8, 255]).all()
    assert dataset.tensors[0].dtype == np.uint8


@pytest.mark.parametrize("arrays", [(), (np.ones((3, 1)), np.ones(4)), (np.float32(1),)])
def test_tensor_dataset_refuses_other_lengths(arrays: tuple) -> None:
    with pytest.raises(ValueError, match="arrays of one length"):
        data.TensorDataset(*arrays)


# --- DataLoader -------------------------------------------------------------------------------------------


def order(loader: data.DataLoader) -> list[int]:
    return np.concatenate([labels for _, labels in loader]).tolist()


def test_loader_in_order(numbered: data.TensorDataset) -> None:
    loader = data.DataLoader(numbered, 4)
    batches = list(loader)
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert images.shape == (len(labels), 3, 4, 4)
        assert (images == labels[:, None, None, None]).all()
        assert is_channels_last(images)


def test_loader_drops_the_last(numbered: data.TensorDataset) -> None:
    loader = data.DataLoader(numbered, 4, drop_last=True)
    assert len(loader) == len(list(loader)) == 2
    assert len(list(data.DataLoader(numbered, 5, drop_last=True))) == 2
    assert len(list(data.DataLoader(numbered, 11, drop_last=True))) == 0


def test_loader_shuffles_anew_each_epoch_and_alike_each_run(numbered: data.TensorDataset) -> None:
    one, two = (data.DataLoader(numbered, 3, shuffle=True, seed=5) for _ in range(2))
    epochs = [order(one) for _ in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert [order(two) for _ in range(4)] == epochs
    assert order(data.DataLoader(numbered, 3, shuffle=True, seed=6)) != epochs[0]
    two.epoch = 2
    assert order(two) == epochs[2]


def test_loader_without_a_seed_follows_manual_seed(numbered: data.TensorDataset) -> None:
    orders = []
    for seed in (0, 0, 1):
        tc.manual_seed(seed)
        orders.append(order(data.DataLoader(numbered, 3, shuffle=True)))
    assert orders[0] == orders[1] != orders[2]


def test_loader_passes_do_not_disturb_each_other(numbered: data.TensorDataset) -> None:
    loader = data.DataLoader(numbered, 1, shuffle=True, seed=1)
    pairs = list(zip(loader, loader, strict=True))
    other = data.DataLoader(numbered, 1, shuffle=True, seed=1)
    assert [int(first[1][0]) for first, _ in pairs] == order(other)
    assert [int(second[1][0]) for _, second in pairs] == order(other)


def test_loader_leaves_numpys_generator_alone(numbered: data.TensorDataset) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what must not change
    list(data.DataLoader(numbered, 3, shuffle=True, transform=transforms.RandomShift(1)))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_loader_transforms_reproducibly(numbered: data.TensorDataset) -> None:
    augment = transforms.RandomShift(2)
    one, two = (data.DataLoader(numbered, 4, shuffle=True, seed=3, transform=augment) for _ in range(2))
    first = [images for images, _ in one]
    assert all((a == b).all() for a, (b, _) in zip(first, two, strict=True))
    assert any((a != b).any() for a, (b, _) in zip(first, two, strict=True))


def test_loader_casts_what_a_transform_returns(numbered: data.TensorDataset) -> None:
    loader = data.DataLoader(numbered, 4, transform=lambda images, rng: images.astype(float) + rng.random())
    assert {images.dtype for images, _ in loader} == {np.dtype(np.float32)}


def test_loader_takes_any_sequence_of_pairs() -> None:
    pairs = [(np.full((1, 2, 2), i / 2), i) for i in range(5)]
    batches = list(data.DataLoader(pairs, 2))
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1][0].dtype == np.float32
    assert (batches[1][0][:, 0, 0, 0] == [1, 1.5]).all()


def test_loader_gives_the_generator_to_those_who_ask(numbered: data.TensorDataset) -> None:
    for transform in (
        lambda images: -images,
        lambda images, scale=-1: scale * images,
        lambda images, rng: -images,
        lambda images, rng=None: images * (1 if rng is None else -1),
        np.negative,
        transforms.Compose([lambda images: 2 * images, lambda images, rng: images / -2]),
    ):
        images, labels = next(iter(data.DataLoader(numbered, 4, transform=transform)))
        assert (images[:, 0, 0, 0] == -labels).all()


def test_loader_takes_items_that_are_arrays() -> None:
    batches = list(data.DataLoader([np.full((1, 2, 2), float(i)) for i in range(3)], 2))
    assert [len(batch) for batch in batches] == [1, 1]
    assert batches[0][0].shape == (2, 1, 2, 2)


def test_loader_names_the_item_of_another_shape() -> None:
    pairs = [(np.zeros((1, 2, 2)), 0), (np.zeros((1, 2, 3)), 1)]
    with pytest.raises(tc.ShapeError, match=r"DataLoader: item 1 has arrays of shapes .*\(1, 2, 3\).* item 0 of"):
        next(iter(data.DataLoader(pairs, 2)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": -1}, ValueError, "batch_size must be an integer of at least 1, got -1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer of at least 1, got 2.5"),
        ({"dataset": 7}, TypeError, r"dataset must have a length and items .* data\.TensorDataset"),
        ({"shuffle": "yes"}, TypeError, "shuffle must be True or False, got 'yes'"),
        ({"seed": -1}, ValueError, "seed must be an integer of at least 0, got -1"),
        ({"drop_last": None}, TypeError, "drop_last must be True or False, got None"),
        ({"transform": 3}, TypeError, r"transform must be a function of \(images, rng\) or images, got 3"),
    ],
)
def test_loader_checks_at_construction(numbered: data.TensorDataset, options, error, message) -> None:
    with pytest.raises(error, match=f"^DataLoader: {message}"):
        data.DataLoader(**{"dataset": numbered, "batch_size": 4, **options})


# --- transforms -------------------------------------------------------------------------------------------


def test_random_shift_moves_and_fills_with_zero() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((200, 2, 6, 5)).astype(np.float32) + 1
    moved = transforms.RandomShift(2)(images, rng)
    assert (moved.shape, moved.dtype) == (images.shape, np.float32)
    assert is_channels_last(moved)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    seen = set()
    for image, result in zip(padded, moved, strict=True):
        matches = [(i, j) for i in range(5) for j in range(5) if (image[:, i : i + 6, j : j + 5] == result).all()]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25


def test_random_shift_by_zero_is_the_identity() -> None:
    images = np.random.default_rng(0).random((3, 1, 4, 4)).astype(np.float32)
    assert (transforms.RandomShift(0)(images, np.random.default_rng(1)) == images).all()


def test_random_crop() -> None:
    images = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6).repeat(50, 0)
    cut = transforms.RandomCrop((2, 3))(images, np.random.default_rng(0))
    assert cut.shape == (50, 1, 2, 3)
    assert (np.diff(cut, axis=3) == 1).all()
    assert (np.diff(cut, axis=2) == 6).all()
    with pytest.raises(ValueError, match=r"window of \(9, 9\) in images of \(8, 8\)"):
        transforms.RandomCrop(9, padding=1)(images, np.random.default_rng(0))


def test_flip() -> None:
    images = np.random.default_rng(0).random((100, 1, 2, 3)).astype(np.float32)
    flipped = transforms.RandomHorizontalFlip()(images, np.random.default_rng(0))
    mirrored = (flipped == images[..., ::-1]).all((1, 2, 3))
    same = (flipped == images).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert 30 < mirrored.sum() < 70
    assert (transforms.RandomHorizontalFlip(1)(images, np.random.default_rng(0)) == images[..., ::-1]).all()


def test_normalize_per_channel() -> None:
    images = np.ones((2, 3, 4, 4), np.float32) * np.array([1, 2, 3], np.float32)[:, None, None]
    out = transforms.Normalize([1, 2, 3], [1, 2, 4])(images)
    assert (out == 0).all()
    assert out.dtype == np.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: transforms.RandomShift(-1),
        lambda: transforms.RandomCrop(0),
        lambda: transforms.RandomHorizontalFlip(1.5),
        lambda: transforms.Normalize(0, 0),
        lambda: transforms.Normalize([0, "x"], 1),
        lambda: transforms.Compose(transforms.RandomShift(1)),
        lambda: transforms.Compose([3]),
    ],
)
def test_transforms_refuse_bad_values(make) -> None:
    with pytest.raises((TypeError, ValueError), match=r": .* got "):
        make()


def test_normalize_counts_the_channels() -> None:
    with pytest.raises(tc.ShapeError, match="Normalize: mean has 3 numbers for images of 1 channels"):
        transforms.Normalize([0.1, 0.2, 0.3], 1)(np.zeros((2, 1, 4, 4), np.float32))
