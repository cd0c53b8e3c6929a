"""The table of a model: numbers by hand, and that looking changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import models, nn
from tinygrad_cnn.core import tape
from tinygrad_cnn.random_state import generator


def test_lenet5_by_hand() -> None:
    s = tc.summary(models.lenet5(), (1, 28, 28))
    rows = {row.layer: row for row in s}
    assert list(rows) == [name for name, _ in models.lenet5().named_children()]
    assert len(s) == 12
    assert rows["conv1"].type == "Conv2d"
    assert rows["conv1"].output_shape == (6, 28, 28)
    assert rows["conv1"].macs == 28 * 28 * 6 * 25
    assert rows["conv1"].dense_weights == (28 * 28) * (6 * 28 * 28)
    assert rows["conv2"].macs == 10 * 10 * 16 * 6 * 25
    assert rows["fc1"].macs == rows["fc1"].dense_weights == 400 * 120
    assert rows["fc1"].parameters == 400 * 120 + 120
    assert rows["pool1"].output_shape == (6, 14, 14)
    assert rows["relu1"].parameters == rows["relu1"].macs == rows["relu1"].dense_weights == 0
    assert s.parameters == 61_706
    assert s.macs == 416_520
    assert s.buffers == 0
    # The input, each ReLU's output, each pool's winners and what the next layer reads, in bytes.
    assert rows["conv1"].saved_bytes == 28 * 28 * 4
    assert rows["relu1"].saved_bytes == 6 * 28 * 28 * 4
    assert rows["pool1"].saved_bytes == 6 * 14 * 14
    assert rows["conv2"].saved_bytes == 6 * 14 * 14 * 4


def test_the_lectures_dense_layers_do_not_scale() -> None:
    row = tc.summary(nn.Sequential(nn.Conv2d(3, 10, 3, padding=1)), (3, 64, 64))[0]
    assert row.parameters == 280
    assert row.dense_weights == (64 * 64 * 3) * (64 * 64 * 10)
    assert row.macs == 64 * 64 * 10 * 27


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(4, 6, 3, stride=2), (4, 9), 4 * 6 * 12),
        (nn.Conv2d(4, 8, 3, groups=4, padding="same"), (4, 5, 5), 25 * 8 * 9),
        (nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), (4, 5, 5), 25 * 8 * 36),
        (nn.Conv3d(2, 3, 2), (2, 3, 3, 3), 8 * 3 * 16),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 25 * 4 * 6 * 4),
        (nn.Linear(7, 3), (5, 7), 5 * 7 * 3),
    ],
)
def test_multiply_accumulates(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    (row,) = tc.summary(nn.Sequential(layer), shape)
    assert row.macs == macs


def test_what_is_saved_is_what_the_tape_holds() -> None:
    model, x = models.resnet8(), np.zeros((1, 3, 16, 16), np.float32)
    owned = {id(tape.owner(t.data)) for t in (*model.parameters(), *model.buffers())}
    loss, held, nodes = model(x), {}, []
    stack: list[Any] = [loss.grad_fn]
    while stack:
        node = stack.pop()
        if isinstance(node, tape.Node) and node not in nodes:
            nodes.append(node)
            stack.extend(node.parents)
            for array in node.saved or ():
                if isinstance(array, np.ndarray) and id(memory := tape.owner(array)) not in owned:
                    held[id(memory)] = memory.nbytes
    assert tc.summary(model, (3, 16, 16)).saved_bytes == sum(held.values()) > 0


def test_shared_parameters_count_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    s = tc.summary(model, (3,))
    assert [row.parameters for row in s] == [12, 0, 3]
    assert s.macs == 18
    twice = nn.Linear(3, 3)
    s = tc.summary(nn.Sequential({"a": twice, "relu": nn.ReLU(), "b": twice}), (3,))
    assert [(row.layer, row.parameters, row.macs) for row in s] == [("a", 12, 9), ("relu", 0, 0), ("a", 0, 9)]


class Functional(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(1, 2, 3)
        self.unused = nn.Linear(5, 5)
        self.gain = nn.Parameter(np.ones(2, np.float32))

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1)
        return x * self.gain.tile(x.shape[1] // 2)


def test_operations_between_layers_and_layers_that_did_not_run() -> None:
    s = tc.summary(Functional(), (1, 6, 6))
    assert [(row.layer, row.type, row.parameters) for row in s] == [
        ("conv", "Conv2d", 20), ("", "relu", 2), ("", "max_pool2d", 0), ("", "reshape", 0), ("", "reshape", 0),
        ("", "broadcast_to", 0), ("", "reshape", 0), ("", "mul", 0), ("unused", "Linear", 30),
    ]  # fmt: skip
    assert s[-1].output_shape is None
    assert s.parameters == sum(p.size for p in Functional().parameters())
    assert "not run" in str(s)


def test_frozen_layers_save_nothing() -> None:
    assert tc.summary(models.lenet5().requires_grad_(False), (1, 28, 28)).saved_bytes == 0


def test_batch_norm_of_one_value_per_channel() -> None:
    s = tc.summary(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), (4,))
    assert s[1].type == "BatchNorm1d"
    assert (s.parameters, s.buffers) == (15 + 6, 7)


class Busy(nn.Module):
    """Everything in it changes when it runs."""

    def __init__(self) -> None:
        self.bn = nn.BatchNorm2d(2, momentum=None)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.register_buffer("seen", np.zeros(1))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.last = x
        self.seen.data += 1
        self.scratch = nn.Linear(1, 1)
        return self.drop(self.bn(x))


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training: bool) -> None:
    model = Busy().train(training)
    model.drop.train(not training)
    fired: list[Any] = []
    model.bn.register_forward_hook(lambda *args: fired.append(args))
    before, memory, modes = model.state_dict(), model.seen.data, [m.training for m in model.modules()]
    tc.manual_seed(3)
    random_state = generator().bit_generator.state
    saved = tc.summary(model, (2, 4, 4)).saved_bytes
    assert saved > 2 * 16 * 4
    assert generator().bit_generator.state == random_state
    assert [m.training for m in model.modules()] == modes
    assert model.calls == 0
    assert not hasattr(model, "last")
    assert not hasattr(model, "scratch")
    assert fired == []
    assert model.seen.data is memory
    assert all((value.data == model.state_dict()[name].data).all() for name, value in before.items())
    with pytest.raises(tc.ShapeError, match="expects 2 channels"):
        tc.summary(model, (3, 4, 4))
    assert [m.training for m in model.modules()] == modes
    assert model.calls == 0
    model(np.zeros((2, 2, 4, 4), np.float32))
    assert len(fired) == 1


def test_modes_of_the_caller_do_not_matter() -> None:
    with tc.no_grad(), tape.within("somewhere"):
        s = tc.summary(models.lenet5().eval().to("float64"), (1, 28, 28))
        assert not tc.is_grad_enabled()
    assert s[0].layer == "conv1"
    assert s[0].saved_bytes == 28 * 28 * 8


def test_printing() -> None:
    text = str(tc.summary(models.resnet8(), (3, 32, 32)))
    lines = text.split("\n")
    assert lines[0] == "ResNet, input 3 x 32 x 32"
    assert lines[1].split() == [
        "layer", "type", "output", "shape", "parameters", "buffers", "dense", "weights", "MACs", "saved", "bytes",
    ]  # fmt: skip
    assert lines[3].split() == ["conv1", "Conv2d", "16", "x", "32", "x", "32", "432", "50,331,648", "442,368", "12,288"]
    assert "MAC: one multiplication and one addition, 2 FLOP" in text
    assert max(map(len, lines)) <= 120
    assert "buffers" not in str(tc.summary(models.mlp([4, 2]), (4,))).split("\n")[1]


@pytest.mark.parametrize(
    ("model", "shape", "error"),
    [
        (lambda x: x, (1,), TypeError),
        (nn.ReLU(), (), TypeError),
        (nn.Linear(28, 2), 28, TypeError),
        (nn.ReLU(), None, TypeError),
        (nn.ReLU(), (3, -1), ValueError),
        (nn.ReLU(), ("3",), TypeError),
    ],
)
def test_mistakes(model: Any, shape: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^summary: "):
        tc.summary(model, shape)
