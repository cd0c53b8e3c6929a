"""Trainer: the loop over epochs and batches. It stops cleanly, refuses NaN, and resumes bit for bit.

It does what a loop by hand does, and nothing else to the model:

    logits = model(images); loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn import functional as F
from tinygrad_cnn import serialization
from tinygrad_cnn.core.tensor import Tensor, tensor
from tinygrad_cnn.errors import CheckpointError
from tinygrad_cnn.nn.modes import evaluating
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.progress import Reporter, reporting
from tinygrad_cnn.random_state import generator

__all__ = ["Epoch", "History", "Recording", "Score", "Trainer"]

Path = str | os.PathLike[str]
Callback = Callable[["Trainer", "Epoch"], object]


class Score(NamedTuple):
    """The mean loss over a data set, and the share of classes that were right (None where there are no classes)."""

    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data, measured while the model was learning from it, and the validation after it."""

    number: int  # from 1
    loss: float
    accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    lr: float  # of the first parameter group, at the end of the epoch's last batch
    seconds: float

    def __str__(self) -> str:
        parts = [f"epoch {self.number}", f"loss {self.loss:.4f}"]
        parts += [f"accuracy {self.accuracy:.2%}"] if self.accuracy is not None else []
        parts += [f"validation loss {self.val_loss:.4f}"] if self.val_loss is not None else []
        parts += [f"accuracy {self.val_accuracy:.2%}"] if self.val_accuracy is not None else []
        return "  ".join([*parts, f"lr {self.lr:.3g}", f"{self.seconds:.1f} s"])


@dataclass
class History(Sequence[Epoch]):
    """The epochs of a run, in order; a column of them by name: `history["val_loss"]`."""

    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False  # by Ctrl-C, or by `Trainer.stop`

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.epochs[key]
        if key not in (names := [f.name for f in fields(Epoch)]):
            raise KeyError(f"History: no column {key!r}; there are {', '.join(names)}")
        return [getattr(epoch, key) for epoch in self.epochs]

    def __repr__(self) -> str:
        return "\n".join(map(str, self.epochs)) or "no epoch was finished"


