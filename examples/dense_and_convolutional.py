"""The same digits, seen by fully connected and by convolutional networks: parameters, accuracy, shifted images.

Every number in the table is measured here. Run: python examples/dense_and_convolutional.py
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, nn, optim

# The convolutional one has the filters of the README's network; none was chosen by its test accuracy.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "shallow: one dense layer": lambda: models.mlp([64, 10]),
    "dense, 256 hidden": lambda: models.mlp([64, 256, 10]),
    "dense, dropout": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10)
    ),
    "convolutional": lambda: models.cnn("8 M 16 M", in_channels=1, image_size=8, num_classes=10),
}


def train(model: nn.Module, dataset: data.TensorDataset, epochs: int = 20) -> None:
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    loader = data.DataLoader(dataset, 64, shuffle=True, seed=0)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(tc.tensor(images)), labels).backward()
            optimizer.step()
    model.eval()


def accuracy(model: nn.Module, dataset: data.TensorDataset, shift: int = 0) -> float:
    """The share of right answers, on images moved to the right by `shift` pixels."""
    images, labels = dataset[:]
    with tc.no_grad():
        logits = model(tc.tensor(np.roll(images, shift, axis=3)))
    return float((logits.data.argmax(1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/dense_and_convolutional"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    few = data.TensorDataset(*data.digits("train")[:500])  # few enough to overfit
    test = data.digits("test")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    print(f"{'network':<26}{'parameters':>11}{'training':>10}{'test':>8}{'test, 1 pixel to the right':>28}")
    for name, build in NETWORKS.items():
        tc.manual_seed(0)
        model = build()
        train(model, few)
        size = sum(p.size for p in model.parameters())
        by_shift = [accuracy(model, test, shift) for shift in range(4)]
        print(f"{name:<26}{size:>11,}{accuracy(model, few):>10.1%}{by_shift[0]:>8.1%}{by_shift[1]:>28.1%}")
        axes.plot([100 * a for a in by_shift], "o-", label=name)
    axes.set(xlabel="shift of the test images (pixels)", ylabel="test accuracy (%)", xticks=range(4))
    axes.legend()
    figure.savefig(out / "shifted.png", dpi=100)
    print(f"wrote {out / 'shifted.png'}")


if __name__ == "__main__":
    main()
