"""PyTorch's words that differ here raise, and name ours; what they name exists."""

import json
import pickle
import re

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn.core import spelling


@pytest.mark.parametrize(
    ("word", "ours"),
    {
        "view": "reshape", "unsqueeze": "expand_dims", "unsqueeze_": "expand_dims", "cuda": "CPU", "cpu": "CPU",
        "to": r"x\.astype", "device": "CPU", "float": r"x\.astype\('float32'\)", "long": "int64", "dim": r"x\.ndim",
        "numel": r"x\.size", "clamp": r"x\.clip", "expand": "broadcast_to", "repeat": "tile",
        "gather": "take_along_axis", "add_": r"x \+= y", "zero_": r"x\[\.\.\.\] = 0 under tc\.no_grad",
        "relu_": r"x = x\.relu\(\.\.\.\)", "add": r"x \+ y", "mm": "x @ y", "eq": "x == y", "gelu": r"functional\.gelu",
        "contiguous": "leave it out", "reshap": "is 'reshape' meant", "logsumexpp": "is 'logsumexp' meant",
    }.items(),
)  # fmt: skip
def test_attributes(word, ours):
    with pytest.raises(AttributeError, match=f"^Tensor has no attribute '{word}'; .*{ours}"):
        getattr(tc.ones(2, 2), word)


def test_what_is_nothing_like_ours_gets_no_advice():
    with pytest.raises(AttributeError, match=r"^Tensor has no attribute 'frobnicate'$"):
        tc.ones(1).frobnicate  # noqa: B018  (the access raises)
    assert not hasattr(tc.ones(1), "__array_struct__")


@pytest.mark.parametrize("word", [*spelling._ATTRIBUTES, *spelling._NAMES])
def test_no_advice_is_about_what_exists_nor_names_what_does_not(word):
    table, holder = (spelling._ATTRIBUTES, tc.Tensor) if word in spelling._ATTRIBUTES else (spelling._NAMES, tc)
    assert not hasattr(holder, word)
    for name in re.findall(r"\bx\.(\w+)", table[word]):
        assert hasattr(tc.Tensor, name)
    for name in re.findall(r"\btc\.(\w+)", table[word]):
        assert hasattr(tc, name)
    for name in re.findall(r"functional\.(\w+)", table[word]):
        assert hasattr(F, name)
    for name in re.findall(r"\bnp\.(\w+)", table[word]):
        assert hasattr(np, name)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(dim=1), lambda x: x.mean(dim=1, keepdim=True), lambda x: x.argmax(dim=1),
        lambda x: x.softmax(dim=1), lambda x: x.var(unbiased=False), lambda x: x.squeeze(dim=0),
        lambda x: tc.cat([x, x], dim=1), lambda x: tc.stack([x, x], dim=1), lambda x: F.softmax(x, dim=1),
    ],
)  # fmt: skip
def test_words_for_axes(call):
    with pytest.raises(TypeError, match=r"write (axis|correction)= for (dim|unbiased)="):
        call(tc.ones(2, 2))


def test_size_is_a_number_that_explains_itself_when_called():
    x = tc.ones(2, 3)
    assert x.size == 6
    assert (repr(x.size), f"{x.size}", json.dumps(x.size), type(pickle.loads(pickle.dumps(x.size)))) == (
        "6", "6", "6", int,
    )  # fmt: skip
    for call in (lambda: x.size(), lambda: x.size(0)):
        with pytest.raises(TypeError, match=r"x\.size\(\) is x\.shape"):
            call()


@pytest.mark.parametrize("word", ["float32", "from_numpy", "set_grad_enabled", "inference_mode", "sum", "cuda", "add"])
def test_names_of_the_package(word):
    with pytest.raises(AttributeError, match=f"^module 'tinygrad_cnn' has no attribute '{word}'; "):
        getattr(tc, word)
    with pytest.raises(AttributeError, match=r"no attribute 'frobnicate'$"):
        tc.frobnicate  # noqa: B018  (the access raises)


def test_pythons_own_errors_name_the_tensor():
    with pytest.raises(TypeError, match=r"^Tensor\.norm\(\) got an unexpected keyword argument 'p'"):
        tc.ones(2).norm(p=1)
    with pytest.raises(TypeError, match=r"^Tensor\.round\(\) takes"):
        tc.ones(2).round(2)


def test_what_is_not_defined_for_a_dtype_names_the_operation_and_the_dtype():
    x = tc.ones(2)
    with pytest.raises(TypeError, match=r"^invert: not defined for float32; convert with x\.astype"):
        print(~x)
    with pytest.raises(TypeError, match=r"^bitwise_and: not defined for float32 and int"):
        x & 1
    with pytest.raises(TypeError, match=r"^sub: not defined for bool and bool"):
        (x > 0) - (x > 0)
