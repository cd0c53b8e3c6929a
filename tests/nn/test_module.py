"""Modules: what they consist of, their state, their modes, and where they say they are."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import nn
from tinygrad_cnn.core import tape


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.bn1 = nn.BatchNorm2d(2)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
        self.scale = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x: Any) -> tc.Tensor:
        return self.head(self.bn1(self.conv1(x)).relu()) * self.scale


X = np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype(np.float32)
NAMES = ["scale", "conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "head.1.weight", "head.1.bias"]


def recorded_paths(f: Any) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    with tape.observe(on_record=lambda node, op, args, options, out: seen.append((tape.STATE.get().path, op.name))):
        f()
    return seen


# ---- what a module consists of ---------------------------------------------------------------------------------


def test_parameters_come_in_order_of_assignment_own_ones_first() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_modules()] == ["", "conv1", "bn1", "head", "head.0", "head.1"]
    assert [name for name, _ in net.named_children()] == ["conv1", "bn1", "head"]
    assert [name for name, _ in net.named_buffers()] == [
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
    ]
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert next(net.parameters(recurse=False)) is net.scale


def test_shared_parameters_and_modules_are_listed_once_under_their_first_name() -> None:
    net = nn.Module()
    net.first = nn.Linear(3, 3)
    net.again = net.first
    net.tied = nn.Linear(3, 3)
    net.tied.weight = net.first.weight
    assert [name for name, _ in net.named_parameters()] == ["first.weight", "first.bias", "tied.bias"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "tied"]
    assert len(list(net.children())) == 2
    assert [name for name, _ in net.named_parameters(remove_duplicate=False)] == [
        "first.weight", "first.bias", "again.weight", "again.bias", "tied.weight", "tied.bias",
    ]  # fmt: skip
    assert len(net.state_dict()) == 6


def test_lists_tuples_and_dicts_are_walked() -> None:
    net = nn.Module()
    net.layers = [nn.Linear(2, 2), (nn.ReLU(), nn.Linear(2, 1, bias=False))]
    net.heads = {"a": nn.Linear(1, 1, bias=False)}
    net.gains = [nn.Parameter([1.0]), nn.Parameter([2.0])]
    net.widths = (1, 2, "three")
    net.layers.append(nn.Linear(1, 1, bias=False))
    assert [name for name, _ in net.named_parameters()] == [
        "gains.0", "gains.1", "layers.0.weight", "layers.0.bias", "layers.1.1.weight", "layers.2.weight",
        "heads.a.weight",
    ]  # fmt: skip
    assert not net.eval().layers[1][1].training
    assert "(layers.1.1): Linear" in repr(net)


def test_what_contains_itself_is_walked_once() -> None:
    net, child = nn.Module(), nn.Linear(1, 1)
    net.child = child
    child.parent = net
    net.endless = [nn.ReLU()]
    net.endless.append(net.endless)
    assert [name for name, _ in net.named_modules()] == ["", "child", "endless.0"]
    assert list(net.state_dict()) == ["child.weight", "child.bias"]
    assert "..." in repr(net)


def test_missing_attributes_name_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"^Net has no attribute 'conv2'; did you mean 'conv1'\?$"):
        _ = Net().conv2
    with pytest.raises(AttributeError, match=r"no attribute 'cuda'; this engine computes on the CPU"):
        Net().cuda()
    with pytest.raises(AttributeError, match=r"use to\('float64'\)"):
        Net().double()
    assert not hasattr(Net(), "_repr_html_")


def test_super_init_may_be_left_out() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(2, 1)

        def forward(self, x: Any) -> tc.Tensor:
            return self.fc(x)

    net = Careless().train()
    assert net(np.zeros((1, 2), np.float32)).shape == (1, 1)
    assert len(net.state_dict()) == 2


def test_assignment_keeps_parameters_parameters() -> None:
    layer = nn.Linear(2, 2)
    for value in (np.zeros((2, 2)), tc.zeros(2, 2), 0.0):
        with pytest.raises(TypeError, match=r"Linear\.weight is a Parameter of shape \(2, 2\) and can not become"):
            layer.weight = value
    layer.weight = nn.Parameter(np.zeros((5, 2), np.float32))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    assert layer(np.ones((1, 2), np.float32)).shape == (1, 5)
    del layer.weight
    assert list(layer.parameters()) == []


def test_registering() -> None:
    net = nn.Module()
    net.register_parameter("weight", nn.Parameter([1.0]))
    net.register_parameter("bias", None)
    net.register_buffer("mean", np.zeros(2))
    net.register_buffer("scratch", tc.zeros(1), persistent=False)
    net.register_buffer("later", None)
    net.add_module("0", nn.ReLU())
    assert net.bias is None
    assert list(net.state_dict()) == ["weight", "mean"]
    assert [name for name, _ in net.named_buffers()] == ["mean", "scratch"]
    net.mean = np.ones(3)
    assert isinstance(net.mean, tc.Tensor)
    assert list(net.state_dict()) == ["weight", "mean"]
    assert not net.state_dict()["mean"].requires_grad
    for call, error in (
        (lambda: net.register_parameter("w", tc.zeros(1)), TypeError),
        (lambda: net.add_module("m", 1), TypeError),
        (lambda: net.add_module(1, nn.ReLU()), TypeError),
        (lambda: net.add_module("a.b", nn.ReLU()), KeyError),
        (lambda: net.add_module("", nn.ReLU()), KeyError),
        (lambda: net.add_module("forward", nn.ReLU()), KeyError),
        (lambda: net.register_buffer("train", np.zeros(1)), KeyError),
        (lambda: net.register_parameter("state_dict", nn.Parameter([1.0])), KeyError),
    ):
        with pytest.raises(error):
            call()


def test_a_parameter_is_a_leaf_that_requires_grad() -> None:
    w = nn.Parameter([[1.0, 2.0]])
    assert isinstance(w, tc.Tensor)
    assert w.is_leaf
    assert w.requires_grad
    assert w.dtype == np.float32
    assert type(w * 2) is tc.Tensor
    assert repr(w).startswith("Parameter containing:\ntensor([[1., 2.]]")
    assert not nn.Parameter(np.zeros(1), requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="only floating Tensors have gradients"):
        nn.Parameter([1, 2])
    assert type(copy.deepcopy(w)) is nn.Parameter
    assert type(pickle.loads(pickle.dumps(w))) is nn.Parameter


def test_forward_must_be_defined() -> None:
    with pytest.raises(NotImplementedError, match=r"Module: define forward"):
        nn.Module()(1)


# ---- state -----------------------------------------------------------------------------------------------------


def test_state_dict_round_trip() -> None:
    a, b = Net(), Net()
    a(X)
    result = b.load_state_dict(a.state_dict())
    assert result == ([], [])
    assert result.mismatched_keys == []
    a.eval()
    b.eval()
    np.testing.assert_array_equal(a(X).data, b(X).data)
    assert b.bn1.num_batches_tracked.item() == 1


def test_state_dict_is_a_snapshot() -> None:
    net = Net()
    before = net.state_dict()
    net.scale.data += 1
    assert before["scale"].tolist() == [1, 1, 1]
    assert not before["scale"].requires_grad
    before["scale"].data[...] = 7
    assert net.scale.tolist() == [2, 2, 2]


def test_a_state_dict_that_does_not_fit_is_refused_as_a_whole() -> None:
    net = Net()
    before = net.state_dict()
    wrong: dict[str, Any] = {name: value.data + 1 for name, value in before.items()}
    del wrong["bn1.bias"]
    wrong["head.1.weight"] = np.zeros((3, 9))
    wrong["scale"] = np.zeros(3, complex)
    wrong["extra"] = np.zeros(1)
    with pytest.raises(TypeError, match=r"'scale' is no array of numbers \(dtype complex128\)"):
        net.load_state_dict(wrong)
    wrong["scale"] = np.zeros(3)
    wrong["bn1.num_batches_tracked"] = np.array(1.5)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(wrong)
    assert str(caught.value) == (
        "load_state_dict: the state_dict does not fit this Net, nothing was loaded.\n"
        "  missing: bn1.bias\n"
        "  unexpected: extra\n"
        "  mismatched: bn1.num_batches_tracked: dtype float64 in the state_dict, int64 in the module\n"
        "    head.1.weight: shape (3, 9) in the state_dict, (3, 8) in the module"
    )
    after = net.state_dict()
    assert all((before[name].data == after[name].data).all() for name in before)
    with pytest.raises(TypeError, match="expected a mapping"):
        net.load_state_dict([1, 2])


def test_what_fits_can_be_loaded() -> None:
    net = nn.Linear(2, 2)
    result = net.load_state_dict({"weight": np.full((2, 2), 3), "bias": np.zeros(3), "extra": 0}, strict=False)
    assert result.missing_keys == []
    assert result.unexpected_keys == ["extra"]
    assert result.mismatched_keys == ["bias"]
    assert "mismatched_keys=['bias']" in repr(result)
    assert tuple(result) == ([], ["extra"])
    assert net.weight.tolist() == [[3, 3], [3, 3]]
    assert net.weight.dtype == np.float32


def test_loading_does_not_alias_and_is_noticed_by_the_tape() -> None:
    net = nn.Linear(2, 2)
    source = np.ones((2, 2), np.float32)
    y = net(tc.ones(1, 2, requires_grad=True))
    swapped = {"weight": source, "bias": net.bias}
    net.load_state_dict(swapped)
    source[...] = 5
    assert net.weight.tolist() == [[1, 1], [1, 1]]
    with pytest.raises(tc.TapeError, match="overwritten"):
        y.sum().backward()


def test_loading_from_the_module_itself() -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    a, b = (p.item() for p in net.parameters())
    net.load_state_dict({"0.weight": net[1].weight, "1.weight": net[0].weight})
    assert [p.item() for p in net.parameters()] == [b, a]


def test_loading_keeps_the_parameters_an_optimiser_holds() -> None:
    net = nn.Linear(2, 2)
    held, memory = net.weight, net.weight.data
    net.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(2)})
    assert net.weight is held
    assert net.weight.data is memory


def test_deepcopy_and_pickle() -> None:
    net = Net()
    net.tied = net.head
    net(X).sum().backward()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.tied is other.head
        assert not {id(p) for p in net.parameters()} & {id(p) for p in other.parameters()}
        np.testing.assert_array_equal(net.eval()(X).data, other.eval()(X).data)
        assert recorded_paths(lambda other=other: other(X))[0] == ("conv1", "conv2d")


# ---- modes -----------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_all_submodules_and_their_own_overrides() -> None:
    class Frozen(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    net = nn.Sequential(nn.Dropout(), nn.Sequential(Frozen(2), nn.ReLU()))
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert net.train() is net
    assert [m.training for m in net.modules()] == [True, True, True, False, True]
    with pytest.raises(ValueError, match="True or False"):
        net.train("no")


def test_zero_grad_requires_grad_apply() -> None:
    net = Net()
    net(X).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(X).requires_grad
    seen: list[str] = []
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Conv2d", "BatchNorm2d", "Flatten", "Linear", "Sequential", "Net"]


def test_to_converts_parameters_gradients_and_buffers_in_place() -> None:
    net = Net()
    parameters = list(net.parameters())
    net(X).sum().backward()
    assert net.to("float64") is net
    assert [id(p) for p in parameters] == [id(p) for p in net.parameters()]
    assert {t.dtype.name for t in net.state_dict().values()} == {"float64", "int64"}
    assert {p.grad.dtype.name for p in net.parameters() if p.grad is not None} == {"float64"}
    assert net(X.astype(np.float64)).dtype == np.float64
    with pytest.raises(TypeError, match="there are no devices here"):
        net.to("cuda")
    with pytest.raises(TypeError, match="floating dtype"):
        net.to("int64")


def test_forward_hooks_see_and_may_replace_the_output() -> None:
    layer = nn.Linear(2, 2)
    seen: list[Any] = []
    first = layer.register_forward_hook(lambda module, args, output: seen.append((module, args, output)))
    second = layer.register_forward_hook(lambda module, args, output: output * 0)
    x = tc.ones(1, 2)
    assert not layer(x).any()
    assert seen[0][0] is layer
    assert seen[0][1] == (x,)
    first.remove()
    second.remove()
    first.remove()
    assert layer(x).any()
    assert len(seen) == 1
    assert nn.Linear(2, 2)._forward_hooks == ()


# ---- where we are ----------------------------------------------------------------------------------------------


def test_what_is_computed_bears_the_path_of_its_module() -> None:
    net = Net()
    node = net(X).grad_fn
    assert node is not None
    assert node.path == ""
    assert node.parents[0].path == "head.1"
    assert recorded_paths(lambda: net(X)) == [
        ("conv1", "conv2d"), ("bn1", "batch_norm"), ("", "relu"), ("head.0", "reshape"), ("head.1", "linear"),
        ("", "mul"),
    ]  # fmt: skip
    assert {path for path, _ in recorded_paths(lambda: net.head(tc.ones(1, 8, requires_grad=True)))} == {"0", "1"}
    assert tape.STATE.get().path == ""


def test_paths_reach_into_containers_that_are_not_called() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))])
            self.plain = [nn.Linear(2, 2)]
            self.hidden = {nn.Linear(2, 2)}

        def forward(self, x: Any) -> Any:
            for block in (*self.blocks, *self.plain, *self.hidden):
                x = block(x)
            return self.blocks[-1][0](x)

    net = Stack()

    def paths() -> list[str]:
        return [path for path, _ in recorded_paths(lambda: net(np.ones((1, 2), np.float32)))]

    assert paths() == ["blocks.0", "blocks.1.0", "plain.0", "", "blocks.1.0"]
    net.blocks.insert(1, nn.ReLU())
    assert paths() == ["blocks.0", "blocks.1", "blocks.2.0", "plain.0", "", "blocks.2.0"]
    net.plain.append(nn.Linear(2, 2))
    assert paths()[3:5] == ["plain.0", "plain.1"]


def test_paths_are_looked_up_once_per_structure() -> None:
    class Counting(Net):
        looked_up = 0

        def named_modules(self, *args: Any, **kwargs: Any) -> Any:
            self.looked_up += 1
            return super().named_modules(*args, **kwargs)

    net = Counting()
    for _ in range(3):
        nn.CrossEntropyLoss()(net(X), [0, 1])
        nn.Conv2d(1, 1, 1)
    assert net.looked_up == 1
    net.head = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    assert ("head.1", "linear") in recorded_paths(lambda: net(X))
    assert net.looked_up == 2


def test_paths_start_from_where_the_caller_says_it_is() -> None:
    net = Net()
    with tape.within("teacher"):
        assert [path for path, _ in recorded_paths(lambda: net(X))][:3] == ["teacher.conv1", "teacher.bn1", "teacher"]
        assert tape.STATE.get().path == "teacher"


def test_paths_are_put_back_after_an_exception_which_names_the_module() -> None:
    net = nn.Sequential({"features": nn.Sequential({"conv1": nn.Conv2d(3, 4, 3)})})
    with pytest.raises(tc.ShapeError) as caught:
        net(X)
    assert caught.value.__notes__[-1] == "in module 'features.conv1', a Conv2d"
    assert tape.STATE.get().path == ""
    assert recorded_paths(lambda: net(np.ones((1, 3, 3, 3), np.float32))) == [("features.conv1", "conv2d")]


def test_a_module_leaves_the_rest_of_the_state_alone() -> None:
    class Quiet(nn.Module):
        def forward(self, x: Any) -> Any:
            with tc.no_grad():
                return x * 1

    net = nn.Sequential(Quiet(), nn.Linear(1, 1))
    assert net(tc.ones(1, 1)).requires_grad
    assert tc.is_grad_enabled()


def test_paths_in_threads_are_their_own() -> None:
    net = Net().eval()
    found: list[Any] = []

    def run() -> None:
        for _ in range(20):
            found.append([path for path, _ in recorded_paths(lambda: net(X))])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(paths == found[0] for paths in found)


def test_nothing_stays_behind() -> None:
    gc.collect()
    gc.disable()
    try:
        net = Net()
        y = net(X)
        node, module = weakref.ref(y.grad_fn), weakref.ref(net)
        y.sum().backward()
        del y
        assert node() is None
        del net
        assert module() is None
    finally:
        gc.enable()


# ---- text ------------------------------------------------------------------------------------------------------


def test_repr_is_a_tree() -> None:
    assert repr(Net()) == (
        "Net(\n"
        "  (conv1): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))\n"
        "  (bn1): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        "  (head): Sequential(\n"
        "    (0): Flatten(start_dim=1, end_dim=-1)\n"
        "    (1): Linear(in_features=8, out_features=3, bias=True)\n"
        "  )\n"
        ")"
    )
