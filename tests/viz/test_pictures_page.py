"""docs/pictures.md explains every mark there is, and its pictures exist and are small."""

from __future__ import annotations

import re
from pathlib import Path

from viz.judging import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "pictures.md"


def test_every_mark_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for kind in KINDS:
        assert any(f"`{kind}`" in row for row in rows), kind


def test_its_pictures_are_there_and_small() -> None:
    images = re.findall(r"!\[[^]]+\]\((images/[^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(images) >= 6
    for image in images:
        assert 1_000 < (PAGE.parent / image).stat().st_size < 300_000, image
