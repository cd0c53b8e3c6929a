"""The demo: trains LeNet-5 on handwritten digits and draws where its gradient flows, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import tinygrad_cnn as tc
from tinygrad_cnn import data, models, nn, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.train import Recording, Trainer
from tinygrad_cnn.training_run import draw_curves

EPOCHS = 40
BATCH_SIZE = 64
# Adam, the cosine schedule and the shifts were chosen by five-fold cross-validation inside the training split.
LEARNING_RATE = 4e-3
SHIFT = 2


def run(out: str | Path = "runs/demo", *, epochs: int = EPOCHS, seed: int = 0) -> float:
    """Trains, looks at the test digits once, writes weights and pictures into `out`; returns the test accuracy."""
    import viz

    for module in ("sklearn", "matplotlib", "rich"):
        import_extra(module, "demo", "the demo")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tc.manual_seed(seed)
    model = models.lenet5()
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    print(tc.summary(model, (1, 28, 28)), end="\n\n")
    written = draw_gradient_flow(model, optimizer, folder, "before")
    started = time.perf_counter()
    recorder = viz.record(model, optimizer, title="LeNet-5 in training")
    with threadpoolctl.threadpool_limits(1, user_api="blas"), recorder:  # so small a network gains nothing from more
        trainer = train(model, optimizer, epochs, seed, recorder, progress=True)
    print(f"\ntrained {epochs} epoch{'s' if epochs > 1 else ''} in {time.perf_counter() - started:.0f} s")
    test = data.digits("test", size=28)
    accuracy = evaluate(trainer)
    print(f"test accuracy {accuracy:.2%} ({round(accuracy * len(test))} of {len(test)} digits it had never seen)\n")

    tc.save(model, folder / "lenet5.npz")
    written |= draw_gradient_flow(model, optimizer, folder, "after")
    recorder.movie(folder / "film.html")
    recorder.to_json(folder / "run.json")
    written |= {"film.html": "the gradients during training: play it in a browser", "run.json": "what was recorded"}
    draw_curves(trainer.history, accuracy, folder / "curves.png")
    written["curves.png"] = "the loss and the accuracy over the epochs"
    written |= draw_what_it_sees(model, test[:1][0], folder)
    written["lenet5.npz"] = "the trained weights"
    print(f"written to {folder}/")
    for name, meaning in written.items():
        print(f"  {name:<32}{meaning}")
    print(NEXT.format(folder=folder))
    return accuracy


NEXT = """
next
  open {folder}/film.html in a browser: values flow down, gradients flow up, step by step
  tinygrad-cnn demo --seed 1                          another start
  tinygrad-cnn graph --model vgg_small -o vgg.svg     a larger network
  python examples/own_op.py                           an operation of your own, drawn and checked (in the repository)"""


# --- training ---------------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    optimizer: optim.Optimizer,
    epochs: int = EPOCHS,
    seed: int = 0,
    recorder: Any = None,
    progress: bool = False,
) -> Trainer:
    """Trains on the shifted training digits, before a `viz.record` if one is given."""
    shift = data.transforms.RandomShift(SHIFT)
    loader = data.DataLoader(
        data.digits("train", size=28), BATCH_SIZE, shuffle=True, seed=seed, drop_last=True, transform=shift
    )
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    callbacks = [Recording(recorder)] if recorder is not None else []
    trainer = Trainer(model, optimizer, scheduler=schedule, scheduler_step="batch", callbacks=callbacks)
    trainer.fit(loader, epochs=epochs, progress=progress)
    return trainer


def evaluate(trainer: Trainer) -> float:
    """The share of the test digits that are recognised."""
    return float(trainer.evaluate(data.DataLoader(data.digits("test", size=28), 256)).accuracy or 0)


# --- pictures ---------------------------------------------------------------------------------------------


def draw_gradient_flow(model: nn.Module, optimizer: optim.Adam, folder: Path, when: str) -> dict[str, str]:
    """Draws one forward and backward pass over a batch of training digits, by module and by operation."""
    import viz

    images, labels = data.digits("train", size=28)[:BATCH_SIZE]
    optimizer.param_groups[0]["lr"] = LEARNING_RATE  # the schedule ends at 0, and the picture compares updates
    with viz.capture(model, optimizer, title=f"LeNet-5 {when} training") as capture:
        F.cross_entropy(model(tc.tensor(images)), labels).backward()
    model.zero_grad()
    modules, operations = capture.figure(level="module"), capture.figure(level="op")
    for ending in ("svg", "png"):
        modules.save(folder / f"gradient_flow_{when}.{ending}")
        operations.save(folder / f"operations_{when}.{ending}")
    return {
        f"gradient_flow_{when}.svg, .png": f"the gradient through the layers, {when} training",
        f"operations_{when}.svg, .png": "every operation, forward beside backward",
    }


def draw_what_it_sees(model: nn.Module, image: np.ndarray, folder: Path) -> dict[str, str]:
    """Draws the filters of the convolutions, and what each layer makes of one image (1, C, H, W)."""
    filters = {name: p.data.reshape(-1, *p.shape[2:]) for name, p in model.named_parameters() if p.ndim == 4}
    draw_maps(filters, folder / "filters.png")
    outputs = {"input": image[0]}

    def keep(name: str) -> Callable[[nn.Module, Any, tc.Tensor], None]:
        return lambda module, inputs, output: outputs.update({name: output.data[0]})

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    with tc.no_grad():
        model(tc.tensor(image))
    for handle in handles:
        handle.remove()
    draw_maps({name: maps for name, maps in outputs.items() if maps.ndim == 3}, folder / "activations.png")
    return {"filters.png": "what the filters look for", "activations.png": "what each layer makes of one digit"}


def draw_maps(stacks: dict[str, np.ndarray], path: Path, columns: int = 16) -> None:
    """Draws stacks of images (n, H, W), each under its name; one colour scale a stack, centred on zero if signed."""
    mosaics = [mosaic(stack, columns) for stack in stacks.values()]
    heights = [0.6 * columns * len(tiles) / tiles.shape[1] for tiles in mosaics]
    figure = new_figure(0.6 * columns, sum(heights) + 0.35 * len(mosaics))
    rows = figure.subplots(len(mosaics), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, tiles, (name, stack) in zip(rows, mosaics, stacks.items(), strict=True):
        high = abs(stack).max()
        low, colours = (-high, "PuOr_r") if stack.min() < 0 else (0, "cividis")
        axes.imshow(tiles, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(f"{name}: {' x '.join(map(str, stack.shape))}, {low:.2g} to {high:.2g}", fontsize=8, loc="left")
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def mosaic(stack: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, H, W) side by side in rows of `columns`, a gap of NaN between them."""
    n, height, width = stack.shape
    gap = max(1, width // 8)
    rows = -(-n // columns)
    tiles = np.full((rows * columns, height + gap, width + gap), np.nan)
    tiles[:n, :height, :width] = stack
    return tiles.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2).reshape(rows * (height + gap), -1)


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure that needs no window system."""
    return import_extra("matplotlib.figure", "demo", "the demo").Figure((width, height), layout="constrained")
