"""Optimisers: their arithmetic by hand, their state, and what they refuse."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import models, nn, optim

W = np.array([1.0, -2.0, 0.5])
G = [np.array([0.3, -0.1, 2.0]), np.array([-0.4, 0.2, 1.0]), np.array([0.1, 0.1, -3.0])]
ALL: list[Callable[[Any], optim.Optimizer]] = [
    lambda ps: optim.SGD(ps, 0.1),
    lambda ps: optim.SGD(ps, 0.1, 0.9),
    lambda ps: optim.SGD(ps, 0.1, 0.9, nesterov=True, weight_decay=0.01),
    lambda ps: optim.Adam(ps, weight_decay=0.1, amsgrad=True),
    lambda ps: optim.AdamW(ps, 0.01),
    lambda ps: optim.RMSprop(ps, momentum=0.9, centered=True),
    lambda ps: optim.Adagrad(ps, lr_decay=0.1, initial_accumulator_value=0.1),
]
IDS = ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"]


def moved(make: Callable[[Any], optim.Optimizer], dtype: str = "float64", steps: int = 3) -> tc.Tensor:
    w = nn.Parameter(W.astype(dtype))
    optimizer = make([w])
    for g in G[:steps]:
        w.grad = tc.tensor(g.astype(dtype))
        optimizer.step()
    return w


# ---- arithmetic ------------------------------------------------------------------------------------------------


def test_sgd() -> None:
    np.testing.assert_allclose(moved(lambda ps: optim.SGD(ps, lr=0.1)).data, W - 0.1 * sum(G))
    w = W.copy()
    for g in G:
        w -= 0.1 * (g + 0.5 * w)
    np.testing.assert_allclose(moved(lambda ps: optim.SGD(ps, 0.1, weight_decay=0.5)).data, w)
    np.testing.assert_allclose(moved(lambda ps: optim.SGD(ps, 0.1, maximize=True)).data, W + 0.1 * sum(G))


def test_momentum() -> None:
    v1 = G[0]
    v2 = 0.9 * v1 + G[1]
    v3 = 0.9 * v2 + G[2]
    np.testing.assert_allclose(moved(lambda ps: optim.SGD(ps, 0.1, 0.9)).data, W - 0.1 * (v1 + v2 + v3))
    ahead = sum(g + 0.9 * v for g, v in zip(G, (v1, v2, v3), strict=True))
    np.testing.assert_allclose(moved(lambda ps: optim.SGD(ps, 0.1, 0.9, nesterov=True)).data, W - 0.1 * ahead)
    u2 = 0.9 * v1 + 0.75 * G[1]
    u3 = 0.9 * u2 + 0.75 * G[2]
    np.testing.assert_allclose(moved(lambda ps: optim.SGD(ps, 0.1, 0.9, dampening=0.25)).data, W - 0.1 * (v1 + u2 + u3))


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(decoupled: bool) -> None:
    w, m, v, a, b, decay = W.copy(), 0.0, 0.0, 0.8, 0.95, 0.2
    for t, g in enumerate(G, 1):
        if decoupled:
            w = w - 0.1 * decay * w
        else:
            g = g + decay * w
        m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
        w = w - 0.1 * (m / (1 - a**t)) / (np.sqrt(v / (1 - b**t)) + 1e-4)
    kind = optim.AdamW if decoupled else optim.Adam
    np.testing.assert_allclose(moved(lambda ps: kind(ps, 0.1, (a, b), 1e-4, decay)).data, w)


def test_adams_first_step_has_the_length_of_the_learning_rate() -> None:
    np.testing.assert_allclose(
        moved(lambda ps: optim.Adam(ps, lr=0.1), steps=1).data, W - 0.1 * np.sign(G[0]), rtol=1e-6
    )


def test_amsgrad_never_forgets_a_large_gradient() -> None:
    w, m, v, largest = W.copy(), 0.0, 0.0, np.zeros(3)
    for t, g in enumerate(G[::-1], 1):
        m, v = 0.5 * m + 0.5 * g, 0.5 * v + 0.5 * g * g
        largest = np.maximum(largest, v)
        w = w - 0.1 * (m / (1 - 0.5**t)) / (np.sqrt(largest / (1 - 0.5**t)) + 1e-8)
    p = nn.Parameter(W.copy())
    optimizer = optim.Adam([p], 0.1, (0.5, 0.5), amsgrad=True)
    for g in G[::-1]:
        p.grad = tc.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(p.data, w)


def test_centered_rmsprop_with_momentum() -> None:
    w, v, mean, velocity = W.copy(), 0.0, 0.0, 0.0
    for g in G:
        g = g + 0.1 * w
        v, mean = 0.9 * v + 0.1 * g * g, 0.9 * mean + 0.1 * g
        velocity = 0.5 * velocity + g / (np.sqrt(v - mean**2) + 1e-3)
        w = w - 0.1 * velocity
    made = moved(lambda ps: optim.RMSprop(ps, 0.1, 0.9, 1e-3, weight_decay=0.1, momentum=0.5, centered=True))
    np.testing.assert_allclose(made.data, w)


def test_rmsprop_and_adagrad() -> None:
    w, v = W.copy(), 0.0
    for g in G:
        v = 0.9 * v + 0.1 * g * g
        w = w - 0.1 * g / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(moved(lambda ps: optim.RMSprop(ps, 0.1, alpha=0.9)).data, w)
    w, total = W.copy(), 0.5
    for t, g in enumerate(G):
        total = total + g * g
        w = w - 0.1 / (1 + t * 0.3) * g / (np.sqrt(total) + 1e-10)
    made = moved(lambda ps: optim.Adagrad(ps, 0.1, lr_decay=0.3, initial_accumulator_value=0.5))
    np.testing.assert_allclose(made.data, w)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_in_place_in_the_parameters_dtype(make: Callable[[Any], optim.Optimizer]) -> None:
    w, scalar = nn.Parameter(W.astype(np.float32)), nn.Parameter(np.array(2.0, np.float32))
    memory, optimizer = w.data, make([w, scalar])
    optimizer.param_groups[0]["lr"] = np.float64(0.1)
    for _ in range(2):
        w.grad, scalar.grad = tc.tensor(G[0].astype(np.float32)), tc.tensor(np.array(1.0, np.float32))
        optimizer.step()
    assert w.data is memory
    assert w.dtype == scalar.dtype == np.float32
    assert scalar.item() < 2
    for entry in optimizer.state.values():
        assert all(v.dtype == np.float32 for v in entry.values() if isinstance(v, np.ndarray))
    np.testing.assert_array_equal(w.grad.data, G[0].astype(np.float32))


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_numpys_scalars_compute_as_pythons(make: Callable[[Any], optim.Optimizer]) -> None:
    a, b = (nn.Parameter(np.linspace(-1, 1, 1000, dtype=np.float32)) for _ in range(2))
    for w, lr in ((a, 0.1), (b, np.float64(0.1))):
        optimizer = make([w])
        optimizer.param_groups[0]["lr"] = lr
        w.grad = tc.tensor(np.sin(np.arange(1000, dtype=np.float32)))
        optimizer.step()
    np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_gradients_are_only_read(make: Callable[[Any], optim.Optimizer]) -> None:
    w = nn.Parameter(W.copy())
    w.grad = tc.tensor(G[0].copy())
    optimizer = make([w])
    for _ in range(3):
        optimizer.step()
    np.testing.assert_array_equal(w.grad.data, G[0])


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_float32_follows_float64(make: Callable[[Any], optim.Optimizer]) -> None:
    np.testing.assert_allclose(moved(make, "float32").data, moved(make).data, rtol=1e-6)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_training_converges(make: Callable[[Any], optim.Optimizer]) -> None:
    tc.manual_seed(0)
    x, net = tc.randn(64, 3), nn.Linear(3, 1)
    target = x @ tc.tensor([[1.0], [-2.0], [0.5]])
    optimizer = make(net.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.MSELoss()(net(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# ---- groups, gradients, the tape -------------------------------------------------------------------------------


def test_parameter_groups_have_options_of_their_own() -> None:
    a, b, c = (nn.Parameter([1.0]) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0, "momentum": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "weight_decay": 0.5})
    for p in (a, b, c):
        p.grad = tc.tensor([1.0])
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0, 0.85])
    assert [group["momentum"] for group in optimizer.param_groups] == [0, 0.5, 0]
    assert "Parameter Group 2" in repr(optimizer)
    assert "weight_decay: 0.5" in repr(optimizer)


def test_parameters_without_gradient_stay() -> None:
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.AdamW([a, b], lr=0.1, weight_decay=0.5)
    a.grad = tc.tensor([1.0])
    optimizer.step()
    assert b.item() == 1
    assert list(optimizer.state) == [a]
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0]
    optimizer.zero_grad()
    assert a.grad is None


def test_a_closure_computes_the_loss() -> None:
    w = nn.Parameter([2.0])
    optimizer = optim.SGD([w], lr=0.1)

    def closure() -> tc.Tensor:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tc.no_grad():
        assert optimizer.step(closure).item() == 4
    assert w.item() == pytest.approx(1.6)


def test_steps_are_noticed_by_the_tape_and_not_recorded() -> None:
    w = nn.Parameter([2.0])
    loss = (w * w).sum()
    w.grad = tc.tensor([1.0])
    optim.SGD([w], lr=0.1).step()
    assert w.is_leaf
    with pytest.raises(tc.TapeError, match="overwritten in place"):
        loss.backward()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([p], lr=math.nan), ValueError, r"SGD: lr must be a number in \[0, inf\), got nan"),
        (lambda p: optim.SGD([p], lr="fast"), TypeError, r"SGD: lr must be a number in \[0, inf\), got 'fast'"),
        (lambda p: optim.SGD([p], lr=-0.1), ValueError, r"SGD: lr must be a number in \[0, inf\), got -0.1"),
        (lambda p: optim.SGD([p], lr=math.inf), ValueError, r"SGD: lr must be a number in"),
        (
            lambda p: optim.SGD([p], 0.1, momentum=1.5),
            ValueError,
            r"SGD: momentum must be a number in \[0, 1\), got 1.5",
        ),
        (lambda p: optim.SGD([p], 0.1, momentum=-0.1), ValueError, "momentum"),
        (lambda p: optim.SGD([p], 0.1, weight_decay=-1), ValueError, "weight_decay"),
        (lambda p: optim.SGD([p], 0.1, nesterov=True), ValueError, "nesterov needs momentum above 0"),
        (lambda p: optim.SGD([p], 0.1, 0.9, nesterov=True, dampening=0.1), ValueError, "nesterov"),
        (
            lambda p: optim.Adam([p], betas=(0.9, 1.0)),
            ValueError,
            r"Adam: betas\[1\] must be a number in \[0, 1\), got 1.0",
        ),
        (lambda p: optim.Adam([p], betas=(0.9,)), ValueError, "betas must be two numbers"),
        (lambda p: optim.AdamW([p], eps=0), ValueError, r"AdamW: eps must be a number in \(0, inf\), got 0"),
        (lambda p: optim.RMSprop([p], alpha=math.nan), ValueError, "alpha"),
        (lambda p: optim.Adagrad([p], lr_decay=-1), ValueError, "lr_decay"),
        (lambda p: optim.SGD([{"params": [p], "lr": -1}], 0.1), ValueError, "lr must be a number in"),
        (lambda p: optim.SGD([], 0.1), ValueError, "there are no parameters"),
        (lambda p: optim.SGD([p, p], 0.1), ValueError, r"params\[1\] of shape \(1,\) is listed twice"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}], 0.1), ValueError, "listed twice"),
        (lambda p: optim.SGD([p * 2], 0.1), ValueError, "was computed; only leaves can be optimised"),
        (lambda p: optim.SGD(p, 0.1), TypeError, "got Parameter; pass a list"),
        (lambda p: optim.SGD(nn.Linear(1, 1), 0.1), TypeError, r"got Linear; pass model.parameters\(\)"),
        (lambda p: optim.SGD([1.0], 0.1), TypeError, r"params\[0\] is a float"),
        (lambda p: optim.SGD([{"lr": 1}], 0.1), TypeError, "a dictionary with 'params'"),
    ],
)
def test_mistakes(make: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(nn.Parameter([1.0]))


# ---- state -----------------------------------------------------------------------------------------------------


def _train(net: nn.Module, optimizer: optim.Optimizer, steps: range) -> None:
    for i in steps:
        x = np.random.default_rng(i).standard_normal((4, 6)).astype(np.float32)
        optimizer.zero_grad()
        (net(x) ** 2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_resuming_gives_the_same_bits(make: Callable[[Any], optim.Optimizer], tmp_path: Any) -> None:
    tc.manual_seed(0)
    through = models.mlp([6, 5, 3])
    optimizer = make(through.parameters())
    _train(through, optimizer, range(5))
    halfway = copy.deepcopy(through)
    tc.save(optimizer.state_dict(), tmp_path / "optimizer.npz")
    _train(through, optimizer, range(5, 10))
    resumed = make(halfway.parameters())
    for group in resumed.param_groups:
        group["lr"] = 77.0
    resumed.load_state_dict(tc.load(tmp_path / "optimizer.npz"))
    _train(halfway, resumed, range(5, 10))
    for (name, a), (_, b) in zip(through.named_parameters(), halfway.named_parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data, err_msg=name)


def test_state_dict_is_a_snapshot_in_pytorchs_layout() -> None:
    net = models.mlp([6, 5, 3])
    optimizer = optim.Adam(net.parameters())
    _train(net, optimizer, range(2))
    state = optimizer.state_dict()
    assert state["param_groups"][0]["params"] == [0, 1, 2, 3]
    assert set(state["state"][2]) == {"step", "exp_avg", "exp_avg_sq"}
    assert state["state"][2]["step"] == 2
    before = state["state"][0]["exp_avg"].copy()
    _train(net, optimizer, range(2, 4))
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], before)


def test_loading_does_not_alias() -> None:
    net = models.mlp([6, 5, 3])
    optimizer = optim.Adam(net.parameters())
    _train(net, optimizer, range(2))
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    optimizer.load_state_dict(state)
    _train(net, optimizer, range(2, 4))
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], before["state"][0]["exp_avg"])


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    net = models.mlp([6, 5, 3])
    optimizer = optim.Adam(net.parameters(), lr=0.5)
    _train(net, optimizer, range(2))
    before = optimizer.state_dict()
    state = optim.Adam(models.mlp([6, 5, 3]).parameters()).state_dict()
    state["state"] = {3: {"step": 1, "exp_avg": np.zeros(4)}}
    with pytest.raises(
        ValueError, match=r"'exp_avg' of parameter 3 has shape \(4,\) in the state_dict, the parameter \(3,\)"
    ):
        optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"another kind of optimiser, it has no \['amsgrad', 'betas', 'eps'\]"):
        optimizer.load_state_dict(optim.SGD(net.parameters(), 0.1).state_dict())
    for nonsense in ({}, {"state": {}}, None):
        with pytest.raises(ValueError, match="Adam: a state_dict of an optimiser is a mapping with 'state' and"):
            optimizer.load_state_dict(nonsense)
    with pytest.raises(ValueError, match=r"Adam: the state_dict has state for parameters \[7\], the optimiser has 4"):
        optimizer.load_state_dict({**state, "state": {7: {}}})
    state["param_groups"][0]["params"] = [0, 1]
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, the optimiser of \[4\]"):
        optimizer.load_state_dict(state)
    state = copy.deepcopy(before)
    state["param_groups"][0]["lr"] = math.nan
    with pytest.raises(ValueError, match="lr must be a number in"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, entry in before["state"].items():
        for name, value in entry.items():
            np.testing.assert_array_equal(after["state"][number][name], value)


def test_model_and_optimizer_are_copied_together() -> None:
    net = models.mlp([6, 3])
    optimizer = optim.SGD(net.parameters(), 0.1, 0.9)
    _train(net, optimizer, range(2))
    twin, twins = copy.deepcopy((net, optimizer))
    _train(net, optimizer, range(2, 4))
    _train(twin, twins, range(2, 4))
    np.testing.assert_array_equal(net.fc1.weight.data, twin.fc1.weight.data)
    assert net.fc1.weight is not twin.fc1.weight
