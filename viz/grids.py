"""Image grids: the filters of a layer, the activations of a model, the input that excites a unit. Lectures D8."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from viz import images, lettering
from viz.palette import LIGHT, rgb
from viz.undisturbed import evaluating
from viz.wording import number

CELL = 56  # pixels that a tile's longer side takes at least
MARGIN = 12


@dataclass
class ImageGrid:
    """Rows of tiles, each row under its caption; `save` writes a PNG, Jupyter shows it."""

    rows: list[tuple[str, np.ndarray]]  # caption, tiles (n, H, W, 3) in uint8
    title: str = ""
    columns: int = 16
    cell: int = CELL
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> np.ndarray:
        """The whole image, uint8 (H, W, 3)."""
        blocks = [_words(self.title, LIGHT.ink, bold=True)] if self.title else []
        for caption, tiles in self.rows:
            blocks += [_words(caption, LIGHT.muted)] if caption else []
            cell = max(1, -(-self.cell // max(tiles.shape[1:3])))
            blocks += [_on_page(images.strip(tiles, cell=cell, gap=4, columns=self.columns)), _words("", LIGHT.ink)[:4]]
        return _stacked(blocks)

    def png(self) -> bytes:
        """The image as a PNG file."""
        return images.png(self.pixels)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image; the path must end in .png."""
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise ValueError(f"viz: cannot save {target.name!r}: an image grid is saved as .png")
        target.write_bytes(self.png())
        return target

    def _repr_png_(self) -> bytes:
        return self.png()

    def __repr__(self) -> str:
        tiles = sum(len(tiles) for _, tiles in self.rows)
        return f"<ImageGrid {self.title!r}: {tiles} tiles in {len(self.rows)} rows>"


