"""What is timed: training steps and single operations, as data that every library's module understands."""

from __future__ import annotations

from typing import Any, NamedTuple

BATCH = 64


class Step(NamedTuple):
    """A training step: zero the gradients, forward, loss, backward, SGD with momentum."""

    name: str
    model: str  # a name, or layers for `sequential`
    image: tuple[int, ...]  # (C, H, W)
    batch: int = BATCH


class Operation(NamedTuple):
    """One operation, forward and backward, on an input of this shape."""

    name: str
    kind: str
    shape: tuple[int, ...]
    options: dict[str, Any] = {}  # noqa: RUF012  (nothing writes to it)


STEPS = [
    Step("VGG-small", "vgg_small", (3, 32, 32)),
    Step("LeNet-5", "lenet5", (1, 28, 28)),
    Step("ResNet-8", "resnet8", (3, 32, 32)),
]

# Other channel counts, kernels, strides, odd sizes and batches than those that the targets name.
OTHER_STEPS = [
    Step("step: 5x5, stride 2, batch norm, 37x37", "24k5 N R M 48k5s2 N R 96k3 N R G", (3, 37, 37), 32),
    Step("step: 7x7 stem, stride 2, 65x65", "40k7s2 N R M 40k3 N R 80k3s2 N R G", (3, 65, 65), 16),
    Step("step: VGG-small, batch 1", "vgg_small", (3, 32, 32), 1),
    Step("step: VGG-small, batch 256", "vgg_small", (3, 32, 32), 256),
    Step("step: LeNet-5, batch 1", "lenet5", (1, 28, 28), 1),
    Step("step: LeNet-5, batch 256", "lenet5", (1, 28, 28), 256),
    Step("step: narrow, 10 filters", "10k3 R 10k3 R M 10k3 R 10k3 R M 10k3 R 10k3 R M", (3, 32, 32)),
    Step("step: wide, 128 and 256, 16x16", "128k3 N R 128k3 N R M 256k3 N R G", (3, 16, 16), 32),
    Step("step: odd widths 13 and 29, 29x29", "13k3 N R 29k3 N R M 29k5 R A G", (1, 29, 29)),
]


