"""Modules: weights saved in PyTorch load here unchanged, and then outputs, gradients, statistics and texts agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tinygrad_cnn as tc
from tinygrad_cnn import models, nn

Make = Callable[[Any], Any]  # from the module nn, here or there, to a layer

LAYERS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "linear": (lambda n: n.Linear(5, 3), (4, 5)),
    "linear-no-bias": (lambda n: n.Linear(5, 3, bias=False), (2, 4, 5)),
    "conv1d": (lambda n: n.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv2d": (lambda n: n.Conv2d(4, 6, 3), (2, 4, 7, 8)),
    "conv2d-options": (
        lambda n: n.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False), (2, 4, 7, 8)
    ),
    "conv2d-same": (lambda n: n.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 7, 8)),
    "conv2d-reflect": (lambda n: n.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), (2, 4, 7, 8)),
    "conv2d-depthwise": (lambda n: n.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 5)),
    "conv3d": (lambda n: n.Conv3d(2, 3, (2, 3, 1), padding=(0, 1, 0)), (2, 2, 4, 5, 3)),
    "conv_transpose1d": (lambda n: n.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5)),
    "conv_transpose2d": (
        lambda n: n.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 4)
    ),
    "conv_transpose2d-dilated": (lambda n: n.ConvTranspose2d(2, 3, 2, bias=False, dilation=2), (2, 2, 5, 4)),
    "conv_transpose3d": (lambda n: n.ConvTranspose3d(2, 3, 2), (2, 2, 3, 4, 2)),
    "batch_norm1d": (lambda n: n.BatchNorm1d(4), (6, 4)),
    "batch_norm1d-sequences": (lambda n: n.BatchNorm1d(4, momentum=0.3), (6, 4, 5)),
    "batch_norm2d": (lambda n: n.BatchNorm2d(4, eps=1e-3), (3, 4, 5, 2)),
    "batch_norm2d-cumulative": (lambda n: n.BatchNorm2d(4, momentum=None), (3, 4, 5, 2)),
    "batch_norm2d-plain": (lambda n: n.BatchNorm2d(4, affine=False), (3, 4, 5, 2)),
    "batch_norm2d-no-bias": (lambda n: n.BatchNorm2d(4, bias=False), (3, 4, 5, 2)),
    "batch_norm2d-untracked": (lambda n: n.BatchNorm2d(4, track_running_stats=False), (3, 4, 5, 2)),
    "batch_norm3d": (lambda n: n.BatchNorm3d(4), (3, 4, 2, 3, 2)),
    "instance_norm1d": (lambda n: n.InstanceNorm1d(4, track_running_stats=True), (3, 4, 5)),
    "instance_norm2d": (lambda n: n.InstanceNorm2d(4), (3, 4, 5, 2)),
    "instance_norm3d": (lambda n: n.InstanceNorm3d(4, affine=True, momentum=0.3), (2, 4, 3, 3, 2)),
    "layer_norm": (lambda n: n.LayerNorm((4, 5)), (3, 4, 5)),
    "layer_norm-no-bias": (lambda n: n.LayerNorm(5, bias=False), (3, 4, 5)),
    "group_norm": (lambda n: n.GroupNorm(2, 6), (3, 6, 4, 5)),
    "max_pool1d": (lambda n: n.MaxPool1d(3), (2, 3, 10)),
    "max_pool2d": (lambda n: n.MaxPool2d(2), (2, 3, 6, 7)),
    "max_pool2d-options": (lambda n: n.MaxPool2d((3, 2), stride=2, padding=1, ceil_mode=True), (2, 3, 6, 7)),
    "max_pool3d": (lambda n: n.MaxPool3d(2), (2, 3, 4, 4, 5)),
    "avg_pool1d": (lambda n: n.AvgPool1d(2), (2, 3, 10)),
    "avg_pool2d": (lambda n: n.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 3, 6, 7)),
    "avg_pool3d": (lambda n: n.AvgPool3d(2), (2, 3, 4, 4, 5)),
    "adaptive_avg_pool2d": (lambda n: n.AdaptiveAvgPool2d((2, 3)), (2, 3, 5, 7)),
    "adaptive_max_pool2d": (lambda n: n.AdaptiveMaxPool2d(2), (2, 3, 5, 7)),
    "avg_pool2d-divisor": (lambda n: n.AvgPool2d(2, divisor_override=3), (2, 3, 6, 7)),
    "adaptive_avg_pool1d": (lambda n: n.AdaptiveAvgPool1d(3), (2, 3, 7)),
    "adaptive_avg_pool3d": (lambda n: n.AdaptiveAvgPool3d((2, None, 1)), (2, 3, 5, 4, 3)),
    "adaptive_max_pool1d": (lambda n: n.AdaptiveMaxPool1d(3), (2, 3, 7)),
    "adaptive_max_pool3d": (lambda n: n.AdaptiveMaxPool3d(2), (2, 3, 5, 4, 3)),
    "upsample": (lambda n: n.Upsample(scale_factor=2.0), (2, 3, 4, 5)),
    "upsampling-nearest": (lambda n: n.UpsamplingNearest2d((7, 6)), (2, 3, 4, 5)),
    "upsampling-bilinear": (lambda n: n.UpsamplingBilinear2d(size=(7, 6)), (2, 3, 4, 5)),
    "unfold": (lambda n: n.Unfold(2, padding=1), (2, 3, 4, 5)),
    "fold": (lambda n: n.Fold((4, 5), 2), (2, 8, 12)),
    "zero_pad1d": (lambda n: n.ZeroPad1d(2), (2, 3, 4)),
    "zero_pad2d": (lambda n: n.ZeroPad2d((1, 2, 0, -1)), (2, 3, 4, 5)),
    "reflection_pad2d": (lambda n: n.ReflectionPad2d((1, 2, 0, 3)), (2, 3, 4, 5)),
    "replication_pad2d": (lambda n: n.ReplicationPad2d(2), (2, 3, 4, 5)),
    "circular_pad2d": (lambda n: n.CircularPad2d((1, 2, 0, 3)), (2, 3, 4, 5)),
    "constant_pad2d": (lambda n: n.ConstantPad2d(1, 3.5), (2, 3, 4, 5)),
    "unflatten": (lambda n: n.Unflatten(1, (2, 3)), (2, 6, 2)),
    "upsample-bilinear": (lambda n: n.Upsample((7, 6), mode="bilinear"), (2, 3, 4, 5)),
    "flatten": (lambda n: n.Flatten(), (2, 3, 4)),
    "identity": (lambda n: n.Identity(54, unused=1), (2, 3)),
    "dropout": (lambda n: n.Dropout(0.0), (2, 3)),
    "dropout2d": (lambda n: n.Dropout2d(0.0), (2, 3, 4, 4)),
    "relu": (lambda n: n.ReLU(inplace=True), (4, 5)),
    "leaky_relu": (lambda n: n.LeakyReLU(0.2), (4, 5)),
    "elu": (lambda n: n.ELU(0.5), (4, 5)),
    "gelu": (lambda n: n.GELU(), (4, 5)),
    "silu": (lambda n: n.SiLU(), (4, 5)),
    "hardswish": (lambda n: n.Hardswish(), (4, 5)),
    "hardtanh": (lambda n: n.Hardtanh(-0.5, 0.7), (4, 5)),
    "relu6": (lambda n: n.ReLU6(), (4, 5)),
    "selu": (lambda n: n.SELU(), (4, 5)),
    "mish": (lambda n: n.Mish(), (4, 5)),
    "prelu": (lambda n: n.PReLU(), (4, 5)),
    "prelu-channels": (lambda n: n.PReLU(3, init=0.1), (2, 3, 4)),
    "log_sigmoid": (lambda n: n.LogSigmoid(), (4, 5)),
    "softplus": (lambda n: n.Softplus(beta=2.0, threshold=3.0), (4, 5)),
    "sigmoid": (lambda n: n.Sigmoid(), (4, 5)),
    "tanh": (lambda n: n.Tanh(), (4, 5)),
    "softmax": (lambda n: n.Softmax(dim=1), (4, 5)),
    "log_softmax": (lambda n: n.LogSoftmax(dim=0), (4, 5)),
}  # fmt: skip


def _agree(ours: nn.Module, theirs: torch.nn.Module, shape: tuple[int, ...], seed: int) -> None:
    """One forward and backward pass on the same input: outputs, gradients, and the state afterwards."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    our_x, their_x = tc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours.zero_grad()
    theirs.zero_grad()
    our_y, their_y = ours(our_x * 1.0), theirs(their_x * 1.0)
    _close(our_y, their_y)
    g = rng.standard_normal(our_y.shape)
    our_y.backward(g)
    their_y.backward(torch.tensor(g))
    _close(our_x.grad, their_x.grad)
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        _close(p.grad, named.pop(name).grad)
    assert not named
    _same_state(ours, theirs)


