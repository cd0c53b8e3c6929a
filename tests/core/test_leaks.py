"""With the garbage collector off, many steps of anything leave nothing behind; what lives is what was saved."""

import contextlib
import gc
import tracemalloc

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import models, nn, optim
from tinygrad_cnn.core import memory, tape
from tinygrad_cnn.core.tape import Node

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 1, 8, 8)).astype(np.float32)
LABELS = np.array([1, 0])


def net():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(18, 2),
    )


def training():
    model = net()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()

    return step


def checkpointed():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(tc.checkpoint(model, IMAGES), LABELS).backward()
        optimizer.step()

    return step


def gradient_penalty():
    model, x = net(), tc.tensor(IMAGES, requires_grad=True)

    def step():
        (dx,) = tc.grad(F.cross_entropy(model(x), LABELS), x, create_graph=True)
        (dx * dx).sum().backward()
        for p in (*model.parameters(), x):
            p.grad = None

    return step


def functions_of_functions():
    w = tc.tensor(RNG.normal(size=(3, 3)))

    def loss(w):
        return ((w @ w).tanh() ** 2).sum()

    def step():
        tc.func.value_and_grad(loss)(w)
        tc.func.hvp(loss, (w,), (w,))
        tc.func.jvp(loss, (w,), (w,))
        tc.func.vjp(loss, w)[1](tc.tensor(1.0, dtype="float64"))

    return step


def recurrence_that_is_never_walked():
    model = nn.Linear(4, 4)

    def step():
        h = tc.zeros(2, 4)
        for _ in range(3):
            h = model(h).tanh()

    return step


def writing_in_place():
    x = tc.tensor(RNG.normal(size=(4,)), requires_grad=True)

    def step():
        h = x * 2.0
        y = h * h
        h += 1.0
        h[0] = y[0]
        h.retain_grad()
        h.register_hook(lambda g: g * 2)
        (h * y).sum().backward()
        x.grad = None

    return step


def exceptions():
    def boom(g):
        raise KeyError

    x = tc.tensor(RNG.normal(size=(4,)), requires_grad=True)
    wrong = tc.op("leaks_wrong", lambda x: x * 1.0, lambda g, x: g[:1])

    def step():
        h = x.exp()
        h.register_hook(boom)
        for raising in (h.sum().backward, (wrong(x) * 2.0).sum().backward, lambda: x + np.ones(5)):
            with contextlib.suppress(KeyError, tc.ShapeError):
                raising()

    return step


PROGRAMS = [
    training, checkpointed, gradient_penalty, functions_of_functions, recurrence_that_is_never_walked,
    writing_in_place, exceptions,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_many_steps_leave_nothing(program):
    step = program()
    for _ in range(3):
        step()
    gc.collect()
    gc.disable()
    try:
        objects, tables = len(gc.get_objects()), len(memory._writes)
        for _ in range(1000 if program in (training, writing_in_place) else 150):
            step()
        left = gc.get_objects()
        growth = len(left) - objects
        nodes = sum(type(o) is Node for o in left)
        del left
    finally:
        gc.enable()
    assert nodes == 0
    assert growth < 50
    assert len(memory._writes) <= tables + 2
    assert not memory._pasts


def test_the_cycle_of_backward_with_create_graph_is_the_documented_one():
    x = tc.tensor(RNG.normal(size=(4,)), requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        (x**3).sum().backward(create_graph=True)
        assert any(type(o) is Node for o in gc.get_objects())
        x.grad = None  # cut by hand
        assert not any(type(o) is Node for o in gc.get_objects())
    finally:
        gc.enable()


def of(y):
    return {id(tape.owner(y.data)): tape.owner(y.data)}


@pytest.mark.parametrize("name", ["blocks", "lenet5"])
def test_live_memory_after_the_forward_pass_is_what_was_saved(name):
    if name == "blocks":
        x = tc.tensor(RNG.normal(size=(4, 16, 32, 32)).astype(np.float32))
        weights = [tc.tensor(RNG.normal(size=(16, 16, 3, 3)).astype(np.float32), requires_grad=True) for _ in range(2)]

        def forward():
            h = x
            for w in weights:
                h = F.max_pool2d(F.conv2d(h, w, padding=1).relu(), 2)
            return h
    else:
        model = models.lenet5()
        x, weights = tc.tensor(RNG.normal(size=(32, 1, 28, 28)).astype(np.float32)), list(model.parameters())

        def forward():
            return model(x)

    forward().sum().backward()  # workspaces of the kernels are allocated once and stay
    for w in weights:
        w.grad = None
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        y = forward()
        live = tracemalloc.get_traced_memory()[0] - before
        known = {id(tape.owner(a.data)) for a in (x, *weights)}
        saved = sum(m.nbytes for key, m in (tape.kept(y.grad_fn) | of(y)).items() if key not in known)
        assert live <= saved + 20_000  # the nodes themselves
        y.sum().backward()
        gradients = sum(w.grad.data.nbytes for w in weights)
        del y
        assert tracemalloc.get_traced_memory()[0] - before <= gradients + 40_000
    finally:
        tracemalloc.stop()


def test_a_walk_frees_as_it_goes():
    """Backward through a chain needs no more than a few arrays beyond those the forward pass keeps."""
    x = tc.tensor(np.full(100_000, 0.5), requires_grad=True)
    tracemalloc.start()
    try:
        y = x
        for _ in range(20):
            y = y.sin()  # each keeps its input
        loss = y.sum()
        del y
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        loss.backward()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept > 15 * x.data.nbytes
    assert peak - kept < 5 * x.data.nbytes
