"""The page: a picture one can touch, in one HTML file without any outside resource.

The SVG and the table stand in it as they are, so they show without scripts; `viz/web` holds the style and the scripts
that are put in. Everything that came from a user is either escaped text or JSON in which no markup can end.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from viz import layout, svg
from viz import page_opening as opening
from viz.figure import Figure
from viz.judging import Report
from viz.measure import HISTOGRAM
from viz.page_data import Data, badge_of, level_data
from viz.page_table import table_of
from viz.palette import DARK, LIGHT, Theme

SCRIPTS = ("basics", "view", "picture", "about", "pixels", "search", "table", "page")
NAMES = {"module": "Modules", "op": "Operations"}
_IMAGE = re.compile(r'xlink:href="(data:image/png;base64,[^"]*)"')
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass
class Page:
    """What a page is made of."""

    title: str
    facts: str
    shown: str  # the level that is open at first
    levels: list[Data]
    pictures: list[str]  # an SVG element for each level
    report: Report
    theme: str = "auto"  # "dark": begins dark; all others follow the reader
    banner: str = ""
    note: str = ""
    film: str = ""  # markup of the controls under the picture
    opened: list[tuple[Data, str]] = field(default_factory=list)  # pictures in which one closed card is open
    data: Data = field(default_factory=dict)
    scripts: Sequence[str] = SCRIPTS
    styles: Sequence[str] = ("page",)

    def html(self) -> str:
        """The document."""
        return _document(self)


def page_of(figure: Figure) -> str:
    """The page of a figure: its level first, the other one a switch away."""
    drawn = [figure, *_other_levels(figure)]
    pictures = [_inline(each) for each in drawn]  # first, as a layout may collapse the diagram
    note = "" if len(drawn) > 1 or not _has_modules(figure) else "The other level is too large to be drawn in time."
    levels = [level_data(each) for each in drawn]
    page = Page(
        figure.title,
        figure.facts(),
        figure.level,
        levels,
        pictures,
        figure.report(),
        theme=figure.theme,
        banner=figure.banner(),
        note=note,
    )
    for level, each in zip(levels, drawn, strict=True):
        if each.level == "module":
            page.opened = _opened(level, each)
    return page.html()


def _opened(level: Data, figure: Figure) -> list[tuple[Data, str]]:
    """The pictures that closed cards open to; each such card is told the number of its own."""
    found: dict[str, tuple[Data, str]] = {}
    for number, name, drawn, picture in opening.pictures(figure):
        outer, _, card = number.rpartition("/")
        around = found[outer][0] if outer in found else level
        inside = next(c for c in around["cards"] if c["id"] == card)
        inside["opens"] = number
        data = level_data(drawn)
        known = {c["name"] for c in around["cards"]}
        first = next((c["id"] for c in data["cards"] if c["name"] not in known), card)
        found[number] = ({**data, "frame": number, "name": name, "first": first}, svg.fragment(picture))
    return list(found.values())


def _has_modules(figure: Figure) -> bool:
    return any(node.path or node.inside for node in figure.trace.nodes)


def _other_levels(figure: Figure) -> list[Figure]:
    if not _has_modules(figure):
        return []
    other = Figure(figure.trace, replace(figure.options, level="op" if figure.level == "module" else "module"))
    try:
        _inline(other)
    except layout.LayoutTimeout:
        return []
    return [other]


def _inline(figure: Figure) -> str:
    """The SVG element in light colours; the page's style turns them dark."""
    light = figure if figure.theme == "light" else Figure(figure.trace, replace(figure.options, theme="light"))
    return svg.fragment(light.svg())


# ---- the document ----------------------------------------------------------------------------------------------