def show_filters(layer: Any, *, columns: int = 16, limit: int = 256) -> ImageGrid:
    """The kernels of a convolution: one tile a filter if it reads 1 or 3 channels, else a row of tiles a filter.

    `layer` is a module with a `weight`, or the weight itself (out, in, kh, kw). One scale for all, PuOr about zero;
    filters of three channels in colour, grey standing for zero. At most `limit` tiles are drawn.

    Raises ValueError for a weight that has no kernels.

    >>> import numpy as np
    >>> show_filters(np.ones((8, 1, 3, 3)))
    <ImageGrid '8 filters, 3×3, ±1': 8 tiles in 1 rows>
    """
    weight = np.asarray(_array(getattr(layer, "weight", layer)), dtype=np.float64)
    if weight.ndim != 4:
        raise ValueError(f"show_filters: needs the weight of a 2-d convolution, (out, in, kh, kw), got {weight.shape}")
    scale = float(np.abs(weight).max(initial=0.0))
    outs, ins, high, wide = weight.shape
    title = f"{outs} filters, {high}×{wide}, ±{number(scale)}"
    if ins == 3:
        grey = weight / (2 * scale or 1.0) + 0.5
        tiles = (grey * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
        return ImageGrid([("", tiles[:limit])], title, columns)
    if ins == 1:
        return ImageGrid([("", images.coloured(weight[:limit, 0], 0, scale, signed=True))], title, columns)
    shown = weight[: max(1, limit // ins)]
    rows = [(f"filter {i}", images.coloured(w, 0, scale, signed=True)) for i, w in enumerate(shown)]
    return ImageGrid(rows, title, max(columns, min(ins, 64)))


def show_activations(
    model: Any, x: Any, *, layers: Sequence[str] | None = None, sample: int = 0, limit: int = 16, columns: int = 16
) -> ImageGrid:
    """The output maps of a model's modules for one sample of x (N, C, H, W), a row a module.

    `layers`: module paths; None takes every module without children whose output is a batch of maps. Each row has a
    scale of its own, in cividis from zero, or in PuOr about zero if it has negative values. The model runs once, in
    evaluation mode and with its hooks; nothing is recorded, and its mode and the random generator are as before.

    Raises KeyError for a path that the model has not.
    """
    import tinygrad_cnn as tc

    modules = dict(model.named_modules())
    for path in layers or ():
        if path not in modules:
            raise KeyError(
                f"show_activations: the model has no module {path!r}; it has {', '.join(filter(None, modules))}"
            )
    wanted = list(layers) if layers is not None else [p for p, m in modules.items() if not list(m.children())]
    seen: dict[str, np.ndarray] = {}
    handles = [modules[path].register_forward_hook(_keeping(path, seen)) for path in wanted]
    try:
        with tc.no_grad(), evaluating(model):
            model(x if isinstance(x, tc.Tensor) else tc.tensor(np.asarray(x)))
    finally:
        for handle in handles:
            handle.remove()
    rows = [_maps_row("input", np.asarray(_array(x))[sample], limit)]
    rows += [_maps_row(path or "output", seen[path][sample], limit) for path in wanted if _is_maps(seen.get(path))]
    return ImageGrid(rows, f"activations of sample {sample}", columns)


def maximize_activation(
    model: Any,
    layer: Any,
    unit: int,
    *,
    shape: Sequence[int] | None = None,
    steps: int = 100,
    lr: float = 0.1,
    decay: float = 0.01,
    seed: int = 0,
) -> ImageGrid:
    """The input that most excites one unit, found by gradient ascent from noise.

    `layer` is a module of the model or its path; `unit` a channel, whose mean over the map is raised. `shape` (C, H, W)
    of the input; None tries what fits the first layer at 28×28 and 32×32. Each step goes along the gradient divided by
    its root mean square; `decay` pulls towards zero. The image and the course of the activation are in `.values`.
    Parameters get no gradient, the model's mode is restored. Simonyan, Vedaldi and Zisserman 2014.

    Raises IndexError for a unit that the layer has not, ValueError if no input shape fits.
    """
    import tinygrad_cnn as tc

    modules = dict(model.named_modules())
    module = modules[layer] if isinstance(layer, str) else layer
    path = next((p for p, m in modules.items() if m is module), "")
    seen: dict[str, Any] = {}
    handle = module.register_forward_hook(lambda m, args, output: seen.update(out=output))
    try:
        with evaluating(model):
            size = tuple(shape) if shape is not None else _input_shape(model)
            image = np.random.default_rng(seed).normal(0, 0.1, (1, *size)).astype(np.float32)
            course = []
            for _ in range(steps + 1):
                x = tc.tensor(image, requires_grad=True)
                model(x)
                out = seen["out"]
                if not 0 <= unit < out.shape[1]:
                    raise IndexError(f"maximize_activation: unit {unit} of {path!r}, which has {out.shape[1]} units")
                goal = out[:, unit].mean()
                course.append(float(goal.item()))
                (g,) = tc.grad(goal, x, allow_unused=True)
                if g is None:
                    raise ValueError(f"maximize_activation: {path!r} does not depend on the model's input")
                slope = np.asarray(g.data)
                image = image + lr * slope / (np.sqrt((slope**2).mean()) + 1e-12) - lr * decay * image
                image = image.astype(np.float32)
    finally:
        handle.remove()
    title = f"{path or type(module).__name__}[{unit}]: {number(course[0])} → {number(course[-1])}"
    return ImageGrid([("", _picture(image[0]))], title, cell=224, values={"image": image[0], "activation": course})


# ---- helpers ---------------------------------------------------------------------------------------------------


def _array(tensor: Any) -> Any:
    return tensor.data if hasattr(tensor, "grad_fn") else tensor


def _keeping(path: str, seen: dict[str, np.ndarray]) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        if hasattr(output, "grad_fn"):
            seen[path] = output.data

    return hook


def _input_shape(model: Any) -> tuple[int, ...]:
    """The first of the usual sizes that the model takes."""
    import tinygrad_cnn as tc

    weight = next((p for _, p in model.named_parameters() if p.ndim == 4), None)
    if weight is not None:
        for side in (28, 32) if weight.shape[1] == 1 else (32, 28):
            size = (int(weight.shape[1]), side, side)
            try:
                with tc.no_grad():
                    model(tc.tensor(np.zeros((1, *size), dtype=np.float32)))
            except ValueError:
                continue
            return size
    raise ValueError("maximize_activation: the input's shape can not be guessed; give shape=(C, H, W)")


def _is_maps(array: np.ndarray | None) -> bool:
    return array is not None and array.ndim == 4


def _maps_row(name: str, maps: np.ndarray, limit: int) -> tuple[str, np.ndarray]:
    """A caption with the scale, and the first channels as tiles; three input channels as one image in colour."""
    if name == "input" and maps.shape[0] == 3:
        return name, _picture(maps)
    chosen = np.asarray(maps[:limit], dtype=np.float64)
    signed = bool((chosen < 0).any()) and name != "input"
    low = float(chosen.min()) if name == "input" else 0.0
    scale = float(np.abs(chosen).max(initial=0.0)) if signed else float(chosen.max(initial=0.0))
    span = f"±{number(scale)}" if signed else f"{number(low)} to {number(scale)}"
    more = f", {len(chosen)} of {len(maps)} channels" if len(maps) > len(chosen) else ""
    return f"{name}   {span}{more}", images.coloured(chosen, low, scale, signed=signed)


def _picture(image: np.ndarray) -> np.ndarray:
    """An input (C, H, W) as one tile: colour for three channels, else the first channel in cividis."""
    low, high = float(image.min()), float(image.max())
    if image.shape[0] == 3:
        unit = (image - low) / ((high - low) or 1.0)
        return np.asarray((unit * 255).round().astype(np.uint8).transpose(1, 2, 0)[None])
    return images.coloured(image[:1], low, high, signed=False)


def _words(words: str, colour: str, *, bold: bool = False) -> np.ndarray:
    """A line of words on the page's colour."""
    ink = lettering.written(words, bold=bold)[..., None]
    return (np.array(rgb(LIGHT.page)) * (1 - ink) + np.array(rgb(colour)) * ink).round().astype(np.uint8)


def _on_page(strip: np.ndarray) -> np.ndarray:
    """Transparent gaps become page."""
    return np.where(strip[..., 3:] > 0, strip[..., :3], np.array(rgb(LIGHT.page), dtype=np.uint8))


def _stacked(blocks: list[np.ndarray]) -> np.ndarray:
    """Blocks one under the other, aligned left, with margins."""
    width = max((block.shape[1] for block in blocks), default=1)
    height = sum(block.shape[0] + 4 for block in blocks)
    page = np.empty((height + 2 * MARGIN, width + 2 * MARGIN, 3), dtype=np.uint8)
    page[...] = rgb(LIGHT.page)
    top = MARGIN
    for block in blocks:
        page[top : top + block.shape[0], MARGIN : MARGIN + block.shape[1]] = block
        top += block.shape[0] + 4
    return page
