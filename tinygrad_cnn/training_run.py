"""What `tinygrad-cnn train` runs: a network, a data set, a recipe, and a folder that tells what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tc
from tinygrad_cnn import data, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.train import History, Recording, Trainer

# name -> data set of a split, for images of that many pixels
DATA: dict[str, Callable[[str, str, int], data.TensorDataset]] = {
    "digits": lambda root, split, size: data.digits(split, size),
    "mnist": lambda root, split, size: data.MNIST(root, split),
    "fashion_mnist": lambda root, split, size: data.FashionMNIST(root, split),
    "cifar10": lambda root, split, size: data.CIFAR10(root, split),
}
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": optim.Adam,
    "adamw": lambda params, lr: optim.AdamW(params, lr, weight_decay=0.01),
    "sgd": lambda params, lr: optim.SGD(params, lr, momentum=0.9),
}


@dataclass(frozen=True)
class Recipe:
    """How to train: everything that decides the result."""

    epochs: int = 40
    batch_size: int = 64
    optimizer: str = "adam"
    lr: float = 4e-3  # of the first batch; it falls to 0 along half a cosine
    shift: int = 2  # pixels by which images are moved at random
    validation: float = 0.1  # the share of the training images that is kept out of training
    seed: int = 0


def run(
    model: tc.nn.Module,
    train_set: data.TensorDataset,
    test_set: data.TensorDataset,
    out: str | Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    record: bool = False,
) -> float:
    """Trains, measures the test set once, at the end, and writes weights, curves and pictures; the test accuracy.

    Each epoch is validated on images that were kept out of training, so that nothing is chosen by the test set.
    """
    import viz

    import_extra("matplotlib", "demo", "tinygrad-cnn train")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    kept, rest = _split(train_set, recipe)
    transform = data.transforms.RandomShift(recipe.shift) if recipe.shift else None
    loader = data.DataLoader(
        rest, recipe.batch_size, shuffle=True, seed=recipe.seed, drop_last=len(rest) >= recipe.batch_size,
        transform=transform,
    )  # fmt: skip
    optimizer = OPTIMIZERS[recipe.optimizer](model.parameters(), lr=recipe.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * len(loader))
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(viz.record(model, optimizer)) if record else None
        trainer = Trainer(
            model,
            optimizer,
            scheduler=scheduler,
            scheduler_step="batch",
            callbacks=[Recording(recorder)] if recorder else [],
        )
        history = trainer.fit(
            loader,
            data.DataLoader(kept, 256),
            epochs=recipe.epochs,
            checkpoint=folder / "checkpoint.npz",
            resume=resume,
        )
    written = {"checkpoint.npz": "the run, to go on from with --resume"}
    if recorder is not None:
        recorder.to_json(folder / "run.json")
        recorder.movie(folder / "train.html")
        written |= {"train.html": "the film: the gradient while it learned", "run.json": "the same, as numbers"}
    if history.interrupted:
        print(f"stopped after {len(history)} of {recipe.epochs} epochs")
    test = trainer.evaluate(data.DataLoader(test_set, 256))
    tc.save(model, folder / "model.npz")
    written["model.npz"] = "the weights"
    if history:
        draw_curves(history, test.accuracy, folder / "curves.png")
        written["curves.png"] = "loss and accuracy over the epochs"
    figure = gradient_flow(model, optimizer, rest[: recipe.batch_size])
    figure.save(folder / "gradient_flow.svg")
    written["gradient_flow.svg"] = "the gradient through the layers, after training"
    print(f"\ntest accuracy {test.accuracy:.2%}, loss {test.loss:.4f} ({len(test_set)} images, looked at once)")
    print(figure.report())
    print(f"written to {folder}/")
    for name, meaning in written.items():
        print(f"  {name:<22}{meaning}")
    return float(test.accuracy or 0)


def _split(dataset: data.TensorDataset, recipe: Recipe) -> tuple[data.TensorDataset, data.TensorDataset]:
    """The images to validate on, and those to train on."""
    order = np.random.default_rng(recipe.seed).permutation(len(dataset))
    count = max(1, round(recipe.validation * len(dataset)))
    kept, rest = (data.TensorDataset(*(array[part] for array in dataset.tensors)) for part in np.split(order, [count]))
    return kept, rest


def gradient_flow(model: tc.nn.Module, optimizer: optim.Optimizer, batch: Any) -> Any:
    """The figure of one forward and backward pass over a batch, which leaves no gradient behind."""
    import viz

    images, labels = batch
    with viz.capture(model, optimizer) as capture:
        F.cross_entropy(model(tc.tensor(images)), labels).backward()
    model.zero_grad()
    return capture.figure(level="module")


def draw_curves(history: History, test_accuracy: float | None, path: Path) -> None:
    """Draws loss and accuracy over the epochs: training, validation where there was one, and the test, once."""
    figure = import_extra("matplotlib.figure", "demo", "the curves").Figure((8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = history["number"]
    for axes, what, scale in ((left, "loss", 1), (right, "accuracy", 100)):
        for column, name, colour in ((what, "training", "#B85400"), (f"val_{what}", "validation", "#2F74B5")):
            values = history[column]
            if None not in values:
                axes.plot(epochs, scale * np.array(values), color=colour, label=name)
        axes.set(xlabel="epoch", ylabel=what if scale == 1 else f"{what} (%)")
        axes.grid(alpha=0.3)
    left.set_yscale("log")
    if test_accuracy is not None:
        right.plot(epochs[-1:], [100 * test_accuracy], "o", color="black", label=f"test, once: {test_accuracy:.2%}")
    left.legend()
    right.legend(loc="lower right")
    figure.savefig(path, dpi=130)
