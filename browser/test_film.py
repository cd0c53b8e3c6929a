"""The film in a browser: it plays, follows slider and keys, and says what the run was at each step."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from browser.chromium import Page
from browser.test_page import Look, Pages, card, until

_WIDTHS = (
    "[...document.querySelectorAll('.edge.known[id$=\"-g\"]')].map(e => e.querySelector('path').style.strokeWidth)"
)


def go(page: Page, step: int) -> None:
    page.run(f"(s => {{ s.value = {step}; s.dispatchEvent(new Event('input')); }})(document.querySelector('#time'))")


def words(page: Page, name: str) -> str:
    return str(page.run(f"({card(name)}).textContent")).replace("\u00a0", " ")


def test_the_slider_changes_lines_words_images_and_the_curve(look: Look, pages: Pages) -> None:
    page = look(pages["film"])
    first = page.run(_WIDTHS), words(page, "stem.0"), page.run("document.querySelector('.node image').href.baseVal")
    go(page, 12)
    assert page.run("document.querySelector('#now').value").startswith("step 12 of 39")
    assert page.run(_WIDTHS) != first[0]
    assert words(page, "stem.0") != first[1]
    assert page.run("[...document.querySelectorAll('.node image')].some(i => i.href.baseVal.length > 0)")
    assert "step 12" in page.run("document.querySelector('.canvas svg').textContent")
    x = page.run("Number(document.querySelector('.cursor').getAttribute('x1'))")
    thumb = page.run("(b => 8 + (b.width - 16) * 12 / 38)(document.querySelector('#time').getBoundingClientRect())")
    assert x == pytest.approx(thumb, abs=2)


def test_lines_are_as_wide_as_their_numbers_say(look: Look, pages: Pages) -> None:
    page = look(pages["film"])
    go(page, 10)
    pairs = page.run(
        "(() => { const d = JSON.parse(document.getElementById('data').textContent); "
        "const f = d.film.steps.indexOf(10);"
        "return d.levels[0].links.map((l, i) => [d.film.links[i].flow[f], d.film.reference[f], "
        "Number(document.querySelector(`.edge[id$='-${l.source}-${l.target}-g'] path`)?.style.strokeWidth)]); })()"
    )
    checked = 0
    for flow, reference, width in pairs:
        if isinstance(flow, float) and flow > 0:
            decades = min(max(np.log10(flow / reference), -3), 3)
            assert width == pytest.approx(min(max(3.2 + 1.7 * decades, 0.9), 9.0), abs=0.01)
            checked += 1
    assert checked > 5


def test_what_broke_is_flagged_where_it_began(look: Look, pages: Pages) -> None:
    page = look(pages["film"])
    flags = page.run("[...document.querySelectorAll('#flags button')].map(b => b.title)")
    assert any("step 16" in flag and "stem.1" in flag for flag in flags)
    assert any("step 30" in flag and "fc" in flag for flag in flags)
    go(page, 14)
    assert page.run(f"!({card('stem.1')}).querySelector('.mark')")
    go(page, 16)
    assert "DEAD" in page.run(f"({card('stem.1')}).querySelector('.mark').textContent")
    assert "step 16" in page.run("document.querySelector('#event').textContent")
    page.run("[...document.querySelectorAll('#flags button')].find(b => b.title.includes('step 30')).click()")
    assert page.run("document.querySelector('#now').value").startswith("step 30 of 39")
    assert "NaN" in page.run(f"({card('fc')}).querySelector('.mark').textContent")
    assert "NaN" in page.run("document.querySelector('#about').innerText")


def test_keys_and_playing(look: Look, pages: Pages) -> None:
    page = look(pages["film"])
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert page.run("document.querySelector('#now').value").startswith("step 4 ")
    page.key("ArrowLeft")
    assert page.run("document.querySelector('#now').value").startswith("step 2 ")
    page.key("End")
    assert page.run("document.querySelector('#now').value").startswith("step 38 ")
    page.key("Home")
    page.key(" ")
    assert page.run("document.querySelector('#play').getAttribute('aria-label')") == "Pause"
    until(page, "Number(document.querySelector('#now').value.split(' ')[1]) >= 4")
    page.key(" ")
    assert page.run("document.querySelector('#play').getAttribute('aria-label')") == "Play"
    stopped = page.run("document.querySelector('#now').value")
    time.sleep(0.3)
    assert page.run("document.querySelector('#now').value") == stopped


def test_it_plays_to_its_end_and_from_the_start_again(look: Look, pages: Pages) -> None:
    page = look(pages["film"], calm=True)
    go(page, 34)
    page.run("document.querySelector('#speed').click(); document.querySelector('#speed').click()")
    page.run("document.querySelector('#play').click()")
    until(page, "document.querySelector('#play').getAttribute('aria-label') === 'Play'", 10)
    assert page.run("document.querySelector('#now').value").startswith("step 38 ")
    page.run("document.querySelector('#play').click()")
    until(page, "Number(document.querySelector('#now').value.split(' ')[1]) < 30")


def test_the_table_and_the_card_follow(look: Look, pages: Pages) -> None:
    page = look(pages["film"])
    cell = "document.querySelector('table tr[data-card] td.flow[data-value]:not([data-value=\"\"])')"
    before = page.run(f"({cell}).textContent")
    page.click(*page.middle_of(card("stem.0")))
    told = page.run("document.querySelector('#about').innerText")
    go(page, 12)
    assert page.run(f"({cell}).textContent") != before
    assert page.run("document.querySelector('#about').innerText") != told


def test_five_hundred_frames_of_resnet20_are_light_and_move(look: Look, tmp_path: Path) -> None:
    """Frames of a recorded run, repeated: what the browser has to do does not depend on where numbers come from."""
    tc.manual_seed(0)
    model = tc.models.resnet20()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 32, 32)).astype(np.float32), np.array([0, 1])
    rec = viz.record(model, every=1, thumbs=5)
    with rec:
        for _ in range(10):
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            rec.step(loss)
            for p in model.parameters():
                p.data = p.data - 0.01 * p.grad.data
    run = viz.Run.from_json(rec.to_json())
    frames = [frame for _ in range(50) for frame in viz.Run.from_json(rec.to_json()).frames]
    for step, frame in enumerate(frames):
        frame.step.step = step
        if step % 100:
            frame.maps = None
    run.frames, run.losses = frames, [2.0] * 500
    path = run.movie(tmp_path / "film.html")
    assert path.stat().st_size < 15_000_000
    page = look(path)
    page.run("document.querySelector('#play').click()")
    rate = page.run(
        "new Promise(done => { let n = 0; const begin = performance.now(); const count = now => { n += 1; "
        "if (now - begin < 2000) requestAnimationFrame(count); else done(1000 * n / (now - begin)); }; "
        "requestAnimationFrame(count); })"
    )
    print(f"\n500 frames of resnet20: {path.stat().st_size / 1e6:.1f} MB, {rate:.0f} frames a second")
    assert rate > 10  # a bound against standing still; `python browser/frame_rate.py` measures
