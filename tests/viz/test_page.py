"""The page of a figure: one file, safe whatever names are in it, the same in every process, whole without scripts."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import nn
from viz.page import SCRIPTS, embedded, web_file
from viz.page_data import plain

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"quoted" & <b>',
    "emoji 🐍 ]]>",
    "<!--",
    "\u2028",
    "{{x}}",
    "\\N\\",
    "'",
]


class Parser(html.parser.HTMLParser):
    """Collects tags, and text inside script elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.scripts[-1] += data


def parsed(page: str) -> tuple[Parser, dict[str, Any]]:
    parser = Parser()
    parser.feed(page)
    assert len(parser.scripts) == 3
    return parser, json.loads(parser.scripts[1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.fixture(scope="module")
def page(captured: viz.capture) -> str:
    return captured.figure().html()


def test_one_file_without_any_outside_resource(page: str) -> None:
    parser, _ = parsed(page)
    for tag, attributes in parser.tags:
        for name in ("src", "href", "xlink:href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, address)
        assert tag not in ("link", "iframe", "object", "embed")
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_both_levels_their_tables_and_their_numbers(page: str, captured: viz.capture) -> None:
    _, data = parsed(page)
    assert data["shown"] == "module"
    for level, entry in zip(("module", "op"), data["levels"], strict=True):
        diagram = captured.figure(level=level).diagram
        assert entry["level"] == level
        assert [card["id"] for card in entry["cards"]] == [card.id for card in diagram.cards]
        assert len(entry["links"]) == len(diagram.links)
        rows = re.findall(rf'<table data-level="{level}">.*?</table>', page, re.DOTALL)[0].count("<tr data-card")
        assert rows == len(diagram.cards)
        for card, drawn in zip(entry["cards"], diagram.cards, strict=True):
            assert card["gain"] == (plain(drawn.gain) if drawn.kind != "loss" else None)
    assert page.count('class="canvas"') == 2
    assert page.count("<svg ") >= 2


def test_every_card_and_link_of_the_data_is_an_element_of_the_picture(page: str) -> None:
    _, data = parsed(page)
    pictures = re.findall(r'<svg width.*?id="(viz\w+)"', page, re.DOTALL)
    assert len(pictures) == 2
    for prefix, level, part in zip(pictures, data["levels"], ("", "f"), strict=True):
        for card in level["cards"]:
            assert f'id="{prefix}-{part}{card["id"]}"' in page
        for link in level["links"]:
            assert f'id="{prefix}-{link["source"]}&#45;{link["target"]}&#45;f"' in page


def test_cards_tell_formulas_and_histograms(page: str) -> None:
    _, data = parsed(page)
    conv = next(card for card in data["levels"][0]["cards"] if card["path"] == "features.0")
    assert conv["forward"] == "y = corr(x, W) + b"
    assert "rot180 W" in conv["backward"]
    assert sum(conv["parameters"][0]["histogram"]) > 0
    pool = next(card for card in data["levels"][1]["cards"] if card["ops"] == ["max_pool2d"])
    assert pool["route"] == {"kind": "pool"}
    assert len(pool["crops"]["backward"]) == 2


def test_the_route_of_a_convolution_gives_its_gradient() -> None:
    """What the page rings: ∂x as the sum over the taps of ∂y times W, in the crops' own places."""
    tc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False))
    x = tc.tensor(np.random.default_rng(0).normal(size=(2, 1, 13, 13)).astype(np.float32), requires_grad=True)
    with viz.capture(model) as cap:
        (model(x) ** 2).sum().backward()
    data = parsed(cap.figure().html())[1]
    card = next(card for card in data["levels"][1]["cards"] if card["ops"] == ["conv2d"])
    route, (dy, turned, dx) = card["route"], card["crops"]["backward"]
    assert route["gaps"] == [2, 2]
    checked = 0
    for r in range(dx["size"][0]):
        for c in range(dx["size"][1]):
            i, j = dx["at"][0] + r, dx["at"][1] + c
            total, whole = 0.0, True
            for a in range(3):
                for b in range(3):
                    u = i + route["padding"][0] - a * route["dilation"][0] - dy["at"][0]
                    v = j + route["padding"][1] - b * route["dilation"][1] - dy["at"][1]
                    if 0 <= u < dy["size"][0] and 0 <= v < dy["size"][1]:
                        total += dy["values"][u][v] * turned["values"][2 - a][2 - b]
                    else:
                        whole = False
            if whole:
                checked += 1
                assert dx["values"][r][c] == pytest.approx(total, rel=0.01, abs=1e-3)
    assert checked >= 4


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    tc.manual_seed(0)
    model = nn.Sequential()
    model.add_module(name.replace(".", ""), nn.Linear(3, 2))
    with viz.capture(model, title=name) as cap:
        F.cross_entropy(model(np.ones((2, 3), np.float32)), np.array([0, 1])).backward()
    parser, data = parsed(cap.figure().html())
    assert data["title"] == name
    assert any(card["path"] == name.replace(".", "") for card in data["levels"][0]["cards"])
    assert not [tag for tag, _ in parser.tags if tag == "b"]


def test_json_in_a_script_cannot_end_it() -> None:
    text = embedded({"a": "</script><!-- & \u2028\u2029", "b": [1.5, None]})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028\u2029", "b": [1.5, None]}
    with pytest.raises(ValueError, match="Out of range"):
        embedded(float("nan"))


def test_what_is_not_finite_is_a_word() -> None:
    tc.manual_seed(0)
    model = tc.models.mlp([3, 4, 2])
    x = np.ones((2, 3), np.float32)
    x[0, 0] = np.nan
    with viz.capture(model) as cap:
        F.cross_entropy(model(x), np.array([0, 1])).backward()
    page = cap.figure().html()
    _, data = parsed(page)
    bad = [
        card["gradient"]["bad"] for card in data["levels"][0]["cards"] if card["gradient"] and "bad" in card["gradient"]
    ]
    assert bad
    assert all(word.startswith("NaN ") for word in bad)
    assert 'class="state bad"' in page


def test_before_backward_the_page_says_so(batch: Any, small: nn.Module) -> None:
    with viz.capture(small) as cap:
        small(batch[0])
    page = cap.figure().html()
    parsed(page)
    assert '<p class="banner">no backward yet</p>' in page


def test_a_computation_without_modules_has_one_level() -> None:
    w = tc.tensor([1.0, 2.0], requires_grad=True, name="w")
    page = viz.graph((w * w).sum()).html()
    assert [level["level"] for level in parsed(page)[1]["levels"]] == ["op"]
    assert "data-show" not in page.partition("<script>")[2].partition("</header>")[0].partition("<header")[2]


def test_dark_twins_and_the_readers_choice(page: str, captured: viz.capture) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "prefers-reduced-motion: reduce" in page
    assert '<html lang="en">' in page
    assert '<html lang="en" data-theme="dark">' in captured.figure(theme="dark").html()


def test_large_nets_stay_light() -> None:
    tc.manual_seed(0)
    model = tc.models.mlp([8] * 300)
    with viz.capture(model) as cap:
        F.cross_entropy(model(np.ones((2, 8), np.float32)), np.array([0, 1])).backward()
    assert len(cap.figure().html()) < 3_000_000


def test_scripts_are_small_and_parse() -> None:
    sources = {name: web_file(f"{name}.js") for name in (*SCRIPTS, "curve", "film")}
    assert sum(map(len, sources.values())) < 70_000
    for name, source in sources.items():
        assert "innerHTML" not in source, name
        assert max(map(len, source.splitlines())) <= 150, name
    node = shutil.which("node")
    if node is not None:  # where there is one: browsers parse them too, in `make browser`
        for name in sources:
            path = Path(str(viz.__file__)).parent / "web" / f"{name}.js"
            done = subprocess.run([node, "--check", str(path)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


def test_closed_cards_open_each_to_a_picture_of_its_own(captured: viz.capture) -> None:
    page = captured.figure(depth=1).html()
    _, data = parsed(page)
    features = next(card for card in data["levels"][0]["cards"] if card["path"] == "features")
    entry = next(level for level in data["opened"] if level["frame"] == features["opens"])
    paths = [card["path"] for card in entry["cards"]]
    assert [f"features.{i}" for i in range(5)] == [path for path in paths if path.startswith("features.")]
    assert "features" not in paths
    inside = next(card for card in entry["cards"] if card["id"] == entry["first"])
    assert inside["path"] == "features.0"
    assert len(set(data["images"])) == len(data["images"]) > 0  # an image that several pictures show stands there once
    assert not any(card.get("opens") for card in data["levels"][0]["cards"] if card["path"] == "fc")
