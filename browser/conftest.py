"""What the tests in a real browser share: the browser, pages of a few nets, and a film."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from browser.chromium import Chromium, Page

SIZES = {"wide": (1280, 800), "narrow": (400, 760)}


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    try:
        browser = Chromium(tmp_path_factory.mktemp("profile"))
    except RuntimeError as error:
        pytest.exit(str(error), returncode=1)
    yield browser
    browser.close()


@pytest.fixture
def look(chromium: Chromium) -> Iterator[Callable[..., Page]]:
    """Opens a file; at the end of the test nothing may have been complained of."""
    pages: list[Page] = []

    def open_page(path: Path, **options: Any) -> Page:
        pages.append(chromium.open(path, **options))
        return pages[-1]

    yield open_page
    complaints = [complaint for page in pages for complaint in page.complaints()]
    for page in pages:
        page.close()
    assert not complaints


def net() -> Any:
    """Convolutions with a stride, pools, a shortcut: not a net that other tests draw."""
    nn = tc.nn

    class Shortcut(nn.Module):
        def __init__(self) -> None:
            self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.ReLU())
            self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
            self.pool = nn.MaxPool2d(2)
            self.fc = nn.Linear(6 * 49, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            return self.fc(self.pool(x + self.block(x)).flatten(1))

    tc.manual_seed(0)
    return Shortcut()


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 16)


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by name: "net", "closed" (at depth 1), "sick" (one layer started too small), "hostile" (names), "film"."""
    folder = tmp_path_factory.mktemp("pages")
    x, y = images()
    found = {}
    for name in ("net", "sick", "hostile"):
        model = net()
        if name == "sick":
            model.block[0].weight.data = model.block[0].weight.data / 1000
            model.stem[0].bias.data = model.stem[0].bias.data - 30
        if name == "hostile":
            model.add_module('</script><img src=x onerror="alert(1)">', tc.nn.Linear(2, 2))
        title = "</title><b>&" if name == "hostile" else ""
        with viz.capture(model, tc.optim.SGD(model.parameters(), lr=0.05), title=title or None) as cap:
            F.cross_entropy(model(tc.tensor(x, requires_grad=True)), y).backward()
        found[name] = cap.figure().save(folder / f"{name}.html")
        if name == "net":
            found["closed"] = cap.figure(depth=1).save(folder / "closed.html")
    found["film"] = film(folder / "film.html")
    return found


def film(path: Path) -> Path:
    """Forty steps, recorded every second; a rectifier dies at step 16, and a weight becomes NaN at step 30."""
    x, y = images()
    model = net()
    optimizer = tc.optim.SGD(model.parameters(), lr=0.1)
    with viz.record(model, optimizer, every=2, thumbs=10) as rec:
        for step in range(40):
            if step == 16:
                model.stem[0].bias.data = model.stem[0].bias.data - 100
            if step == 30:
                model.fc.weight.data = model.fc.weight.data * np.nan
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rec.step(loss)
    return rec.movie(path)
