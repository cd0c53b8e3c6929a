"""A filter need not be made by hand: gradient descent finds it from examples.

Shown images and their maps of vertical edges, a 3 x 3 kernel that starts at zero becomes the vertical edge kernel.
Run: python examples/learn_edge_filter.py
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, optim

VERTICAL_EDGE = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], np.float32)


def learn(steps: int = 400) -> tuple[np.ndarray, list[float], list[np.ndarray]]:
    """The learned kernel, the loss at every step, and the kernel on the way."""
    images, _ = data.digits("train")[:64]
    edges = F.conv2d(images, VERTICAL_EDGE[None, None])

    kernel = tc.zeros(1, 1, 3, 3).requires_grad_()
    optimizer = optim.SGD([kernel], lr=0.5, momentum=0.9)
    losses, path = [], []
    for _ in range(steps):
        path.append(kernel.data[0, 0].copy())
        optimizer.zero_grad()
        loss = F.mse_loss(F.conv2d(images, kernel), edges)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return kernel.data[0, 0], losses, path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/learn_edge_filter"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    kernel, losses, path = learn()
    print("learned kernel:")
    print(np.array2string(kernel, precision=4, suppress_small=True))
    print(f"largest difference from the vertical edge kernel: {abs(kernel - VERTICAL_EDGE).max():.1e}")

    shown = [0, 1, 3, 10, 30, len(path) - 1]
    figure, axes = plt.subplots(1, len(shown) + 1, figsize=(14, 2.6), layout="constrained")
    for axis, step in zip(axes, shown, strict=False):
        axis.imshow(path[step], cmap="PuOr", vmin=-1, vmax=1)
        axis.set_title(f"step {step}")
        axis.set_axis_off()
    axes[-1].semilogy(losses)
    axes[-1].set_title("loss")
    figure.savefig(out / "kernel.png", dpi=100)
    print(f"wrote {out / 'kernel.png'}")


if __name__ == "__main__":
    main()
