"""Colours keep their promises: contrast, order, and steps that are seen with deuteranopia and protanopia."""

from __future__ import annotations

import numpy as np
import pytest

from viz.palette import DARK, FLOW_DECADES, LIGHT, Theme, dark_twins, flow_colour, flow_width, mix, rgb

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
NORMAL = np.eye(3)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def linear(colour: str) -> np.ndarray:
    c = np.array(rgb(colour)) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(vision @ linear(colour), 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(a: str, b: str, vision: np.ndarray) -> float:
    return float(np.linalg.norm(lab(a, vision) - lab(b, vision)))


def test_the_measures_are_right() -> None:
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert difference("#FFFFFF", "#000000", NORMAL) == pytest.approx(100, abs=0.01)
    assert difference("#FF0000", "#00FF00", DEUTERANOPIA) < difference("#FF0000", "#00FF00", NORMAL) / 2


@THEMES
def test_the_ramp_is_seen_on_its_page(theme: Theme) -> None:
    for f in np.linspace(-3, 3, 61):
        assert contrast(flow_colour(f, theme), theme.page) >= 3.0


@THEMES
def test_luminance_runs_one_way(theme: Theme) -> None:
    values = np.array([luminance(flow_colour(f, theme)) for f in np.linspace(-3, 3, 61)])
    toward_page = np.diff(values) * (-1 if theme is DARK else 1)
    assert toward_page.max() < 0.004, "more gradient is never nearer to the page, but for rounding"
    assert abs(values[-1] - values[0]) > 0.2
    anchors = [luminance(colour) for colour in theme.ramp]
    assert anchors == sorted(anchors, reverse=theme is LIGHT)


@THEMES
@pytest.mark.parametrize("vision", [NORMAL, DEUTERANOPIA, PROTANOPIA], ids=["normal", "deuteranopia", "protanopia"])
def test_neighbours_on_the_ramp_are_told_apart(theme: Theme, vision: np.ndarray) -> None:
    for a, b in zip(theme.ramp, theme.ramp[1:], strict=False):
        assert difference(a, b, vision) >= 12
    assert difference(theme.forward, theme.ramp[2], vision) >= 90, "the two lanes must never be confused"


@THEMES
def test_text_can_be_read(theme: Theme) -> None:
    cards = (theme.card, theme.backward_card, theme.parameter_card)
    pairs = [(ink, ground) for ground in cards for ink in theme.families.values()]
    words = (theme.ink, theme.muted, theme.backward_text)
    pairs += [(ink, ground) for ground in (theme.page, *cards, *theme.clusters) for ink in words]
    for ink, ground in pairs:
        assert contrast(ink, ground) >= 4.5, f"{ink} on {ground}"
    for ground, ink in theme.badges.values():
        assert contrast(ink, ground) >= 4.5, f"{ink} on {ground}"
    for glyph in (theme.good, theme.bad, theme.rung, theme.stopped):
        assert contrast(glyph, theme.page) >= 3.0


def test_the_ramp_is_continuous_and_clamped() -> None:
    assert [flow_colour(f) for f in FLOW_DECADES] == list(LIGHT.ramp)
    assert flow_colour(-99) == LIGHT.ramp[0]
    assert flow_colour(float("inf")) == LIGHT.ramp[-1]
    assert flow_colour(float("-inf")) == LIGHT.ramp[0]
    assert mix("#000000", "#FFFFFF", 0.5) == "#808080"


def test_widths_follow_the_flow() -> None:
    assert flow_width(0) == pytest.approx(3.2)
    assert flow_width(1) == pytest.approx(4.9)
    assert flow_width(-2) == flow_width(float("-inf")) == pytest.approx(0.9)
    assert flow_width(9) == pytest.approx(8.3)


def test_every_light_colour_has_one_dark_twin() -> None:
    """A stylesheet swaps colours by their value, so two meanings of one light colour must share their dark one."""
    seen: dict[str, str] = {}

    def collect(light: object, dark: object) -> None:
        if isinstance(light, str) and isinstance(dark, str):
            assert seen.setdefault(light, dark) == dark, light
        elif isinstance(light, dict) and isinstance(dark, dict):
            for key in light:
                collect(light[key], dark[key])
        elif isinstance(light, tuple) and isinstance(dark, tuple):
            for pair in zip(light, dark, strict=True):
                collect(*pair)

    for name in Theme.__dataclass_fields__:
        collect(getattr(LIGHT, name), getattr(DARK, name))
    assert dark_twins() == {light: dark for light, dark in seen.items() if light != "light"}
