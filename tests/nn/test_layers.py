"""Layers: sizes, modes, statistics, how they start, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import nn, testing


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---- shapes, counts, and that a layer is its function ----------------------------------------------------------


def test_parameter_counts_of_the_lectures() -> None:
    ten = nn.Conv2d(3, 10, 3)
    assert sum(p.size for p in ten.parameters()) == 280
    assert nn.Conv2d(3, 6, 5)(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 6, 28, 28)
    assert nn.Linear(64 * 64 * 3, 1).weight.size == 12_288


@pytest.mark.parametrize(
    ("module", "function", "shape"),
    [
        (nn.Conv1d(4, 6, 3, 2, 1, 1, 2), lambda m, x: F.conv1d(x, m.weight, m.bias, 2, 1, 1, 2), (2, 4, 9)),
        (nn.Conv2d(4, 6, (3, 2), padding="same_lower", padding_mode="replicate"),
         lambda m, x: F.conv2d(x, m.weight, m.bias, padding="same_lower", padding_mode="replicate"), (2, 4, 5, 6)),
        (nn.Conv2d(4, 6, 3, padding=((0, 1), (2, 0))),
         lambda m, x: F.conv2d(x, m.weight, m.bias, padding=((0, 1), (2, 0))), (2, 4, 5, 6)),
        (nn.Conv3d(2, 3, 2), lambda m, x: F.conv3d(x, m.weight, m.bias), (1, 2, 3, 3, 3)),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, dilation=2),
         lambda m, x: F.conv_transpose2d(x, m.weight, m.bias, 2, 1, 1, 2, 2), (2, 4, 5, 6)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), lambda m, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), (2, 4, 6, 6)),
        (nn.AvgPool2d(3, 2, 1, False, False), lambda m, x: F.avg_pool2d(x, 3, 2, 1, False, False), (2, 4, 6, 6)),
        (nn.GlobalAvgPool2d(), lambda m, x: x.mean((2, 3)), (2, 4, 6, 5)),
        (nn.GlobalMaxPool2d(), lambda m, x: x.amax((2, 3)), (2, 4, 6, 5)),
        (nn.AdaptiveAvgPool2d((2, 3)), lambda m, x: F.adaptive_avg_pool2d(x, (2, 3)), (2, 4, 6, 5)),
        (nn.GroupNorm(2, 4), lambda m, x: F.group_norm(x, 2), (2, 4, 6, 5)),
        (nn.InstanceNorm2d(4), lambda m, x: F.instance_norm(x), (2, 4, 6, 5)),
        (nn.Upsample(scale_factor=2), lambda m, x: F.interpolate(x, scale_factor=2), (2, 4, 6, 5)),
        (nn.LayerNorm(5), lambda m, x: F.layer_norm(x, 5), (2, 4, 6, 5)),
        (nn.Flatten(2), lambda m, x: x.reshape(2, 4, 30), (2, 4, 6, 5)),
        (nn.Identity(1, b=2), lambda m, x: x, (2, 4)),
        (nn.LeakyReLU(0.3), lambda m, x: F.leaky_relu(x, 0.3), (2, 4)),
        (nn.ELU(2.0), lambda m, x: F.elu(x, 2.0), (2, 4)),
        (nn.Softplus(2.0), lambda m, x: F.softplus(x, 2.0), (2, 4)),
        (nn.Hardtanh(-0.1, 0.2), lambda m, x: F.hardtanh(x, -0.1, 0.2), (2, 4)),
        (nn.Softmax(0), lambda m, x: F.softmax(x, 0), (2, 4)),
        (nn.LogSoftmax(), lambda m, x: F.log_softmax(x, 1), (2, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_a_layer_is_its_function(module: nn.Module, function: Callable[..., Any], shape: tuple[int, ...]) -> None:
    x = tc.tensor(draw(*shape))
    np.testing.assert_array_equal(module(x).data, function(module, x).data)


@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "SiLU", "Hardswish", "GELU", "Sigmoid", "Tanh"])
def test_activations_are_their_functions(name: str) -> None:
    x = draw(3, 4) * 4
    np.testing.assert_array_equal(getattr(nn, name)()(x).data, getattr(F, name.lower())(x).data)


def test_pools_move_by_their_own_size() -> None:
    assert nn.MaxPool2d(3)(np.zeros((1, 1, 9, 9))).shape == (1, 1, 3, 3)
    assert nn.AvgPool2d((2, 3))(np.zeros((1, 1, 8, 9))).shape == (1, 1, 4, 3)
    y, indices = nn.MaxPool2d(2, return_indices=True)(np.arange(4.0).reshape(1, 1, 2, 2))
    assert (y.item(), indices.item()) == (3, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(0, 1),
        lambda: nn.Linear(2, -1),
        lambda: nn.Linear(2.0, 1),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.Conv2d(4, 3, 3, groups=2),
        lambda: nn.Conv2d(4, 4, 0),
        lambda: nn.Conv2d(4, 4, (1, 2, 3)),
        lambda: nn.Conv2d(4, 4, 3, stride=0),
        lambda: nn.Conv2d(4, 4, 3, dilation=0),
        lambda: nn.Conv2d(4, 4, 3, padding=-1),
        lambda: nn.Conv2d(4, 4, 3, padding="some"),
        lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"),
        lambda: nn.Conv2d(4, 4, 3, groups=0),
        lambda: nn.Conv2d(True, 4, 3),
        lambda: nn.ConvTranspose2d(4, 4, 3, padding="same"),
        lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"),
        lambda: nn.ConvTranspose2d(4, 4, 3, output_padding=-1),
        lambda: nn.MaxPool2d(0),
        lambda: nn.AvgPool2d(2, stride=0),
        lambda: nn.MaxPool2d(2, dilation=0),
        lambda: nn.BatchNorm2d(0),
        lambda: nn.BatchNorm2d(3, eps=0),
        lambda: nn.BatchNorm2d(3, momentum=1.5),
        lambda: nn.BatchNorm2d(3, momentum=float("nan")),
        lambda: nn.LayerNorm(0),
        lambda: nn.LayerNorm(3, eps=-1),
        lambda: nn.GroupNorm(2, 3),
        lambda: nn.Dropout(1.5),
        lambda: nn.Dropout(float("nan")),
        lambda: nn.Hardtanh(1, 1),
        lambda: nn.GELU("erf"),
        lambda: nn.CrossEntropyLoss(reduction="average"),
        lambda: nn.KLDivLoss(reduction="average"),
        lambda: nn.HuberLoss(delta=0),
        lambda: nn.Embedding(3, 2, padding_idx=3),
        lambda: nn.Upsample(),
        lambda: nn.Upsample(scale_factor=2, mode="cubic"),
        lambda: nn.Conv2d(4, 4, 3, dtype="int64"),
        lambda: nn.Linear(3, 2, bias="no"),
        lambda: nn.MaxPool2d(2, padding=2),
        lambda: nn.MaxPool2d(2, padding="some"),
        lambda: nn.AvgPool2d(2, divisor_override=0),
        lambda: nn.AdaptiveAvgPool2d((1, 2, 3)),
        lambda: nn.AdaptiveMaxPool3d(0),
        lambda: nn.MaxUnpool2d(2, padding=-1),
        lambda: nn.Unflatten(1, 3),
        lambda: nn.ZeroPad2d((1, 2, 3)),
        lambda: nn.ConstantPad2d(1, "x"),
        lambda: nn.Fold(4, 0),
        lambda: nn.Unfold(1.5),
        lambda: nn.PReLU(0),
        lambda: nn.LeakyReLU(None),
        lambda: nn.ReLU(inplace=1),
        lambda: nn.SmoothL1Loss(beta=-1),
        lambda: nn.InstanceNorm2d(0),
        lambda: nn.CrossEntropyLoss(label_smoothing=2),
    ],
)
def test_options_out_of_range_are_refused_at_construction(make: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^(\w+): .*(got|divide|crops|unknown)"):
        make()


def test_default_dtype_and_dtype() -> None:
    assert nn.Linear(1, 1).weight.dtype == np.float32
    assert nn.BatchNorm2d(1, dtype="float64").running_var.dtype == np.float64
    tc.set_default_dtype("float64")
    try:
        assert nn.Conv2d(1, 1, 1).bias.dtype == np.float64
        assert nn.BatchNorm2d(1).running_mean.dtype == np.float64
    finally:
        tc.set_default_dtype("float32")


# ---- how layers start ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(100, 200), 100),
        (nn.Conv2d(16, 64, 5), 16 * 25),
        (nn.Conv2d(64, 256, 3, groups=16), 4 * 9),
        (nn.Conv2d(512, 1024, 3, groups=512), 9),
        (nn.Conv1d(32, 64, 7), 32 * 7),
        (nn.ConvTranspose2d(64, 32, 3), 32 * 9),
        (nn.ConvTranspose2d(64, 32, 3, groups=4), 8 * 9),
    ],
    ids=repr,
)
def test_layers_start_uniform_within_one_over_the_root_of_fan_in(layer: Any, fan_in: int) -> None:
    tc.manual_seed(3)
    layer.reset_parameters()
    bound = fan_in**-0.5
    weight = layer.weight.data
    assert abs(weight).max() <= bound
    assert abs(weight).max() > 0.99 * bound
    assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert abs(layer.bias.data).max() <= bound
    assert abs(layer.bias.data).max() > 0.5 * bound


def test_the_same_seed_starts_alike_in_every_dtype() -> None:
    tc.manual_seed(5)
    single = nn.Conv2d(2, 3, 3)
    tc.manual_seed(5)
    double = nn.Conv2d(2, 3, 3, dtype="float64")
    np.testing.assert_array_equal(single.weight.data, double.weight.data.astype(np.float32))
    double.reset_parameters()
    assert (single.weight.data != double.weight.data).all()


# ---- batch normalisation ---------------------------------------------------------------------------------------


def test_batch_norm_normalises_by_the_batch_and_remembers() -> None:
    layer, x = nn.BatchNorm2d(3), draw(8, 3, 4, 4) * 3 + 5
    y = layer(x).data
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(layer.running_mean.data, 0.1 * x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.data, 0.9 + 0.1 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 1
    layer.reset_running_stats()
    assert layer.running_var.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked.item() == 0


def test_batch_norm_without_momentum_takes_the_mean_of_all_batches() -> None:
    layer, batches = nn.BatchNorm1d(2, momentum=None), draw(5, 4, 2)
    for batch in batches:
        layer(batch)
    np.testing.assert_allclose(layer.running_mean.data, batches.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.data, batches.var(1, ddof=1).mean(0), rtol=1e-5)


def test_batch_norm_in_evaluation_changes_nothing_and_works_from_the_start() -> None:
    layer, x = nn.BatchNorm2d(3).eval(), draw(1, 3, 1, 1)
    before = layer.state_dict()
    np.testing.assert_allclose(layer(x).data, x, rtol=1e-4)
    assert all((value.data == layer.state_dict()[name].data).all() for name, value in before.items())


def test_batch_norm_without_statistics_uses_the_batch_in_evaluation_too() -> None:
    layer, x = nn.BatchNorm2d(3, track_running_stats=False), draw(4, 3, 2, 2)
    trained = layer(x).data
    np.testing.assert_array_equal(layer.eval()(x).data, trained)
    assert list(layer.buffers()) == []


def test_batch_norm_refuses_a_single_value_per_channel() -> None:
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="in training there must be more than one value per channel") as caught:
        layer(draw(1, 3, 1, 1))
    assert "(1, 3, 1, 1)" in str(caught.value)
    assert layer.num_batches_tracked.item() == 0


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm2d(3), (2, 3), r"BatchNorm2d: x must have shape \(N, C, H, W\), x.shape = \(2, 3\)"),
        (nn.BatchNorm1d(3), (2, 3, 4, 4), r"BatchNorm1d: x must have shape \(N, C\) or \(N, C, L\)"),
        (nn.BatchNorm3d(3), (2, 3, 4, 4), r"BatchNorm3d: x must have shape \(N, C, D, H, W\)"),
        (nn.BatchNorm2d(3), (2, 4, 5, 5), r"expects 3 channels \(num_features\), x has 4 \(x.shape = \(2, 4, 5, 5\)\)"),
    ],
)
def test_batch_norm_names_what_it_expects(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(tc.ShapeError, match=message):
        layer(np.zeros(shape, np.float32))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_gradient_in_both_modes(training: bool) -> None:
    layer = nn.BatchNorm1d(2, dtype="float64")
    for _ in range(3):
        layer(draw(5, 2).astype(np.float64) * 2 + 1)
    layer.train(training)
    weight, bias = np.array([1.5, -0.5]), np.array([0.2, 0.1])

    def run(x: Any, weight: Any, bias: Any) -> Any:
        return F.batch_norm(x, layer.running_mean.data.copy(), layer.running_var.data.copy(), weight, bias, training)

    testing.gradcheck(run, (draw(4, 2, seed=1).astype(np.float64), weight, bias))
    layer.weight.data, layer.bias.data = weight, bias
    x = tc.tensor(draw(4, 2, seed=1).astype(np.float64), requires_grad=True)
    expected = tc.grad((run(x, layer.weight, layer.bias) ** 3).sum(), [x, layer.weight, layer.bias])
    for ours, theirs in zip(tc.grad((layer(x) ** 3).sum(), [x, layer.weight, layer.bias]), expected, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_a_checkpointed_batch_is_counted_once() -> None:
    plain, replayed = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    x = tc.tensor(draw(5, 3), requires_grad=True)
    (plain(x) ** 3).sum().backward()
    (tc.checkpoint(replayed, x) ** 3).sum().backward()
    for name, value in plain.state_dict().items():
        np.testing.assert_array_equal(value.data, replayed.state_dict()[name].data)


# ---- dropout ---------------------------------------------------------------------------------------------------


def test_dropout_is_random_in_training_and_the_identity_in_evaluation() -> None:
    layer, x = nn.Dropout(0.25), np.ones((100, 100), np.float32)
    tc.manual_seed(1)
    first = layer(x).data
    tc.manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, first)
    assert (layer(x).data != first).any()
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)}
    assert first.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(layer.eval()(x).data, x)
    whole = nn.Dropout2d(0.5)(np.ones((10, 20, 3, 3), np.float32)).data
    assert set(np.unique(whole.sum((2, 3)))) == {0, 18}


# ---- losses ----------------------------------------------------------------------------------------------------


def test_losses_are_their_functions() -> None:
    x, y, labels = draw(4, 3), draw(4, 3, seed=1), np.array([0, 2, 1, 2])
    assert nn.MSELoss()(x, y).item() == F.mse_loss(x, y).item()
    assert nn.L1Loss(reduction="sum")(x, y).item() == F.l1_loss(x, y, reduction="sum").item()
    assert nn.HuberLoss(delta=0.3)(x, y).item() == F.huber_loss(x, y, delta=0.3).item()
    assert nn.NLLLoss(ignore_index=2)(x, labels).item() == F.nll_loss(x, labels, ignore_index=2).item()
    p = F.softmax(y).data
    assert nn.KLDivLoss(reduction="batchmean")(x, p).item() == F.kl_div(x, p, reduction="batchmean").item()
    binary = F.binary_cross_entropy_with_logits(x, p, reduction="sum", pos_weight=np.float32([1, 2, 3]))
    assert nn.BCEWithLogitsLoss(reduction="sum", pos_weight=np.float32([1, 2, 3]))(x, p).item() == binary.item()
    loss = nn.CrossEntropyLoss([1.0, 2.0, 3.0], ignore_index=1, label_smoothing=0.1)
    expected = F.cross_entropy(x, labels, [1.0, 2.0, 3.0], ignore_index=1, label_smoothing=0.1)
    assert loss(x, labels).item() == expected.item()
    assert list(loss.state_dict()) == ["weight"]


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (nn, "functional", "write import tinygrad_cnn.functional as F"),
        (nn, "Conv2D", r"did you mean 'Conv2d'\?"),
        (nn, "LSTM", "has no attribute 'LSTM'"),
        (F, "upsample", r"use interpolate\("),
        (F, "flatten", r"use the method x\.flatten\(\.\.\.\)"),
        (F, "conv_2d", r"did you mean 'conv2d'\?"),
    ],
)
def test_names_of_elsewhere(module: Any, name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(module, name)
