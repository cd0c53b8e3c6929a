"""Prints the DOT of a small net of whole numbers: python net.py module|op."""

import sys
from typing import Any

import numpy as np

import tinygrad_cnn as tc
import viz
from tinygrad_cnn import nn


class Net(nn.Module):
    def __init__(self) -> None:
        self.features = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.skip, self.fc = nn.Conv2d(3, 3, 1), nn.Linear(48, 4)

    def forward(self, x: Any) -> Any:
        h = self.features(x)
        return self.fc((h + self.skip(h)).flatten(1))


def main() -> None:
    net = Net()
    for i, p in enumerate(net.parameters()):
        p.data = ((np.arange(p.size) * (i + 3)) % 7 - 3).reshape(p.shape).astype(np.float32)
    x = (np.arange(2 * 100) % 5 - 2).reshape(2, 1, 10, 10).astype(np.float32)
    with viz.capture(net) as cap:
        net(tc.tensor(x)).square().sum().backward()
    sys.stdout.buffer.write(cap.figure(level=sys.argv[1]).dot().encode())


if __name__ == "__main__":
    main()
