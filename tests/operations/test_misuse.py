"""Every option of every function, given what it can not be: an error of the caller's kind, before anything is computed.

The message begins with the function's name, names the argument, and never is NumPy's or Python's own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, nn, optim

nan = float("nan")
WRONG_NUMBERS = [None, "x", (), (1.0, 2.0), {}, object(), np.array([1.0, 2.0]), 1j, True, nan]
WRONG_INTEGERS = [*WRONG_NUMBERS, 1.5]
WRONG_FLAGS = [None, "no", 0, 1, 1.0, (), np.array([1, 2])]
WRONG_WORDS = [None, "nonsense", 0, True, (), ["mean"], np.array([1, 2])]
WRONG_SIZES = [None, "x", 0, -1, 1.5, True, nan, (), (1, 2, 3, 4), (1.5, 2), {}, object(), np.array(2.5)]
WRONG_PADDINGS = ["half", -1, 1.5, True, nan, (), (1, 2, 3, 4), ((1, 2, 3),), {}, object(), np.array(2.5)]
WRONG_ARRAYS = ["x", {}, object(), np.array(["a"], dtype=object), np.ones((2, 3), complex), [[1.0], [1.0, 2.0]]]

NUMBERS = {"p", "eps", "momentum", "label_smoothing", "delta", "beta", "threshold", "alpha", "negative_slope", "value",
           "lr", "weight_decay", "lr_decay", "gamma", "factor", "max_norm", "clip_value", "norm_type", "gain", "a",
           "mean", "std", "min_val", "max_val", "init", "eta_min", "start_factor", "end_factor"}  # fmt: skip
INTEGERS = {"groups", "num_groups", "num_classes", "ignore_index", "in_channels", "out_channels", "num_features",
            "num_channels", "in_features", "out_features", "num_embeddings", "embedding_dim", "start_dim", "end_dim",
            "num_parameters", "batch_size", "step_size", "T_max", "total_iters", "total_steps", "patience", "cooldown",
            "dim", "pixels"}  # fmt: skip
FLAGS = {"ceil_mode", "return_indices", "count_include_pad", "training", "use_input_stats", "log_target", "bias",
         "affine", "track_running_stats", "elementwise_affine", "inplace", "nesterov", "maximize", "amsgrad",
         "centered", "shuffle", "drop_last", "three_phase"}  # fmt: skip
WORDS = {
    "mode",
    "padding_mode",
    "reduction",
    "approximate",
    "nonlinearity",
    "anneal_strategy",
    "threshold_mode",
    "split",
}
SIZES = {"kernel_size", "dilation", "output_size"}
ARRAYS = {"x", "input", "target", "logits", "weight", "labels", "indices", "pos_weight"}


def _f(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _calls() -> Iterator[tuple[Callable[..., Any], str, dict[str, Any]]]:
    """(function, its name, the arguments of a call that is right)"""
    p = np.full((3, 4), 0.5, np.float32)
    for d, size, kernel in ((1, (7,), (3,)), (2, (7, 6), (3, 2)), (3, (5, 4, 6), (3, 2, 2))):
        x = _f(2, 4, *size)
        yield getattr(F, f"conv{d}d"), "", {"x": x, "weight": _f(6, 2, *kernel), "groups": 2}
        yield getattr(F, f"conv_transpose{d}d"), "", {"x": x, "weight": _f(4, 2, *kernel)}
        for kind in ("max", "avg"):
            yield getattr(F, f"{kind}_pool{d}d"), "", {"x": x, "kernel_size": 2}
            yield getattr(F, f"adaptive_{kind}_pool{d}d"), "", {"x": x, "output_size": 2}
        for name in ("Conv", "ConvTranspose"):
            yield getattr(nn, f"{name}{d}d"), "", {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
        for name in ("MaxPool", "AvgPool"):
            yield getattr(nn, f"{name}{d}d"), "", {"kernel_size": 2}
        yield getattr(nn, f"BatchNorm{d}d"), "", {"num_features": 3}
        yield getattr(nn, f"InstanceNorm{d}d"), "", {"num_features": 3}
    yield F.convolve2d, "", {"x": _f(2, 4, 7, 6), "weight": _f(6, 4, 3, 2)}
    yield F.pad, "", {"x": _f(2, 3), "pads": (1, 1)}
    yield F.unfold, "", {"x": _f(2, 3, 5, 5), "kernel_size": 2}
    yield F.fold, "", {"x": _f(2, 12, 16), "output_size": (5, 5), "kernel_size": 2}
    yield F.interpolate, "", {"x": _f(2, 3, 5, 5), "size": (3, 7)}
    yield F.global_avg_pool, "", {"x": _f(2, 3, 5, 5)}
    yield F.global_max_pool, "", {"x": _f(2, 3, 5, 5)}
    for name in ("leaky_relu", "elu", "softplus", "hardtanh", "gelu"):
        yield getattr(F, name), name, {"x": _f(3, 4)}
    yield F.linear, "", {"x": _f(3, 4), "weight": _f(5, 4)}
    yield F.prelu, "", {"x": _f(3, 4), "weight": _f(4)}
    yield F.dropout, "", {"x": _f(3, 4)}
    yield F.dropout2d, "", {"x": _f(2, 3, 4, 4)}
    yield F.batch_norm, "", {"x": _f(3, 4, 2), "training": True}
    yield F.layer_norm, "", {"x": _f(3, 4), "normalized_shape": (4,)}
    yield F.group_norm, "", {"x": _f(3, 4, 2), "num_groups": 2}
    yield F.instance_norm, "", {"x": _f(3, 4, 2)}
    yield F.cross_entropy, "", {"logits": _f(3, 4), "target": [0, 1, 3]}
    yield F.nll_loss, "", {"input": _f(3, 4), "target": [0, 1, 3]}
    for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div", "binary_cross_entropy",
                 "binary_cross_entropy_with_logits"):  # fmt: skip
        yield getattr(F, name), "", {"input": p, "target": p}
    yield F.one_hot, "", {"labels": [0, 1, 3], "num_classes": 5}
    yield F.embedding, "", {"input": [0, 1, 3], "weight": _f(5, 2)}
    yield nn.Linear, "", {"in_features": 3, "out_features": 2}
    yield nn.LayerNorm, "", {"normalized_shape": 3}
    yield nn.GroupNorm, "", {"num_groups": 2, "num_channels": 4}
    yield nn.Embedding, "", {"num_embeddings": 5, "embedding_dim": 2}
    for name in (
        "Dropout", "Dropout2d", "Flatten", "ReLU", "ReLU6", "SiLU", "LeakyReLU", "ELU", "Softplus", "GELU", "PReLU",
        "Softmax", "LogSoftmax", "Hardtanh", "CrossEntropyLoss", "NLLLoss", "HuberLoss", "SmoothL1Loss", "MSELoss",
        "L1Loss", "BCELoss", "BCEWithLogitsLoss", "KLDivLoss",
    ):  # fmt: skip
        yield getattr(nn, name), "", {}
    for name in ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "orthogonal_", "normal_",
                 "uniform_"):  # fmt: skip
        yield getattr(nn.init, name), "", {"tensor": tc.zeros(3, 4)}
    w = nn.Parameter([1.0])
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad"):
        yield getattr(optim, name), "", {"params": [w], "lr": 0.1}
    s, o = optim.lr_scheduler, optim.SGD([w], lr=0.1, momentum=0.9)
    yield s.StepLR, "", {"optimizer": o, "step_size": 2}
    yield s.MultiStepLR, "", {"optimizer": o, "milestones": [2]}
    yield s.ExponentialLR, "", {"optimizer": o, "gamma": 0.9}
    yield s.LinearLR, "", {"optimizer": o}
    yield s.CosineAnnealingLR, "", {"optimizer": o, "T_max": 5}
    yield s.OneCycleLR, "", {"optimizer": o, "max_lr": 0.1, "total_steps": 9}
    yield s.ReduceLROnPlateau, "", {"optimizer": o}
    yield nn.utils.clip_grad_norm_, "", {"parameters": [w], "max_norm": 1.0}
    yield nn.utils.clip_grad_value_, "", {"parameters": [w], "clip_value": 1.0}
    for name in ("lenet5", "vgg_small", "convnet_preview", "resnet8", "resnet20"):
        yield getattr(models, name), "", {"num_classes": 3}
    yield data.DataLoader, "", {"dataset": data.TensorDataset(np.zeros((4, 2))), "batch_size": 2}
    yield data.transforms.RandomShift, "", {"pixels": 1}
    yield data.transforms.RandomHorizontalFlip, "", {}


CALLS = {name or function.__name__: (function, arguments) for function, name, arguments in _calls()}


WRONG = {
    **dict.fromkeys(NUMBERS, WRONG_NUMBERS), **dict.fromkeys(INTEGERS, WRONG_INTEGERS),
    **dict.fromkeys(FLAGS, WRONG_FLAGS), **dict.fromkeys(WORDS, WRONG_WORDS), **dict.fromkeys(SIZES, WRONG_SIZES),
    **dict.fromkeys(ARRAYS, WRONG_ARRAYS), "stride": WRONG_SIZES, "padding": WRONG_PADDINGS,
}  # fmt: skip


def _wrong(option: str, function: Callable[..., Any]) -> list[Any]:
    """Values that the option can not have; None only where it is not the default."""
    default = inspect.signature(function).parameters[option].default
    values = WRONG.get(option, [])
    if option == "bias" and not isinstance(default, bool):
        values = WRONG_ARRAYS  # a function's, not a layer's
    if option == "value":
        values = [v for v in values if v is not nan]
    if isinstance(function, tc.Op):
        values = [v for v in values if not any(v is w for w in WRONG_ARRAYS[-2:])]  # records take complex steps
    return [v for v in values if not (v is None and default is None)]


@pytest.mark.parametrize("name", CALLS)
def test_wrong_options(name: str) -> None:
    function, arguments = CALLS[name]
    function(**arguments)
    tried = 0
    for option in inspect.signature(function).parameters:
        for value in _wrong(option, function):
            if value is None and (name.startswith(("BatchNorm", "InstanceNorm")) and option == "momentum"):
                continue  # the mean of all batches
            with pytest.raises((TypeError, ValueError, IndexError)) as caught:
                function(**{**arguments, option: value})
            message = str(caught.value)
            assert re.match(rf"{name}: ", message), f"{option}={value!r}: {message}"
            assert option in message, f"{option}={value!r}: {message}"
            tried += 1
    assert tried or not inspect.signature(function).parameters
