"""Generated examples are the same in every run, none is judged by its time, and no test leaves state behind."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

import pytest_tinygrad_cnn
from tinygrad_cnn.testing import leaks

settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """The plugin also where the package runs from its sources, not installed."""
    if not pluginmanager.has_plugin("tinygrad_cnn"):
        pluginmanager.register(pytest_tinygrad_cnn, "tinygrad_cnn")


@pytest.fixture(autouse=True)
def _leaves_no_state_behind() -> Iterator[None]:
    """What the setting `tgc_leak_guards` of the plugin does; tests may draw from the engine's generator."""
    with leaks.no_leaks(), leaks.own_generator():
        yield