def _close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=1e-10, atol=1e-10)


def _same_state(ours: nn.Module, theirs: torch.nn.Module) -> None:
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, value in state.items():
        assert value.shape == tuple(expected[name].shape)
        _close(value, expected[name])


def _pair(make: Make) -> tuple[nn.Module, torch.nn.Module]:
    ours, theirs = make(nn).to("float64"), make(torch.nn).double()
    state = theirs.state_dict()
    rng = np.random.default_rng(0)
    for value in state.values():
        if value.dtype.is_floating_point:
            value += torch.tensor(rng.uniform(0, 0.5, value.shape))
    assert ours.load_state_dict(state) == ([], [])
    return ours, theirs


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, on even kernels
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    make, shape = LAYERS[name]
    ours, theirs = _pair(make)
    for mode in (False, True, True, True, False):
        ours.train(mode)
        theirs.train(mode)
        _agree(ours, theirs, shape, seed=mode)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"avg_pool1d"}))  # PyTorch writes (2,) there, and 2 elsewhere
def test_layers_look_alike(name: str) -> None:
    make, _ = LAYERS[name]
    assert repr(make(nn)) == repr(make(torch.nn))


def test_embedding() -> None:
    ours, theirs = _pair(lambda n: n.Embedding(7, 3, padding_idx=-2))
    assert repr(ours) == repr(theirs)
    assert not nn.Embedding(7, 3, padding_idx=-2).weight.data[5].any()
    indices = np.array([[0, 5, 6], [6, 6, 1]])
    (ours(indices) ** 3).sum().backward()
    (theirs(torch.tensor(indices)) ** 3).sum().backward()
    _close(ours.weight.grad, theirs.weight.grad)


