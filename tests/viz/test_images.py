"""Pixels: colour maps, strips, PNG files, thumbnails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from viz import images, lettering, measure


def test_png_holds_the_pixels(decode: Callable[[bytes], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 7, 3), (1, 1, 4), (33, 2, 4)):
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        assert np.array_equal(decode(images.png(pixels)), pixels)


def test_signed_maps_are_symmetric_about_a_neutral_zero() -> None:
    low, zero, high = images.coloured(np.array([[-2.0, 0.0, 2.0]]), 0, 2.0, signed=True)[0]
    assert zero.tolist() == [0xF7, 0xF7, 0xF7]
    assert low.tolist() == [0x7F, 0x3B, 0x08]
    assert high.tolist() == [0x2D, 0x00, 0x4B]


def test_activations_go_from_dark_to_bright() -> None:
    colours = images.coloured(np.linspace(0, 1, 9)[None], 0, 1, signed=False)[0].astype(int)
    assert colours[0].tolist() == [0x00, 0x22, 0x4E]
    assert colours[-1].tolist() == [0xFE, 0xE8, 0x38]
    assert (np.diff(colours @ [2, 7, 1]) > 0).all()


def test_what_is_not_finite_has_a_colour_of_its_own() -> None:
    for signed in (True, False):
        colours = images.coloured(np.array([[np.nan, np.inf, -np.inf, 1.0]]), 0, 1, signed=signed)[0]
        assert [tuple(c) for c in colours[:3]] == [images.NOT_FINITE] * 3
        assert tuple(colours[3]) != images.NOT_FINITE
    for table in (images.CIVIDIS, images.PUOR):
        assert images.NOT_FINITE not in {tuple(int(v) for v in colour) for colour in table}


def test_a_constant_map_is_neutral() -> None:
    assert (images.coloured(np.zeros((2, 2)), 0, 0.0, signed=True) == 0xF7).all()
    assert images.coloured(np.full((2, 2), 3.0), 3.0, 3.0, signed=False).shape == (2, 2, 3)


def test_strips_are_blocks_with_transparent_gaps() -> None:
    tiles = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
    sheet = images.strip(tiles, cell=4, gap=3)
    assert sheet.shape == (8, 3 * 8 + 2 * 3, 4)
    assert (sheet[:, 8:11, 3] == 0).all()
    assert (sheet[:4, :4, :3] == tiles[0, 0, 0]).all()
    assert images.strip(tiles, columns=2).shape == (4, 4, 4)


def test_thumbnails_keep_the_values_to_one_part_in_a_hundred() -> None:
    rng = np.random.default_rng(1)
    for values in (rng.normal(size=(4, 9, 9)) * 1e-7, rng.random((4, 9, 9)) * 1e5):
        thumb = measure.maps(values)
        assert thumb is not None
        assert thumb.of == 4
        assert np.abs(thumb.array() - values).max() <= 0.01 * np.abs(values).max()


def test_thumbnails_of_large_maps_lose_no_spike() -> None:
    values = np.zeros((1, 1, 500, 333))
    values[0, 0, 123, 45] = -7.0
    thumb = measure.maps(values[0])
    assert thumb is not None
    assert max(thumb.shape[1:]) <= measure.SIDE
    assert thumb.array().min() == pytest.approx(-7.0)


def test_thumbnails_show_what_is_not_finite() -> None:
    thumb = measure.maps(np.array([[[1.0, np.nan], [np.inf, -1.0]]]))
    assert thumb is not None
    assert np.isnan(thumb.array()).tolist() == [[[False, True], [True, False]]]


def test_images_of_three_channels_are_in_colour() -> None:
    rng = np.random.default_rng(2)
    thumb = measure.samples(rng.normal(size=(9, 3, 8, 8)))
    assert thumb is not None
    assert (thumb.kind, thumb.shape) == ("rgb", [6, 8, 8, 3])
    assert thumb.array().min() == 0.0
    assert thumb.array().max() == 1.0


def test_every_character_of_the_face_is_different() -> None:
    glyphs = {lettering.written(c).tobytes() for c in lettering.CHARACTERS}
    assert len(glyphs) >= len(lettering.CHARACTERS) - 2  # the minus sign and the hyphen may coincide
    narrow, wide = lettering.written("iiii"), lettering.written("WWWW")
    assert narrow.shape[0] == wide.shape[0] == lettering.HEIGHT
    assert 2 * narrow.shape[1] < wide.shape[1]
    assert 0 <= wide.min() < wide.max() <= 1
    assert lettering.written("WWWW", bold=True).sum() > wide.sum()
    assert lettering.written("").shape == (lettering.HEIGHT, 0)
    assert np.array_equal(lettering.written("\N{GREEK SMALL LETTER OMEGA}"), lettering.written("?"))