class Trainer:
    """Trains a model with an optimiser on batches (inputs, ..., targets), and measures it.

    `loss` is called with the model's output and the targets. A scheduler is stepped after every epoch, OneCycleLR
    after every batch, ReduceLROnPlateau with the validation loss (without validation, the training loss);
    `scheduler_step` "batch" or "epoch" says otherwise. Each callback is called as `callback(trainer, epoch)` after
    an epoch; one that has a method `on_batch(trainer, loss)` has that called after each batch, too.

    Unless `stop_on_nan` is False, a loss or a gradient that is not finite raises FloatingPointError before the
    optimiser's step, so that the parameters are the last finite ones.

    >>> import tinygrad_cnn as tc
    >>> tc.manual_seed(0)
    >>> model = tc.models.mlp([2, 8, 2])
    >>> points = np.random.default_rng(0).normal(size=(64, 2))
    >>> loader = tc.data.DataLoader(tc.data.TensorDataset(points, points[:, 0] > 0), 16, seed=0)
    >>> trainer = tc.train.Trainer(model, tc.optim.Adam(model.parameters(), lr=0.05))
    >>> history = trainer.fit(loader, epochs=10, progress=False)
    >>> trainer.evaluate(loader).accuracy > 0.9
    True
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Any], Tensor] = F.cross_entropy,
        scheduler: Any = None,
        callbacks: Iterable[Callback] = (),
        *,
        scheduler_step: str = "auto",
        stop_on_nan: bool = True,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Trainer: model must be an nn.Module, got {type(model).__name__}")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Trainer: optimizer must be one of tc.optim, got {type(optimizer).__name__}")
        if scheduler is not None and getattr(scheduler, "optimizer", None) is not optimizer:
            raise ValueError("Trainer: the scheduler must be made for the optimizer that is given")
        if scheduler_step not in ("auto", "batch", "epoch"):
            raise ValueError(f'Trainer: scheduler_step must be "auto", "batch" or "epoch", got {scheduler_step!r}')
        self.model, self.optimizer, self.loss, self.scheduler = model, optimizer, loss, scheduler
        self.callbacks = tuple(callbacks)
        for callback in self.callbacks:
            if not callable(callback):
                raise TypeError(f"Trainer: a callback is called as callback(trainer, epoch); got {callback!r}")
        every_batch = isinstance(scheduler, OneCycleLR) if scheduler_step == "auto" else scheduler_step == "batch"
        self._every_batch = scheduler is not None and every_batch
        self.stop_on_nan = stop_on_nan
        self.history = History()
        self._stop = False

    # --- training ---

    def fit(
        self,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any] | None = None,
        epochs: int | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
        *,
        progress: bool = True,
    ) -> History:
        """Trains for `epochs` passes over `train_loader`; returns what each of them measured.

        `checkpoint` names a .npz file that is written after every epoch and on Ctrl-C: model, optimiser, scheduler,
        the random generator and the place in the data. With `resume` the run goes on from it, to the same bits as
        if it had never stopped (a `DataLoader` as training data given), or starts where there is no such file.

        Ctrl-C ends the run after the batch it is at, and returns the history so far (`interrupted` is then True);
        pressed twice, it raises. Raises ValueError for a number of epochs below one, FloatingPointError as the
        class says, CheckpointError for a file that is no checkpoint of this trainer.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer) or epochs < 1:
            raise ValueError(f"Trainer.fit: epochs must be a positive integer, as in epochs=10; got {epochs!r}")
        if resume and checkpoint is None:
            raise ValueError("Trainer.fit: resume needs checkpoint=, the file to resume from")
        if checkpoint is not None and os.path.splitext(checkpoint)[1] != ".npz":
            raise ValueError(f"Trainer.fit: checkpoint must end in .npz, got {os.fspath(checkpoint)!r}")
        self.history, self._stop = History(), False
        place = _Place(loader_epoch=getattr(train_loader, "epoch", 0), loader_seed=getattr(train_loader, "seed", None))
        if resume and checkpoint is not None and os.path.exists(checkpoint):
            place = self._restore(checkpoint)
        batches = len(train_loader) if isinstance(train_loader, Sized) else None
        done = place.epoch * (batches or 0) + place.batch
        with reporting(progress, done, batches and batches * epochs) as reporter, _noting_interrupts(self):
            try:
                while place.epoch < epochs and not self.stopping:
                    self._train_epoch(train_loader, place, reporter, epochs)
                    if not self.stopping:
                        self._end_epoch(val_loader, place, reporter)
                    if checkpoint is not None:
                        self._save(checkpoint, place)
            except KeyboardInterrupt:  # from the data or a callback, or Ctrl-C for the second time
                if self.stopping:
                    raise
        self.history.interrupted = place.epoch < epochs
        return self.history

    @property
    def stopping(self) -> bool:
        """Whether the run ends after this batch."""
        return self._stop

    def stop(self) -> None:
        """Ends the run after the batch it is at; for callbacks."""
        self._stop = True

    def _train_epoch(
        self,
        loader: Iterable[Any],
        place: _Place,
        reporter: Reporter,
        epochs: int,
    ) -> None:
        if hasattr(loader, "epoch") and hasattr(loader, "seed"):
            loader.seed, loader.epoch = place.loader_seed, place.loader_epoch + place.epoch
        self.model.train()
        for number, batch in enumerate(loader):
            if number < place.batch:  # learned from before the run was stopped
                continue
            started = time.perf_counter()
            loss = self._train_batch(batch, place)
            place.batch += 1
            place.seconds += time.perf_counter() - started
            reporter.batch(f"epoch {place.epoch + 1}/{epochs}  loss {place.score().loss:.4f}")
            for callback in self.callbacks:
                if hasattr(callback, "on_batch"):
                    callback.on_batch(self, loss)
            if self._every_batch:
                self.scheduler.step()
            if self.stopping:
                return
        if not place.batch:
            raise ValueError(
                "Trainer.fit: the training data gave no batch in epoch "
                f"{place.epoch + 1}; a generator can be passed over only once, use a DataLoader or a list"
            )

    def _train_batch(self, batch: Any, place: _Place) -> Tensor:
        inputs, targets = _parts(batch)
        outputs = self.model(*inputs)
        loss = self.loss(outputs, targets)
        self.optimizer.zero_grad()
        loss.backward()
        if self.stop_on_nan:
            self._refuse_nonfinite(loss, place)
        place.lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        place.count(loss, outputs, targets)
        return loss

    def _refuse_nonfinite(self, loss: Tensor, place: _Place) -> None:
        where = f"at epoch {place.epoch + 1}, batch {place.batch + 1}"
        advice = (
            "the parameters are as they were before this batch; lower the learning rate, or run the batch under "
            "tc.detect_anomaly() to see the operation it began in"
        )
        if not np.isfinite(loss.data).all():
            raise FloatingPointError(f"Trainer.fit: the loss is {loss.item()} {where}; {advice}")
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and not np.isfinite(parameter.grad.data).all():
                raise FloatingPointError(f"Trainer.fit: the gradient of {name!r} is not finite {where}; {advice}")

    def _end_epoch(self, val_loader: Iterable[Any] | None, place: _Place, reporter: Reporter) -> None:
        trained = place.score()
        validated = self.evaluate(val_loader) if val_loader is not None else Score(np.nan, None)
        if self.scheduler is not None and not self._every_batch:
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(validated.loss if val_loader is not None else trained.loss)
            else:
                self.scheduler.step()
        val_loss = validated.loss if val_loader is not None else None
        epoch = Epoch(place.epoch + 1, *trained, val_loss, validated.accuracy, place.lr, place.seconds)
        self.history.epochs.append(epoch)
        place.next_epoch()
        reporter.epoch(str(epoch))
        for callback in self.callbacks:
            callback(self, epoch)

    # --- measuring ---

    def evaluate(self, loader: Iterable[Any]) -> Score:
        """The mean loss and the accuracy over a data set, in evaluation mode, without recording."""
        place = _Place()
        with evaluating(self.model):
            for batch in loader:
                inputs, targets = _parts(batch)
                outputs = self.model(*inputs)
                place.count(self.loss(outputs, targets), outputs, targets)
        if not place.samples:
            raise ValueError("Trainer.evaluate: the data gave no sample")
        return place.score()

    def predict(self, images: Any, batch_size: int = 256) -> np.ndarray:
        """The model's outputs for images (N, C, H, W), in evaluation mode; `.argmax(1)` of logits gives the classes."""
        images = images.data if isinstance(images, Tensor) else np.asarray(images)
        if images.ndim == 0 or not len(images):
            raise ValueError(f"Trainer.predict: expected a batch of images (N, C, H, W), got shape {images.shape}")
        with evaluating(self.model):
            starts = range(0, len(images), batch_size)
            return np.concatenate([self.model(tensor(images[i : i + batch_size])).data for i in starts])

    # --- checkpoints ---

    def _save(self, path: Path, place: _Place) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "random": generator().bit_generator.state,
            "place": asdict(place),
            "history": [asdict(epoch) for epoch in self.history],
        }
        serialization.save(state, path)

    def _restore(self, path: Path) -> _Place:
        """Takes over all of a checkpoint, or nothing."""
        state = serialization.load(path)
        if not {"model", "optimizer", "scheduler", "random", "place", "history"} <= state.keys():
            raise CheckpointError(
                path, "holds no training run; for weights alone use model.load_state_dict(tc.load(path))"
            )
        if (state["scheduler"] is None) != (self.scheduler is None):
            here, there = ("with", "without") if self.scheduler is not None else ("without", "with")
            raise CheckpointError(path, f"is of a run {there} a scheduler, this trainer is {here} one")
        before = self.model.state_dict()
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, ValueError, RuntimeError) as error:
            self.model.load_state_dict(before)
            raise CheckpointError(path, str(error)) from error
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        generator().bit_generator.state = state["random"]
        self.history = History([Epoch(**epoch) for epoch in state["history"]])
        return _Place(**state["place"])


