"""ONNX files: other runtimes compute what the model computes."""

import numpy as np
import onnx
import onnx.reference
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import models, nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect", groups=1)
        self.conv2 = nn.Conv2d(4, 4, 3, stride=2, padding=((0, 1), (1, 2)), groups=2, dilation=2)
        self.up = nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x):
        y = F.gelu(self.norm(self.conv1(x)))
        y = tc.cat(
            [F.max_pool2d(y, 3, 2, 1, ceil_mode=True), F.avg_pool2d(y, 3, 2, 1, count_include_pad=False)], axis=3
        )
        y = F.relu6(self.conv2(y)) + tc.clip(self.conv2(y), -1, None)
        return self.up(F.pad(y, (1, 1), value=0.5) * 2 - 1).reshape(x.shape[0], -1)


def spatial(d):
    conv, pool = getattr(nn, f"Conv{d}d"), getattr(nn, f"MaxPool{d}d")
    return nn.Sequential(conv(3, 4, 2), nn.SiLU(), pool(2), nn.Flatten(2), nn.Linear(*{1: (2, 3), 2: (4, 3)}[d]))


def run(model, shape, tmp_path, batch=4):
    path = tmp_path / "model.onnx"
    tc.onnx.export(model, shape, path)
    dtype = next(iter(model.parameters())).dtype
    x = np.random.default_rng(0).normal(size=(batch, *shape)).astype(dtype)
    (theirs,) = onnx.reference.ReferenceEvaluator(str(path)).run(None, {"input": x})
    model.eval()
    with tc.no_grad():
        return theirs, model(tc.tensor(x)).data


def trained(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.data[...] = np.linspace(-1, 1, len(module.running_mean))
            module.running_var.data[...] = np.linspace(0.5, 2, len(module.running_var))
    return model


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (models.lenet5, (1, 28, 28)),
        (models.vgg_small, (3, 32, 32)),
        (models.resnet8, (3, 32, 32)),
        (lambda: models.mlp([5, 7, 3]), (5,)),
        (Residual, (3, 9, 12)),
        (lambda: spatial(1), (3, 5)),
        (lambda: spatial(2), (3, 5, 5)),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.LeakyReLU(), nn.Dropout(), nn.Softmax(-1)), (4,)),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.Hardswish(), nn.GlobalAvgPool2d()).to("float64"), (1, 4, 4)),
    ],
)
def test_onnx_computes_the_same_for_any_batch(model, shape, tmp_path):
    tc.manual_seed(0)
    theirs, ours = run(trained(model()), shape, tmp_path)
    assert theirs.dtype == ours.dtype
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_parameters_keep_their_names_and_the_model_its_mode(tmp_path):
    model = models.lenet5()
    before = {name: tensor.data.copy() for name, tensor in model.state_dict().items()}
    tc.onnx.export(model, (1, 28, 28), tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert {name for name, _ in model.named_parameters()} <= {constant.name for constant in graph.initializer}
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert model.training
    assert all((tensor.data == before[name]).all() for name, tensor in model.state_dict().items())


class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(1)[0]


class Twice(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("model", "shape", "error", "message"),
    [
        (
            nn.Sequential(nn.Linear(3, 3), Sorted()),
            (3,),
            NotImplementedError,
            r"op '\w+' in module '1' has no ONNX form",
        ),
        (Twice(), (3,), NotImplementedError, "must return one Tensor, not tuple"),
        (F.relu, (3,), TypeError, "must be an nn.Module, got"),
        (nn.ReLU(), (3, -1), ValueError, "positive lengths without the batch axis"),
    ],
)
def test_what_cannot_be_exported_writes_nothing(model, shape, error, message, tmp_path):
    with pytest.raises(error, match=message):
        tc.onnx.export(model, shape, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
