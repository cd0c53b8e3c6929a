"""Engines: which there are, what happens without one, in time and out of it, with fonts and without."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import viz
from viz import layout

DOT = 'digraph { a [label=<<B>∂L</B> ‖·‖ ▲ ▁▃█> fontname="Arial"]; a -> b }'


@pytest.fixture
def no_pygraphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_version_of_pygraphviz", lambda: "")


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def fake_dot(folder: Path, body: str) -> None:
    """A `dot` on PATH that is a shell script."""
    script = folder / "dot"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def test_pygraphviz_comes_first_and_needs_no_path(no_path: None) -> None:
    (engine,) = viz.engines()
    assert engine.name == "pygraphviz"
    assert int(engine.version.split(".")[0]) >= 2
    for ending in ("svg", "png", "pdf", "json", "dot"):
        assert layout.lay_out(DOT, ending)


def test_without_engines_the_error_names_the_one_command(no_path: None, no_pygraphviz: None) -> None:
    assert viz.engines() == []
    with pytest.raises(viz.EngineNotFound, match=r'pip install "tinygrad_cnn\[viz\]"'):
        layout.lay_out(DOT, "svg")
    assert issubclass(viz.EngineNotFound, RuntimeError)


def test_without_engines_text_dot_and_json_are_still_there(
    captured: viz.capture, no_path: None, no_pygraphviz: None, tmp_path: Path
) -> None:
    figure = captured.figure()
    for ending in (".dot", ".json", ".txt"):
        assert figure.save(tmp_path / f"net{ending}").stat().st_size > 500
    with pytest.raises(viz.EngineNotFound):
        figure.save(tmp_path / "net.svg")
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    assert "features.0" in bundle["text/plain"]
    assert "pip install" in bundle["text/plain"]


def test_an_old_pygraphviz_is_not_an_engine(monkeypatch: pytest.MonkeyPatch, no_path: None) -> None:
    monkeypatch.setattr(layout, "_version_of_pygraphviz", lambda: "1.14")
    assert viz.engines() == []


def test_dot_on_path_is_used_when_it_is_all_there_is(
    monkeypatch: pytest.MonkeyPatch, no_pygraphviz: None, tmp_path: Path
) -> None:
    fake_dot(
        tmp_path,
        'case "$1" in -V) echo "dot - graphviz version 2.43.0 (0)" >&2;; *) cat >/dev/null; echo "<svg/>";; esac',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (engine,) = viz.engines()
    assert (engine.name, engine.version) == ("dot", "2.43.0")
    assert layout.lay_out(DOT, "svg") == b"<svg/>\n"


def test_the_next_engine_is_tried_when_one_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_dot(tmp_path, "cat >/dev/null; echo drawn")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(layout, "_WORKER", "raise SystemExit('broken')")
    assert layout.lay_out(DOT, "svg") == b"drawn\n"


def test_graphviz_own_message_is_passed_on() -> None:
    with pytest.raises(layout.LayoutError, match="syntax error"):
        layout.lay_out("digraph { a -> ", "svg")


def test_a_layout_that_takes_too_long_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_pygraphviz: None
) -> None:
    fake_dot(tmp_path, "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(layout, "_version_of_dot", lambda where: "0")
    started = time.monotonic()
    with pytest.raises(layout.LayoutTimeout, match=r"timeout=0.3"):
        layout.lay_out(DOT, "svg", timeout=0.3)
    assert time.monotonic() - started < 30


def test_images_reach_the_engine(decode: Callable[[bytes], np.ndarray]) -> None:
    from viz.images import png

    red = png(np.broadcast_to(np.array([255, 0, 0], np.uint8), (20, 20, 3)))
    dot = 'digraph { a [shape=plain label=<<TABLE BORDER="0"><TR><TD><IMG SRC="thumbs/a.png"/></TD></TR></TABLE>>] }'
    pixels = decode(layout.lay_out(dot, "png", images={"thumbs/a.png": red}))
    assert (pixels[..., :3] == [255, 0, 0]).all(axis=-1).sum() >= 300


def test_text_is_not_boxes_when_no_font_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decode: Callable[[bytes], np.ndarray]
) -> None:
    """An empty font path: DejaVu of matplotlib is used, so an i is narrower than a W."""
    empty = tmp_path / "fonts.conf"
    empty.write_text(f'<?xml version="1.0"?><fontconfig><dir>{tmp_path}</dir></fontconfig>')
    monkeypatch.setenv("FONTCONFIG_FILE", str(empty))
    widths = []
    for letter in "iW":
        plain = layout.lay_out(
            f'digraph {{ a [shape=plain fontname="Arial" label="{letter * 20}"] }}', "plain"
        ).decode()
        widths.append(float(next(line for line in plain.splitlines() if line.startswith("node")).split()[4]))
    assert widths[0] < 0.6 * widths[1]
    assert not layout._draws_boxes()


def test_without_any_font_the_user_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = tmp_path / "fonts.conf"
    empty.write_text(f'<?xml version="1.0"?><fontconfig><dir>{tmp_path}</dir></fontconfig>')
    monkeypatch.setenv("FONTCONFIG_FILE", str(empty))
    monkeypatch.setattr(layout, "_matplotlib_fonts", lambda: None)
    layout._draws_boxes.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="pip install matplotlib"):
            layout.lay_out(DOT, "png")
        layout.lay_out(DOT, "svg")
    finally:
        layout._draws_boxes.cache_clear()


def test_the_environment_of_the_user_is_not_changed() -> None:
    before = dict(os.environ)
    layout.lay_out(DOT, "svg")
    assert dict(os.environ) == before
