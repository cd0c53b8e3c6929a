"""The gradient of a convolution, worked out: by the three formulas, and by the engine; the same numbers.

For Z = X * K + B (cross-correlation) and a loss L with dL/dZ known:

    dL/dK = X * dL/dZ                        every weight sums upstream x pixel over the windows it took part in
    dL/dB = sum of dL/dZ
    dL/dX = (dL/dZ padded by k - 1) * rot180(K)

Run: python examples/gradient_of_a_convolution.py
"""

import argparse
from pathlib import Path

import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz

X = np.array([[3, 0, 1, 2], [1, 5, 8, 9], [2, 7, 2, 5], [0, 1, 3, 1]], np.float64)
K = np.array([[1, 2], [-1, 3]], np.float64)
B = np.array([2], np.float64)
DZ = np.array([[1, 0, 2], [0, -1, 1], [3, 1, 0]], np.float64)  # dL/dZ, handed down by the layers above


def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Cross-correlation as four plain loops, so that nothing of the engine is in the formulas."""
    rows, columns = (n - k + 1 for n, k in zip(image.shape, kernel.shape, strict=True))
    out = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            for m in range(kernel.shape[0]):
                for n in range(kernel.shape[1]):
                    out[i, j] += image[i + m, j + n] * kernel[m, n]
    return out


def by_formula() -> dict[str, np.ndarray]:
    """The three gradients by the formulas above."""
    k = len(K)
    padded = np.pad(DZ, k - 1)
    rotated = K[::-1, ::-1]
    return {"dX": correlate(padded, rotated), "dK": correlate(X, DZ), "dB": DZ.sum()}


def by_engine(out: Path) -> dict[str, np.ndarray]:
    """The three gradients by reverse-mode differentiation, and the picture of it."""
    x, k = (tc.tensor(a[None, None], requires_grad=True, name=n) for a, n in ((X, "X"), (K, "K")))
    b = tc.tensor(B, requires_grad=True, name="B")
    with viz.capture() as capture:
        z = F.conv2d(x, k, b)
        loss = (z * DZ).sum()  # its gradient with respect to z is DZ
        loss.backward()
    capture.figure(level="op").save(out / "gradient.svg")
    return {"dX": x.grad.data[0, 0], "dK": k.grad.data[0, 0], "dB": b.grad.data[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/gradient_of_a_convolution"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    formula, engine = by_formula(), by_engine(out)
    for name in formula:
        print(f"{name} by formula\n{formula[name]}\n{name} by the engine\n{engine[name]}")
        print("equal\n" if np.array_equal(formula[name], engine[name]) else "DIFFERENT\n")
    print(f"wrote {out / 'gradient.svg'}")


if __name__ == "__main__":
    main()
