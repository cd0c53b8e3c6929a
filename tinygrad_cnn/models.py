"""Small convolutional networks, ready to train; the names of their layers are those that pictures and tables show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinygrad_cnn import nn
from tinygrad_cnn.checks import integer
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.operations.geometry import per_axis


def lenet5(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """LeNet-5 for images of 28 x 28 pixels, with ReLU and max pooling. LeCun et al. 1998.

    conv1 1→6 5x5 pad 2, pool 2; conv2 6→16 5x5, pool 2; fc1 400→120, fc2 →84, fc3 →10: 61,706 parameters.

    >>> sum(p.size for p in lenet5().parameters())
    61706
    """
    _check_counts("lenet5", num_classes=num_classes, in_channels=in_channels)
    return nn.Sequential(
        {
            "conv1": nn.Conv2d(in_channels, 6, 5, padding=2), "relu1": nn.ReLU(), "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(6, 16, 5), "relu2": nn.ReLU(), "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(400, 120), "relu3": nn.ReLU(),
            "fc2": nn.Linear(120, 84), "relu4": nn.ReLU(),
            "fc3": nn.Linear(84, num_classes),
        }
    )  # fmt: skip


def vgg_small(num_classes: int = 10) -> nn.Sequential:
    """A small VGG for images of 3 x 32 x 32: `cnn("32 32 M 64 64 M 256")`. Simonyan and Zisserman 2014.

    conv1 3→32, conv2 →32, pool; conv3 →64, conv4 →64, pool, all 3x3 pad 1; fc1 4096→256, fc2 →10: 1,116,970 parameters.

    >>> sum(p.size for p in vgg_small().parameters())
    1116970
    """
    _check_counts("vgg_small", num_classes=num_classes)
    return cnn("32 32 M 64 64 M 256", in_channels=3, image_size=32, num_classes=num_classes)


def convnet_preview(num_classes: int = 10) -> nn.Sequential:
    """The network of the lectures' preview, for images of 3 x 32 x 32. Lectures D3.

    conv1 ... conv6 of ten 3x3 filters pad 1, each with a ReLU, a pool after every second, fc 160→10: 6,440 parameters.

    >>> sum(p.size for p in convnet_preview().parameters())
    6440
    """
    _check_counts("convnet_preview", num_classes=num_classes)
    layers = dict(_features(["10", "10", "M"] * 3, in_channels=3))
    return nn.Sequential({**layers, "flatten": nn.Flatten(), "fc": nn.Linear(160, num_classes)})


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Fully connected layers fc1, fc2 ... with ReLU between; images are flattened: sizes [784, 100, 10], say.

    >>> mlp([784, 100, 10])
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (fc1): Linear(in_features=784, out_features=100, bias=True)
      (relu1): ReLU()
      (fc2): Linear(in_features=100, out_features=10, bias=True)
    )
    """
    if not isinstance(sizes, list | tuple) or len(sizes) < 2:
        raise ValueError(f"mlp: sizes must be a list of at least the inputs and the outputs, got {sizes!r}")
    _check_counts("mlp", **{f"sizes[{i}]": n for i, n in enumerate(sizes)})
    return nn.Sequential({"flatten": nn.Flatten(), **dict(_classifier(list(sizes), 0))})


def cnn(
    layers: str = "32 32 M 64 64 M 256",
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    num_classes: int = 10,
) -> nn.Sequential:
    """(Conv + ReLU → Pool) x n → Flatten → fully connected, from one line. Lectures D1, D2.

    A number up to the last M is a 3x3 convolution (stride 1, pad 1) to that many channels and a ReLU: conv1, conv2 ...
    M is a 2x2 max pool: pool1 ... A number after the last M is a fully connected layer of that width and a ReLU:
    fc1 ... One more gives num_classes logits. Without any M all numbers are fully connected layers.

    Raises ValueError for another word, or where pooling leaves no pixel.

    >>> cnn("8 M", in_channels=1, image_size=8)
    Sequential(
      (conv1): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (relu1): ReLU()
      (pool1): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (fc1): Linear(in_features=128, out_features=10, bias=True)
    )
    """
    if not isinstance(layers, str):
        raise TypeError(f"cnn: layers must be a string such as '32 32 M 64 64 M 256', got {layers!r}")
    height, width = per_axis("cnn", "image_size", image_size, 2)
    _check_counts("cnn", in_channels=in_channels, num_classes=num_classes)
    words = layers.split()
    for word in words:
        if word != "M" and not (word.isdecimal() and int(word) > 0):
            raise ValueError(f"cnn: layers are widths and M for a pool, as in '32 32 M 64 64 M 256'; got {word!r}")
    split = len(words) - words[::-1].index("M") if "M" in words else 0
    features, widths = words[:split], [int(word) for word in words[split:]]
    pools = features.count("M")
    if min(height, width) >> pools < 1:
        raise ValueError(f"cnn: {pools} pools leave no pixel of an image of {height} x {width}")
    convolutions = [int(word) for word in features if word != "M"]
    channels = convolutions[-1] if convolutions else in_channels
    inputs = channels * (height >> pools) * (width >> pools)
    return nn.Sequential(
        {
            **dict(_features(features, in_channels)),
            "flatten": nn.Flatten(),
            **dict(_classifier([inputs, *widths, num_classes], len(convolutions))),
        }
    )


def _check_counts(model: str, **counts: int) -> None:
    for name, count in counts.items():
        integer(model, name, count, least=1)


def _features(words: Sequence[str], in_channels: int) -> Iterator[tuple[str, nn.Module]]:
    convolutions = pools = 0
    for word in words:
        if word == "M":
            pools += 1
            yield f"pool{pools}", nn.MaxPool2d(2)
        else:
            convolutions += 1
            yield f"conv{convolutions}", nn.Conv2d(in_channels, int(word), 3, padding=1)
            yield f"relu{convolutions}", nn.ReLU()
            in_channels = int(word)


def _classifier(sizes: list[int], relus: int) -> Iterator[tuple[str, nn.Module]]:
    for i in range(1, len(sizes)):
        yield f"fc{i}", nn.Linear(sizes[i - 1], sizes[i])
        if i < len(sizes) - 1:
            yield f"relu{relus + i}", nn.ReLU()


# ---- residual networks -----------------------------------------------------------------------------------------


def resnet8(num_classes: int = 10) -> ResNet:
    """A residual network of 8 layers for images of 3 x 32 x 32: one block per stage, 78,042 parameters. He et al. 2015.

    >>> sum(p.size for p in resnet8().parameters())
    78042
    """
    _check_counts("resnet8", num_classes=num_classes)
    return ResNet(blocks=1, num_classes=num_classes)


def resnet20(num_classes: int = 10) -> ResNet:
    """A residual network of 20 layers for images of 3 x 32 x 32: three blocks per stage, 272,474 parameters.

    >>> sum(p.size for p in resnet20().parameters())
    272474
    """
    _check_counts("resnet20", num_classes=num_classes)
    return ResNet(blocks=3, num_classes=num_classes)


class ResNet(nn.Module):
    """Stages of 16, 32 and 64 channels, each of some blocks, after one convolution; torchvision's names of layers.

    The first block of the second and the third stage halves the image. He et al. 2015, section 4.2, with 1x1
    convolutions as shortcuts where shapes change; convolutions start as there, normal with variance 2 / fan_out.
    """

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to what came in: relu(x + bn2(conv2(relu(bn1(conv1(x))))))."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(x)) + shortcut)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *(BasicBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(blocks))
    )
