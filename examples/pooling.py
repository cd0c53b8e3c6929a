"""Pooling: who gets the gradient, what moves and what stays when an image is shifted, and what it saves.

Run: python examples/pooling.py
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, optim


def who_gets_the_gradient() -> None:
    """Max pooling hands the gradient to the winner of each window; average pooling shares it."""
    image = np.array([[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]], np.float64)
    upstream = np.array([[10, 20], [30, 40]], np.float64)[None, None]
    for pool in (F.max_pool2d, F.avg_pool2d):
        x = tc.tensor(image[None, None], requires_grad=True)
        y = pool(x, 2)
        y.backward(upstream)
        print(f"{pool.__name__}: {y.data[0, 0].tolist()}, gradient\n{x.grad.data[0, 0]}")


def trained_lenet() -> tc.nn.Module:
    """A LeNet-5 after three passes over the digits."""
    tc.manual_seed(0)
    model = models.lenet5()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for images, labels in (batch for _ in range(3) for batch in data.DataLoader(data.digits("train", size=28), 64)):
        optimizer.zero_grad()
        F.cross_entropy(model(tc.tensor(images)), labels).backward()
        optimizer.step()
    return model.eval()


def invariance(model: tc.nn.Module) -> tuple[list[float], list[float]]:
    """How far a convolution, and the network's logits, are from following a shift to the right by 0 to 6 pixels.

    A circular convolution follows exactly (it is equivariant). The whole network ends in a layer with a weight for
    every place, and is not invariant.
    """
    images = data.digits("test", size=28)[:64][0]
    weight = model.conv1.weight.data
    maps, logits = [], []
    with tc.no_grad():
        conv = lambda x: F.conv2d(x, weight, padding=2, padding_mode="circular").data  # noqa: E731 - one call
        still = model(tc.tensor(images)).data
        for shift in range(7):
            moved = np.roll(images, shift, axis=3)
            maps.append(float(abs(conv(moved) - np.roll(conv(images), shift, axis=3)).max()))
            logits.append(float(abs(model(tc.tensor(moved)).data - still).mean()))
    return maps, logits


def what_it_saves() -> None:
    """Size, work and time of the next convolution, with and without a 2 x 2 pool before it."""
    x, weight = tc.randn(64, 16, 32, 32), tc.randn(32, 16, 3, 3)
    for name, image in (("without", x), ("with", F.max_pool2d(x, 2))):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            y = F.conv2d(image, weight, padding=1)
            times.append(time.perf_counter() - start)
        work = y.size // len(y.data) * weight.size // 32
        size = f"{image.shape[2]} x {image.shape[3]}"
        print(f"next layer {name:>7} pool: {size}, {work:,} products, {1e3 * min(times):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/pooling"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    who_gets_the_gradient()
    what_it_saves()

    peak = np.zeros((1, 1, 4, 4), np.float32)
    peak[0, 0, 0, 0] = 1
    inside, outside = np.roll(peak, 1, axis=3), np.roll(peak, 2, axis=3)
    for place, moved in (("inside", inside), ("out of", outside)):
        same = (F.max_pool2d(moved, 2) == F.max_pool2d(peak, 2)).all().item()
        print(f"a peak moved {place} its cell leaves the pooled map as it was: {same}")
    maps, logits = invariance(trained_lenet())
    print(f"shifted by 3 pixels: the convolution follows to {maps[3]:.0e}, the logits change by {logits[3]:.2f}")

    figure, axes = plt.subplots(1, 5, figsize=(14, 2.8), layout="constrained", width_ratios=[1, 1, 1, 1, 2])
    for axis, (title, image) in zip(
        axes,
        [
            ("a peak", peak),
            ("pooled", F.max_pool2d(peak, 2).data),
            ("moved in its cell", inside),
            ("pooled: the same", F.max_pool2d(inside, 2).data),
        ],
        strict=False,
    ):
        axis.imshow(image[0, 0], cmap="cividis")
        axis.set(title=title, xticks=[], yticks=[])
    axes[4].plot(logits, "o-", label="logits of LeNet-5")
    axes[4].plot(maps, "o-", label="circular convolution")
    axes[4].set(title="change beyond the shift itself", xlabel="shift (pixels)")
    axes[4].legend()
    figure.savefig(out / "pooling.png", dpi=100)
    print(f"wrote {out / 'pooling.png'}")


if __name__ == "__main__":
    main()
