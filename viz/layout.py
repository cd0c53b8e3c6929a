"""Graphviz, wherever it is: the copy inside pygraphviz, or `dot` on PATH; always in a process of its own.

A separate process can be stopped when a layout takes too long, and a crash in it is an error message here.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_WORKER = """
import sys
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot", args=sys.argv[2]))
"""

_FONTCONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">{system}</include>
  <dir>{fonts}</dir>
  <alias><family>Arial</family><default><family>DejaVu Sans</family></default></alias>
</fontconfig>
"""

_WITHOUT_FONTS = (
    "viz: no fonts are installed here, so text in PNG and PDF pictures is drawn as boxes; "
    'install one, or DejaVu with `pip install matplotlib` (part of "tinygrad_cnn[demo]"). SVG is not affected'
)


class EngineNotFound(RuntimeError):
    """Neither pygraphviz 2 nor Graphviz's `dot` is installed, so nothing can lay out a picture."""


class LayoutTimeout(RuntimeError):
    """Graphviz did not finish in the time it was given."""


class LayoutError(RuntimeError):
    """Graphviz failed; the message is its own."""


@dataclass(frozen=True)
class Engine:
    """One way to run Graphviz: its name, the version that carries it, and where it is."""

    name: str
    version: str
    where: str


def engines() -> list[Engine]:
    """The layout engines found, best first; empty if there are none."""
    return [engine for engine in (_pygraphviz(), _dot()) if engine is not None]


def lay_out(
    dot: str, format: str, *, dpi: float | None = None, images: Mapping[str, bytes] | None = None, timeout: float = 10
) -> bytes:
    """Draw DOT as "svg", "png", "pdf" or any other format of Graphviz, with its images as relative files.

    Raises EngineNotFound if there is no engine, LayoutTimeout after `timeout` seconds, LayoutError if Graphviz fails.
    """
    found = engines()
    if not found:
        raise EngineNotFound(
            'viz: no layout engine found; `pip install "tinygrad_cnn[viz]"` installs one (Graphviz inside pygraphviz, '
            "no system package needed). Without it .dot, .json and .txt can still be saved"
        )
    if format in ("png", "pdf") and _draws_boxes():
        warnings.warn(_WITHOUT_FONTS, RuntimeWarning, stacklevel=3)
    with tempfile.TemporaryDirectory(prefix="viz-") as directory:
        write_images(images or {}, Path(directory))
        for engine in found:
            done = _run(engine, dot, format, dpi, directory, timeout)
            if done.returncode == 0 and done.stdout:
                return done.stdout
    message = done.stderr.decode("utf-8", "replace").strip()[-2000:]
    raise LayoutError(f"viz: {engine.name} {engine.version} could not draw this as {format}: {message}")


def write_images(images: Mapping[str, bytes], directory: Path) -> None:
    """Put the images where DOT expects them, relative to a directory."""
    for name, data in images.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _run(
    engine: Engine, dot: str, format: str, dpi: float | None, directory: str, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    option = f"-Gdpi={dpi:g}" if dpi is not None else ""
    if engine.name == "pygraphviz":
        command = [sys.executable, "-c", _WORKER, format, option]
    else:
        command = [engine.where, f"-T{format}", *([option] if option else [])]
    try:
        return subprocess.run(
            command, input=dot.encode(), capture_output=True, timeout=timeout, cwd=directory, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise LayoutTimeout(f"viz: Graphviz did not finish within timeout={timeout:g} seconds") from None


@cache
def _version_of_pygraphviz() -> str:
    if importlib.util.find_spec("pygraphviz") is None:
        return ""
    try:
        return importlib.metadata.version("pygraphviz")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pygraphviz() -> Engine | None:
    version = _version_of_pygraphviz()
    if not version or int(version.split(".")[0]) < 2 or not sys.executable:
        return None  # version 1 is a wrapper that needs `dot` itself
    return Engine("pygraphviz", version, sys.executable)


def _dot() -> Engine | None:
    where = shutil.which("dot")
    return Engine("dot", _version_of_dot(where), where) if where else None


@cache
def _version_of_dot(where: str) -> str:
    try:
        done = subprocess.run([where, "-V"], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "of unknown version"
    words = (done.stderr or done.stdout).decode("utf-8", "replace").split()
    return next((word for word in words if word[:1].isdigit()), "of unknown version")


# ---- fonts -----------------------------------------------------------------------------------------------------


def _environment() -> dict[str, str]:
    """The environment of the layout process; on Linux with DejaVu added, in case no font is installed."""
    extra = _font_configuration()
    return {**os.environ, **({"FONTCONFIG_FILE": extra} if extra else {})}


def _font_configuration() -> str | None:
    fonts = _matplotlib_fonts()
    if not sys.platform.startswith("linux") or fonts is None:
        return None
    path = os.environ.get("FONTCONFIG_PATH", "/etc/fonts")
    system = os.path.join(path, os.environ.get("FONTCONFIG_FILE") or "fonts.conf")
    return _written_configuration(system, str(fonts))


@cache
def _written_configuration(system: str, fonts: str) -> str:
    # Links in a directory of our own: fontconfig may write into the directories it reads.
    directory = Path(tempfile.mkdtemp(prefix="viz-fonts-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    for font in sorted(Path(fonts).glob("DejaVuSans*.ttf")):
        (directory / font.name).symlink_to(font)
    configuration = directory / "fonts.conf"
    configuration.write_text(_FONTCONFIG.format(system=system, fonts=directory), encoding="utf-8")
    return str(configuration)


@cache
def _matplotlib_fonts() -> Path | None:
    try:
        found = importlib.util.find_spec("matplotlib")
    except (ImportError, ValueError):
        return None
    if found is None or not found.origin:
        return None
    fonts = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return fonts if (fonts / "DejaVuSans.ttf").exists() else None


@cache
def _draws_boxes() -> bool:
    """Whether text comes out as boxes: then narrow and wide letters have the same width."""
    if _matplotlib_fonts() is not None or not sys.platform.startswith("linux"):
        return False
    widths = []
    for letters in ("iiiiiiiiii", "WWWWWWWWWW"):
        dot = f'digraph {{ a [label="{letters}" shape=plain fontname="Arial"] }}'
        done = _run(engines()[0], dot, "plain", None, tempfile.gettempdir(), 10)
        node = next((line for line in done.stdout.decode().splitlines() if line.startswith("node")), "")
        widths.append(node.split()[4] if node else letters)
    return widths[0] == widths[1]
