"""Modes belong to a thread of control: nested, re-entrant, exception-safe, per thread, task and generator."""

import asyncio
import threading

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.core import tape


def test_no_grad_nests_and_is_re_entrant():
    mode = tc.no_grad()
    with mode:
        with mode:
            assert not tc.is_grad_enabled()
            with tc.enable_grad():
                assert tc.is_grad_enabled()
            assert not tc.is_grad_enabled()
        assert not tc.is_grad_enabled()
    assert tc.is_grad_enabled()


def test_no_grad_survives_exceptions():
    with pytest.raises(KeyError), tc.no_grad():
        raise KeyError
    assert tc.is_grad_enabled()


def test_no_grad_as_decorator_also_of_generators():
    @tc.no_grad()
    def f():
        return tc.is_grad_enabled()

    @tc.no_grad()
    def items():
        for _ in range(2):
            yield tc.is_grad_enabled()

    assert f() is False
    seen = []
    for item in items():
        seen.append((item, tc.is_grad_enabled()))
    assert seen == [(False, True), (False, True)]


def test_the_decorator_needs_no_parentheses_and_takes_nothing_else():
    @tc.no_grad
    def f():
        """Says what it does."""
        return tc.is_grad_enabled()

    assert f() is False
    assert f.__doc__ == "Says what it does."
    with pytest.raises(TypeError, match="no_grad: decorates a function, got False"):
        tc.no_grad(False)


def test_a_decorated_generator_hears_what_is_sent_thrown_and_closed():
    heard = []

    @tc.no_grad()
    def items():
        try:
            while True:
                try:
                    heard.append((yield tc.is_grad_enabled()))
                except KeyError:
                    heard.append("thrown")
        finally:
            heard.append(("closed", tc.is_grad_enabled()))

    generator = items()
    assert next(generator) is False
    assert generator.send("sent") is False
    assert generator.throw(KeyError()) is False
    assert tc.is_grad_enabled()
    generator.close()
    assert heard == ["sent", "thrown", ("closed", False)]
    assert tc.is_grad_enabled()


def test_a_decorated_coroutine_is_in_the_mode_and_its_siblings_are_not():
    @tc.no_grad()
    async def without():
        await asyncio.sleep(0)
        return tc.is_grad_enabled()

    async def sibling():
        await asyncio.sleep(0)
        return tc.is_grad_enabled()

    async def both():
        return await asyncio.gather(without(), sibling(), without(), sibling())

    assert asyncio.run(both()) == [False, True, False, True]
    with pytest.raises(TypeError, match="async generator"):

        @tc.no_grad()
        async def items():
            yield 1


def test_a_generator_that_suspends_a_with_block_leaves_its_caller_in_the_mode():
    """Documented, and as in PyTorch; the decorator is the way out."""

    def items():
        with tc.no_grad():
            yield tc.is_grad_enabled()

    generator = items()
    assert next(generator) is False
    assert not tc.is_grad_enabled()
    generator.close()
    assert tc.is_grad_enabled()


@pytest.mark.parametrize("mode", [tc.no_grad, tc.enable_grad, tc.detect_anomaly])
def test_every_mode_is_restored_after_exceptions_at_any_depth(mode):
    before = tape.STATE.get()
    shared = mode()
    with pytest.raises(KeyError), shared, tc.no_grad(), shared, tc.enable_grad(), shared:
        raise KeyError
    assert tape.STATE.get() == before


def test_one_instance_in_many_threads_at_once():
    shared, wrong = tc.no_grad(), []
    barrier = threading.Barrier(8)

    def work(turn):
        for _ in range(50):
            barrier.wait()
            with shared if turn % 2 else tc.enable_grad():
                if tc.is_grad_enabled() is bool(turn % 2):
                    wrong.append(turn)
        if not tc.is_grad_enabled():
            wrong.append(turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_new_threads_record():
    seen = []
    with tc.no_grad():
        thread = threading.Thread(target=lambda: seen.append(tc.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_sibling_tasks_do_not_see_each_others_mode():
    async def without():
        with tc.no_grad():
            await asyncio.sleep(0)
            assert not tc.is_grad_enabled()

    async def with_grad():
        await asyncio.sleep(0)
        return tc.is_grad_enabled()

    async def both():
        return await asyncio.gather(without(), with_grad())

    assert asyncio.run(both())[1] is True


@pytest.mark.parametrize("create_graph", [False, True])
def test_concurrent_backward_into_shared_leaves_loses_nothing(create_graph):
    """Eight threads, each with a graph of its own over the same leaves; some share the nodes below as well."""
    w, b = tc.tensor(np.zeros(3), requires_grad=True), tc.tensor(np.zeros(1), requires_grad=True)
    shared = w * 2.0 + b
    turns = 100 if not create_graph else 20

    def work(turn):
        for _ in range(turns):
            if turn % 2:
                shared.sum().backward(retain_graph=True, create_graph=create_graph)
            else:
                (w * 2.0 + b).sum().backward(create_graph=create_graph)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert w.grad.tolist() == [2.0 * 8 * turns] * 3
    assert b.grad.tolist() == [3.0 * 8 * turns]


def test_anomaly_names_op_place_and_line():
    x = tc.tensor([1.0, -1.0], requires_grad=True)
    message = r"log: forward gave nan at index \(1,\).*test_modes"
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=message):
        x.log()
    y = tc.tensor([0.0], requires_grad=True)
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match="sqrt: backward gave, for input 'x', inf"):
        y.sqrt().backward()


def test_anomaly_names_the_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 2), Log())

        def forward(self, x):
            return self.body(x)

    class Log(nn.Module):
        def forward(self, x):
            return (x * 0.0).log() if self.training else (x * x).sqrt()

    net, x = Net(), np.zeros((1, 2), np.float32)
    net.body[0].bias.data = np.zeros(2, np.float32)
    message = r"log: forward gave -inf at index \(0, 0\) of shape \(1, 2\) in module 'body\.1', at test_modes.*log\(\)"
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=message):
        net(x)
    with tc.detect_anomaly():
        loss = net.eval()(x).sum()
        message = (
            r"sqrt: backward gave, for input 'x', inf at index \(0, 0\) .* in module 'body\.1', at test_modes.*sqrt"
        )
        with pytest.raises(FloatingPointError, match=message):
            loss.backward()
    assert net.body[0].weight.grad is None


