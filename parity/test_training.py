"""Training: from the same weights and the same batches, the losses follow PyTorch's step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, optim


class TorchLeNet5(torch.nn.Module):
    """LeNet-5 as one writes it there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 6, 5, padding=2), torch.nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = torch.nn.Linear(400, 120), torch.nn.Linear(120, 84), torch.nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(self.conv1(x).relu(), 2)
        x = torch.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


def twins(dtype: str) -> tuple[Any, TorchLeNet5]:
    """Both with the weights that PyTorch drew, handed over by name."""
    torch.manual_seed(0)
    theirs = TorchLeNet5().to(getattr(torch, dtype))
    ours = models.lenet5().to(dtype)
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    return ours, theirs


def batches(dtype: str, count: int, size: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Real digits, shuffled anew for each epoch."""
    images, labels = data.digits("train", size=28).tensors
    rng = np.random.default_rng(0)
    order: list[int] = []
    for _ in range(count):
        if len(order) < size:
            order = list(rng.permutation(len(labels)))
        chosen, order = order[:size], order[size:]
        yield images[chosen].astype(dtype), labels[chosen]


OPTIMISERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "SGD": (optim.SGD, torch.optim.SGD, {"lr": 0.3}),
    "momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "Adam": (optim.Adam, torch.optim.Adam, {"lr": 2e-3}),
}


def losses(dtype: str, steps: int, optimiser: str = "SGD") -> tuple[np.ndarray, np.ndarray, Any, TorchLeNet5]:
    """The losses of both, and the networks as they came out."""
    ours, theirs = twins(dtype)
    our_class, their_class, options = OPTIMISERS[optimiser]
    our_optimiser = our_class(ours.parameters(), **options)
    their_optimiser = their_class(theirs.parameters(), **options)
    found = []
    for x, y in batches(dtype, steps):
        our_optimiser.zero_grad()
        our_loss = F.cross_entropy(ours(tc.tensor(x)), y)
        our_loss.backward()
        our_optimiser.step()
        their_optimiser.zero_grad()
        their_loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        their_loss.backward()
        their_optimiser.step()
        found.append((our_loss.item(), their_loss.item()))
    return *np.array(found).T, ours, theirs


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_lenet5_in_float64(optimiser: str) -> None:
    """100 steps to nine digits, in which the loss falls; and the weights at the end."""
    here, there, ours, theirs = losses("float64", 100, optimiser)
    np.testing.assert_allclose(here, there, rtol=1e-9)
    assert there[-5:].mean() < 0.5 * there[:5].mean()
    for name, parameter in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], parameter.numpy(), rtol=1e-7, atol=1e-10)


def test_lenet5_in_float32() -> None:
    """Rounding grows with every step, so only the first 20 are alike."""
    here, there, ours, _ = losses("float32", 20, "momentum")
    np.testing.assert_allclose(here, there, rtol=1e-3)
    assert all(p.dtype == np.float32 for p in ours.parameters())


def test_the_gradient_of_a_whole_network() -> None:
    ours, theirs = twins("float64")
    x, y = next(batches("float64", 1))
    x_here, x_there = tc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    F.cross_entropy(ours(x_here), y).backward()
    torch.nn.functional.cross_entropy(theirs(x_there), torch.tensor(y)).backward()
    pairs = [(x_here, x_there), *zip(ours.parameters(), theirs.parameters(), strict=True)]
    for a, b in pairs:
        scale = float(b.grad.abs().max())
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-12 * scale)


def test_state_dicts_by_name() -> None:
    """Ours loads there, theirs loads here, strictly, and the networks then say the same."""
    ours, theirs = models.lenet5().to("float64"), TorchLeNet5().double()
    assert {n: tuple(a.shape) for n, a in ours.state_dict().items()} == {
        n: tuple(t.shape) for n, t in theirs.state_dict().items()
    }
    x, _ = next(batches("float64", 1))
    theirs.load_state_dict({name: torch.tensor(np.asarray(array)) for name, array in ours.state_dict().items()})
    there = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(tc.tensor(x)).data, there, rtol=1e-11, atol=1e-13)
    again = models.lenet5().to("float64")
    again.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    np.testing.assert_allclose(again(tc.tensor(x)).data, there, rtol=1e-11, atol=1e-13)
