"""The demo: trains LeNet-5 on handwritten digits and draws where its gradient flows, before and after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tc
from tinygrad_cnn import data, models, nn, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.errors import import_extra

EPOCHS = 40
BATCH_SIZE = 64
# Adam, the cosine schedule and the shifts were chosen by five-fold cross-validation inside the training split.
LEARNING_RATE = 4e-3
SHIFT = 2


@dataclass
class History:
    """What a training run looked like: one number per epoch."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)  # on the shifted training images, as they were learned from


def run(out: str | Path = "runs/demo", *, epochs: int = EPOCHS, seed: int = 0) -> float:
    """Trains, looks at the test digits once, writes weights and pictures into `out`; returns the test accuracy."""
    for module in ("sklearn", "matplotlib", "rich", "pygraphviz"):
        import_extra(module, "demo", "the demo")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tc.manual_seed(seed)
    model = models.lenet5()
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    test = data.digits("test", size=28)

    print(tc.summary(model, (1, 28, 28)), end="\n\n")
    written = draw_gradient_flow(model, optimizer, test, folder, "before")
    started = time.perf_counter()
    history = with_progress(train(model, optimizer, epochs, seed), epochs)
    print(f"\ntrained {epochs} epochs in {time.perf_counter() - started:.0f} s")
    accuracy = evaluate(model, test)
    print(f"test accuracy {accuracy:.2%} ({round(accuracy * len(test))} of {len(test)} digits it had not seen)\n")

    tc.save(model, folder / "lenet5.npz")
    written |= {"lenet5.npz": "the trained weights"}
    written |= draw_gradient_flow(model, optimizer, test, folder, "after")
    written |= draw_curves(history, accuracy, folder)
    written |= draw_what_it_sees(model, test, folder)
    print(f"written to {folder}/")
    for name, meaning in written.items():
        print(f"  {name:<28}{meaning}")
    print(NEXT)
    return accuracy


NEXT = """
next
  tinygrad-cnn demo --seed 1 --epochs 10          another start, a quarter of the time
  tinygrad-cnn summary --model resnet20           what a deeper network costs
  tinygrad-cnn graph --model vgg_small -o vgg.svg where its gradient flows
  examples/own_op.py                              an operation of your own, drawn and checked"""


# --- training ---------------------------------------------------------------------------------------------


def train(
    model: nn.Module, optimizer: optim.Adam, epochs: int = EPOCHS, seed: int = 0
) -> Iterator[tuple[float, float]]:
    """Trains on the shifted training digits; yields the mean loss and the accuracy of each epoch."""
    shift = data.transforms.RandomShift(SHIFT)
    loader = data.DataLoader(
        data.digits("train", size=28), BATCH_SIZE, shuffle=True, seed=seed, drop_last=True, transform=shift
    )
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    model.train()
    for _ in range(epochs):
        losses, right = [], 0
        for images, labels in loader:
            logits = model(tc.tensor(images))
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            right += int((logits.data.argmax(1) == labels).sum())
        yield float(np.mean(losses)), right / (len(loader) * BATCH_SIZE)


def with_progress(epochs: Iterator[tuple[float, float]], total: int) -> History:
    """Runs the epochs behind a progress bar."""
    progress: Any = import_extra("rich.progress", "demo", "the demo")
    history = History()
    columns = (
        "{task.description}",
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns) as bar:
        task = bar.add_task("training", total=total)
        for loss, accuracy in epochs:
            history.loss.append(loss)
            history.accuracy.append(accuracy)
            bar.update(task, advance=1, description=f"loss {loss:.4f}  training accuracy {accuracy:.2%}")
    return history


def evaluate(model: nn.Module, dataset: data.TensorDataset) -> float:
    """The share of the data set that the model, in evaluation mode, gets right."""
    model.eval()
    with tc.no_grad():
        right = [
            (model(tc.tensor(images)).data.argmax(1) == labels) for images, labels in data.DataLoader(dataset, 256)
        ]
    return float(np.concatenate(right).mean())


