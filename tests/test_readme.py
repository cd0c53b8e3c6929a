"""The README: its code runs as it stands, in order, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cnn.cli import build_parser

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert namespace["accuracy"] > 0.95
    assert f"test accuracy {namespace['accuracy']:.1%}" in printed
    assert (tmp_path / "network.svg").read_text(encoding="utf-8").lstrip().startswith("<")
    assert "wrong_swish" in printed


def test_the_paths_it_names_exist() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", TEXT) + re.findall(r"`((?:docs|examples)/[^`]*|[A-Z]+\.md)`", TEXT)
    assert "docs/images/gradient_flow.png" in named
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
