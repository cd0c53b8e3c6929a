"""Looking changes nothing: no gradient, no running statistics, no random state, no hook fired."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn, random_state

X = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)


def net() -> Any:
    tc.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                         nn.Linear(144, 5))  # fmt: skip


def state(model: Any, optimizer: Any) -> dict[str, Any]:
    """All that could have changed, as text and bytes."""
    found: dict[str, Any] = {name: np.asarray(array).tobytes() for name, array in model.state_dict().items()}
    found |= {f"{n}.grad": None if p.grad is None else p.grad.data.tobytes() for n, p in model.named_parameters()}
    found["modes"] = [module.training for module in model.modules()]
    found["random"] = str(random_state.generator().bit_generator.state)
    found["numpy"] = str(np.random.get_state())  # noqa: NPY002  (the global one must stay as it is)
    found["optimizer"] = str(optimizer.state_dict())
    return found


@pytest.mark.parametrize("accumulated", [False, True])
def test_drawing_and_judging_change_nothing(accumulated: bool) -> None:
    model = net()
    optimizer = tc.optim.Adam(model.parameters())
    if accumulated:
        F.cross_entropy(model(X), np.arange(4)).backward()
        optimizer.step()
    loss = F.cross_entropy(model(X), np.arange(4))
    fired: list[str] = []
    for parameter in model.parameters():
        parameter.register_hook(lambda g: fired.append("gradient"))
    for module in model.modules():
        module.register_forward_hook(lambda *args: fired.append("forward"))
    before = state(model, optimizer)
    figure = viz.graph(loss, model)
    assert figure.report() is not None
    assert all((figure.dot(), figure.text(), figure.json()))
    assert viz.check(loss, model) is not None
    viz.explain("dropout", X[0, 0])
    viz.show_filters(model[0])
    assert fired == []
    viz.show_activations(model, X)
    viz.maximize_activation(model, model[0], 1, shape=(1, 8, 8), steps=2)
    assert state(model, optimizer) == before
    loss.backward()  # the tape is as it was, too


def test_a_watched_training_is_the_same_training() -> None:
    results = []
    for watched in (False, True):
        model = net()
        optimizer = tc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            with viz.capture(model, optimizer) if watched else tc.enable_grad() as cap:
                optimizer.zero_grad()
                F.cross_entropy(model(X), np.arange(4)).backward()
            if watched:
                assert cap.figure().dot()
            optimizer.step()
        results.append(state(model, optimizer))
    assert results[0] == results[1]