# ---- how layers start ------------------------------------------------------------------------------------------

STARTS: dict[str, Make] = {
    "linear": lambda n: n.Linear(200, 300),
    "conv2d": lambda n: n.Conv2d(20, 60, 5),
    "conv2d-groups": lambda n: n.Conv2d(160, 320, 3, groups=16),
    "conv2d-depthwise": lambda n: n.Conv2d(512, 1024, 5, groups=512),
    "conv1d": lambda n: n.Conv1d(60, 100, 5),
    "conv3d": lambda n: n.Conv3d(10, 40, 3),
    "embedding": lambda n: n.Embedding(200, 100),
    "conv_transpose1d": lambda n: n.ConvTranspose1d(60, 100, 5),
    "conv_transpose3d": lambda n: n.ConvTranspose3d(20, 30, 3),
    "conv_transpose2d": lambda n: n.ConvTranspose2d(100, 20, 5),
    "conv_transpose2d-groups": lambda n: n.ConvTranspose2d(100, 60, 5, groups=5),
}


@pytest.mark.parametrize("name", STARTS)
def test_layers_start_alike(name: str) -> None:
    tc.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = STARTS[name](nn), STARTS[name](torch.nn)
    _alike(ours.weight, theirs.weight)


MANY_BIASES: dict[str, Make] = {
    "linear": lambda n: n.Linear(7, 400),
    "conv1d": lambda n: n.Conv1d(3, 400, 5),
    "conv2d-groups": lambda n: n.Conv2d(8, 400, 3, groups=4),
    "conv2d-depthwise": lambda n: n.Conv2d(400, 400, 3, groups=400),
    "conv3d": lambda n: n.Conv3d(2, 400, (1, 2, 3)),
    "conv_transpose1d": lambda n: n.ConvTranspose1d(3, 400, 5),
    "conv_transpose2d-groups": lambda n: n.ConvTranspose2d(8, 400, 3, groups=4),
    "conv_transpose3d": lambda n: n.ConvTranspose3d(2, 400, 2),
}