class Recording:
    """A callback that closes the record of each step of a `viz.record`: ``callbacks=[Recording(recorder)]``."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        """Nothing is recorded of an epoch."""

    def on_batch(self, trainer: Trainer, loss: Tensor) -> None:
        """After the optimiser's step, as `viz.record` wants it."""
        self._recorder.step(loss)


# --- where a run is -----------------------------------------------------------------------------------------


@dataclass
class _Place:
    """How far a run has come: epochs that have ended, batches of the one that has not, and its sums."""

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0  # summed over samples
    right: float | None = None
    samples: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    loader_epoch: int = 0
    loader_seed: int | None = None

    def count(self, loss: Tensor, outputs: Tensor, targets: np.ndarray) -> None:
        number = len(targets)
        self.loss += loss.item() * number
        self.samples += number
        if (
            number and targets.dtype.kind in "iub" and targets.ndim == outputs.ndim - 1
        ):  # classes, of logits (N, C, ...)
            self.right = (self.right or 0) + float((outputs.data.argmax(1) == targets).mean()) * number

    def score(self) -> Score:
        samples = max(self.samples, 1)
        return Score(self.loss / samples, None if self.right is None else self.right / samples)

    def next_epoch(self) -> None:
        self.epoch += 1
        self.batch = self.samples = 0
        self.loss = self.seconds = 0.0
        self.right = None


def _parts(batch: Any) -> tuple[list[Tensor], np.ndarray]:
    """A batch as the model's inputs, Tensors, and the targets."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        what = f"a {type(batch).__name__}" if not isinstance(batch, tuple | list) else f"{len(batch)} parts"
        raise ValueError(f"Trainer: a batch must be (inputs, ..., targets), got {what}")
    *inputs, targets = batch
    return [x if isinstance(x, Tensor) else tensor(x) for x in inputs], np.asarray(targets)


@contextlib.contextmanager
def _noting_interrupts(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C asks the trainer to stop instead of raising: no update is left half done."""

    def note(number: int, frame: Any) -> None:
        if trainer.stopping:
            raise KeyboardInterrupt
        trainer.stop()

    in_main_thread = threading.current_thread() is threading.main_thread()  # elsewhere none is ever delivered
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
