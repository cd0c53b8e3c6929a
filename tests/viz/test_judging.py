"""Marks: each threshold from both sides, on traces made by hand; then the diseases, on real models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import models, nn
from viz.judging import DEAD_SHARE, KINDS
from viz.trace import Edge, Magnitude, Module, Node, Parameter, Silent, Step, Trace


def m(flow: float, nan: float = 0.0, inf: float = 0.0) -> Magnitude:
    return Magnitude(flow, flow, flow, flow, nan, inf)


def chain(flows: Sequence[float], ops: Sequence[str] | None = None) -> Trace:
    """input -> layer0 -> ... -> loss; flows[i] is the gradient at the output of node i, the last of the model's output.

    The layers have a parameter each.
    """
    count = len(flows) - 1
    nodes = [Node(0, "input", "input", shape=[4, 2], batched=True, grad=m(flows[0]))]
    names = ops or ["linear"] * count
    for i, (flow, op) in enumerate(zip(flows[1:], names, strict=True)):
        nodes.append(
            Node(i + 1, "op", op, path=f"layer{i}", calls=[0], inside=True, shape=[4, 2], batched=True, grad=m(flow))
        )
    nodes.append(Node(count + 1, "op", "cross_entropy", shape=[], value=1.0, grad=m(1.0)))
    edges = [Edge(i, i + 1, 0, "x", nodes[i].grad) for i in range(count + 1)]
    parameters = [
        Parameter(i, f"layer{i}.weight", [2, 2], weight=m(1), grad=m(1), uses=[[i + 1, "weight"]]) for i in range(count)
    ]
    modules = [Module("", "Net", leaf=False), *(Module(f"layer{i}", "Linear") for i in range(count))]
    return Trace(nodes, edges, parameters, [Step(0, 1.0)], modules, "net", output=count, loss=count + 1)


def kinds(trace: Trace, level: str = "module") -> list[tuple[str, str]]:
    return [(f.kind, f.where) for f in viz.Figure(trace, viz.Options(level=level)).report()]


@pytest.mark.parametrize("level", ["module", "op"])
def test_a_gain_below_a_tenth_shrinks(level: str) -> None:
    assert kinds(chain([1, 1, 0.11, 1, 1]), level) == []
    assert kinds(chain([0.09, 0.09, 0.09, 1, 1]), level) == [("shrinks", "layer2")]


def test_a_gain_above_ten_explodes() -> None:
    assert kinds(chain([9.9, 9.9, 1])) == []
    assert kinds(chain([10.1, 10.1, 1])) == [("exploding", "layer1")]


def test_two_decades_above_the_output_explode_where_there_are_parameters() -> None:
    steady = [9.0**i for i in range(4)][::-1]
    assert kinds(chain(steady)) == [("exploding", "layer0")] * (steady[1] > 100)
    assert kinds(chain([5000, 900, 120, 14, 2, 1])) == [("exploding", "layer0"), ("exploding", "layer1")]


def test_vanishing_behind_a_culprit_and_without_one() -> None:
    assert kinds(chain([0.011, 0.011, 0.011, 0.2, 1])) == [("shrinks", "layer2")]
    assert kinds(chain([0.009, 0.009, 0.009, 0.2, 1])) == [
        ("shrinks", "layer2"),
        ("vanishing", "layer0"),
        ("vanishing", "layer1"),
    ]
    gradual = [0.2**i for i in range(7)][::-1]
    assert gradual[1] > 1e-4
    assert kinds(chain(gradual)) == []
    assert kinds(chain([0.15**i for i in range(7)][::-1])) == [("vanishing", "layer0")]


def test_a_vanished_card_names_the_culprit_and_the_rate() -> None:
    (shrinks, vanishing) = viz.Figure(chain([0.003, 0.003, 1, 1])).report()
    assert shrinks.value == pytest.approx(0.003)
    assert "×3.0e-3" in shrinks.message
    assert vanishing.where == "layer0"
    assert vanishing.value == pytest.approx(-2.52, abs=0.01)
    assert "layer1" in vanishing.message
    (gradually,) = viz.Figure(chain([0.15**i for i in range(7)][::-1])).report()
    assert "gradually, ×0.15 a layer" in gradually.message


def test_a_gradient_of_zero_is_vanishing_not_an_error() -> None:
    found = viz.Figure(chain([0, 0, 0, 1])).report()
    assert [(f.kind, f.where) for f in found] == [
        ("shrinks", "layer2"),
        ("vanishing", "layer0"),
        ("vanishing", "layer1"),
    ]
    assert "zero" in found[1].message
    assert viz.Figure(chain([0, 0, 0, 0])).report() == []


def test_a_mean_is_judged_by_its_neutral_gain() -> None:
    trace = chain([0.05, 0.05, 1, 1], ["linear", "avg_pool2d", "linear"])
    assert ("shrinks", "layer1") in kinds(trace)
    trace.nodes[2].options = {"window": {"kernel": [16, 16], "stride": [16, 16]}}
    assert kinds(trace) == []


def test_cards_outside_the_model_are_not_judged() -> None:
    trace = chain([1, 1, 1])
    trace.nodes[-1].grad = m(1e9)
    assert kinds(trace) == []


def test_what_is_not_finite_comes_first_and_is_named_once_in_forward_order() -> None:
    trace = chain([1, 1, 1, 1])
    trace.nodes[2].out = m(1, nan=0.5)
    trace.nodes[3].out = m(1, nan=1.0)
    trace.nodes[1].grad = m(1, nan=0.25)
    found = viz.Figure(trace).report()
    assert [f.where for f in found] == ["layer1", "layer0", "layer2"]
    assert "FIRST in forward order" in found[0].message
    assert sum("FIRST" in f.message for f in found) == 1


def test_the_first_bad_card_in_backward_order_is_the_one_that_sends_it() -> None:
    trace = chain([1, 1, 1, 1, 1])
    for edge in trace.edges[:3]:
        edge.grad = m(1, inf=0.1)
    for node in trace.nodes[:3]:
        node.grad = m(1, inf=0.1)
    found = viz.Figure(trace).report()
    assert (found[0].where, "FIRST in backward order" in found[0].message) == ("layer2", True)


@pytest.mark.parametrize(
    ("silent", "far", "dead"), [(3, 0, False), (3, 3, True), (14, 0, True), (13, 0, False), (16, 0, True)]
)
def test_dead_channels(silent: int, far: int, dead: bool) -> None:
    trace = chain([1, 1, 1])
    trace.nodes[2].silent = Silent(silent, far, 16, 320, 10)
    found = viz.Figure(trace).report()
    assert [f.kind for f in found] == ["dead"] * dead
    assert (silent / 16 > DEAD_SHARE or far > 0) is dead
    if dead:
        assert f"{silent} of 16" in found[0].message
        assert "320 samples of 10 steps" in found[0].message


def test_frozen_unused_and_without_gradient() -> None:
    trace = chain([1, 1, 1, 1])
    trace.parameters[0].requires_grad, trace.parameters[0].grad = False, None
    trace.parameters[1].grad = None
    trace.parameters[2].grad, trace.parameters[2].reached = None, False
    assert kinds(trace) == [("no-grad", "layer1"), ("unused", "layer2"), ("frozen", "layer0")]
    trace.backward = "none"
    assert kinds(trace) == [("frozen", "layer0")]


def test_the_size_of_an_update_is_never_a_finding() -> None:
    trace = chain([1, 1])
    for update in (1e-12, 1e6, 0.0):
        trace.parameters[0].update = update
        assert kinds(trace) == []


def test_the_report_does_not_depend_on_what_is_drawn() -> None:
    """A container may shrink the gradient a lot with nothing wrong inside; and what is wrong inside is not lost."""
    healthy, sick = chain([0.4**i for i in range(7)][::-1]), chain([0.001, 0.001, 0.001, 1, 1, 1, 1])
    for trace, inner in ((healthy, []), (sick, ["shrinks", "vanishing", "vanishing"])):
        for node in trace.nodes[1:-1]:
            node.path, node.calls = f"body.{node.path}", [0, 0]
        trace.modules = [Module("", "Net", leaf=False), Module("body", "Sequential", leaf=False)]
        for depth in (0, 1, 2, None):
            figure = viz.Figure(trace, viz.Options(depth=depth))
            assert [f.kind for f in figure.report()] == inner
            assert sorted(mark.kind for card in figure.diagram.cards for mark in card.marks) == inner
    assert "layer2: SHRINKS GRADIENT" in viz.Figure(sick, viz.Options(depth=1)).dot()


def test_findings_are_sorted_by_severity_and_print_as_a_line() -> None:
    trace = chain([0.001, 0.001, 1, 1])
    trace.parameters[2].requires_grad, trace.parameters[2].grad = False, None
    found = viz.Figure(trace).report()
    order = [KINDS.index(f.kind) for f in found]
    assert order == sorted(order)
    assert str(found[0]).startswith("layer1 (shrinks): ")


# ---- real models -------------------------------------------------------------------------------------------------


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "lenet5": (models.lenet5, (1, 28, 28)),
    "vgg_small": (models.vgg_small, (3, 32, 32)),
    "convnet_preview": (models.convnet_preview, (3, 32, 32)),
    "resnet8": (models.resnet8, (3, 16, 16)),
    "resnet20": (models.resnet20, (3, 16, 16)),
    "mlp": (lambda: models.mlp([12, 32, 32, 10]), (12,)),
}


def images(shape: tuple[int, ...], count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


LABELS = np.arange(8) % 10


def losses(name: str, out: Any) -> Any:
    return (
        F.cross_entropy(out, LABELS)
        if name == "cross_entropy"
        else F.mse_loss(out, np.eye(10, dtype=np.float32)[LABELS])
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("name", MODELS)
def test_models_as_they_start_are_well(name: str, loss: str) -> None:
    make, shape = MODELS[name]
    tc.manual_seed(0)
    model = make()
    with viz.capture(model) as cap:
        value = losses(loss, model(tc.tensor(images(shape))))
        before = viz.graph(value, model)
        value.backward()
    for figure in (cap.figure(), before, cap.figure(level="op"), cap.figure(depth=1)):
        assert figure.ok, figure.report()
        assert not any(card.marks for card in figure.diagram.cards)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda parameters: tc.optim.SGD(parameters, lr=0.02, momentum=0.9),
    "adam": lambda parameters: tc.optim.Adam(parameters, lr=1e-3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("name", [n if n == "mlp" else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])
def test_models_in_training_are_well(name: str, loss: str, optimizer: str) -> None:
    """A hundred steps on eight images: most of the nets know them by heart then, and the gradient is tiny."""
    make, shape = MODELS[name]
    tc.manual_seed(1)
    model = make()
    step = OPTIMIZERS[optimizer](model.parameters())
    x = tc.tensor(images(shape))
    for _ in range(100):
        step.zero_grad()
        losses(loss, model(x)).backward()
        step.step()
    step.zero_grad()
    with viz.capture(model, step) as cap:
        losses(loss, model(x)).backward()
    for level in ("module", "op"):
        assert cap.figure(level=level).ok, cap.figure(level=level).report()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_lenet_on_real_digits_is_well_all_the_way(seed: int) -> None:
    tc.manual_seed(seed)
    model = models.lenet5()
    loader = tc.data.DataLoader(tc.data.digits("train", size=28), 64, shuffle=True, seed=seed)
    optimizer = tc.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(4):
        for number, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            with viz.capture(model, optimizer) as cap:
                F.cross_entropy(model(tc.tensor(x)), y).backward()
            optimizer.step()
            assert number % 8 or cap.figure().ok, cap.figure().report()


def report_of(model: Any, x: np.ndarray | None = None) -> list[tuple[str, str]]:
    with viz.capture(model) as cap:
        F.cross_entropy(model(tc.tensor(images((1, 28, 28)) if x is None else x)), LABELS).backward()
    return [(f.kind, f.where) for f in cap.figure().report()]


def diseased(name: str, disease: str) -> tuple[Any, tuple[int, ...], tuple[str, str]]:
    """A model with something wrong in the middle; its input shape, and the finding that names it."""
    make, shape = MODELS[name]
    tc.manual_seed(0)
    model = make()
    path = {"vgg_small": "conv3", "convnet_preview": "conv4", "resnet8": "layer2.0.conv2", "mlp": "fc2"}[name]
    layer = dict(model.named_modules())[path]
    if disease == "nan":
        layer.weight.data[0, 0] = np.nan
    elif disease == "inf":
        layer.weight.data[0, 0] = np.inf
    elif disease == "frozen":
        layer.requires_grad_(False)
    else:
        layer.weight.data = layer.weight.data * {"shrinks": 1e-3, "exploding": 1e3}[disease]
    return model, shape, (disease, path)


@pytest.mark.parametrize("disease", ["nan", "inf", "frozen", "shrinks", "exploding"])
@pytest.mark.parametrize("name", ["vgg_small", "convnet_preview", "mlp"])
def test_each_disease_is_named_where_it_is_first(name: str, disease: str) -> None:
    model, shape, finding = diseased(name, disease)
    report = viz.check(losses("cross_entropy", model(tc.tensor(images(shape)))), model)
    assert (report[0].kind, report[0].where) == finding, report


@pytest.mark.parametrize("disease", ["nan", "frozen"])
def test_diseases_between_shortcuts(disease: str) -> None:
    model, shape, finding = diseased("resnet8", disease)
    report = viz.check(losses("cross_entropy", model(tc.tensor(images(shape)))), model)
    assert (report[0].kind, report[0].where) == finding, report


def test_a_forgotten_parameter_is_named_also_inside_a_block() -> None:
    tc.manual_seed(0)
    model = models.resnet8()
    model.layer1[0].extra = nn.Parameter(np.zeros(3, np.float32))
    report = viz.check(losses("mse", model(tc.tensor(images((3, 16, 16))))), model)
    assert [(f.kind, f.where) for f in report] == [("unused", "layer1.0")]
    assert "layer1.0.extra" in report[0].message


@pytest.fixture
def lenet() -> Any:
    tc.manual_seed(0)
    return models.lenet5()


def test_a_layer_started_too_small_is_named(lenet: Any) -> None:
    lenet.conv2.weight.data = lenet.conv2.weight.data / 500
    assert report_of(lenet) == [("shrinks", "conv2"), ("vanishing", "conv1")]


def test_a_layer_started_too_large_is_named(lenet: Any) -> None:
    lenet.conv2.weight.data = lenet.conv2.weight.data * 1000
    assert report_of(lenet)[0] == ("exploding", "conv2")


@pytest.mark.parametrize("channels", [1, 3, 10, 16])
def test_dead_rectifiers_are_named(lenet: Any, channels: int) -> None:
    lenet.conv2.bias.data[:channels] = -10
    assert ("dead", "relu2") in report_of(lenet)


def test_a_dead_rectifier_is_the_culprit_of_what_vanishes_behind_it(lenet: Any) -> None:
    lenet.conv2.bias.data[:] = -10
    with viz.capture(lenet) as cap:
        F.cross_entropy(lenet(tc.tensor(images((1, 28, 28)))), LABELS).backward()
    found = cap.figure().report()
    assert [(f.kind, f.where) for f in found] == [("dead", "relu2"), ("vanishing", "conv1"), ("vanishing", "conv2")]
    assert "shrunk by relu2" in found[1].message


def test_a_nan_in_a_weight_is_found_where_it_is(lenet: Any) -> None:
    lenet.conv2.weight.data[0, 0, 0, 0] = np.nan
    assert report_of(lenet)[0] == ("nan", "conv2")


def test_an_infinity_is_found_where_it_is(lenet: Any) -> None:
    lenet.fc1.weight.data[0, 0] = np.inf
    assert report_of(lenet)[0] == ("inf", "fc1")


def test_a_bad_rule_is_found_in_backward_order(lenet: Any) -> None:
    relu = tc.ops()["relu"]
    with tc.testing.patched(relu, vjp=lambda g, y: g * np.float32(np.nan) if y.shape[-1] == 84 else g * (y.data > 0)):
        assert report_of(lenet)[0] == ("nan", "relu4")


def test_frozen_layers_are_named_and_their_gradient_line_stops(lenet: Any) -> None:
    lenet.conv1.requires_grad_(False)
    assert report_of(lenet) == [("frozen", "conv1")]


class Detached(nn.Module):
    """A layer that is read but cut off, one that leads nowhere, and one that nothing reads."""

    def __init__(self, recorded: bool) -> None:
        self.recorded = recorded
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 10)
        self.aside, self.spare = nn.Linear(6, 2), nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        if self.recorded:
            h = self.first(x).detach()
        else:
            with tc.no_grad():
                h = self.first(x)
        self.aside(h)
        return self.second(h)


@pytest.mark.parametrize("recorded", [True, False])
def test_what_gets_no_gradient_and_why(recorded: bool) -> None:
    found = report_of(Detached(recorded), images((6,)))
    assert found == [("no-grad", "first"), ("unused", "aside"), ("unused", "spare")]


@pytest.mark.parametrize(("active", "blamed"), [(0.3, False), (0.005, True), (None, True)])
def test_a_rectifier_is_blamed_for_what_it_stops_only_if_hardly_any_unit_is_active(
    active: float | None, blamed: bool
) -> None:
    trace = chain([0.05, 0.05, 1, 1])
    trace.nodes[2].active = active
    assert (("shrinks", "layer1") in kinds(trace)) is blamed
