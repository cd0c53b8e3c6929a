"""Draw the pictures of docs/pictures.md into docs/images: `python docs/pictures.py`; needs the extra "demo"."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import data, models, optim

IMAGES = Path(__file__).parent / "images"


def step(model: Any, images: Any, labels: Any, title: str) -> viz.capture:
    """One watched step, not taken."""
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    with viz.capture(model, optimizer, title=title) as capture:
        F.cross_entropy(model(images), labels).backward()
    model.zero_grad()
    return capture


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = data.digits("train", size=28)[:count]
    return images, labels


def trained_lenet() -> Any:
    """LeNet-5 after two epochs of the digits."""
    tc.manual_seed(0)
    model = models.lenet5()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(2):
        for images, labels in data.DataLoader(data.digits("train", size=28), 64, shuffle=True, seed=0):
            optimizer.zero_grad()
            F.cross_entropy(model(tc.tensor(images)), labels).backward()
            optimizer.step()
    return model


def healthy() -> bytes:
    return step(trained_lenet(), *digits(32), "LeNet-5, two epochs old").figure().png(dpi=90)


def sick() -> bytes:
    tc.manual_seed(0)
    model = models.lenet5()
    model.conv2.weight.data = model.conv2.weight.data / 500
    return step(model, *digits(32), "LeNet-5, conv2 started 500 times too small").figure().png(dpi=90)


def repeats() -> bytes:
    tc.manual_seed(0)
    noise = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    capture = step(models.resnet20(), noise, np.arange(8), "ResNet-20")
    return capture.figure(depth=2, max_nodes=15, show=("shapes", "grads", "stats")).png()


def operations() -> bytes:
    model = trained_lenet()
    front = tc.nn.Sequential(*list(model.children())[:3], tc.nn.Flatten(), tc.nn.Linear(6 * 14 * 14, 10))
    return step(front, *digits(32), "The first layers of LeNet-5").figure(level="op").png()


def sideways() -> bytes:
    tc.manual_seed(0)
    model = tc.nn.Sequential(tc.nn.Conv2d(1, 8, 3, padding=1), tc.nn.ReLU(), tc.nn.MaxPool2d(2), tc.nn.Flatten(),
                             tc.nn.Linear(1568, 10))  # fmt: skip
    return step(model, *digits(32), "A small network").figure(direction="LR").png()


def conv2d() -> bytes:
    image = np.arange(25.0).reshape(5, 5) % 7
    kernel = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    return viz.explain("conv2d", image, kernel, np.ones((3, 3)), stride=2, padding=1).png()


def max_pool2d() -> bytes:
    image = np.array([[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]], dtype=float)
    return viz.explain("max_pool2d", image, 2, np.array([[1.0, 2.0], [3.0, 4.0]])).png()


def difference() -> bytes:
    tc.manual_seed(0)
    model = models.mlp([64, 32, 32, 10])
    images, labels = data.digits("train")[:64]
    before = step(model, images, labels, "before").figure()
    model.fc2.weight.data = model.fc2.weight.data / 500
    after = step(model, images, labels, "after").figure()
    return viz.diff(before, after, names=("as it started", "fc2 made 500 times smaller")).png()


def activations() -> bytes:
    return viz.show_activations(trained_lenet(), digits(1)[0]).png()


PICTURES: dict[str, Callable[[], bytes]] = {
    "pictures_healthy": healthy,
    "pictures_sick": sick,
    "pictures_repeats": repeats,
    "pictures_operations": operations,
    "pictures_sideways": sideways,
    "pictures_conv2d": conv2d,
    "pictures_max_pool2d": max_pool2d,
    "pictures_diff": difference,
    "pictures_activations": activations,
}


def small(png: bytes) -> bytes:
    """The same pixels in fewer bytes."""
    from PIL import Image  # comes with matplotlib

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    for name, draw in PICTURES.items():
        content = small(draw())
        (IMAGES / f"{name}.png").write_bytes(content)
        print(f"{name}.png  {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
