"""Graphviz's SVG made self-contained: images inside, names for screen readers, colours that follow the reader."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache

from viz.markup import esc
from viz.palette import DARK, LIGHT, Theme, dark_twins, flow_colour

_IMAGE = re.compile(r'(xlink:href|href)="([^"]+\.png)"')
_OPEN = re.compile(r"<svg\b[^>]*>")
_SIZE = re.compile(r'(?:width|height)="[^"]*"\s*')
_ID = re.compile(r'(<g id=")([^"]+)(")')
_TIP = re.compile(r'<title>[^<]*</title>\s*(<g id="[^"]*"><a xlink:title="([^"]*)")')
_NO_TIP = re.compile(
    r"\s*<title>(?:cluster_\w+|[fbpg]?n\d[\w:]*(?:&#45;&gt;[\w:]+)?)</title>"
)  # ids, for nobody's eyes
_COLOUR = re.compile(r'(?:fill|stroke)="(#[0-9a-f]{6})"')


def finished(raw: str, files: Mapping[str, bytes], title: str, description: str, theme: str = "light") -> str:
    """Graphviz's SVG with its images inside, titles to hover, a description, ids of its own, and CSS for its size."""
    body = raw[raw.index("<svg") :]
    body = _IMAGE.sub(lambda m: f'{m[1]}="{_data_uri(files[m[2]])}"' if m[2] in files else m[0], body)
    prefix = "viz" + hashlib.sha256(body.encode()).hexdigest()[:8]
    body = _TIP.sub(r"<title>\2</title>\1", body)
    body = _NO_TIP.sub("", body)
    body = _ID.sub(rf"\1{prefix}-\2\3", body)
    style = _follow_the_reader(body, prefix) if theme == "auto" else ""
    head = f'<title id="{prefix}-title">{esc(title)}</title><desc id="{prefix}-desc">{esc(description)}</desc>'
    opening = _OPEN.search(body)
    assert opening is not None
    tag = opening[0][:-1] + (
        f' id="{prefix}" role="img" aria-labelledby="{prefix}-title {prefix}-desc" style="max-width:100%;height:auto">'
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tag}{head}{style}{body[opening.end() :]}'


def fragment(document: str) -> str:
    """The SVG element without the XML declaration, to stand in HTML."""
    return document[document.index("<svg") :]


def page(document: str, table: str, title: str, theme: str) -> str:
    """A page without any outside resource: the picture, and under it the same as text."""
    look = DARK if theme == "dark" else LIGHT
    dark = f"@media (prefers-color-scheme: dark) {{ body {{ {_page_colours(DARK)} }} }}" if theme == "auto" else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(title)}</title>
<style>
body {{ margin: 1.5rem auto; padding: 0 1rem; max-width: 90rem; font: 15px/1.5 Arial, sans-serif; }}
body {{ {_page_colours(look)} }}
figure {{ margin: 0; text-align: center; }}
pre {{ overflow-x: auto; font: 13px/1.45 "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
{dark}
</style>
</head>
<body>
<figure>
{fragment(document)}
</figure>
<details open>
<summary>The same as a table</summary>
<pre>{esc_lines(table)}</pre>
</details>
</body>
</html>
"""


def esc_lines(table: str) -> str:
    """Escaped text that keeps its lines."""
    return "\n".join(esc(line) for line in table.splitlines())


def _page_colours(theme: Theme) -> str:
    return f"background: {theme.page}; color: {theme.ink};"


def _data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _follow_the_reader(body: str, prefix: str) -> str:
    """A stylesheet that swaps each light colour in use for its dark twin, if the reader prefers dark."""
    return f"<style>@media (prefers-color-scheme: dark){{{dark_rules(body, f'#{prefix}')}}}</style>"


def dark_rules(body: str, scope: str) -> str:
    """CSS that swaps each light colour in use for its dark twin; colours of the ramp are in between."""
    twins = {light.lower(): dark for light, dark in dark_twins().items()}
    rules = [f'{scope} [fill="white"]{{fill:{DARK.page}}}']
    for colour in sorted(set(_COLOUR.findall(body))):
        dark = twins.get(colour) or _ramp_twins().get(colour)
        if dark:
            rules.append(f'{scope} [fill="{colour}"]{{fill:{dark}}}{scope} [stroke="{colour}"]{{stroke:{dark}}}')
    return "".join(rules)


@cache
def _ramp_twins() -> dict[str, str]:
    """The dark ramp's colours by those of the light ramp at the same place."""
    return {flow_colour(step / 100, LIGHT).lower(): flow_colour(step / 100, DARK) for step in range(300, -301, -1)}
