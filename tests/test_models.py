"""Models: sizes by hand, names, and that they learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import models, nn, optim

# model, input shape, parameters worked out by hand
MODELS: list[tuple[Callable[[], Any], tuple[int, ...], int]] = [
    (models.lenet5, (1, 28, 28), 6 * 26 + 16 * 151 + 120 * 401 + 84 * 121 + 10 * 85),
    (models.vgg_small, (3, 32, 32), 32 * 28 + 32 * 289 + 64 * 289 + 64 * 577 + 256 * 4097 + 10 * 257),
    (models.convnet_preview, (3, 32, 32), 10 * 28 + 5 * 10 * 91 + 10 * 161),
    (models.resnet8, (3, 32, 32), 78_042),
    (models.resnet20, (3, 32, 32), 272_474),
    (lambda: models.mlp([784, 100, 10]), (1, 28, 28), 100 * 785 + 10 * 101),
    (lambda: models.cnn("8 M 16 M", 1, 8), (1, 8, 8), 8 * 10 + 16 * 73 + 10 * 65),
]


@pytest.mark.parametrize(("make", "shape", "parameters"), MODELS)
def test_parameters_and_output(make: Callable[[], Any], shape: tuple[int, ...], parameters: int) -> None:
    model = make()
    assert sum(p.size for p in model.parameters()) == parameters
    y = model(np.zeros((2, *shape), np.float32))
    assert y.shape == (2, 10)
    F.cross_entropy(y, [1, 2]).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("make", [models.lenet5, models.vgg_small, models.convnet_preview, models.resnet8])
def test_number_of_classes(make: Callable[..., Any]) -> None:
    last = list(make(num_classes=7).parameters())[-1]
    assert last.shape == (7,)
    assert models.lenet5(in_channels=3).conv1.weight.shape == (6, 3, 5, 5)


def test_names() -> None:
    def layers(model: nn.Module) -> list[str]:
        return [name for name, _ in model.named_children()]

    assert layers(models.lenet5()) == [
        "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2", "relu4", "fc3",
    ]  # fmt: skip
    assert layers(models.vgg_small()) == [
        "conv1", "relu1", "conv2", "relu2", "pool1", "conv3", "relu3", "conv4", "relu4", "pool2",
        "flatten", "fc1", "relu5", "fc2",
    ]  # fmt: skip
    assert layers(models.convnet_preview())[-2:] == ["flatten", "fc"]
    names = list(models.resnet20().state_dict())
    assert names[:2] == ["conv1.weight", "bn1.weight"]
    assert {
        "layer1.0.conv1.weight",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.running_mean",
        "layer3.2.bn2.num_batches_tracked",
        "fc.bias",
    } <= set(names)
    assert "layer1.0.downsample.0.weight" not in names


def test_residual_networks_start_as_in_the_paper() -> None:
    tc.manual_seed(0)
    weight = models.resnet20().layer3[2].conv1.weight.data
    assert weight.std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_cnn_reads_its_line() -> None:
    model = models.cnn("4 8 M 16 M 20 30", in_channels=2, image_size=(8, 12), num_classes=3)
    assert [type(m).__name__ for m in model] == [
        "Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten",
        "Linear", "ReLU", "Linear", "ReLU", "Linear",
    ]  # fmt: skip
    assert [p.shape for p in model.parameters()][::2] == [
        (4, 2, 3, 3), (8, 4, 3, 3), (16, 8, 3, 3), (20, 16 * 2 * 3), (30, 20), (3, 30),
    ]  # fmt: skip
    assert model(np.zeros((1, 2, 8, 12), np.float32)).shape == (1, 3)
    assert repr(models.cnn()) == repr(models.vgg_small())
    dense = models.cnn("64 32", in_channels=1, image_size=8)
    assert [m.out_features for m in dense if isinstance(m, nn.Linear)] == [64, 32, 10]


@pytest.mark.parametrize(
    "make", [lambda: models.cnn("8 M 16 M", 3, 8, 4), lambda: models.mlp([192, 32, 4]), lambda: models.resnet8(4)]
)
def test_a_batch_can_be_learnt_by_heart(make: Callable[[], Any]) -> None:
    tc.manual_seed(0)
    model, x = make(), np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    labels = np.arange(16) % 4
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    assert (model(x).data.argmax(1) == labels).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: models.lenet5(0), ValueError, "lenet5: num_classes must be an integer of at least 1, got 0"),
        (lambda: models.lenet5(in_channels=True), TypeError, "lenet5: in_channels must be an integer"),
        (lambda: models.vgg_small("10"), TypeError, "vgg_small: num_classes"),
        (lambda: models.convnet_preview(-1), ValueError, "convnet_preview: num_classes"),
        (lambda: models.resnet8(2.5), TypeError, "resnet8: num_classes"),
        (lambda: models.resnet20(0), ValueError, "resnet20: num_classes"),
        (lambda: models.mlp(10), ValueError, "mlp: sizes must be a list"),
        (lambda: models.mlp([10]), ValueError, "mlp: sizes must be a list of at least"),
        (lambda: models.mlp([10, 0]), ValueError, r"mlp: sizes\[1\] must be an integer of at least 1, got 0"),
        (lambda: models.cnn(32), TypeError, "cnn: layers must be a string"),
        (lambda: models.cnn("8 N"), ValueError, "cnn: layers are widths and M for a pool, .* got 'N'"),
        (lambda: models.cnn("8 M", image_size=(8, 8, 8)), ValueError, "cnn: image_size must be an int or 2 of them"),
        (lambda: models.cnn("8 M M", image_size=2), ValueError, "cnn: 2 pools leave no pixel of an image of 2 x 2"),
        (lambda: models.cnn("8 M", in_channels=0), ValueError, "cnn: in_channels"),
    ],
)
def test_mistakes(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()
