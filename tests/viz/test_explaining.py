"""`explain`: the numbers drawn are the engine's, and the grids of a panel really make the sum that it shows."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from viz.worked import Grid, Panel


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(-3, 4, shape).astype(np.float64)


def grids(panel: Panel) -> list[list[Grid]]:
    """The grids of a panel by place, stacks as lists."""
    return [part if isinstance(part, list) else [part] for part in panel.parts if not isinstance(part, str)]


def panel(picture: viz.Explanation, title: str) -> Panel:
    return next(p for p in picture.panels if p.title.startswith(title))


def correlated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By the definition, every place where b fits into a."""
    tall, wide = (n - k + 1 for n, k in zip(a.shape, b.shape, strict=True))
    return np.array([[(a[i : i + b.shape[0], j : j + b.shape[1]] * b).sum() for j in range(wide)] for i in range(tall)])


def summed(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    left, right, (result,) = grids(panel)
    return sum(correlated(a.values, b.values) for a, b in zip(left, right, strict=True)), result.values


GEOMETRIES = [
    {"stride": stride, "padding": padding, "dilation": dilation}
    for stride, padding, dilation in itertools.product((1, 2, (2, 3)), (0, 1, "same", 3), (1, 2))
]


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_the_correlations_drawn_are_the_convolution_and_its_gradients(options: dict[str, Any]) -> None:
    x, w, b = whole(2, 2, 7, 6), whole(2, 2, 3, 2), whole(2)
    dy = whole(*F.conv2d(x, w, **options).shape)
    picture = viz.explain("conv2d", x, w, dy, bias=b, **options)
    stride, dilation = (
        options[k] if isinstance(options[k], tuple) else (options[k],) * 2 for k in ("stride", "dilation")
    )

    made, shown = summed(panel(picture, "forward"))
    np.testing.assert_allclose(made[:: stride[0], :: stride[1]] + b[0], shown)
    np.testing.assert_array_equal(shown, picture.values["y"][0, 0])

    made, shown = summed(panel(picture, "backward to x"))
    np.testing.assert_allclose(made, shown)
    np.testing.assert_array_equal(shown, picture.values["x"][0, 0])

    made, shown = summed(panel(picture, "backward to W"))
    np.testing.assert_allclose(made[:: dilation[0], :: dilation[1]][:3, :2], shown)
    np.testing.assert_array_equal(shown, picture.values["weight"][0, 0])

    left, (total,) = grids(panel(picture, "backward to b"))
    np.testing.assert_allclose(sum(g.values.sum() for g in left), total.values[0, 0])


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}], ids=str)
def test_the_ringed_cells_make_the_ringed_result(options: dict[str, Any]) -> None:
    picture = viz.explain("conv2d", whole(6, 6), whole(3, 3), **options)
    kernel = whole(3, 3)
    for title, weights in (("forward", kernel), ("backward to x", kernel[::-1, ::-1])):
        (left,), _, (result,) = grids(panel(picture, title))
        (ring,) = result.rings
        taps = [left.values[place] for place in left.rings if max(place) < max(left.values.shape)]
        assert len(taps) == 9
        assert float(np.dot(taps, weights.ravel())) == result.values[ring]
        note = panel(picture, title).note
        if "zeros alone" not in note:
            terms, _, total = note.partition(" = ")[2].replace("−", "-").replace("×", "*").rpartition(" = ")
            assert "more" in terms or eval(terms) == pytest.approx(float(total))


def test_the_zeros_between_and_around_are_told_from_the_numbers() -> None:
    picture = viz.explain("conv2d", whole(5, 5), whole(3, 3), 1 + np.abs(whole(3, 3)), stride=2, padding=1)
    (left,), _, _ = grids(panel(picture, "backward to x"))
    assert left.put_in is not None
    assert (~left.put_in).sum() == 9
    np.testing.assert_array_equal(left.values[1:6:2, 1:6:2], 1 + np.abs(whole(3, 3)))
    assert not left.values[left.put_in].any()
    assert "zeros between" in panel(picture, "backward to x").formula


def test_values_are_the_engines() -> None:
    x, w, dy = whole(1, 1, 5, 5), whole(2, 1, 3, 3), whole(1, 2, 3, 3)
    a, b = (tc.tensor(v, requires_grad=True) for v in (x, w))
    y = F.conv2d(a, b)
    y.backward(tc.tensor(dy))
    picture = viz.explain("conv2d", x, w, dy)
    np.testing.assert_array_equal(picture.values["y"], y.data)
    np.testing.assert_array_equal(picture.values["x"], a.grad.data)
    np.testing.assert_array_equal(picture.values["weight"], b.grad.data)


@pytest.mark.parametrize(
    "options", [{}, {"stride": 1}, {"padding": 1}, {"stride": 2, "padding": 1, "dilation": 2}], ids=str
)
def test_the_winners_of_a_pool_are_ringed(options: dict[str, Any]) -> None:
    x = np.random.default_rng(1).normal(size=(6, 6))
    picture = viz.explain("max_pool2d", x, kernel_size=2, **options)
    (image,), (out,) = grids(panel(picture, "forward"))
    assert [image.values[place] for place in image.rings] == out.values.ravel().tolist()
    _, (dx,) = grids(panel(picture, "backward"))
    assert set(dx.rings) == {(int(i), int(j)) for i, j in np.argwhere(dx.values)}


def test_a_tie_goes_to_the_first() -> None:
    (image,), _ = grids(panel(viz.explain("max_pool2d", np.ones((2, 2)), 2), "forward"))
    assert image.rings == [(0, 0)]


