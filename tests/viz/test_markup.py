"""Whatever a user calls things, the picture is drawn and says it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

import tinygrad_cnn as tc
import viz
from viz import layout, markup
from viz.trace import Edge, Magnitude, Module, Node, Parameter, Step, Trace

HOSTILE = [
    "a:b", "<lambda>", "<map> & <b>", "\\N", "C:\\new\\table\\", '"quoted"', "a|b{c}", "&lt;", "%s {0}", "[0]; rm",
    "emoji 🦊", "日本語", "tab\tnew\nline", "nul\x00bell\x07", "\ud800 lone surrogate", "x" * 500, "", " ",
    "--", "graph", "subgraph",
]  # fmt: skip


def hostile_trace(name: str) -> Trace:
    m = Magnitude(0.5, 1.0, 0.1, 0.9)
    path = name.replace(".", "_") or "root"
    return Trace(
        nodes=[
            Node(0, "input", "input", name=name, shape=[4, 2], batched=True, grad=m),
            Node(1, "op", name, path=f"{path}.{path}", calls=[0, 0], inside=True, shape=[4, 3], grad=m, batched=True),
            Node(2, "op", "linear", path=f"{path}.fc", calls=[0, 0], inside=True, shape=[4, 3], grad=m, batched=True,
                 saved=[name], options={name: name}),
            Node(3, "op", name, shape=[], value=1.0, grad=m),
        ],
        edges=[Edge(0, 1, 0, name, m), Edge(1, 2, 0, name, m), Edge(2, 3, 0, name, m)],
        parameters=[Parameter(0, name, [3, 2], weight=m, grad=m, update=1e-3, uses=[[1, name]])],
        steps=[Step(0, 1.0)],
        modules=[Module("", name, name, leaf=False), Module(path, name, name, leaf=False)],
        title=name,
        output=2,
        loss=3,
    )  # fmt: skip


@pytest.mark.parametrize("level", ["module", "op"])
def test_hostile_names_are_drawn_by_every_engine(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = layout.engines()
    monkeypatch.setattr(layout, "engines", lambda: [first])  # no other may step in
    for name in HOSTILE:
        fig = viz.Figure(hostile_trace(name), viz.Options(level=level))
        document = fig.svg()
        root = ET.fromstring(document.split("?>", 1)[1])
        words = "".join(root.itertext())
        shown = markup._CONTROL.sub(" ", name)
        if shown.strip() and len(shown) < 40:
            assert shown.replace("  ", " ") in words.replace("\xa0", " ").replace("  ", " "), name
        for engine in others:
            done = layout._run(engine, fig.dot(), "dot", None, ".", 20)
            assert done.returncode == 0, (engine, name, done.stderr[-500:])
            assert b"syntax error" not in done.stderr


def test_hostile_names_from_a_real_tape() -> None:
    for name in HOSTILE:
        w = tc.tensor([1.0, 2.0], requires_grad=True, name=name)
        fig = viz.graph((w * w).sum(), title=name)
        assert "digraph" in fig.dot()
        assert all(line.isprintable() for line in fig.text().splitlines()[1:])


def test_a_name_never_becomes_markup() -> None:
    assert markup.esc('<b>&"') == "&lt;b&gt;&amp;&quot;"
    assert markup.plain("a\\N") == "a\\\\N"
    assert "<" not in markup.esc("<lambda>")


def test_long_names_are_cut_in_the_middle() -> None:
    name = "features." + "very_long_name_" * 20 + ".weight"
    cut = markup.cut(name, 120, 9)
    assert markup.width_of(cut, 9) <= 120
    assert cut.startswith("feat")
    assert cut.endswith("ght")
    assert "…" in cut
    assert markup.cut("short", 120, 9) == "short"
    assert markup.cut("x" * 100_000, 120, 9).count("…") == 1


def test_text_is_broken_into_lines_that_fit() -> None:
    words = " ".join(["gradient"] * 30)
    pieces = markup.lines(words, "#000000", 9, room=200, most=99).split('<BR ALIGN="LEFT"/>')[:-1]
    shown = [piece.split(">")[1].split("<")[0] for piece in pieces]
    assert " ".join(shown) == words
    assert len(shown) > 5
    assert all(markup.width_of(line, 9) <= 200 for line in shown)


def test_widths_are_not_underestimated() -> None:
    """A badge is as wide as its words are thought to be; narrower would overflow."""
    strings = ["SHRINKS GRADIENT ×1.1e-3", "▼ VANISHING −2.8 decades", "Conv2d 16→32 · 3×3 · pad 1", "NaN 12% · FIRST"]
    for string in strings:
        dot = f'digraph {{ a [shape=plain fontname="Arial" fontsize=100 label="{string}"] }}'
        plain = layout.lay_out(dot, "plain").decode()
        drawn = float(next(line for line in plain.splitlines() if line.startswith("node")).split()[4]) * 72
        assert markup.width_of(string, 100) >= drawn * 0.95, string
        assert markup.width_of(string, 100) <= drawn * 1.35, string


def test_numbers_are_short() -> None:
    from viz.wording import factor, number, percent, shape_of

    shown = [number(v) for v in (0.0271, 7.5e-3, 1.0e-3, 12.0, 4200.0, 123456.0, 0.0, -0.5, float("nan"), float("inf"))]
    assert shown == ["0.027", "7.5e-3", "1.0e-3", "12", "4200", "1.2e5", "0", "-0.5", "NaN", "inf"]
    assert [factor(v) for v in (1.0, 0.65, 2.8e-3, 580.0)] == ["×1.00", "×0.65", "×2.8e-3", "×580"]
    assert [percent(v) for v in (0.0, 0.001, 0.12, 0.999, 1.0)] == ["0%", "<1%", "12%", ">99%", "100%"]
    assert (shape_of([32, 8, 28]), shape_of([])) == ("32×8×28", "scalar")
