"""docs/ops.md is what the registry says."""

import runpy
from pathlib import Path

import tinygrad_cnn as tc

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_operations_is_up_to_date():
    page = runpy.run_path(str(DOCS / "generate.py"))["page"]()
    assert page == (DOCS / "ops.md").read_text(encoding="utf-8"), "docs/ops.md is out of date: run `make docs`"


def test_every_built_in_operation_is_listed_once_and_says_what_it_computes():
    text = (DOCS / "ops.md").read_text(encoding="utf-8")
    for name, op in tc.ops().items():
        if op.module.startswith("tinygrad_cnn."):
            assert text.count(f"\n| `{name}` | ") == 1
            assert not (op.__doc__ or "").startswith("The operation")
