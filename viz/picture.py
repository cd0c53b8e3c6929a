"""What every picture can do, whatever it shows: be written in each format, and be shown in a notebook."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import graphviz

from viz import layout, svg
from viz.style import Drawing


class Picture(ABC):
    """A drawing in DOT, and the formats that follow from it. Nothing is drawn before it is asked for."""

    title: str
    theme: str
    timeout: float

    @property
    @abstractmethod
    def _drawing(self) -> Drawing: ...

    @abstractmethod
    def text(self) -> str:
        """The same for terminals; needs no engine."""

    @abstractmethod
    def json(self) -> str:
        """The data behind the picture."""

    @abstractmethod
    def description(self) -> str:
        """One sentence for those who do not see the picture."""

    def dot(self) -> str:
        """DOT source. Thumbnails are files named by their content under `thumbs/`, which `save` writes beside it."""
        return str(self._drawing.graph.source)

    def svg(self) -> str:
        """A self-contained SVG document, scaled by CSS, with a title and a description for screen readers."""
        raw = self._laid_out("svg").decode("utf-8")
        return svg.finished(raw, self._drawing.album.files, self.title, self.description(), self.theme)

    def png(self, dpi: float = 110) -> bytes:
        """A PNG image."""
        return self._laid_out("png", dpi=dpi)

    def pdf(self) -> bytes:
        """A PDF document of one page."""
        return self._laid_out("pdf")

    def html(self) -> str:
        """A self-contained page: the picture, and the same as a table."""
        return svg.page(self.svg(), self.text(), self.title, self.theme)

    def digraph(self) -> graphviz.Digraph:
        """The picture as a `graphviz.Digraph`, to change or render with that package; its images last as long as it."""
        graph: graphviz.Digraph = self._drawing.graph.copy()
        folder = tempfile.mkdtemp(prefix="viz-images-")
        weakref.finalize(graph, shutil.rmtree, folder, ignore_errors=True)
        layout.write_images(self._drawing.album.files, Path(folder))
        graph.attr("graph", imagepath=folder)
        return graph

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture; the ending says how: .svg .html .png .pdf .dot .json .txt."""
        target = Path(path)
        writers: dict[str, Any] = {
            ".svg": self.svg,
            ".html": self.html,
            ".png": self.png,
            ".pdf": self.pdf,
            ".dot": self.dot,
            ".json": self.json,
            ".txt": self.text,
        }
        if target.suffix.lower() not in writers:
            raise ValueError(f"viz: cannot save {target.name!r}: end it in one of {', '.join(writers)}")
        content = writers[target.suffix.lower()]()
        if isinstance(content, str):
            target.write_text(content if content.endswith("\n") else content + "\n", encoding="utf-8")
        else:
            target.write_bytes(content)
        if target.suffix.lower() == ".dot":
            layout.write_images(self._drawing.album.files, target.parent)
        return target

    def __str__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What Jupyter shows: HTML and SVG if they can be drawn, text always. Never raises."""
        bundle: dict[str, str] = {}
        try:
            bundle["text/plain"] = self.text()
            bundle["image/svg+xml"] = self.svg()
            bundle["text/html"] = self._in_notebook(bundle["image/svg+xml"])
        except Exception as error:  # a repr that raises hides the object behind a traceback
            bundle.setdefault("text/plain", repr(type(self)))
            bundle["text/plain"] += f"\n\n(no picture: {error})"
        return bundle

    def _in_notebook(self, drawn: str) -> str:
        """The picture as HTML among a notebook's cells."""
        return svg.fragment(drawn)

    def _laid_out(self, format: str, dpi: float | None = None) -> bytes:
        drawing = self._drawing
        return layout.lay_out(drawing.graph.source, format, dpi=dpi, images=drawing.album.files, timeout=self.timeout)
