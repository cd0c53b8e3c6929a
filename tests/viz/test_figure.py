"""Figures: every format, the same in every process, honest about size."""

from __future__ import annotations

import base64
import html
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphviz
import numpy as np
import pytest

import tinygrad_cnn as tc
import viz
from viz import figure as figures
from viz import images, layout
from viz.palette import ink_on

FORMATS = {
    ".svg": b"<?xml",
    ".html": b"<!DOCTYPE html>",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".dot": b"digraph",
    ".json": b"{",
    ".txt": b"Small",
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("level", ["module", "op"])
def test_every_format_is_saved_by_its_ending(captured: viz.capture, tmp_path: Path, level: str) -> None:
    figure = captured.figure(level=level)
    for ending, start in FORMATS.items():
        path = figure.save(tmp_path / f"net{ending}")
        assert path.read_bytes().startswith(start), ending


def test_other_endings_are_refused(captured: viz.capture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.svg, \.html, \.png"):
        captured.figure().save(tmp_path / "net.bmp")


@pytest.mark.parametrize(
    "option",
    [
        {"level": "layer"},
        {"theme": "pink"},
        {"direction": "UP"},
        {"scale": "log"},
        {"show": ["grad"]},
        {"max_nodes": 1},
    ],
)
def test_unknown_options_are_refused_with_what_is_known(captured: viz.capture, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(next(iter(option))))):
        captured.figure(**option)
    with pytest.raises(TypeError, match="collection"):
        captured.figure(show="grads")


@pytest.mark.parametrize("level", ["module", "op"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_png_is_not_blank(
    captured: viz.capture, decode: Callable[[bytes], np.ndarray], level: str, theme: str
) -> None:
    pixels = decode(captured.figure(level=level, theme=theme).png(dpi=30))[..., :3].reshape(-1, 3)
    colours = {tuple(c) for c in np.unique(pixels, axis=0).tolist()}
    assert len(colours) > 100
    page = (255, 255, 255) if theme == "light" else (15, 23, 42)
    assert page in colours
    assert (pixels != page).any(axis=1).mean() > 0.2


def test_dpi_scales_the_png(captured: viz.capture) -> None:
    (wide, high), (wider, higher) = (struct.unpack(">II", captured.figure().png(dpi=dpi)[16:24]) for dpi in (40, 80))
    assert wider == pytest.approx(2 * wide, abs=3)
    assert higher == pytest.approx(2 * high, abs=3)


@pytest.mark.parametrize("level", ["module", "op"])
def test_the_svg_stands_alone(captured: viz.capture, level: str) -> None:
    document = captured.figure(level=level).svg()
    assert not re.search(r'href="(?!data:)[^"#]', document)
    assert document.count("data:image/png;base64,") >= (4 if level == "module" else 0)
    root = ET.fromstring(document.split("?>", 1)[1])
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title") is not None
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert "nothing is wrong" in (description.text or "")
    width, height = (float(root.get(side, "0").removesuffix("pt")) for side in ("width", "height"))
    box = [float(v) for v in root.get("viewBox", "").split()]
    assert box[2] == pytest.approx(width, abs=1)
    assert box[3] == pytest.approx(height, abs=1)
    assert "max-width:100%" in (root.get("style") or "")


@pytest.mark.parametrize("level", ["module", "op"])
def test_what_is_hovered_says_what_it_is(captured: viz.capture, level: str) -> None:
    document = captured.figure(level=level).svg()
    titles = re.findall(r"<title>([^<]*)</title>", document)
    assert any("per sample" in title for title in titles)
    assert not [title for title in titles if re.fullmatch(r"(cluster_.*|[fbpg]?n\d.*)", title)]


def test_ids_of_two_pictures_on_a_page_differ(captured: viz.capture) -> None:
    documents = [captured.figure(level=level).svg() for level in ("module", "op")]
    ids = [set(re.findall(r' id="([^"]+)"', document)) for document in documents]
    assert all(ids)
    assert not ids[0] & ids[1]


def test_the_auto_theme_follows_the_reader(captured: viz.capture) -> None:
    light, auto = captured.figure(theme="light").svg(), captured.figure(theme="auto").svg()
    assert "prefers-color-scheme" not in light
    assert "prefers-color-scheme: dark" in auto
    drawn = {c.lower() for c in re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]{6})"', auto.split("</style>")[1])}
    styled = set(re.findall(r'\[(?:fill|stroke)="(#[0-9a-f]{6})"\]', auto))
    from viz.images import CIVIDIS, PUOR

    maps = {"#" + bytes(c.tolist()).hex() for table in (CIVIDIS, PUOR) for c in table}
    assert drawn - styled <= maps, "every colour but those of the maps has a dark twin"


def test_images_have_the_proportions_of_their_cells(captured: viz.capture) -> None:
    """Browsers keep the proportions of an image: that of a vector, one pixel high, would be a hair."""
    document = captured.figure().svg()
    images = re.findall(r'<image [^>]*base64,([^"]+)" width="([\d.]+)px" height="([\d.]+)px"', document)
    assert len(images) > 8
    for data, width, height in images:
        wide, high = struct.unpack(">II", base64.b64decode(data)[16:24])
        assert wide / high == pytest.approx(float(width) / float(height), rel=0.15)


def test_numbers_on_colours_stay_readable_in_the_dark() -> None:
    document = viz.explain("relu", np.array([[-3.0, 3.0]]), theme="auto").svg()
    swapped = set(re.findall(r'\[fill="(#[0-9a-f]{6}|white|black)"\]', document))
    on_colours = {ink_on(colour).lower() for colour in ("#2D004B", "#F7F7F7")}
    assert on_colours == {"#fdfdfd", "#000000"}
    assert not on_colours & swapped


@pytest.mark.parametrize(
    "option",
    [
        {"direction": "LR"},
        {"scale": "rms"},
        {"scale": "update"},
        {"show": []},
        {"show": ["grads"]},
        {"thumb_scale": "shared"},
        {"depth": 0},
        {"depth": 1},
    ],
)
def test_every_option_draws(captured: viz.capture, option: dict[str, Any]) -> None:
    assert captured.figure(**option).svg()


def test_show_leaves_out_what_is_not_asked_for(captured: viz.capture) -> None:
    everything = captured.figure().dot()
    assert "thumbs/" not in captured.figure(show=("shapes", "grads", "stats")).dot()
    assert "∇rms" not in captured.figure(show=("shapes", "grads", "thumbs")).dot()
    assert "dir=back" not in captured.figure(show=("shapes",)).dot()
    for part in ("thumbs/", "∇rms", "dir=back"):
        assert part in everything


def test_the_dot_is_saved_with_its_images(captured: viz.capture, tmp_path: Path) -> None:
    path = captured.figure().save(tmp_path / "net.dot")
    sources = set(re.findall(r'SRC="([^"]+)"', path.read_text(encoding="utf-8")))
    assert len(sources) >= 4
    for source in sources:
        assert (tmp_path / source).read_bytes().startswith(b"\x89PNG")
    images = {source: (tmp_path / source).read_bytes() for source in sources}
    assert layout.lay_out(path.read_text(encoding="utf-8"), "svg", images=images)


def test_the_digraph_is_a_graphviz_digraph_with_its_images(captured: viz.capture) -> None:
    graph = captured.figure().digraph()
    assert isinstance(graph, graphviz.Digraph)
    (folder,) = re.findall(r'imagepath="?([^"\s\]]+)', graph.source)
    source = re.findall(r'SRC="([^"]+)"', graph.source)[0]
    assert (Path(folder) / source).exists()
    graph.node("mine", label="an addition")
    assert "an addition" not in captured.figure().dot()


def test_the_text_has_a_line_for_each_card(captured: viz.capture) -> None:
    figure = captured.figure()
    lines = str(figure).splitlines()
    assert len(lines) == 1 + len(figure.diagram.cards)
    assert lines[0].startswith("Small")
    assert any(line.startswith("features.3") and "Conv2d 4→6 · 3×3 · pad 1" in line and "█" in line for line in lines)


def test_jupyter_gets_all_three_forms(captured: viz.capture) -> None:
    bundle = captured.figure()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "text/html"}
    framed = bundle["text/html"]
    assert framed.startswith("<iframe srcdoc=")
    assert html.unescape(framed.split('"')[1]) == captured.figure().html()


def test_a_large_page_is_a_plain_picture_in_a_notebook(captured: viz.capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_LARGEST_IN_NOTEBOOK", 1000)
    assert captured.figure()._repr_mimebundle_()["text/html"].startswith("<svg")


def test_the_repr_never_raises(monkeypatch: pytest.MonkeyPatch, captured: viz.capture) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("disk full")

    for name in ("lay_out",):
        monkeypatch.setattr(layout, name, broken)
    assert "disk full" in captured.figure()._repr_mimebundle_()["text/plain"]
    monkeypatch.setattr(figures.tables, "table_of", broken)
    assert "disk full" in captured.figure()._repr_mimebundle_()["text/plain"]


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("level", ["module", "op"])
def test_the_same_program_gives_the_same_dot_in_every_process(level: str) -> None:
    """A net of whole numbers, so no BLAS changes a digit. After a change of style: `net.py module > module.dot`."""
    outputs = []
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(GOLDEN / "net.py"), level]
        outputs.append(subprocess.run(command, capture_output=True, env=environment, check=True).stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].decode() == (GOLDEN / f"{level}.dot").read_text(encoding="utf-8")


@pytest.mark.parametrize("level", ["module", "op"])
def test_every_engine_parses_the_golden_dot(level: str, tmp_path: Path) -> None:
    source = (GOLDEN / f"{level}.dot").read_text(encoding="utf-8")
    pixel = images.png(np.zeros((1, 1, 3), np.uint8))  # in place of the thumbnails: old engines fail without them
    layout.write_images(dict.fromkeys(re.findall(r'SRC="([^"]+)"', source), pixel), tmp_path)
    for engine in viz.engines():
        done = layout._run(engine, source, "dot", None, str(tmp_path), 20)
        assert done.returncode == 0
        assert b"syntax error" not in done.stderr


def long_chain(length: int) -> tc.Tensor:
    x = tc.tensor([1.0], requires_grad=True, name="x")
    y = x
    for i in range(length):
        y = y * 1.0 if (i * i // 7) % 3 else y + 0.0  # in no order that repeats
    return y.sum()


def test_twenty_thousand_operations_are_drawn_as_runs_without_recursion() -> None:
    figure = viz.graph(long_chain(20_000))
    assert len(figure.trace.nodes) == 20_001
    assert 50 < len(figure.diagram.cards) <= 60
    assert "folded" in figure.diagram.note
    assert figure.report() == []
    assert figure.svg()
    assert "folded" in figure.text()


def test_equal_operations_are_drawn_once() -> None:
    y = x = tc.tensor([1.0], requires_grad=True, name="x")
    for _ in range(1_000):
        y = y * x
    figure = viz.graph(y)
    assert [card.name for card in figure.diagram.cards] == ["mul", "mul (2)", "×998 more"]


def test_max_nodes_is_kept() -> None:
    for limit in (2, 5, 37):
        assert len(viz.graph(long_chain(100), max_nodes=limit).diagram.cards) <= limit


def test_sixty_operations_are_drawn_unless_a_depth_is_asked_for() -> None:
    loss = long_chain(100)
    assert len(viz.graph(loss, level="op").diagram.cards) <= 60
    assert len(viz.graph(loss, level="op", depth=1).diagram.cards) == 101
    assert len(viz.graph(loss, level="op", depth=1, max_nodes=80).diagram.cards) <= 80


def test_what_is_no_tensor_no_model_and_no_optimizer_is_refused_by_name() -> None:
    loss = long_chain(3)
    with pytest.raises(TypeError, match=r"viz\.graph: needs the Tensor of a loss, got int"):
        viz.graph(3)
    with pytest.raises(TypeError, match=r"viz\.graph: model must be an nn\.Module, got int"):
        viz.graph(loss, 3)
    with pytest.raises(TypeError, match=r"viz\.capture: model must be an nn\.Module, got int"):
        viz.capture(3)
    with pytest.raises(TypeError, match=r"viz\.capture: optimizer must be an optim\.Optimizer, got float"):
        viz.capture(None, 0.1)


def test_what_was_not_judged_is_not_ok() -> None:
    figure = viz.graph(long_chain(3))
    assert (figure.report(), figure.ok) == ([], False)
    assert "not judged" in repr(figure)
    assert "not judged" in figure.description()


def test_dir_lists_the_public_names_alone() -> None:
    assert dir(viz) == sorted(viz.__all__)


def test_a_layout_that_takes_too_long_is_collapsed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = layout.lay_out, []

    def slow(dot: str, *args: Any, **kwargs: Any) -> bytes:
        sizes.append(dot.count("mul"))
        if len(sizes) < 3:
            raise layout.LayoutTimeout("viz: Graphviz did not finish")
        return real(dot, *args, **kwargs)

    monkeypatch.setattr(layout, "lay_out", slow)
    document = viz.graph(long_chain(100)).svg()
    assert len(sizes) == 3
    assert "took too long" in document


def test_a_layout_that_can_not_be_collapsed_raises(monkeypatch: pytest.MonkeyPatch, captured: viz.capture) -> None:
    def never(*args: Any, **kwargs: Any) -> bytes:
        raise layout.LayoutTimeout("viz: Graphviz did not finish within timeout=10 seconds")

    monkeypatch.setattr(layout, "lay_out", never)
    with pytest.raises(layout.LayoutTimeout, match="timeout=10"):
        captured.figure().svg()


def test_the_legend_is_always_there(captured: viz.capture) -> None:
    for option in ({}, {"level": "op"}, {"show": []}, {"theme": "dark"}, {"scale": "rms"}):
        dot = captured.figure(**option).dot()
        assert "▼ forward" in dot
        assert "▲ backward" in dot
        assert "width and colour" in dot


def test_marks_are_explained_where_they_appear(captured: viz.capture, small: Any) -> None:
    assert "the culprit" not in captured.figure().dot()
    small.features[3].weight.data = small.features[3].weight.data / 1000
    with viz.capture(small) as cap:
        small(tc.tensor(np.ones((2, 1, 8, 8), np.float32))).sum().backward()
    dot = cap.figure().dot()
    assert "SHRINKS GRADIENT" in dot
    assert "the culprit" in dot


def lanes_of(document: str) -> dict[str, np.ndarray]:
    """The points (n, 2) of each line of an SVG, by its id."""
    body = document.replace("&#45;", "-")
    found = re.findall(r'<g id="viz\w+-(n\d+-n\d+-[fg])" class="edge".*?<path [^>]*d="([^"]+)"', body, re.DOTALL)
    return {name: np.array(re.findall(r"-?[\d.]+", path), dtype=float).reshape(-1, 2) for name, path in found}


@pytest.mark.parametrize(("direction", "across"), [("TB", 0), ("LR", 1)])
def test_the_lanes_of_a_chain_are_straight_and_parallel(captured: viz.capture, direction: str, across: int) -> None:
    """Whatever the heights of the cards, and with their words beside the lines."""
    lanes = lanes_of(captured.figure(direction=direction).svg())
    forward = np.concatenate([points for name, points in lanes.items() if name.endswith("-f")])
    backward = np.concatenate([points for name, points in lanes.items() if name.endswith("-g")])
    assert len(lanes) == 2 * len(captured.figure().diagram.links)
    assert np.ptp(forward[:, across]) < 1
    assert np.ptp(backward[:, across]) < 1
    assert abs(forward[:, across].mean() - backward[:, across].mean()) > 20


@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_each_shape_and_each_gradient_stands_once_beside_its_lane(captured: viz.capture, direction: str) -> None:
    figure = captured.figure(direction=direction, show=("shapes", "grads"))
    source = figure.dot()
    for link in figure.diagram.links:
        shape = "×".join(map(str, link.tensor.shape))
        giving = [other for other in figure.diagram.links if other.tensor.shape == link.tensor.shape]
        assert source.count(f">{shape}<") == len({other.tensor.id for other in giving})
    assert source.count("‖∂L‖") == len(figure.diagram.links) + 1  # and the legend's