def _document(page: Page) -> str:
    images: list[str] = []
    opened = "".join(_opened_canvas(level, picture, images) for level, picture in page.opened)
    data = {"title": page.title, "shown": page.shown, "levels": page.levels, "histogram": HISTOGRAM,
            "grid": LIGHT.grid, "opened": [level for level, _ in page.opened], "images": images}  # fmt: skip
    script = "\n".join(web_file(f"{name}.js") for name in page.scripts)
    begin = ' data-theme="dark"' if page.theme == "dark" else ""
    return f"""<!DOCTYPE html>
<html lang="en"{begin}>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{_esc(page.title)}</title>
<style>
{_colours([*page.pictures, *(picture for _, picture in page.opened)])}
{"".join(web_file(f"{name}.css") for name in page.styles)}</style>
<script>document.documentElement.classList.add("scripted")</script>
</head>
<body>
{_bar(page)}
<main>
{_message("banner", page.banner)}{_message("note", page.note)}{_findings(page.report)}
{"".join(_canvas(level, picture) for level, picture in zip(page.levels, page.pictures, strict=True))}
{opened}{page.film}
<section class="twin" id="table" aria-label="The same as a table">
<h2>The same as a table</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Table of layers">
{"".join(table_of(level, _caption(level)) for level in page.levels)}
</div>
</section>
{_HELP_FILM if page.film else _HELP}
</main>
<aside class="about" id="about" role="dialog" aria-label="About the chosen card" hidden>
<button type="button" class="close" aria-label="Close">✕</button><div class="body" aria-live="polite"></div>
</aside>
<script type="application/json" id="data">{embedded({**data, **page.data})}</script>
<script>
"use strict";
(() => {{
{script}
}})();
</script>
</body>
</html>
"""


def embedded(data: Any) -> str:
    """Strict JSON that can stand in a script element: no markup, no line ends that old parsers know in strings."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates can not be written to a file


@cache
def web_file(name: str) -> str:
    """A file of the folder `web`."""
    return files("viz").joinpath("web", name).read_text(encoding="utf-8")


def _bar(page: Page) -> str:
    levels = "".join(
        f'<button type="button" role="radio" data-show="{level["level"]}" aria-checked="false">'
        f"{NAMES[level['level']]}</button>"
        for level in sorted(page.levels, key=lambda level: list(NAMES).index(level["level"]))
    )
    switch = f'<div class="group" role="radiogroup" aria-label="Level">{levels}</div>' if len(page.levels) > 1 else ""
    return f"""<header class="bar">