@pytest.mark.parametrize("name", MANY_BIASES)
def test_biases_start_alike(name: str) -> None:
    tc.manual_seed(0)
    torch.manual_seed(0)
    ours = np.concatenate([MANY_BIASES[name](nn).bias.data for _ in range(30)])
    theirs = torch.cat([MANY_BIASES[name](torch.nn).bias for _ in range(30)])
    _alike(tc.tensor(ours), theirs)


INITIALISERS: dict[str, Callable[[Any, Any], Any]] = {
    "uniform_": lambda i, t: i.uniform_(t, -1, 3),
    "normal_": lambda i, t: i.normal_(t, 2, 3),
    "trunc_normal_": lambda i, t: i.trunc_normal_(t, 0.5, 1, -1, 1.2),
    "constant_": lambda i, t: i.constant_(t, 4),
    "ones_": lambda i, t: i.ones_(t),
    "zeros_": lambda i, t: i.zeros_(t),
    "xavier_uniform_": lambda i, t: i.xavier_uniform_(t, gain=2),
    "xavier_normal_": lambda i, t: i.xavier_normal_(t),
    "kaiming_uniform_": lambda i, t: i.kaiming_uniform_(t, a=0.3),
    "kaiming_uniform_-relu": lambda i, t: i.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal_": lambda i, t: i.kaiming_normal_(t, nonlinearity="tanh"),
    "kaiming_normal_-fan_out": lambda i, t: i.kaiming_normal_(t, mode="fan_out"),
    "orthogonal_": lambda i, t: i.orthogonal_(t, gain=3),
}


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialiser(name: str) -> None:
    ours, theirs = tc.zeros(120, 60, 3, 3), torch.zeros(120, 60, 3, 3)
    assert INITIALISERS[name](nn.init, ours) is ours
    INITIALISERS[name](torch.nn.init, theirs)
    _alike(ours, theirs)


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_and_eye(groups: int) -> None:
    ours, theirs = tc.zeros(6, 3, 3, 2), torch.zeros(6, 3, 3, 2)
    _close(nn.init.dirac_(ours, groups), torch.nn.init.dirac_(theirs, groups))
    _close(nn.init.eye_(tc.zeros(3, 5)), torch.nn.init.eye_(torch.zeros(3, 5)))


@pytest.mark.parametrize(
    "name", ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
)
def test_gain(name: str) -> None:
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))


def _alike(ours: tc.Tensor, theirs: torch.Tensor) -> None:
    """Mean, deviation, fourth moment and extremes, within what chance allows."""
    a, b = ours.data.ravel().astype(np.float64), theirs.detach().numpy().ravel().astype(np.float64)
    assert a.size == b.size > 10_000
    deviation = b.std()
    assert a.mean() == pytest.approx(b.mean(), abs=6 * deviation / np.sqrt(a.size) + 1e-12)
    assert a.std() == pytest.approx(deviation, rel=0.03)
    assert ((a - a.mean()) ** 4).mean() == pytest.approx(((b - b.mean()) ** 4).mean(), rel=0.15)
    assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.35)


# ---- whole networks --------------------------------------------------------------------------------------------


def _their_lenet5() -> torch.nn.Module:
    n = torch.nn
    layers: dict[str, torch.nn.Module] = {
        "conv1": n.Conv2d(1, 6, 5, padding=2), "relu1": n.ReLU(), "pool1": n.MaxPool2d(2),
        "conv2": n.Conv2d(6, 16, 5), "relu2": n.ReLU(), "pool2": n.MaxPool2d(2), "flatten": n.Flatten(),
        "fc1": n.Linear(400, 120), "relu3": n.ReLU(), "fc2": n.Linear(120, 84), "relu4": n.ReLU(),
        "fc3": n.Linear(84, 10),
    }  # fmt: skip
    return _sequential(layers)


