"""Modes belong to a thread of control: nested, re-entrant, exception-safe, per thread, task and generator."""

import asyncio
import threading

import numpy as np
import pytest

import tinygrad_cnn as tc


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


def test_concurrent_backward_into_a_shared_leaf_loses_nothing():
    w = tc.tensor(np.zeros(1), requires_grad=True)

    def work():
        for _ in range(200):
            (w * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert w.grad.item() == 800.0


def test_anomaly_names_op_place_and_line():
    x = tc.tensor([1.0, -1.0], requires_grad=True)
    message = r"log: forward gave nan at index \(1,\).*test_modes"
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match=message):
        x.log()
    y = tc.tensor([0.0], requires_grad=True)
    with tc.detect_anomaly(), pytest.raises(FloatingPointError, match="sqrt: backward gave, for input 'x', inf"):
        y.sqrt().backward()


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
    def train(seed):
        rng = np.random.default_rng(seed)
        w = tc.tensor(rng.normal(size=(6, 6)), requires_grad=True)
        x = rng.normal(size=(4, 6))
        for _ in range(30):
            ((x @ w).tanh() ** 2).mean().backward()
            w.data -= 0.1 * w.grad.data
            w.grad = None
        return w.numpy().copy()

    serial = [train(seed) for seed in range(8)]
    results = {}
    threads = [threading.Thread(target=lambda s=s: results.update({s: train(s)})) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in range(8):
        np.testing.assert_array_equal(results[seed], serial[seed])
