"""Work shared among threads: the same bits, errors that arrive, the user's BLAS setting untouched, forks."""

import contextlib
import os
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.convolution import Geometry, conv, conv_input_gradient, conv_weight_gradient
from tinygrad_cnn.kernels.threads import share, single_threaded_blas

GEOMETRY = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1)


def blas_threads():
    """Of the libraries that the kernels met; another test may have loaded SciPy's, with which nothing is computed."""
    with single_threaded_blas:
        pass
    return [library.get() for library in threads._libraries]


@pytest.fixture
def eager(monkeypatch):
    """Four threads, however small the work."""
    monkeypatch.setattr(threads, "WORTHWHILE", 0)
    monkeypatch.setattr(threads, "_NEGLIGIBLE", 0)
    with threadpool_limits(4, user_api="blas"):
        yield


def problem():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(64, 16, 20, 20)).astype(np.float32), rng.normal(size=(24, 16, 3, 3)).astype(np.float32)
    return x, w, conv(x, w, GEOMETRY)


@pytest.mark.usefixtures("eager")
def test_every_block_is_done_once():
    blocks = list(range(100))
    done = share(lambda some: [(threading.get_ident(), b) for b in some], blocks, 0)
    assert sorted(b for part in done for _, b in part) == blocks
    fixed = share(lambda some: list(some), blocks, 0, fixed=True)
    assert [*fixed[0], *fixed[1], *fixed[2], *fixed[3]] == blocks
    assert [len(part) for part in fixed] == [25] * 4


@pytest.mark.usefixtures("eager")
def test_several_threads_work_at_once():
    meeting = threading.Barrier(2)
    share(lambda some: [meeting.wait(20) for _ in some], [0, 1], 0, fixed=True)  # or BrokenBarrierError


def test_small_work_stays_in_the_calling_thread():
    done = share(lambda some: [threading.get_ident() for _ in some], range(9), threads.WORTHWHILE - 1)
    assert done == [[threading.get_ident()] * 9]


@pytest.mark.usefixtures("eager")
def test_kernels_give_the_same_bits_in_any_number_of_threads():
    x, w, y = problem()
    several = conv(x, w, GEOMETRY), conv_input_gradient(y, w, x.shape, GEOMETRY)
    again = conv_weight_gradient(x, y, w.shape, GEOMETRY)
    for _ in range(5):  # a sum over blocks is split the same way every time
        np.testing.assert_array_equal(conv_weight_gradient(x, y, w.shape, GEOMETRY), again)
    with threadpool_limits(1, user_api="blas"):
        one = conv(x, w, GEOMETRY), conv_input_gradient(y, w, x.shape, GEOMETRY)
        alone = conv_weight_gradient(x, y, w.shape, GEOMETRY)
    np.testing.assert_array_equal(several[0], one[0])
    np.testing.assert_array_equal(several[1], one[1])
    scale = conv_weight_gradient(np.abs(x), np.abs(y), w.shape, GEOMETRY)
    assert (np.abs(again - alone) <= 4 * 2.0**-24 * scale).all()


@pytest.mark.usefixtures("eager")
def test_an_error_arrives_after_all_have_ended():
    ended = []

    def work(some):
        for block in some:
            if block == 1:
                raise KeyError(block)
            time.sleep(0.02)
            ended.append(block)

    with pytest.raises(KeyError):
        share(work, [0, 1], 0, fixed=True)
    assert ended == [0]
    assert len(share(lambda some: sum(some), [1, 2], 0, fixed=True)) == 2  # the pool is free again


@pytest.mark.usefixtures("eager")
def test_nested_and_concurrent_calls_work_alone():
    def outer(some):
        return [share(lambda inner: sum(inner), [1, 2, 3], 0) for _ in some]

    for part in share(outer, range(4), 0, fixed=True):
        assert all(sum(result) == 6 for result in part)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_users_blas_setting_comes_back(count):
    with threadpool_limits(count, user_api="blas"):
        before = blas_threads()
        with single_threaded_blas as allowed:
            assert allowed == max(before)
            assert set(blas_threads()) == {1}
            with single_threaded_blas as inside:
                assert inside == allowed
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def test_the_setting_comes_back_if_another_thread_leaves_last():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        entered, leave = threading.Event(), threading.Event()

        def other():
            with single_threaded_blas:
                entered.set()
                leave.wait(20)

        thread = threading.Thread(target=other)
        with single_threaded_blas:
            thread.start()
            assert entered.wait(20)
        assert set(blas_threads()) == {1}
        leave.set()
        thread.join(20)
        assert blas_threads() == before


def test_an_error_gives_the_setting_back():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), single_threaded_blas:
        1 / 0  # noqa: B018  (raises)
    assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # that threads and fork do not mix is the point
@pytest.mark.usefixtures("eager")
def test_a_forked_child_computes_too():
    x, w, y = problem()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if np.array_equal(conv(x, w, GEOMETRY), y) else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        time.sleep(0.02)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    np.testing.assert_array_equal(conv(x, w, GEOMETRY), y)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_the_buffers_of_the_caller_are_set_back(error):
    def work(some):
        seen.append(np.getbufsize())
        if error is not None:
            raise error
        return list(some)

    seen = []
    before = np.setbufsize(4096)
    try:
        with contextlib.nullcontext() if error is None else pytest.raises(ValueError, match="no"):
            share(work, list(range(8)), 1e9)
        assert np.getbufsize() == 4096
    finally:
        np.setbufsize(before)
    assert set(seen) == {threads._BUFFER}
