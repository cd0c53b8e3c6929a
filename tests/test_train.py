"""Trainer: what a run gives, where it stops, and that it resumes to the same bits."""

import os
import signal

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, nn, optim, train


def network(seed=0):
    tc.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(4 * 3 * 3, 10),
    )  # fmt: skip


def digits(count=96, seed=3, shuffle=True):
    images, labels = data.digits("train")[:count]
    return data.DataLoader(data.TensorDataset(images, labels), 16, shuffle=shuffle, seed=seed)


def trainer(seed=0, schedule=True, **options):
    model = network(seed)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 8) if schedule else None
    return train.Trainer(model, optimizer, scheduler=scheduler, **options)


def bits(run):
    return {name: tensor.data.tobytes() for name, tensor in run.model.state_dict().items()}


def test_it_is_the_loop_by_hand():
    by_hand, run = network(), trainer(schedule=False)
    optimizer = optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    tc.manual_seed(5)
    loader = digits()
    for _ in range(2):
        for images, labels in loader:
            loss = F.cross_entropy(by_hand(tc.tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    tc.manual_seed(5)
    run.fit(digits(), epochs=2, progress=False)
    assert {name: tensor.data.tobytes() for name, tensor in by_hand.state_dict().items()} == bits(run)


def test_it_learns_and_measures():
    run = trainer(schedule=False)
    history = run.fit(digits(320), digits(64, shuffle=False), epochs=6, progress=False)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["val_accuracy"][-1] > 0.8
    score = run.evaluate(digits(64, shuffle=False))
    assert score == (history[-1].val_loss, history[-1].val_accuracy)
    images, labels = data.digits("train")[:64]
    assert run.predict(images, batch_size=10).shape == (64, 10)
    assert (run.predict(images).argmax(1) == labels).mean() == pytest.approx(score.accuracy)
    assert "validation loss" in repr(history)
    assert not history.interrupted


def test_evaluation_weighs_batches_by_their_size_and_changes_nothing():
    run = trainer()
    images, labels = data.digits("train")[:40]
    run.model[1].eval()  # a frozen batch norm stays frozen
    before = bits(run)
    score = run.evaluate(data.DataLoader(data.TensorDataset(images, labels), 16))
    assert bits(run) == before
    assert [module.training for module in run.model] == [True, False, True, True, True, True, True]
    logits = tc.tensor(run.predict(images))
    assert score.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_losses_without_classes_have_no_accuracy():
    model = models.mlp([3, 4, 2])
    run = train.Trainer(model, optim.Adam(model.parameters(), lr=1e-2), F.mse_loss)
    points = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    loader = data.DataLoader(data.TensorDataset(points, points[:, :2]), 8)
    history = run.fit(loader, epochs=2, progress=False)
    assert history["accuracy"] == [None, None]


@pytest.mark.parametrize("stop_after_batch", [None, 8])
def test_resuming_gives_the_bits_of_a_run_that_never_stopped(tmp_path, stop_after_batch):
    path = tmp_path / "run.npz"
    tc.manual_seed(1)
    whole = trainer()
    whole_history = whole.fit(digits(), digits(32, shuffle=False), epochs=4, progress=False)

    first = trainer(callbacks=[StopAfter(stop_after_batch)] if stop_after_batch else ())
    history = first.fit(
        digits(), digits(32, shuffle=False), epochs=4 if stop_after_batch else 2, checkpoint=path, progress=False
    )
    assert history.interrupted == bool(stop_after_batch)
    second = trainer(seed=7)
    tc.manual_seed(99)
    resumed = second.fit(
        digits(seed=1), digits(32, shuffle=False), epochs=4, checkpoint=path, resume=True, progress=False
    )
    assert bits(second) == bits(whole)
    assert resumed["loss"] == whole_history["loss"]
    assert resumed["val_loss"] == whole_history["val_loss"]
    assert second.scheduler.state_dict() == whole.scheduler.state_dict()


class StopAfter:
    def __init__(self, batches):
        self.left = batches

    def __call__(self, trainer, epoch):
        pass

    def on_batch(self, trainer, loss):
        self.left -= 1
        if not self.left:
            trainer.stop()


def test_a_run_that_is_done_is_not_trained_again(tmp_path):
    path = tmp_path / "run.npz"
    run = trainer()
    run.fit(digits(), epochs=2, checkpoint=path, progress=False)
    before = bits(run)
    assert len(run.fit(digits(), epochs=2, checkpoint=path, resume=True, progress=False)) == 2
    assert bits(run) == before


def test_control_c_ends_after_the_batch_and_is_saved(tmp_path):
    path = tmp_path / "run.npz"

    class Press(StopAfter):
        def on_batch(self, trainer, loss):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)

    history = trainer(callbacks=[Press(8)]).fit(digits(), epochs=4, checkpoint=path, progress=False)
    assert history.interrupted
    assert len(history) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert tc.load(path)["place"]["batch"] == 2
    whole = trainer()
    whole.fit(digits(), epochs=4, progress=False)
    second = trainer(seed=4)
    second.fit(digits(), epochs=4, checkpoint=path, resume=True, progress=False)
    assert bits(second) == bits(whole)


def test_control_c_in_the_data_returns_what_there_is():
    def loader():
        yield from digits(32)
        raise KeyboardInterrupt

    history = trainer().fit(loader(), epochs=3, progress=False)
    assert history.interrupted
    assert len(history) == 0


@pytest.mark.parametrize("spoilt", ["loss", "gradient"])
def test_nan_is_refused_before_the_step(spoilt):
    run = trainer(schedule=False)
    batches = list(digits(48))
    run.fit(batches, epochs=1, progress=False)
    before = {name: parameter.data.copy() for name, parameter in run.model.named_parameters()}
    if spoilt == "loss":
        batches = [(np.full_like(batches[0][0], np.nan), batches[0][1])]
    else:
        run.model[0].weight.register_hook(lambda g: g * np.nan)
    with pytest.raises(
        FloatingPointError, match=r"(loss is nan|gradient of '0.weight').*epoch 1, batch 1.*detect_anomaly"
    ):
        run.fit(batches, epochs=1, progress=False)
    for name, parameter in run.model.named_parameters():
        assert (parameter.data == before[name]).all()


def test_schedulers_are_stepped_when_they_should_be():
    def last_lr(make, **options):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        run = train.Trainer(model, optimizer, scheduler=make(optimizer), **options)
        run.fit(digits(), epochs=2, progress=False)
        return run.scheduler.last_epoch

    assert last_lr(lambda o: optim.lr_scheduler.StepLR(o, 1)) == 2
    assert last_lr(lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=12)) == 12
    assert last_lr(lambda o: optim.lr_scheduler.ReduceLROnPlateau(o)) == 2
    assert last_lr(lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 12), scheduler_step="batch") == 12