def test_anomaly_names_the_first_and_none_of_those_that_follow():
    x = tc.tensor([1.0, -1.0, 0.0], requires_grad=True)
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^log: .* nan at index \(1,\)"):
        (x.exp().log() + x.log() * 2).sum().backward()
    y = tc.tensor([4.0, 0.0], requires_grad=True)
    loss = (y * 1.0).sqrt().square().sum()
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^sqrt: backward gave, for input 'x', nan"):
        loss.backward()  # the first that is not finite is sqrt's, though mul passes it on
    assert y.grad is None


def test_anomaly_also_under_no_grad_and_in_a_recorded_pass():
    with tc.detect_anomaly(), tc.no_grad(), pytest.raises(FloatingPointError, match="div: forward gave inf"):
        tc.ones(1) / 0.0
    x = tc.tensor([0.0], requires_grad=True)
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^\w+: "):
        tc.grad(x.sqrt(), x, create_graph=True)


def test_anomaly_sees_sums_and_hooks_that_are_not_finite():
    x = tc.tensor(np.array([1.0]), requires_grad=True)
    h = x * 1.0
    loss = (h * 1.7e308 + h * 1.7e308).sum()
    with (
        tc.detect_anomaly(),
        pytest.raises(FloatingPointError, match=r"^mul: the gradient of its output, summed .*inf"),
    ):
        loss.backward()
    loss = (x * 1.7e308 + x * 1.7e308).sum()
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^backward: the gradient of a leaf, summed"):
        loss.backward()
    h = x * 1.0
    h.register_hook(lambda g: tc.tensor(np.array([np.nan])))
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^mul: the gradient .*given by a hook"):
        h.sum().backward()
    assert x.grad is None


def test_random_state_is_per_thread_and_not_numpys():
    tc.manual_seed(3)
    before = np.random.get_state()[1].copy()  # noqa: NPY002  (NumPy's global generator must not move)
    first = tc.randn(4).tolist()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002  (as above)
    seen = []

    def work():
        tc.manual_seed(3)
        seen.append(tc.randn(4).tolist())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [first]
    with pytest.raises(ValueError, match="non-negative integer, got -1"):
        tc.manual_seed(-1)


def test_anomaly_finds_writes_past_the_engine_and_names_the_line_of_others():
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    with tc.detect_anomaly():
        y = (x * x).sum()
    x.data[...] = 5.0
    with pytest.raises(tc.TapeError, match=r"mul: .* a write into the bare array .*test_modes\.py:\d+: y = "):
        y.backward()
    with tc.detect_anomaly():
        z = (x * x).sum()
        x.data -= 1.0
    with pytest.raises(tc.TapeError, match=r"by an update of \.data at test_modes\.py:\d+: x\.data -= 1\.0"):
        z.backward()


def test_eight_threads_train_their_own_models_to_the_serial_bits():
    """Fifty steps each, with everything that has a state: batch norm, dropout, momentum, a checkpoint."""

    def train(seed):
        tc.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(8, 3),
        )  # fmt: skip
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        x, labels = tc.randn(4, 1, 6, 6).data, np.array([0, 1, 2, 1])
        for step in range(50):
            optimizer.zero_grad()
            y = tc.checkpoint(model, x) if step % 10 == 0 else model(x)
            F.cross_entropy(y, labels).backward()
            optimizer.step()
        return [np.array(value) for value in model.state_dict().values()]

    serial = [train(seed) for seed in range(8)]
    results = {}
    threads = [threading.Thread(target=lambda s=s: results.update({s: train(s)})) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in range(8):
        for a, b in zip(results[seed], serial[seed], strict=True):
            np.testing.assert_array_equal(a, b)
