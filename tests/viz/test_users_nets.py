"""Nets as users write them: healthy ones get no alarm, sick ones are named at the right place, culprit first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn

LABELS = np.arange(8) % 10


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((8, 1, 12, 12)).astype(np.float32)


class Net(nn.Module):
    """Three convolutions, the activation written as a function."""

    def __init__(self, act: Callable[[Any], Any] = F.relu, norm: Callable[[int], Any] | None = None) -> None:
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.conv3, self.fc = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(144, 10)
        self.norm1, self.norm2 = (norm(8), norm(16)) if norm else (nn.Identity(), nn.Identity())
        self.act = act

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(self.act(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(self.act(self.norm2(self.conv2(x))), 2)
        return self.fc(self.act(self.conv3(x)).flatten(1))


class Pooled(nn.Module):
    """Reduces its maps by a mean or by a sum, after a gate, and squashes the output."""

    def __init__(self, how: str, squash: Callable[[Any], Any] = lambda y: y) -> None:
        self.conv, self.gate, self.fc = nn.Conv2d(1, 16, 3), nn.Linear(16, 16), nn.Linear(16, 10)
        self.how, self.squash = how, squash

    def forward(self, x: Any) -> Any:
        x = F.relu(self.conv(x))
        x = x * tc.sigmoid(self.gate(x.mean((2, 3)))).reshape(-1, 16, 1, 1)
        return self.squash(self.fc(x.mean((2, 3)) if self.how == "mean" else x.sum((2, 3))))


def plain(count: int) -> Any:
    layers: list[Any] = []
    for i in range(count):
        layers += [nn.Conv2d(12 if i else 1, 12, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(12, 10))


def sigmoids(count: int) -> Any:
    layers: list[Any] = [nn.Flatten(), nn.Linear(144, 32), nn.Sigmoid()]
    for _ in range(count - 1):
        layers += [nn.Linear(32, 32), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def encoder() -> Any:
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.ConvTranspose2d(8, 4, 2, stride=2), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(),
                         nn.Linear(4, 10))  # fmt: skip


HEALTHY: dict[str, Callable[[], Any]] = {
    "functional": Net,
    "leaky": lambda: Net(lambda x: F.leaky_relu(x, 0.1)),
    "gelu": lambda: Net(F.gelu),
    "tanh": lambda: Net(tc.tanh),
    "batch norm": lambda: Net(norm=nn.BatchNorm2d),
    "group norm": lambda: Net(norm=lambda channels: nn.GroupNorm(4, channels)),
    "batch norm, evaluation": lambda: Net(norm=nn.BatchNorm2d).eval(),
    "gated mean": lambda: Pooled("mean"),
    "gated sum": lambda: Pooled("sum"),
    "softmax at the end": lambda: Pooled("mean", F.softmax),
    "sigmoid at the end": lambda: Pooled("mean", tc.sigmoid),
    "ten plain convolutions": lambda: plain(10),
    "two sigmoid layers": lambda: sigmoids(2),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)),
    "narrow": lambda: tc.models.mlp([144, 4, 3, 10]),
    "batch norm behind small values": encoder,
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("seed", range(3))
def test_healthy_nets_get_no_alarm(name: str, seed: int) -> None:
    tc.manual_seed(seed)
    model, x = HEALTHY[name](), images(seed)
    for loss in (F.cross_entropy, lambda out, y: F.mse_loss(out, np.eye(10, dtype=np.float32)[y])):
        for count in (2, 8):
            with viz.capture(model) as cap:
                value = loss(model(x[:count]), LABELS[:count])
                seen = viz.graph(value, model, level="op").report()
                value.backward()
            assert cap.figure().ok, cap.figure().report()
            assert seen.ok, seen


def small(model: Any) -> None:
    model.weight.data = model.weight.data / 500


def large(model: Any) -> None:
    model.weight.data = model.weight.data * 300


def infinite(model: Any) -> None:
    model.weight.data.flat[3] = np.inf


def silent(model: Any) -> None:
    model.bias.data[:] = -20


def half_silent(model: Any) -> None:
    model.bias.data[: len(model.bias.data) // 2] = -20


SICK = [
    (Net, "conv1", small, "shrinks", "conv1"),  # the first layer, where no gradient is asked for
    (Net, "conv2", small, "shrinks", "conv2"),
    (Net, "conv1", large, "exploding", "conv1"),
    (Net, "conv3", large, "exploding", "conv3"),
    (Net, "fc", infinite, "inf", "fc"),
    (Net, "conv2", silent, "dead", "relu (2)"),
    (Net, "conv2", half_silent, "dead", "relu (2)"),
    (lambda: Net(norm=nn.BatchNorm2d), "conv2", small, "shrinks", "conv2"),  # not the batch norm that mends it
    (lambda: Net(norm=nn.BatchNorm2d), "norm2", small, "shrinks", "norm2"),
    (lambda: Net(norm=nn.BatchNorm2d), "conv2", large, "exploding", "conv2"),
    (lambda: sigmoids(2), "1", large, "exploding", "1"),  # not the sigmoid that it saturates
    (lambda: tc.models.mlp([144, 4, 10]), "fc1", silent, "dead", "relu1"),
]


@pytest.mark.parametrize("way", ["capture", "check"])
@pytest.mark.parametrize(("make", "path", "harm", "kind", "where"), SICK)
def test_the_culprit_comes_first(
    make: Callable[[], Any], path: str, harm: Callable[[Any], None], kind: str, where: str, way: str
) -> None:
    tc.manual_seed(1)
    model = make()
    harm(dict(model.named_modules())[path])
    if way == "check":
        found = viz.check(F.cross_entropy(model(images()), LABELS), model)
    else:
        with viz.capture(model) as cap:
            F.cross_entropy(model(images()), LABELS).backward()
        found = cap.figure().report()
    assert (found[0].kind, found[0].where) == (kind, where), found


def test_gradients_that_fade_without_a_culprit() -> None:
    tc.manual_seed(0)
    for model, first in ((sigmoids(6), "1"), (plain(20), "0")):
        report = viz.check(F.cross_entropy(model(images()), LABELS), model)
        assert (report[0].kind, report[0].where) == ("vanishing", first)
        assert "gradually" in report[0].message


def test_layers_that_explode_name_the_one_that_began() -> None:
    tc.manual_seed(0)
    model = Net()
    model.conv3.weight.data = model.conv3.weight.data * 3000
    report = viz.check(F.cross_entropy(model(images()), LABELS), model)
    assert [(f.kind, f.where) for f in report] == [
        ("exploding", "conv3"),
        ("exploding", "conv1"),
        ("exploding", "conv2"),
    ]
    assert "grown by conv3" in report[1].message


def test_a_forgotten_parameter_of_the_model_is_named_by_itself() -> None:
    model = Net()
    model.temperature = nn.Parameter(np.ones(3, np.float32))
    model.spare = nn.Linear(2, 2)
    report = viz.check(F.cross_entropy(model(images()), LABELS), model)
    assert [(f.kind, f.where) for f in report] == [("unused", "temperature"), ("unused", "spare")]


def test_the_advice_is_given_once_for_each_kind() -> None:
    model = Net()
    model.conv1.weight.data[0, 0, 0, 0] = np.nan
    words = str(viz.check(F.cross_entropy(model(images()), LABELS), model))
    assert words.count("(nan)") > 3
    assert words.count("detect_anomaly") == 1
