"""P10: training as PyTorch does, up to rounding: losses of the same net on the same batches from the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.match import Plan
from benchmarks.report import Row

BATCH, SIDE = 64, 32


def agreement(plan: Plan) -> Iterator[Row]:
    """How far our losses lie from PyTorch's, over how far its two memory formats lie from each other."""
    ratios, gaps = [], []
    for seed in range(1 if plan.quick else 5):
        losses, accuracies = _trained(seed, 60 if plan.quick else 500)
        ours, theirs, other = (np.array(losses[name]) for name in ("ours", "NCHW", "channels_last"))
        ratios.append(np.median(abs(ours - theirs)) / max(np.median(abs(other - theirs)), 1e-7))
        gaps.append(100 * abs(accuracies["ours"] - accuracies["NCHW"]))
    yield Row("P10", "difference of losses / that of PyTorch's formats", float(np.median(ratios)), 2.0)
    yield Row("P10", "largest difference of accuracies, %", float(max(gaps)), 1.0)


def _trained(seed: int, steps: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    import torch
    from torch.nn import functional as TF

    import tinygrad_cnn as tc
    import tinygrad_cnn.functional as F
    from benchmarks.rival_torch import vgg_small
    from tinygrad_cnn import data, models, optim

    torch.manual_seed(seed)
    start = vgg_small()
    images, labels = _pictures(data.digits("train", size=SIDE))
    tests, test_labels = _pictures(data.digits("test", size=SIDE))
    rng = np.random.default_rng(seed)
    batches = [rng.integers(0, len(images), BATCH) for _ in range(steps)]
    losses: dict[str, list[float]] = {"ours": [], "NCHW": [], "channels_last": []}
    accuracies: dict[str, float] = {}
    for layout in ("NCHW", "channels_last"):
        memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        net = vgg_small()
        net.load_state_dict(start.state_dict())
        net = net.to(memory_format=memory)
        descent = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        for batch in batches:
            x = torch.from_numpy(images[batch]).contiguous(memory_format=memory)
            loss = TF.cross_entropy(net(x), torch.from_numpy(labels[batch]))
            descent.zero_grad()
            loss.backward()
            descent.step()
            losses[layout].append(loss.item())
        with torch.no_grad():
            accuracies[layout] = float((net(torch.from_numpy(tests)).argmax(1).numpy() == test_labels).mean())
    model = models.vgg_small()
    weights = [p.numpy() for p in start.state_dict().values()]
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for batch in batches:
        ours = F.cross_entropy(model(tc.tensor(images[batch])), labels[batch])
        optimizer.zero_grad()
        ours.backward()
        optimizer.step()
        losses["ours"].append(ours.item())
    with tc.no_grad():
        accuracies["ours"] = float((model(tc.tensor(tests)).numpy().argmax(1) == test_labels).mean())
    return losses, accuracies


def _pictures(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Digits in three equal channels."""
    images, labels = (np.stack(part) for part in zip(*(dataset[i] for i in range(len(dataset))), strict=True))
    return np.repeat(images.astype(np.float32), 3, axis=1), labels.astype(np.int64)