# --- pictures ---------------------------------------------------------------------------------------------


def draw_gradient_flow(
    model: nn.Module, optimizer: optim.Adam, dataset: data.TensorDataset, folder: Path, when: str
) -> dict[str, str]:
    """Draws one forward and backward pass over a batch by module, and by operation."""
    import viz

    images, labels = dataset[:BATCH_SIZE]
    with viz.capture(model, optimizer) as capture:
        F.cross_entropy(model(tc.tensor(images)), labels).backward()
    model.zero_grad()
    modules = capture.figure(level="module")
    written = {f"gradient_flow_{when}.svg": f"the gradient through the network, {when} training"}
    modules.save(folder / f"gradient_flow_{when}.svg")
    modules.save(folder / f"gradient_flow_{when}.png")
    if when == "after":
        capture.figure(level="op").save(folder / "operations.svg")
        written["operations.svg"] = "every operation, forward beside backward"
    return written


def draw_curves(history: History, accuracy: float, folder: Path) -> dict[str, str]:
    """Draws loss and accuracy over the epochs."""
    figure = new_figure(8, 3.2)
    epochs = np.arange(1, len(history.loss) + 1)
    left, right = figure.subplots(1, 2)
    left.semilogy(epochs, history.loss, color="#B85400")
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(epochs, 100 * np.array(history.accuracy), color="#2F74B5", label="training (shifted images)")
    right.plot(epochs[-1:], [100 * accuracy], "o", color="black", label=f"test, once: {accuracy:.2%}")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(folder / "curves.png", dpi=130)
    return {"curves.png": "the loss and the accuracy over the epochs"}


def draw_what_it_sees(model: nn.Module, dataset: data.TensorDataset, folder: Path) -> dict[str, str]:
    """Draws the filters of the convolutions, and what each layer makes of one digit."""
    weights = {name: p.data for name, p in model.named_parameters() if p.ndim == 4}
    draw_maps(
        {f"{name} {w.shape}": w.reshape(-1, *w.shape[2:]) for name, w in weights.items()},
        folder / "filters.png",
        "PuOr",
    )
    image = dataset[:1][0]
    outputs = {"input": image[0]}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out.data[0]}))
        for name, module in model.named_modules()
        if name
    ]
    with tc.no_grad():
        model(tc.tensor(image))
    for handle in handles:
        handle.remove()
    maps = {f"{name} {a.shape}": a for name, a in outputs.items() if a.ndim == 3}
    draw_maps(maps, folder / "activations.png", "cividis")
    return {"filters.png": "what the filters look for", "activations.png": "what each layer makes of one digit"}


def draw_maps(groups: dict[str, np.ndarray], path: Path, colours: str, columns: int = 16) -> None:
    """Draws stacks of images (n, H, W), one titled band per stack; diverging colours are centred on zero."""
    rows = [-(-len(stack) // columns) for stack in groups.values()]
    figure = new_figure(0.6 * columns, 0.65 * sum(rows) + 0.45 * len(rows))
    bands = np.atleast_1d(figure.subfigures(len(groups), 1, height_ratios=[0.65 * r + 0.45 for r in rows]))
    for band, (title, stack), count in zip(bands, groups.items(), rows, strict=True):
        band.suptitle(title, fontsize=9, x=0.01, ha="left")
        limit = abs(stack).max() or 1
        low = -limit if colours == "PuOr" else 0
        for axes in (grid := band.subplots(count, columns, squeeze=False)).flat:
            axes.set_axis_off()
        for axes, image in zip(grid.flat, stack, strict=False):
            axes.imshow(image, cmap=colours, vmin=low, vmax=limit)
    figure.savefig(path, dpi=110)


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure that needs no window system."""
    return import_extra("matplotlib.figure", "demo", "the demo").Figure((width, height), layout="constrained")
