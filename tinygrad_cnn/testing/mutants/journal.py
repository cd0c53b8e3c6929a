"""Journal: results by key, kept as lines of JSON, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Key = tuple[Any, ...]


class Journal(dict[Key, Any]):
    """What is known; `note` adds a result, and to the file at once. Without a path it is only a dict.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "runs" / "hunt.jsonl"
    ...     Journal(path).note(("relu: 1 at 0", 0), "points")
    ...     Journal(path)
    {('relu: 1 at 0', 0): 'points'}
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path
        if path is not None and path.exists():
            *lines, cut_off = path.read_text(encoding="utf-8").split("\n")
            if cut_off:
                path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            self.update((tuple(key), value) for key, value in map(json.loads, lines))

    def note(self, key: Key, value: Any) -> None:
        """Add a result; its values must be plain."""
        self[key] = value
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value], ensure_ascii=False) + "\n")
