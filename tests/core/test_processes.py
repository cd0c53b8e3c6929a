"""Random streams of processes and users, and an interpreter with nothing to lean on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F

ROOT = Path(tc.__file__).parents[1]


def run(code, *flags, **environment):
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd="/",
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_draw_other_numbers_than_their_parent_and_each_other():
    printed = run(
        """
import os, sys, warnings
import tinygrad_cnn as tc
warnings.simplefilter("ignore")   # of newer Pythons, about fork beside threads
tc.manual_seed(0)
for _ in range(2):
    child = os.fork()
    if child == 0:
        print(tc.rand(2).tolist(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print(tc.rand(2).tolist())
tc.manual_seed(0)
print(tc.rand(2).tolist())
"""
    )
    first, second, parent, again = printed
    assert len({first, second, parent}) == 3
    assert parent == again  # its own stream went on as if nobody had been forked


def test_the_users_generators_and_ours_leave_each_other_alone():
    users, seed = np.random.get_state(), np.random.seed  # noqa: NPY002  (the user's global generator)
    try:
        tc.manual_seed(1)
        ours = tc.rand(2).tolist()
        seed(0)
        before = np.random.get_state()[1].tolist()  # noqa: NPY002  (as above)
        tc.manual_seed(1)
        assert tc.rand(2).tolist() == ours
        F.dropout(tc.ones(10), 0.5)
        tc.nn.Linear(3, 3)
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002  (as above)
    finally:
        np.random.set_state(users)  # noqa: NPY002  (as above)


TRAINING = """
import numpy as np, tinygrad_cnn as tc, tinygrad_cnn.functional as F
from tinygrad_cnn import nn, optim
tc.manual_seed(5)
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(64, 2))
optimizer = optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    F.cross_entropy(model(tc.randn(8, 1, 6, 6)), np.arange(8) % 2).backward()
    optimizer.step()
for p in model.parameters():
    print(p.data.tobytes().hex())
"""


def test_one_seed_gives_the_same_bits_in_another_process_and_nearly_so_with_more_threads():
    first, same = run(TRAINING, PYTHONHASHSEED="1"), run(TRAINING, PYTHONHASHSEED="2")
    assert first == same
    for one, two in zip(first, run(TRAINING, OPENBLAS_NUM_THREADS="2"), strict=True):
        a, b = (np.frombuffer(bytes.fromhex(text), np.float32) for text in (one, two))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_without_asserts_home_locale_and_a_directory_of_ones_own():
    """Validation does not rest on `assert`, nor import on a home directory."""
    printed = run(
        """
import numpy as np, tinygrad_cnn as tc, tinygrad_cnn.functional as F
from tinygrad_cnn import nn, optim
model = nn.Linear(4, 2)
optimizer = optim.Adam(model.parameters(), lr=0.01)
F.cross_entropy(model(np.ones((3, 4), np.float32)), [0, 1, 0]).backward()
optimizer.step()
x = tc.tensor([1.0, 2.0], requires_grad=True)
calls = (lambda: x.reshape(3), lambda: x + np.ones(3), lambda: x.backward(), lambda: tc.tensor([1], requires_grad=True),
         lambda: x.__iadd__(1), lambda: F.conv2d(x, x), lambda: nn.Conv2d(0, 1, 1), lambda: tc.zeros(-1))
for call in calls:
    try:
        call()
    except (ValueError, TypeError, RuntimeError) as error:
        print(str(error).partition(":")[0])
    else:
        print("nothing raised")
""",
        "-O",
        "-W",
        "error",
    )
    assert printed[:6] == ["reshape", "add", "backward", "requires_grad", "add in place", "conv2d"]
    assert "nothing raised" not in printed
