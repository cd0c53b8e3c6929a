"""The README: its code runs as it stands, in order, and what it names exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_cnn.cli import build_parser

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_in_order(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    command = [sys.executable, "-W", "error", "-c", "\n".join(blocks)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"test accuracy ([\d.]+)%", done.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) > 95
    assert "</svg>" in (tmp_path / "network.svg").read_text(encoding="utf-8")
    assert "wrong_swish" in done.stdout


def test_the_paths_it_names_exist() -> None:
    pages = TEXT + (ROOT / "docs" / "lectures.md").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"]+)"|`((?:docs|examples)/[^`]*|[A-Z]+\.md)`', pages)
    named = [path for pair in named for path in pair if path]
    assert "docs/images/gradient_flow.png" in named
    assert "examples/own_op.py" in named
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_the_commands_it_names_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"\bmake (\w+)", TEXT)) - {"sure"} <= set(targets)
    commands = re.findall(r"tinygrad-cnn (\w+)", TEXT)
    assert commands
    for command in commands:
        with pytest.raises(SystemExit, match="0"):
            build_parser().parse_args([command, "--help"])
