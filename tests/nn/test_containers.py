"""Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import nn


def keys(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_parameters()]


def layer(n: int = 1) -> nn.Linear:
    return nn.Linear(n, n, bias=False)


def test_sequential_in_every_spelling() -> None:
    a, b = nn.Linear(2, 3), nn.Linear(3, 1)
    x = np.ones((4, 2), np.float32)
    for net in (
        nn.Sequential(a, nn.ReLU(), b),
        nn.Sequential([a, nn.ReLU(), b]),
        nn.Sequential(OrderedDict(first=a, middle=nn.ReLU(), last=b)),
        nn.Sequential({"first": a, "middle": nn.ReLU(), "last": b}),
        nn.Sequential().append(a).extend([nn.ReLU(), b]),
    ):
        np.testing.assert_array_equal(net(x).data, b(a(x).relu()).data)
        assert len(net) == 3
        assert [*net][2] is net[-1] is b
    assert net[0] is a
    assert nn.Sequential({"first": a}).first is a
    assert nn.Sequential()(x) is x
    with pytest.raises(TypeError, match="expected modules, got function"):
        nn.Sequential(tc.nn.init.fans)


def test_sequential_slices_share_modules_and_keep_names() -> None:
    net = nn.Sequential(layer(), nn.ReLU(), layer(), layer())
    part = net[1:3]
    assert part[1] is net[2]
    assert keys(part) == ["2.weight"]
    assert type(part) is nn.Sequential
    assert part.training
    assert not net.eval()[:1].training
    assert keys(nn.Sequential({"a": layer(), "b": layer()})[1:]) == ["b.weight"]
    with pytest.raises(IndexError, match="index 4 is out of range for 4 modules"):
        net[4]


def test_changing_a_sequential_renumbers_it() -> None:
    net = nn.Sequential(layer(), nn.ReLU(), layer())
    last = net[2]
    del net[0]
    assert keys(net) == ["1.weight"]
    assert net[1] is last
    net.insert(0, layer())
    assert keys(net) == ["0.weight", "2.weight"]
    net[2] = nn.Tanh()
    assert keys(net) == ["0.weight"]
    del net[:2]
    assert [type(m) for m in net] == [nn.Tanh]


def test_module_list() -> None:
    layers = nn.ModuleList(layer() for _ in range(3))
    assert keys(layers) == ["0.weight", "1.weight", "2.weight"]
    assert keys(layers[1:]) == ["0.weight", "1.weight"]
    assert layers[1:][0] is layers[1]
    assert layers.append(nn.ReLU()) is layers
    assert len(layers) == 4
    with pytest.raises(TypeError, match="ModuleList: expected modules, got int"):
        layers.append(1)
    with pytest.raises(NotImplementedError, match="define forward"):
        layers(1)


def test_module_dict() -> None:
    heads = nn.ModuleDict({"a": layer(), "b": layer()})
    heads["c"] = layer()
    heads.update({"a": nn.ReLU()})
    assert list(heads) == heads.keys() == ["a", "b", "c"]
    assert keys(heads) == ["b.weight", "c.weight"]
    assert "b" in heads
    assert "train" not in heads
    del heads["b"]
    assert len(heads) == len(heads.values()) == 2
    assert dict(heads.items())["c"] is heads["c"]
    with pytest.raises(KeyError, match=r"no module 'b'; there are \['a', 'c'\]"):
        heads["b"]
    with pytest.raises(KeyError, match="already has an attribute 'train'"):
        heads["train"] = nn.ReLU()
