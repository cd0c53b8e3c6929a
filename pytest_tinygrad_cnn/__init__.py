"""A pytest plugin: gradient checks as a fixture, operations held to laws by a mark, and guards against leaked state.

Loaded by pytest in every environment that has tinygrad_cnn, so it imports nothing until a test asks for it; that is
why it is a package of its own. docs/testing.md shows it at work.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

_PROFILES = ("debug", "fast", "ci", "nightly")
_BEFORE = pytest.StashKey[dict[str, str | None]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options --tgc-profile, --tgc-op and --tgc-seed, and the setting tgc_leak_guards."""
    group = parser.getgroup("tinygrad_cnn", "gradients held to laws (tinygrad_cnn.testing)")
    group.addoption("--tgc-profile", choices=_PROFILES, help="how many cases each law is held to (default: fast)")
    group.addoption(
        "--tgc-op", action="append", default=[], metavar="OP", help="of the tests marked tgc, run those of this op only"
    )
    group.addoption("--tgc-seed", type=int, metavar="N", help="of the cases drawn (default: the same in every run)")
    parser.addini("tgc_leak_guards", "guard every test, not only those marked tgc or taking gradcheck", "bool", False)


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark; hand the options to the tests that `make_tests` made, which read them when they run."""
    config.addinivalue_line(
        "markers",
        "tgc(op, laws=None): the test is about this operation of tinygrad_cnn; run once per law if it takes `law`, "
        "which are all that the operation has if none are named",
    )
    given = {"TGC_PROFILE": config.getoption("tgc_profile"), "TGC_SEED": config.getoption("tgc_seed")}
    chosen = {name: str(value) for name, value in given.items() if value is not None}
    config.stash[_BEFORE] = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the environment back."""
    for name, value in config.stash.get(_BEFORE, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test that takes `law` once for each law."""
    mark = metafunc.definition.get_closest_marker("tgc")
    if mark is None:
        return
    if "op" not in mark.kwargs:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: name the operation: @pytest.mark.tgc(op='conv2d')")
    taken = {name for m in metafunc.definition.iter_markers("parametrize") for name in str(m.args[0]).split(",")}
    if "law" in metafunc.fixturenames and "law" not in taken:
        from tinygrad_cnn.testing.battery import laws_of
        from tinygrad_cnn.testing.specs import spec_named

        spec = spec_named(mark.kwargs["op"])
        laws = mark.kwargs.get("laws") or laws_of(spec)
        metafunc.parametrize("law", laws, ids=[f"{spec.name}-{law}" for law in laws])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --tgc-op, drop the marked tests of other operations."""
    wanted = config.getoption("tgc_op")
    if not wanted:
        return
    dropped = [item for item in items if (mark := item.get_closest_marker("tgc")) and _name(mark) not in wanted]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`tinygrad_cnn.testing.gradcheck`, with the seed of --tgc-seed."""
    from tinygrad_cnn import testing

    seed = request.config.getoption("tgc_seed")
    return testing.gradcheck if seed is None else functools.partial(testing.gradcheck, seed=seed)


@pytest.fixture
def tgc_rng(request: pytest.FixtureRequest) -> Iterator[None]:
    """The engine's random generator, seeded (0, or --tgc-seed), and put back after the test."""
    from tinygrad_cnn.testing.leaks import own_generator

    with own_generator(request.config.getoption("tgc_seed") or 0):
        yield


@pytest.fixture(autouse=True)
def _tgc_leak_guards(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that changes process-wide state fails with a sentence that says which."""
    with ExitStack() as stack:
        about_gradients = request.node.get_closest_marker("tgc") or "gradcheck" in request.fixturenames
        if about_gradients or request.config.getini("tgc_leak_guards"):
            from tinygrad_cnn.testing.leaks import no_leaks

            stack.enter_context(no_leaks())
        yield


def _name(mark: pytest.Mark) -> str:
    op = mark.kwargs.get("op")
    return str(getattr(op, "name", None) or getattr(op, "__name__", op))
