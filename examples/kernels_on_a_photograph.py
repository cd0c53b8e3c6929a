"""Kernels made by hand, applied to a photograph: edges, sharpening, blurring, and filters of every size.

A kernel is a small image of what it answers to. `conv2d` lays it over every place of the photograph and sums the
products (cross-correlation: the kernel is not turned round; `convolve2d` turns it).
Run: python examples/kernels_on_a_photograph.py
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import tinygrad_cnn.functional as F

SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])


def oriented(degrees: float) -> np.ndarray:
    """The kernel of edges whose normal is turned by so many degrees: a mixture of the vertical and the horizontal."""
    angle = np.radians(degrees)
    return np.cos(angle) * SOBEL + np.sin(angle) * SOBEL.T


KERNELS = {
    "edges": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "vertical edges": [[1, 0, -1], [1, 0, -1], [1, 0, -1]],
    "horizontal edges": [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],
    "Sobel": SOBEL,
    "Scharr": [[3, 0, -3], [10, 0, -10], [3, 0, -3]],
    "edges at 45 degrees": oriented(45),
    "edges at 30 degrees": oriented(30),
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "box blur 9 x 9": np.full((9, 9), 1 / 81),
    "Gaussian blur 5 x 5": np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256,
    "1 x 1: brighter": [[1.5]],
}


def apply(photograph: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The kernel's map over a grey photograph (H, W), of the same size; the border repeats its own pixels."""
    image = photograph[None, None]
    weight = np.asarray(kernel, np.float32)[None, None]
    return F.conv2d(image, weight, padding="same", padding_mode="replicate").data[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/photograph"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    photograph = load_sample_image("china.jpg").mean(axis=2, dtype=np.float32) / 255
    print(f"a photograph of {photograph.shape[1]} x {photograph.shape[0]} pixels")

    figure, axes = plt.subplots(3, 4, figsize=(14, 8), layout="constrained")
    axes.flat[0].imshow(photograph, cmap="gray", vmin=0, vmax=1)
    axes.flat[0].set_title("the photograph")
    for axis, (name, kernel) in zip(axes.flat[1:], KERNELS.items(), strict=True):
        result = apply(photograph, kernel)
        weights = np.asarray(kernel)
        # Weights that sum to zero ignore flat areas: grey is 0, and an edge is bright or dark by its side.
        edge = np.isclose(weights.sum(), 0)
        axis.imshow(result, cmap="gray", vmin=-1 if edge else 0, vmax=1)
        axis.set_title(name)
        print(
            f"  {name:<22} weights sum to {weights.sum():5.2f}, answers from {result.min():6.2f} to {result.max():5.2f}"
        )
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(out / "kernels.png", dpi=100)
    print(f"wrote {out / 'kernels.png'}")


if __name__ == "__main__":
    main()
