"""The examples run as they stand, and say what they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

# What each example prints, as patterns in order, and what it writes.
EXPECTED = {
    "kernels_on_a_photograph.py": (["640 x 427", r"vertical edges +weights sum to +0\.00", "wrote"], ["kernels.png"]),
    "learn_edge_filter.py": ([r"vertical edge kernel: \d\.\de-0[4-9]"], ["kernel.png"]),
    "gradient_of_a_convolution.py": (["dX by the engine", "equal", "dK.*", "equal", "dB", "equal"], ["gradient.svg"]),
    "what_a_convolution_is.py": (
        [
            r"convolution with \[\[1, 2",
            "6 x 6 *with 3 x 3, padding 1, stride 2: 3 x 3",
            "576 weights, 144 .* 9 of them different",
        ],
        ["convolution.png"],
    ),
    "pooling.py": (
        [
            r"\[\[9.0, 2.0\], \[6.0, 3.0\]\]",
            "inside its cell .*: True",
            "out of its cell .*: False",
            r"follows to (0e\+00|\de-0[5-9])",
        ],
        ["pooling.png"],
    ),
    "dense_and_convolutional.py": (["shallow", "convolutional .*%"], ["shifted.png"]),
    "what_filters_see.py": (["trained", "layers of 10 maps"], ["activations.png", "exciting_inputs.png"]),
    "own_op.py": (["mish: all hold", "is caught: wrong_mish", r"test accuracy 9\d"], ["mish.svg"]),
}


def test_every_example_is_expected() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    printed, written = EXPECTED[name]
    assert re.search(".*".join(printed), done.stdout, re.DOTALL), done.stdout
    assert "DIFFERENT" not in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(written)
    assert all(path.stat().st_size > 1000 for path in (tmp_path / "out").iterdir())