def test_a_line_an_epoch_where_no_bar_can_be_drawn(capsys):
    trainer().fit(digits(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:7] for line in lines] == ["epoch 1", "epoch 2"]
    assert "accuracy" in lines[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda run: run.fit(digits()), ValueError, "epochs must be a positive integer"),
        (lambda run: run.fit(digits(), epochs=0), ValueError, "positive integer.*got 0"),
        (lambda run: run.fit(digits(), epochs=1, resume=True), ValueError, "resume needs checkpoint="),
        (lambda run: run.fit(digits(), epochs=1, checkpoint="a.pt"), ValueError, "must end in .npz"),
        (lambda run: run.fit([], epochs=1, progress=False), ValueError, "gave no batch in epoch 1"),
        (lambda run: run.fit(iter(digits(16)), epochs=2, progress=False), ValueError, "no batch in epoch 2.*list"),
        (lambda run: run.fit([np.zeros(3)], epochs=1, progress=False), ValueError, "must be .inputs, ..., targets."),
        (lambda run: run.evaluate([]), ValueError, "no sample"),
        (lambda run: run.predict(np.zeros((0, 1, 8, 8))), ValueError, r"got shape \(0, 1, 8, 8\)"),
        (lambda run: train.Trainer(3, run.optimizer), TypeError, "model must be an nn.Module, got int"),
        (lambda run: train.Trainer(run.model, 0.1), TypeError, "optimizer must be one of tc.optim, got float"),
        (lambda run: train.Trainer(run.model, run.optimizer, callbacks=[3]), TypeError, "callback"),
        (lambda run: train.Trainer(run.model, run.optimizer, scheduler_step="x"), ValueError, "scheduler_step"),
        (
            lambda run: train.Trainer(run.model, optim.Adam(run.model.parameters()), scheduler=run.scheduler),
            ValueError,
            "the scheduler must be made for the optimizer",
        ),
        (lambda run: run.history["speed"], KeyError, "no column 'speed'"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(trainer())


def test_a_file_of_another_run_is_refused_and_nothing_is_changed(tmp_path):
    weights, other = tmp_path / "weights.npz", tmp_path / "other.npz"
    run = trainer()
    tc.save(run.model, weights)
    model = models.mlp([64, 8, 10])
    images = [(x.reshape(len(x), -1), y) for x, y in digits(32)]
    train.Trainer(model, optim.SGD(model.parameters(), lr=0.1)).fit(images, epochs=1, checkpoint=other, progress=False)
    before = bits(run)
    with pytest.raises(tc.CheckpointError, match=r"weights\.npz: holds no training run"):
        run.fit(digits(), epochs=1, checkpoint=weights, resume=True, progress=False)
    with pytest.raises(tc.CheckpointError, match="without a scheduler, this trainer is with one"):
        run.fit(digits(), epochs=1, checkpoint=other, resume=True, progress=False)
    with pytest.raises(tc.CheckpointError, match=r"(?s)other\.npz: .*missing"):
        trainer(schedule=False).fit(digits(), epochs=1, checkpoint=other, resume=True, progress=False)
    assert bits(run) == before
