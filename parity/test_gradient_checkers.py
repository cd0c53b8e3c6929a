"""PyTorch's gradcheck, given our operations as functions of its own, accepts right ones and refuses wrong ones."""

import pytest

from benchmarks.checked import Checked, small
from benchmarks.rival_checkers import torch_fast, torch_slow
from tinygrad_cnn import testing
from tinygrad_cnn.testing.mutants import mutants_named

NAMES = ("tanh", "mul", "conv1d", "batch_norm", "cross_entropy", "max", "cat")


@pytest.mark.parametrize("checker", [torch_slow, torch_fast])
@pytest.mark.parametrize("name", NAMES)
def test_right_operations_are_accepted(name, checker):
    spec = testing.cases()[name]
    assert all(checker(Checked(spec, call)) for call in small(spec, 2, 0))


@pytest.mark.parametrize("checker", [torch_slow, torch_fast])
@pytest.mark.parametrize("bug", ["scaled by 1.01", "sign turned", "what was saved is a constant", "g is a constant"])
def test_wrong_operations_are_refused(bug, checker):
    spec = testing.cases()["tanh"]
    (mutant,) = mutants_named(f"tanh: gradient of x: {bug}")
    (call,) = small(spec, 1, 0)
    with mutant.seeded():
        assert not checker(Checked(spec, call))
