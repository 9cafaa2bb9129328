"""Contact sheets hold pictures of any size, each in its place."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.core.contact_sheet import MARGIN, MAX_SIDE, TITLE, contact_sheet, enlarge, fit_text


def _picture(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_every_picture_stands_in_its_cell():
    first, second, third = (_picture(64, 64, level) for level in (10, 60, 90))
    sheet = contact_sheet([("one", [first, second]), ("two", [third])], columns=2)
    cell, top = 128 + MARGIN, TITLE + MARGIN
    assert sheet.shape == (2 * (top + cell), MARGIN + 2 * cell, 3)
    assert (sheet[top : top + 128, MARGIN : MARGIN + 128] == 10).all()
    assert (sheet[top : top + 128, MARGIN + cell : MARGIN + cell + 128] == 60).all()
    below = top + cell + top
    assert (sheet[below : below + 128, MARGIN : MARGIN + 128] == 90).all()
    assert (sheet[below : below + 128, MARGIN + cell :] == 255).all()


def test_groups_stand_side_by_side():
    first, second, third = (_picture(64, 64, level) for level in (10, 60, 90))
    groups = [("one", [first]), ("two", [second]), ("three", [third])]
    sheet = contact_sheet(groups, columns=1, across=2)
    cell, top = 128 + 2 * MARGIN, TITLE + MARGIN
    height = top + 128 + MARGIN
    assert sheet.shape == (2 * height, 2 * cell, 3)
    assert (sheet[top : top + 128, cell + MARGIN : cell + MARGIN + 128] == 60).all()
    below = height + top
    assert (sheet[below : below + 128, MARGIN : MARGIN + 128] == 90).all()
    assert (sheet[height:, cell:] == 255).all()
    assert contact_sheet(groups[:1], columns=1, across=2).shape == (height, cell, 3)


def test_large_and_oblong_pictures_are_shrunk_whole():
    sheet = contact_sheet([("a", [_picture(2000, 1000, 30)])])
    assert sheet.shape[1] == 2 * MARGIN + MAX_SIDE
    rows = sheet[TITLE + MARGIN : TITLE + MARGIN + MAX_SIDE]
    assert (rows[:, MARGIN : MARGIN + MAX_SIDE // 2] == 30).all()
    assert (rows[:, MARGIN + MAX_SIDE // 2 :] == 255).all()


def test_enlarging_repeats_pixels():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    larger = enlarge(pixels, 7)
    assert larger.shape == (6, 9, 3)
    assert (larger[::3, ::3] == pixels).all()
    assert enlarge(pixels, 2).shape == pixels.shape


def test_a_long_title_is_cut_to_the_width():
    pen, font = ImageDraw.Draw(Image.new("RGB", (9, 9))), ImageFont.load_default(size=15)
    assert fit_text("short", pen, font, 500) == "short"
    cut = fit_text("word " * 100, pen, font, 200)
    assert cut.endswith("…")
    assert pen.textlength(cut, font) <= 200
