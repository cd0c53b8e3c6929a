"""What a convolution is, in four small computations: a sum, a size, a count of windows, and a sparse matrix.

Run: python examples/what_a_convolution_is.py
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F


def as_a_sum(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The continuous convolution (f * g)(t) = integral of f(s) g(t - s) ds as a Riemann sum: times t, and values.

    f is the unit box, g decays as exp(-t); the integral is 1 - exp(-t) up to t = 1, and (e - 1) exp(-t) after.
    """
    dt = 1 / steps
    box = np.ones((1, 1, steps))
    decay = np.exp(-dt * np.arange(3 * steps))[None, None]
    values = F.conv1d(box, decay[..., ::-1], padding="full").data[0, 0] * dt
    return dt * (np.arange(len(values)) + 1), values


def turned_or_not() -> None:
    """True convolution turns the kernel by 180 degrees; the networks' "convolution" does not, and is a correlation."""
    image = np.arange(16.0).reshape(1, 1, 4, 4)
    kernel = np.array([[[[1, 2], [3, 4]]]], np.float64)
    print("correlation with [[1, 2], [3, 4]]:", F.conv2d(image, kernel).data.ravel())
    print("convolution with [[1, 2], [3, 4]]:", F.convolve2d(image, kernel).data.ravel())
    print("correlation with [[4, 3], [2, 1]]:", F.conv2d(image, kernel[:, :, ::-1, ::-1]).data.ravel())


def sizes() -> None:
    """The output has floor((n + 2p - k) / s) + 1 pixels along each axis."""
    for n, k, p, s in [(6, 3, 0, 1), (6, 3, 1, 1), (6, 3, 1, 2), (32, 5, 0, 1), (28, 5, 2, 1)]:
        shape = F.conv2d(tc.zeros(1, 1, n, n), tc.zeros(1, 1, k, k), padding=p, stride=s).shape
        print(f"{n:2} x {n:<2} with {k} x {k}, padding {p}, stride {s}: {shape[2]} x {shape[3]}")


def windows_per_pixel() -> np.ndarray:
    """In how many 3 x 3 windows each pixel of a 6 x 6 image lies: the gradient for weights and upstream of one."""
    image = tc.zeros(1, 1, 6, 6).requires_grad_()
    F.conv2d(image, tc.ones(1, 1, 3, 3)).sum().backward()
    return image.grad.data[0, 0]


def as_a_matrix() -> np.ndarray:
    """The (16, 36) matrix of a 3 x 3 filter on a 6 x 6 image: its columns are the maps of the 36 unit images."""
    units = np.eye(36).reshape(36, 1, 6, 6)
    numbered = np.arange(1.0, 10).reshape(1, 1, 3, 3)  # so that the picture shows which weight stands where
    return F.conv2d(units, numbered).data.reshape(36, 16).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/what_a_convolution_is"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    turned_or_not()
    sizes()
    matrix = as_a_matrix()
    print(
        f"as a fully connected layer: {matrix.size} weights, {np.count_nonzero(matrix)} of them not zero, "
        f"{len(np.unique(matrix)) - 1} of them different"
    )

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for steps in (2, 4, 16):
        axes[0].plot(*as_a_sum(steps), ".-", label=f"sum, dt = 1/{steps}")
    t = np.linspace(0, 4, 200)
    axes[0].plot(t, np.where(t < 1, 1 - np.exp(-t), (np.e - 1) * np.exp(-t)), "k--", label="integral")
    axes[0].set(title="box * decay: the integral is the limit of sums", xlabel="t", xlim=(0, 4))
    axes[0].legend()
    counts = windows_per_pixel()
    axes[1].imshow(counts, cmap="cividis")
    for (i, j), count in np.ndenumerate(counts):
        axes[1].text(j, i, int(count), ha="center", va="center", color="white" if count < 6 else "black")
    axes[1].set_title("windows a pixel lies in: why to pad")
    axes[2].imshow(np.ma.masked_equal(matrix, 0), cmap="tab10", interpolation="nearest")
    axes[2].set_title("the filter as a 16 x 36 matrix")
    figure.savefig(out / "convolution.png", dpi=100)
    print(f"wrote {out / 'convolution.png'}")


if __name__ == "__main__":
    main()
