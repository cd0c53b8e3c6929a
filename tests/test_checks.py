"""The checks of options and inputs: what passes, as which value, and what is said otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import checks


def test_numpy_scalars_become_pythons() -> None:
    for value in (np.float32(0.5), np.float64(0.5), 0.5):
        assert type(checks.number("f", "p", value, least=0, most=1)) is float
    for value in (np.int8(3), np.uint64(3), 3):
        assert type(checks.integer("f", "n", value)) is int
    assert checks.flag("f", "b", np.True_) is True
    assert checks.floating_dtype("f", np.float16) == np.float16


def test_bounds() -> None:
    assert checks.number("f", "p", 0, least=0) == 0
    assert checks.number("f", "p", math.inf, above=0) == math.inf
    assert math.isnan(checks.number("f", "p", math.nan, nan=True))
    assert checks.integer("f", "n", -2, least=-2, most=2) == -2


def test_lists_take_the_dtype_of_the_tensor_they_belong_to() -> None:
    x = tc.zeros(2, dtype="float64")
    third = checks.as_tensor("f", [1 / 3], "weight", like=x)
    assert third.dtype == np.float64
    assert third.item() == 1 / 3
    assert checks.as_tensor("f", np.ones(1, np.float32), "weight", like=x).dtype == np.float32
    assert checks.as_tensor("f", x) is x


def test_byte_order_is_no_other_dtype() -> None:
    checks.refuse_mixed_dtypes("f", x=np.ones(2, ">f4"), weight=np.ones(2, "<f4"), labels=np.ones(2, int))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: checks.number("f", "p", "x"), TypeError, "f: p must be a number, got 'x'"),
        (lambda: checks.number("f", "p", True), TypeError, "f: p must be a number, got True"),
        (lambda: checks.number("f", "p", math.nan), ValueError, "f: p must be a number, got nan"),
        (lambda: checks.number("f", "p", 0, above=0), ValueError, "f: p must be a number above 0, got 0"),
        (lambda: checks.number("f", "p", 2, most=1), ValueError, "f: p must be a number of at most 1, got 2"),
        (lambda: checks.number("f", "p", 1, below=1), ValueError, "f: p must be a number below 1, got 1"),
        (lambda: checks.number("f", "p", 1, least=0, below=1), ValueError, r"f: p must be a number in \[0, 1\), got 1"),
        (lambda: checks.integer("f", "n", 1.0), TypeError, r"f: n must be an integer, got 1\.0"),
        (
            lambda: checks.integer("f", "n", 3, least=0, most=2),
            ValueError,
            r"f: n must be an integer in \[0, 2\], got 3",
        ),
        (lambda: checks.flag("f", "b", 1), TypeError, "f: b must be True or False, got 1"),
        (lambda: checks.choice("f", "mode", "c", ("a", "b")), ValueError, "f: mode must be one of 'a', 'b', got 'c'"),
        (lambda: checks.floating_dtype("f", "int8"), TypeError, "f: dtype must be a floating one .* got 'int8'"),
        (lambda: checks.floating_dtype("f", "nonsense"), TypeError, "f: dtype must be a floating one"),
        (lambda: checks.as_tensor("f", object()), TypeError, "f: x must be a Tensor, an array or numbers"),
        (lambda: checks.as_tensor("f", [[1], [1, 2]]), tc.ShapeError, "f: x must be .* rows of different lengths"),
        (lambda: checks.as_tensor("f", np.ones(1, complex)), TypeError, "f: x is complex128; .* pass real numbers"),
        (
            lambda: checks.refuse_mixed_dtypes("f", x=np.ones(1), weight=np.ones(1, np.float32)),
            TypeError,
            r"f: x is float64, weight is float32; convert one with \.astype\('float32'\)",
        ),
    ],
)
def test_what_is_said(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()