def sequential(nn: Any, layers: str, channels: int, size: int, classes: int = 10) -> Any:
    """A network in either library, for `nn` has the same names in both.

    "24k5s2": 24 filters of 5 x 5 at stride 2, half of the kernel padded; N batch norm; R ReLU; M and A max and average
    pooling 2 x 2; G the mean over the image. A linear layer ends it.
    """
    made = []
    for word in layers.split():
        if word == "N":
            made.append(nn.BatchNorm2d(channels))
        elif word == "R":
            made.append(nn.ReLU())
        elif word in "MA":
            made.append((nn.MaxPool2d if word == "M" else nn.AvgPool2d)(2))
            size //= 2
        elif word == "G":
            made.append(nn.AdaptiveAvgPool2d(1))
            size = 1
        else:
            filters, _, rest = word.partition("k")
            kernel, _, stride = rest.partition("s")
            k, s = int(kernel), int(stride or 1)
            made.append(nn.Conv2d(channels, int(filters), k, stride=s, padding=k // 2))
            channels, size = int(filters), (size + 2 * (k // 2) - k) // s + 1
    return nn.Sequential(*made, nn.Flatten(), nn.Linear(channels * size * size, classes))


def _conv(name: str, shape: tuple[int, ...], filters: int, kernel: int, **options: int) -> Operation:
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return Operation(f"conv {name}", "conv2d", shape, {**defaults, "filters": filters, "kernel": kernel, **options})


OPERATIONS = [
    _conv("3x3, 3→32", (BATCH, 3, 32, 32), 32, 3, padding=1),
    _conv("3x3, 32→32", (BATCH, 32, 32, 32), 32, 3, padding=1),
    _conv("3x3, 64→64", (BATCH, 64, 16, 16), 64, 3, padding=1),
    _conv("3x3, 128→128", (BATCH, 128, 8, 8), 128, 3, padding=1),
    _conv("3x3 stride 2, 32→64", (BATCH, 32, 32, 32), 64, 3, padding=1, stride=2),
    _conv("1x1, 64→64", (BATCH, 64, 16, 16), 64, 1),
    _conv("3x3 depthwise, 32", (BATCH, 32, 32, 32), 32, 3, padding=1, groups=32),
    _conv("3x3 dilated, 32→32", (BATCH, 32, 32, 32), 32, 3, padding=2, dilation=2),
    _conv("5x5, 6→16", (BATCH, 6, 14, 14), 16, 5),
    Operation("max pool 2x2", "max_pool2d", (BATCH, 32, 32, 32), {"kernel": 2}),
    Operation("max pool 3x3 stride 2", "max_pool2d", (BATCH, 32, 32, 32), {"kernel": 3, "stride": 2, "padding": 1}),
    Operation("average pool 2x2", "avg_pool2d", (BATCH, 32, 32, 32), {"kernel": 2}),
    Operation("batch norm", "batch_norm", (BATCH, 16, 32, 32)),
    Operation("relu", "relu", (BATCH, 32, 32, 32)),
    Operation("softmax cross-entropy, 10", "cross_entropy", (BATCH, 10)),
    Operation("softmax cross-entropy, 1000", "cross_entropy", (256, 1000)),
    Operation("linear 4096→256", "linear", (BATCH, 4096), {"filters": 256}),
]

# Not asked for by a target: a search for shapes at which a path is chosen badly.
OTHER_OPERATIONS = [
    _conv("7x7 stride 2, 3→64, 64x64", (16, 3, 64, 64), 64, 7, padding=3, stride=2),
    _conv("5x5, 32→32, 28x28", (32, 32, 28, 28), 32, 5, padding=2),
    _conv("3x3, 13→29, 27x27", (32, 13, 27, 27), 29, 3, padding=1),
    _conv("3x3, 256→256, 8x8", (16, 256, 8, 8), 256, 3, padding=1),
    _conv("3x3, 64→64, one image 56x56", (1, 64, 56, 56), 64, 3, padding=1),
    _conv("3x3, 16→16, batch 256", (256, 16, 32, 32), 16, 3, padding=1),
    _conv("1x1 stride 2, 64→128", (BATCH, 64, 32, 32), 128, 1, stride=2),
    _conv("3x3, 4 groups, 64→64", (BATCH, 64, 16, 16), 64, 3, padding=1, groups=4),
    _conv("5x5 depthwise stride 2, 48", (32, 48, 33, 33), 48, 5, padding=2, stride=2, groups=48),
    _conv("3x3, 1→8, 28x28", (BATCH, 1, 28, 28), 8, 3, padding=1),
    Operation("max pool 2x2, odd 27x27", "max_pool2d", (BATCH, 24, 27, 27), {"kernel": 2}),
    Operation("average pool 3x3 stride 2", "avg_pool2d", (BATCH, 32, 32, 32), {"kernel": 3, "stride": 2, "padding": 1}),
    Operation("batch norm, 64 channels 8x8", "batch_norm", (BATCH, 64, 8, 8)),
    Operation("batch norm, 24 channels 37x37", "batch_norm", (32, 24, 37, 37)),
    Operation("linear 784→128, batch 256", "linear", (256, 784), {"filters": 128}),
    Operation("relu, small", "relu", (BATCH, 120)),
]

OVERHEADS = ["add", "mul", "mul by a number", "tanh", "exp", "sum", "mean", "matmul"]  # of one element
ELEMENTWISE = OVERHEADS[:5]

_ALL: list[Step | Operation] = [*STEPS, *OTHER_STEPS, *OPERATIONS, *OTHER_OPERATIONS]
CASES = {case.name: case for case in _ALL}
