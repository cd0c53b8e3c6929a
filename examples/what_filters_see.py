"""What a network sees: a column of activation maps per layer, and the input that excites a filter most.

The network is the lectures' preview: six convolutions of ten 3 x 3 filters, a pool after every second, one dense layer.
Run: python examples/what_filters_see.py
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, nn, optim


def coloured(images: np.ndarray) -> np.ndarray:
    """Grey digits (N, 1, H, W) as images of three channels."""
    return np.repeat(images, 3, axis=1)


def trained() -> nn.Module:
    tc.manual_seed(0)
    model = models.convnet_preview()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    loader = data.DataLoader(data.digits("train", size=32), 64, shuffle=True, seed=0)
    for _ in range(3):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tc.tensor(coloured(images))), labels)
            loss.backward()
            optimizer.step()
    print(f"trained: loss {loss.item():.2f}")
    return model.eval()


def activations(model: nn.Module, image: np.ndarray) -> dict[str, np.ndarray]:
    """The maps (channels, H, W) that each layer makes of one image (1, 3, H, W)."""
    maps: dict[str, np.ndarray] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: maps.update({name: out.data[0]}))
        for name, module in model.named_modules()
        if name
    ]
    with tc.no_grad():
        model(tc.tensor(image))
    for handle in handles:
        handle.remove()
    return {name: a for name, a in maps.items() if a.ndim == 3}


def column(maps: np.ndarray) -> np.ndarray:
    """Maps (channels, H, W) one below the other, each from its least value to its largest, gaps of NaN between."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    gap = maps.shape[1] // 8 + 1
    return np.pad((maps - low) / (high - low + 1e-8), ((0, 0), (0, gap), (0, 0)), constant_values=np.nan).reshape(
        -1, maps.shape[2]
    )


def exciting_inputs(model: nn.Module, layer: nn.Module, steps: int = 40) -> np.ndarray:
    """For each channel of a layer the input that excites its central unit most, cut to the pixels that the unit sees.

    Gradient ascent on the pixels, from faint noise; outside of the unit's window the gradient is exactly zero.
    """
    kept = []
    handle = layer.register_forward_hook(lambda _, __, out: kept.append(out))
    channels = np.arange(len(layer.weight))
    images = 0.1 * np.random.default_rng(0).normal(size=(len(channels), 3, 32, 32)).astype(np.float32)
    seen = np.zeros(32, bool)
    for _ in range(steps):
        x = tc.tensor(images, requires_grad=True)
        model(x)
        maps = kept.pop()
        excitement = maps[channels, channels, maps.shape[2] // 2, maps.shape[3] // 2].sum()  # image i, channel i
        (gradient,) = tc.grad(excitement, [x])
        seen |= (gradient.data != 0).any(axis=(0, 1, 2))
        norm = np.sqrt((gradient.data**2).sum(axis=(1, 2, 3), keepdims=True))
        images = images + gradient.data / (norm + 1e-8)
    handle.remove()
    return images[:, :, seen][:, :, :, seen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/what_filters_see"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    model = trained()

    maps = activations(model, coloured(data.digits("test", size=32)[7:8][0]))
    figure, axes = plt.subplots(1, len(maps), figsize=(len(maps), 10.5), layout="constrained")
    for axis, (name, layer) in zip(axes, maps.items(), strict=True):
        axis.imshow(column(layer), cmap="cividis")
        axis.set_title(name, fontsize=8)
        axis.set_axis_off()
    figure.savefig(out / "activations.png", dpi=100)
    print(f"one digit, {len(maps)} layers of 10 maps: {out / 'activations.png'}")

    convolutions = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    figure, axes = plt.subplots(3, 10, figsize=(10, 3.4), layout="constrained")
    for row, name in zip(axes, ["conv1", "conv3", "conv6"], strict=True):
        row[0].set_title(name, fontsize=9, loc="left")
        for axis, pattern in zip(row, exciting_inputs(model, convolutions[name]), strict=True):
            axis.imshow(np.clip(pattern.transpose(1, 2, 0) / (4 * pattern.std()) + 0.5, 0, 1))
            axis.set_axis_off()
    figure.savefig(out / "exciting_inputs.png", dpi=100)
    print(f"what excites the filters of conv1, conv3 and conv6: {out / 'exciting_inputs.png'}")


if __name__ == "__main__":
    main()
