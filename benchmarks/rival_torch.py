"""The timed programs in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases import Operation, Step, sequential


def settings(threads: int) -> list[dict[str, Any]]:
    """Both memory formats, one thread and all of them."""
    return [{"layout": layout, "threads": n} for layout in ("NCHW", "channels_last") for n in sorted({1, threads})]


def _set(layout: str, threads: int) -> torch.memory_format:
    torch.set_num_threads(threads)
    return torch.channels_last if layout == "channels_last" else torch.contiguous_format


def step(case: Step, layout: str, threads: int) -> Callable[[], Any]:
    memory = _set(layout, threads)
    torch.manual_seed(0)
    model = sequential(nn, case.model, *case.image[:2]) if " " in case.model else MODELS[case.model]()
    model = model.to(memory_format=memory)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(case.batch, *case.image).contiguous(memory_format=memory)
    labels = torch.randint(0, 10, (case.batch,))

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


def operation(case: Operation, layout: str, threads: int) -> Callable[[], Any]:
    memory = _set(layout, threads)
    x = torch.randn(case.shape)
    x = (x.contiguous(memory_format=memory) if x.ndim == 4 else x).requires_grad_()
    o = case.options
    function: Callable[[Any], Any]
    parameters: list[torch.Tensor] = []
    if case.kind == "conv2d":
        rest = {name: o[name] for name in ("stride", "padding", "dilation", "groups")}
        function = nn.Conv2d(case.shape[1], o["filters"], o["kernel"], **rest).to(memory_format=memory)
    elif case.kind == "linear":
        function = nn.Linear(case.shape[1], o["filters"])
    elif case.kind == "batch_norm":
        function = nn.BatchNorm2d(case.shape[1]).to(memory_format=memory)
    elif case.kind == "cross_entropy":
        labels = torch.randint(0, case.shape[1], case.shape[:1])
        function = lambda t: F.cross_entropy(t, labels)  # noqa: E731
    elif case.kind == "relu":
        function = F.relu
    else:
        kernel, rest = o["kernel"], {name: value for name, value in o.items() if name != "kernel"}
        function = lambda t: getattr(F, case.kind)(t, kernel, **rest)  # noqa: E731
    if isinstance(function, nn.Module):
        parameters = list(function.parameters())
    y = function(x)
    g = torch.randn(y.shape)
    g = g.contiguous(memory_format=memory) if g.ndim == 4 else torch.ones(()) if g.ndim == 0 else g

    def run() -> None:
        for t in (x, *parameters):
            t.grad = None
        function(x).backward(g)

    return run


def chain(op: str, length: int) -> Callable[[], Any]:
    """Forward and backward of a chain of operations on one element."""
    torch.set_num_threads(1)
    x = torch.tensor([[0.5]], requires_grad=True)
    g = torch.ones(1, 1)

    def run() -> None:
        x.grad = None
        y = x
        for _ in range(length):
            if op == "add":
                y = y + x
            elif op == "mul":
                y = y * x
            elif op == "mul by a number":
                y = y * 1.001
            elif op == "matmul":
                y = y @ x
            elif op in ("sum", "mean"):
                y = getattr(y, op)(1, keepdim=True)
            else:
                y = getattr(y, op)()
        y.backward(g)

    return run


# ---- models ----------------------------------------------------------------------------------------------------


def vgg_small() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 32, 0, 64, 64, 0):  # 0: a pool
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, 10))


def lenet5() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


class Block(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet8() -> nn.Module:
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {"vgg_small": vgg_small, "lenet5": lenet5, "resnet8": resnet8}
