"""The page of a figure as a reader meets it: pointed at, clicked, searched, sorted, switched, heard, printed bare."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from browser.chromium import Page
from browser.conftest import SIZES

SHOWN = "document.querySelector('.canvas:not([hidden]) svg')"
Look = Callable[..., Page]
Pages = dict[str, Path]


def card(name: str, level: str = "module", part: str = "") -> str:
    """A JavaScript expression for the element of a card."""
    return (
        f"(() => {{ const d = JSON.parse(document.getElementById('data').textContent)"
        f".levels.find(l => l.level === '{level}'); const id = d.cards.find(c => c.name === '{name}').id; return "
        f"document.querySelector('.canvas[data-level={level}] [id$=\"-{part}' + id + '\"]'); }})()"
    )


def until(page: Page, script: str, seconds: float = 5.0) -> None:
    """Wait until an expression is true."""
    deadline = time.monotonic() + seconds
    while not page.run(script):
        assert time.monotonic() < deadline, f"never true: {script}"
        time.sleep(0.02)


def point(page: Page, element: str) -> None:
    """The mouse comes over an element, wherever it is."""
    page.run(f"({element}).dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))")


def view_box(page: Page) -> list[float]:
    return [
        float(v)
        for v in page.run("document.querySelector('.canvas:not([hidden]) svg').getAttribute('viewBox')").split()
    ]


def about(page: Page) -> str:
    return str(page.run("document.querySelector('#about').hidden ? '' : document.querySelector('#about').innerText"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["net", "sick", "hostile", "film"])
def test_opens_without_a_complaint_and_fits(name: str, size: str, dark: bool, look: Look, pages: Pages) -> None:
    width, height = SIZES[size]
    page = look(pages[name], width=width, height=height, dark=dark)
    assert page.run("document.documentElement.scrollWidth") <= width
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 23, 42)" if dark else "rgb(255, 255, 255)")
    box = page.run(f"(b => [b.left, b.right, b.top, b.height])({SHOWN}.getBoundingClientRect())")
    assert box[0] >= 0
    assert box[1] <= width
    assert box[3] > 250
    paper = page.run("getComputedStyle(document.querySelector('.canvas svg g > polygon')).fill")
    assert paper == ground
    assert page.run("document.images.length") == 0  # no hostile image came to life


def test_pointing_at_a_card_shows_its_numbers(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.move(*page.middle_of(card("stem.0")))
    until(page, "!document.querySelector('#about').hidden")
    words = about(page)
    for expected in (
        "stem.0",
        "Conv2d 1→6",
        "y = corr(x, W) + b",
        "rot180 W",
        "‖∂L‖ per sample",
        "stem.0.weight",
        "log10 |∂W|",
    ):
        assert expected in words
    assert page.run("document.querySelectorAll('#about .bars i').length") == 2 * 20
    page.move(5, 790)
    until(page, "document.querySelector('#about').hidden")


def test_pointing_at_a_line_tells_its_gradient(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    point(page, "document.querySelector('.edge.known[id$=\"-g\"] .reach')")
    assert "per sample" in about(page)
    assert "→" in about(page)


def test_a_click_lights_the_way_of_the_gradient_and_escape_ends_it(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.click(*page.middle_of(card("stem.0")))
    assert page.run("document.querySelector('#about').classList.contains('pinned')")
    lit = page.run("document.querySelectorAll('.node.lit').length")
    assert lit == page.run(
        "document.querySelectorAll('.canvas:not([hidden]) .node[data-card]').length"
    )  # all ways meet
    assert page.run("document.querySelectorAll('.pulse').length") > 4
    page.key("Escape")
    assert about(page) == ""
    assert page.run("document.querySelectorAll('.lit, .pulse, .lighting').length") == 0
    page.run(f"({card('block.1')}).dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert not page.run(f"({card('fc')}).classList.contains('chosen')")
    assert page.run(f"({card('fc')}).classList.contains('lit')")


def test_zoom_and_pan(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    before = view_box(page)
    page.wheel(640, 400, -240)
    until(page, f"!document.querySelector('.canvas svg').getAttribute('viewBox').startsWith('{before[0]:g} ')")
    closer = view_box(page)
    assert closer[2] < before[2]
    page.drag((900, 600), (900, 400))
    lower = view_box(page)
    assert lower[1] > closer[1]
    assert lower[2] == pytest.approx(closer[2])
    page.run("document.querySelector('[data-zoom=fit]').click()")
    whole = view_box(page)
    assert whole[3] > before[3]
    page.run("document.querySelector('.canvas').focus()")
    page.key("+")
    assert view_box(page)[2] < whole[2]
    page.key("0")
    assert view_box(page) == pytest.approx(whole)


def test_two_fingers_zoom(look: Look, pages: Pages) -> None:
    page = look(pages["net"], width=400, height=760)
    before = view_box(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        page.call(
            "Input.dispatchTouchEvent",
            type=kind,
            touchPoints=[{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)],
        )

    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    touch("touchStart", (180, 400), (220, 400))
    for spread in (40, 60, 90):
        touch("touchMove", (200 - spread, 400), (200 + spread, 400))
    touch("touchEnd")
    until(page, f"document.querySelector('.canvas svg').viewBox.baseVal.width < {before[2] * 0.6}")


def test_search_rings_counts_and_walks(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.key("/")
    assert page.run("document.activeElement.id") == "search"
    page.type("relu")
    assert page.run("document.querySelector('#found').value") == "1 of 2"
    assert page.run("document.querySelectorAll('.found').length") == 2
    page.key("Enter")
    assert page.run("document.querySelector('#found').value") == "2 of 2"
    until(
        page, "(b => b.top > 0 && b.bottom < innerHeight)(document.querySelector('.current').getBoundingClientRect())"
    )
    page.key("Escape")
    assert page.run("document.querySelectorAll('.found').length") == 0
    page.key("/")
    page.type("zzz")
    assert page.run("document.querySelector('#found').value") == "none"


def test_the_switch_between_modules_and_operations(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    assert page.run("document.querySelector('.canvas[data-level=op]').hidden")
    page.click(*page.middle_of("document.querySelector('[data-show=op]')"))
    assert not page.run("document.querySelector('.canvas[data-level=op]').hidden")
    assert page.run("document.querySelector('.canvas[data-level=module]').hidden")
    assert page.run("document.querySelector('[data-show=op]').getAttribute('aria-checked')") == "true"
    assert page.run("document.querySelector('table[data-level=op]').hidden") is False
    page.key("m")
    assert not page.run("document.querySelector('.canvas[data-level=module]').hidden")


def test_a_pixel_of_dx_lights_its_window_and_the_weights(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.key("o")
    node = card("block.2.conv2d", "op", "b")
    middle = f"({node}).querySelector('[data-cell=\"backward 2 2 2\"]')"
    point(page, middle)
    glows = page.run(f"[...({node}).querySelectorAll('.glow')].map(g => [g.getBBox().x, g.getBBox().y])")
    assert len(glows) == 1 + 9 + 9  # itself, its window in ∂y, the kernel
    assert "∂x[" in about(page)
    assert "9 of 9 in sight" in about(page)


def test_a_pooled_cell_lights_its_winner(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.key("o")
    forward, backward = card("pool.max_pool2d", "op", "f"), card("pool.max_pool2d", "op", "b")
    point(page, f"({forward}).querySelector('[data-cell=\"forward 1 0 1\"]')")
    assert page.run(f"({forward}).querySelectorAll('.glow').length") == 2
    assert page.run(f"({backward}).querySelectorAll('.glow').length") == 2
    assert "won by x[" in about(page)


def test_the_table_is_sorted_and_its_rows_show_their_cards(look: Look, pages: Pages) -> None:
    page = look(pages["sick"])

    def gains() -> list[float]:
        cells = page.run("[...document.querySelectorAll('table:not([hidden]) td.gain')].map(c => c.dataset.value)")
        return [float(value) for value in cells if value]

    head = "document.querySelectorAll('table:not([hidden]) th button')[5]"
    page.run(f"({head}).click()")
    assert gains() == sorted(gains(), reverse=True)
    assert page.run(f"({head}).parentNode.getAttribute('aria-sort')") == "descending"
    page.run(f"({head}).click()")
    assert gains() == sorted(gains())
    assert page.run("document.querySelector('table:not([hidden]) tbody th').textContent") == "stem.1"  # dead
    page.run("document.querySelector('table:not([hidden]) tbody tr').click()")
    assert "DEAD" in about(page)


def test_findings_lead_to_their_cards(look: Look, pages: Pages) -> None:
    page = look(pages["sick"])
    page.click(*page.middle_of("document.querySelector('#state')"))
    assert page.run("document.querySelector('#findings').hidden") is False
    page.run("document.querySelector('#findings [data-where=\"block.0\"]').click()")
    assert "block.0" in about(page)


def test_everything_by_keys_alone(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.run("document.querySelector('.canvas:not([hidden])').focus()")
    page.key("Tab")
    assert page.run("document.activeElement.getAttribute('role')") == "button"
    assert "output" in page.run("document.activeElement.getAttribute('aria-label')")
    ring = page.run("getComputedStyle(document.activeElement.querySelector('.frame')).display")
    assert ring == "inline"
    first = page.run("document.activeElement.id")
    page.key("ArrowDown")
    assert page.run("document.activeElement.id") != first
    page.key("Enter")
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.key("Escape")
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "false"


def test_the_theme_can_be_turned(look: Look, pages: Pages) -> None:
    page = look(pages["net"])
    page.run("document.querySelector('#theme').click()")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(15, 23, 42)"
    assert page.run("getComputedStyle(document.querySelector('.canvas svg g > polygon')).fill") == "rgb(15, 23, 42)"
    page.run("document.querySelector('#theme').click()")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_motion_is_reduced_where_the_reader_asks(look: Look, pages: Pages) -> None:
    page = look(pages["net"], calm=True)
    page.click(*page.middle_of(card("stem.0")))
    assert page.run("getComputedStyle(document.querySelector('.pulse')).animationName") == "none"


@pytest.mark.parametrize("name", ["net", "film"])
def test_without_scripts_picture_and_table_are_there(name: str, look: Look, pages: Pages, tmp_path: Path) -> None:
    page = look(pages[name], scripts=False)
    layout = page.call("DOM.getDocument", depth=-1)["root"]
    svg = page.call("DOM.querySelector", nodeId=layout["nodeId"], selector=".canvas svg")["nodeId"]
    table = page.call("DOM.querySelector", nodeId=layout["nodeId"], selector="table[data-level=module]")["nodeId"]
    tools = page.call("DOM.querySelector", nodeId=layout["nodeId"], selector=".tools")["nodeId"]
    for element in (svg, table):
        model = page.call("DOM.getBoxModel", nodeId=element)["model"]
        assert model["width"] > 300
        assert model["height"] > 200
    with pytest.raises(RuntimeError, match="box model"):
        page.call("DOM.getBoxModel", nodeId=tools)


def test_a_closed_module_opens_in_its_place_and_closes_again(look: Look, pages: Pages) -> None:
    page = look(pages["closed"])
    shown = "document.querySelector('.canvas:not([hidden])')"
    block = card("block")
    page.run(f"({block}).dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    page.run("document.querySelector('.unfold').click()")
    names = page.run(f"{shown}.querySelector('svg').textContent")
    assert all(name in names for name in ("block.0", "block.1", "block.2"))
    assert "stem.0" not in names  # this one alone is open
    assert page.run(f"[...{shown}.querySelectorAll('image')].every(i => i.href.baseVal.startsWith('data:image/png'))")
    page.run(f"{shown}.querySelector('.shut').click()")
    assert page.run(f"{shown}.dataset.frame") is None
    page.run(f"({block}).focus()")
    page.key("Enter")
    page.key("Enter")
    assert page.run(f"Boolean({shown}.dataset.frame)")
    page.key("Escape")
    page.key("Escape")
    assert page.run(f"{shown}.dataset.frame") is None