<h1>{_esc(page.title)}</h1><span class="facts">{_esc(page.facts)}</span>
{_state(page.report)}
<div class="tools">
{switch}
<label class="search"><span class="hidden">Search layers</span>
<input type="search" id="search" placeholder="Search  /" autocomplete="off" spellcheck="false">
<output id="found" aria-live="polite"></output></label>
<div class="group" role="group" aria-label="Zoom">
<button type="button" data-zoom="out" aria-label="Zoom out">−</button>
<button type="button" data-zoom="fit" aria-label="Show all">Fit</button>
<button type="button" data-zoom="in" aria-label="Zoom in">+</button>
</div>
<button type="button" id="theme" aria-label="Dark or light">◐</button>
<a href="#table">Table</a>
</div>
</header>"""


def _state(report: Report) -> str:
    if report.gap and not report:
        look, sign, words = "", "", f"not judged: {_esc(report.gap)}"
    elif report:
        look, sign, words = "bad", "▲", f"{len(report)} finding{'s' if len(report) > 1 else ''}"
    else:
        look, sign, words = "good", "●", "nothing is wrong"
    return (
        f'<button type="button" class="state {look}" id="state" aria-expanded="false" aria-controls="findings">'
        f"{sign} {words}</button>"
    )


def _findings(report: Report) -> str:
    rows = [
        f'<li><button type="button" data-where="{_esc(finding.where)}">{badge_of(finding.kind, finding.kind)} '
        f"{_esc(finding.sentence)}</button></li>"
        for finding in report
    ]
    body = f"<ul>{''.join(rows)}</ul>" if rows else f"<p>{_esc(str(report))}</p>"
    return f'<section class="findings" id="findings" aria-label="Findings" hidden>{body}</section>'


def _message(kind: str, words: str) -> str:
    return f'<p class="{kind}">{_esc(words)}</p>\n' if words else ""


def _canvas(level: Data, picture: str) -> str:
    words = f"Picture by {'module' if level['level'] == 'module' else 'operation'}"
    return (
        f'<figure class="canvas" data-level="{level["level"]}" tabindex="0" role="region" aria-label="{words}">\n'
        f"{picture}</figure>\n"
    )


def _opened_canvas(level: Data, picture: str, images: list[str]) -> str:
    """A canvas that waits; its images stand in the data once, however many pictures show them."""

    def waiting(match: re.Match[str]) -> str:
        if match[1] not in images:
            images.append(match[1])
        return f'data-image="{images.index(match[1])}"'

    outer = level["frame"].rpartition("/")[0]
    return (
        f'<figure class="canvas" data-level="module" data-frame="{level["frame"]}" tabindex="0" role="region" '
        f'aria-label="Picture with {_esc(level["name"])} open" hidden>\n'
        f'<button type="button" class="shut" data-to="{outer}">✕ close {_esc(level["name"])}</button>\n'
        f"{_IMAGE.sub(waiting, picture)}</figure>\n"
    )


def _caption(level: Data) -> str:
    what = "module" if level["level"] == "module" else "operation"
    return f"Gradient by {what}, in forward order. ‖∂L‖: norm per sample at the output; gain: what a layer makes of it."


_HELP = """<p class="help"><kbd>/</kbd> search   <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd> zoom   <kbd>Tab</kbd> to a card,
<kbd>↑</kbd> <kbd>↓</kbd> to its neighbours, <kbd>Enter</kbd> lights the way of its gradient   <kbd>m</kbd> <kbd>o</kbd>
modules, operations   <kbd>Esc</kbd> closes. Drag to move, turn the wheel or pinch to zoom.</p>"""
_HELP_FILM = """<p class="help"><kbd>Space</kbd> plays and pauses, <kbd>←</kbd> <kbd>→</kbd> one recorded step,
<kbd>Home</kbd> <kbd>End</kbd> first and last   <kbd>/</kbd> search   <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd> zoom
<kbd>Enter</kbd> on a card lights the way of its gradient   <kbd>Esc</kbd> closes.</p>"""


# ---- colours ---------------------------------------------------------------------------------------------------


def _colours(pictures: Sequence[str]) -> str:
    """The page's colours in both themes, and those of the pictures in the dark one."""
    swaps = "".join(svg.dark_rules(picture, ".canvas") for picture in pictures)
    dark = _tokens(DARK)
    return (
        f":root{{{_tokens(LIGHT)}}}\n{_badges(LIGHT, '')}\n"
        f'@media (prefers-color-scheme: dark){{:root:not([data-theme="light"]){{{dark};color-scheme:dark}}\n'
        f"{_badges(DARK, ':root:not([data-theme=light]) ')}\n{_scoped(swaps, ':root:not([data-theme=light]) ')}}}\n"
        f':root[data-theme="dark"]{{{dark};color-scheme:dark}}\n:root[data-theme="light"]{{color-scheme:light}}\n'
        f"{_badges(DARK, ':root[data-theme=dark] ')}\n{_scoped(swaps, ':root[data-theme=dark] ')}"
    )


def _tokens(theme: Theme) -> str:
    dark = theme is DARK
    tokens = {
        "page": theme.page,
        "card": theme.card,
        "ink": theme.ink,
        "muted": theme.muted,
        "line": theme.card_edge,
        "good": theme.good,
        "bad": theme.bad,
        "backward": theme.backward_text,
        "forward": theme.forward,
        "bar": theme.ramp[2],
        "alarm": theme.badges["nan"][0],
        "alarm-ink": theme.badges["nan"][1],
        "focus": theme.forward,
        "glow": "#FF2E9A",
        "shadow": "rgb(0 0 0 / .5)" if dark else "rgb(20 30 50 / .18)",
    }
    return ";".join(f"--{name}:{value}" for name, value in tokens.items())


def _badges(theme: Theme, scope: str) -> str:
    return "".join(
        f"{scope}.badge.{kind}{{background:{back};color:{ink}}}" for kind, (back, ink) in theme.badges.items()
    )


def _scoped(rules: str, scope: str) -> str:
    return "".join(f"{scope}{rule}}}" for rule in dict.fromkeys(rules.split("}")) if rule)


def _esc(words: object) -> str:
    return html.escape(str(words), quote=True)