def test_softmax_and_cross_entropy() -> None:
    z = np.random.default_rng(0).normal(size=(4, 3))
    picture = viz.explain("cross_entropy", z, np.array([0, 2, 1, 1]))
    (p,), (onehot,), (dz,) = grids(panel(picture, "backward"))
    np.testing.assert_allclose((p.values - onehot.values) / 4, dz.values)
    np.testing.assert_allclose(dz.values.sum(axis=1), 0, atol=1e-12)
    *_, (losses,), (loss,) = grids(panel(picture, "forward"))
    assert losses.values.mean() == pytest.approx(loss.values.item())


@pytest.mark.parametrize("shape", [(6, 2), (3, 2, 2, 2)])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    picture = viz.explain("batch_norm", x, dy, weight=np.array([2.0, 1]), bias=np.array([1.0, 0]))
    (_,), (hat,), (y,) = grids(panel(picture, "forward"))
    np.testing.assert_allclose(2 * hat.values + 1, y.values)
    (g,), _, (dx,) = grids(panel(picture, "backward"))
    np.testing.assert_allclose(dx.values.sum(), 0, atol=1e-12)
    number = float(re.search(r"∂β = Σ ∂y = (\S+),", panel(picture, "backward").note)[1].replace("−", "-"))  # type: ignore[index]  # a match is the point
    assert number == pytest.approx(g.values.sum(), rel=0.01)
    assert picture.values["bias"][0] == pytest.approx(g.values.sum())


def test_products_of_matrices() -> None:
    for name, args in (("matmul", (whole(3, 4), whole(4, 2))), ("linear", (whole(3, 4), whole(2, 4)))):
        for p in viz.explain(name, *args, whole(3, 2)).panels:
            (a,), (b,), (result,) = grids(p)
            np.testing.assert_array_equal(a.values @ b.values, result.values)


def test_masks() -> None:
    tc.manual_seed(0)
    for name, options in (("relu", {}), ("dropout", {"p": 0.5})):
        picture = viz.explain(name, whole(4, 5), whole(4, 5) + 7, **options)
        for p in picture.panels:
            (a,), (mask,), (result,) = grids(p)
            scale = 2 if name == "dropout" else 1
            np.testing.assert_array_equal(a.values * mask.values * scale, result.values)


@pytest.mark.parametrize(
    ("op", "arrays", "options"),
    [
        ("tanh", (whole(2, 3),), {}),
        ("softmax", (whole(2, 3),), {}),
        ("conv1d", (whole(1, 1, 6), whole(1, 1, 3)), {}),
        ("conv2d", (whole(1, 1, 5, 5), whole(1, 1, 3, 3)), {"padding": 1, "padding_mode": "reflect"}),
        ("avg_pool2d", (whole(4, 4),), {"kernel_size": 2}),
        ("batch_norm", (whole(4, 2),), {"training": False}),
        ("layer_norm", (whole(4, 2),), {"normalized_shape": 2}),
        ("mse_loss", (whole(3), whole(3)), {}),
        ("mul", (whole(2, 2), whole(2, 2)), {}),
        ("cross_entropy", (whole(2, 3), np.array([0, 1])), {"label_smoothing": 0.1}),
        ("dropout", (whole(2, 2),), {"training": False}),
    ],
)  # fmt: skip
def test_any_operation_is_drawn(op: str, arrays: Sequence[np.ndarray], options: dict[str, Any]) -> None:
    picture = viz.explain(op, *arrays, **options)
    assert picture.panels[0].title == "forward"
    assert len(picture.panels) >= 2
    assert "digraph" in picture.dot()
    assert picture.text().startswith(op)


def test_an_operation_of_ones_own() -> None:
    thrice = tc.op("thrice_for_explain", forward=lambda x: 3 * x, vjp=lambda g: 3 * g)
    for op in (thrice, "thrice_for_explain"):
        assert viz.explain(op, whole(2, 2), np.ones((2, 2))).values["x"].tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_large_arrays_are_cut_and_say_so() -> None:
    picture = viz.explain("conv2d", whole(4, 5, 28, 28), whole(8, 5, 3, 3))
    assert "12×12 of 28×28" in picture.dot().replace("&#160;", " ")
    assert "and 2 more input channels, not drawn" in panel(picture, "forward").note
    assert "and 5 more output channels, not drawn" in panel(picture, "backward to x").note


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("conv3",), {}, "did you mean 'conv3d'"),
        (("conv2d", whole(3, 3)), {}, r"takes 2 arrays \(x, weight\) and then the upstream gradient dy, got 1"),
        (("relu", whole(2), whole(2), whole(2)), {}, "got 3"),
        (("relu", whole(2), whole(3)), {}, r"y of shape \(2,\), so dy must have it too; got \(3,\)"),
        (("relu", whole(2)), {"theme": "pink"}, "'light', 'dark'"),
        (("relu", np.array(["a"])), {}, "real numbers"),
    ],
)
def test_mistakes_are_named(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.explain(*arguments, **options)


def test_it_is_saved_and_shown(tmp_path: Path) -> None:
    x = whole(4, 4)
    x[0, 0] = math.nan
    picture = viz.explain("max_pool2d", x, kernel_size=2, theme="dark")
    for ending in (".svg", ".png", ".txt", ".json"):
        assert picture.save(tmp_path / f"pool{ending}").stat().st_size > 200
    saved = json.loads((tmp_path / "pool.json").read_text(encoding="utf-8"))
    assert saved["values"]["y"][0][0][0][0] == "nan"
    assert "NaN" in picture.text()
    assert "image/svg+xml" in picture._repr_mimebundle_()