def _their_convnet_preview() -> torch.nn.Module:
    layers: dict[str, torch.nn.Module] = {}
    for i in range(1, 7):
        layers[f"conv{i}"] = torch.nn.Conv2d(3 if i == 1 else 10, 10, 3, padding=1)
        layers[f"relu{i}"] = torch.nn.ReLU()
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = torch.nn.MaxPool2d(2)
    return _sequential({**layers, "flatten": torch.nn.Flatten(), "fc": torch.nn.Linear(160, 10)})


def _sequential(layers: dict[str, torch.nn.Module]) -> torch.nn.Module:
    net = torch.nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    return net


class _TheirBlock(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        n = torch.nn
        self.conv1 = n.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = n.BatchNorm2d(outputs)
        self.conv2 = n.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = n.BatchNorm2d(outputs)
        self.downsample: torch.nn.Module | None = None
        if inputs != outputs:
            self.downsample = n.Sequential(n.Conv2d(inputs, outputs, 1, stride, bias=False), n.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + shortcut).relu()


class _TheirResNet(torch.nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        for i, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
            first = _TheirBlock(inputs, outputs, 1 if i == 1 else 2)
            rest = [_TheirBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{i}", torch.nn.Sequential(first, *rest))
        self.fc = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def _their_vgg_small() -> torch.nn.Module:
    layers: dict[str, torch.nn.Module] = {}
    channels = [3, 32, 32, 64, 64]
    for i in range(1, 5):
        layers[f"conv{i}"] = torch.nn.Conv2d(channels[i - 1], channels[i], 3, padding=1)
        layers[f"relu{i}"] = torch.nn.ReLU()
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = torch.nn.MaxPool2d(2)
    n = torch.nn
    head = {"flatten": n.Flatten(), "fc1": n.Linear(4096, 256), "relu5": n.ReLU(), "fc2": n.Linear(256, 10)}
    return _sequential({**layers, **head})


NETWORKS: dict[str, tuple[Callable[[], Any], Callable[[], Any], tuple[int, ...]]] = {
    "lenet5": (models.lenet5, _their_lenet5, (2, 1, 28, 28)),
    "vgg_small": (models.vgg_small, _their_vgg_small, (2, 3, 32, 32)),
    "convnet_preview": (models.convnet_preview, _their_convnet_preview, (2, 3, 32, 32)),
    "resnet8": (models.resnet8, lambda: _TheirResNet(1), (4, 3, 32, 32)),
    "resnet20": (models.resnet20, lambda: _TheirResNet(3), (4, 3, 16, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    ours, theirs, shape = NETWORKS[name]
    pair = _pair(lambda n: ours() if n is nn else theirs())
    for mode in (True, False):
        for net in pair:
            net.train(mode)
        _agree(*pair, shape, seed=3)


@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_weights(name: str, tmp_path: Path) -> None:
    """A .safetensors file written there loads here as it is, and the other way round; float32, as they are."""
    ours, theirs, shape = NETWORKS[name]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    there, here = theirs(), ours()
    for _ in range(2 if "resnet" in name else 0):  # so that the running statistics are not as they start
        there(torch.tensor(x))
    save_file(there.state_dict(), tmp_path / "theirs.safetensors")
    assert here.load_state_dict(tc.load(tmp_path / "theirs.safetensors")) == ([], [])
    expected = there.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(here.eval()(x).data, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    here, there = ours(), theirs()
    here(x)
    tc.save(here, tmp_path / "ours.safetensors")
    there.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    expected = there.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(here.eval()(x).data, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


WITH_STATE = [name for name, (make, _) in LAYERS.items() if make(nn).state_dict()]


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, on even kernels
@pytest.mark.parametrize("name", WITH_STATE)
def test_files_of_layers(name: str, tmp_path: Path) -> None:
    make, shape = LAYERS[name]
    ours, theirs = make(nn), make(torch.nn)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    theirs(torch.tensor(x))
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    assert ours.load_state_dict(tc.load(tmp_path / "theirs.safetensors")) == ([], [])
    np.testing.assert_allclose(ours.eval()(x).data, theirs.eval()(torch.tensor(x)).detach(), rtol=1e-5, atol=1e-5)
    tc.save(make(nn), tmp_path / "ours.safetensors")
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    assert len(WITH_STATE) > 25


def test_shared_parameters_have_both_names_in_the_state_dict() -> None:
    def make(n: Any) -> Any:
        net = n.Sequential(n.Linear(3, 3), n.ReLU(), n.Linear(3, 3))
        net[2].weight = net[0].weight
        return net

    ours, theirs = _pair(make)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    _agree(ours, theirs, (2, 3), seed=0)


def test_trees_look_alike_and_are_walked_alike() -> None:
    def make(n: Any) -> Any:
        net = n.Sequential(n.Conv2d(1, 2, 3), n.Sequential(n.BatchNorm2d(2), n.ReLU()), n.Flatten())
        net.add_module("heads", n.ModuleDict({"a": n.Linear(2, 3), "b": n.Sequential()}))
        net.add_module("again", net[0])
        return net

    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    assert repr(ours[1:3]) == repr(theirs[1:3])
    for walk in ("named_modules", "named_children", "named_parameters", "named_buffers"):
        assert [n for n, _ in getattr(ours, walk)()] == [n for n, _ in getattr(theirs, walk)()]


# ---- losses ----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
LOSSES: dict[str, tuple[Make, Any]] = {
    "cross_entropy": (lambda n: n.CrossEntropyLoss(), RNG.integers(0, 5, 4)),
    "cross_entropy-options": (
        lambda n: n.CrossEntropyLoss(ignore_index=2, label_smoothing=0.1, reduction="sum"), RNG.integers(0, 5, 4)
    ),
    "mse": (lambda n: n.MSELoss(), RNG.standard_normal((4, 5))),
    "mse-none": (lambda n: n.MSELoss(reduction="none"), RNG.standard_normal((4, 5))),
    "nll": (lambda n: n.NLLLoss(ignore_index=1), RNG.integers(0, 5, 4)),
    "huber": (lambda n: n.HuberLoss(delta=0.5), RNG.standard_normal((4, 5))),
    "binary": (lambda n: n.BCEWithLogitsLoss(reduction="sum"), RNG.uniform(size=(4, 5))),
    "kl_div": (lambda n: n.KLDivLoss(reduction="batchmean"), RNG.uniform(size=(4, 5))),
    "kl_div-log": (lambda n: n.KLDivLoss(reduction="sum", log_target=True), RNG.standard_normal((4, 5))),
    "l1": (lambda n: n.L1Loss(reduction="sum"), RNG.standard_normal((4, 5))),
    "smooth_l1": (lambda n: n.SmoothL1Loss(beta=0.5), RNG.standard_normal((4, 5))),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name: str) -> None:
    make, target = LOSSES[name]
    x = np.random.default_rng(1).standard_normal((4, 5))
    ours, theirs = tc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    our_loss, their_loss = make(nn)(ours, target), make(torch.nn)(theirs, torch.tensor(target))
    _close(our_loss, their_loss)
    our_loss.sum().backward()
    their_loss.sum().backward()
    _close(ours.grad, theirs.grad)


def test_loss_of_probabilities() -> None:
    p, target = np.random.default_rng(1).uniform(0.05, 0.95, (2, 4, 5))
    ours, theirs = tc.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    our_loss, their_loss = nn.BCELoss()(ours, target), torch.nn.BCELoss()(theirs, torch.tensor(target))
    _close(our_loss, their_loss)
    our_loss.backward()
    their_loss.backward()
    _close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCEWithLogitsLoss"])
def test_class_weights_are_a_buffer(name: str) -> None:
    weight = np.array([1.0, 2.0, 0.5])
    ours, theirs = getattr(nn, name)(weight), getattr(torch.nn, name)(torch.tensor(weight))
    _same_state(ours, theirs)
    x, target = np.random.default_rng(1).standard_normal((4, 3)), np.array([0, 1, 2, 1])
    if name == "BCEWithLogitsLoss":
        target = np.eye(3)[target]
    _close(ours(x, target), theirs(torch.tensor(x), torch.tensor(target)))
