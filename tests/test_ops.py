"""Every registered operation is held to every law that applies to it."""

from __future__ import annotations

import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import testing
from tinygrad_cnn.testing.catalog import INTERNAL

testing.make_tests(globals())

BUILT_IN = sorted(name for name in tc.ops() if not name.startswith("doc_"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_operation_has_cases_a_reference_and_errors(name):
    if name in INTERNAL:
        assert INTERNAL[name]
        return
    spec = testing.cases().get(name)
    assert spec is not None, f"{name} has no case: add one to tinygrad_cnn/testing/catalog"
    assert spec.ref is not None, f"{name} has no naive reference"
    assert list(spec.errors()), f"{name} has no error case"


def test_every_waiver_has_a_reason():
    assert all(reason.strip() for spec in testing.cases().values() for reason in spec.waive.values())
