import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from pipelines.core.masks import pixels_of_runs
from pipelines.data.fit import fit_image
from pipelines.documents.document import Document, Image, Relation
from pipelines.documents.element import Element, Ellipse, Mask
from pipelines.documents.placement import VISIBLE, Placement, place

SQUARE = Image(width=64, height=64)


def document(*elements, **more):
    return Document(image=Image(width=200, height=100), elements=elements, **more)


def boxed(box, name="e0", **more):
    return Element(id=name, label="thing", box=box, **more)


def test_padding_moves_boxes_and_scales_ellipses_with_the_pixels():
    ellipse = Ellipse(x=0.5, y=0.5, major=0.25, minor=0.1, angle=30)
    given_document = document(boxed((0, 0, 1, 1), ellipse=ellipse))
    moved = place(given_document, Placement.of_fit(200, 100, "pad"), SQUARE)
    assert moved.elements[0].box == (0, 0.25, 1, 0.75) and moved.elements[0].ellipse == ellipse
    assert moved.image == SQUARE
    tall = place(given_document, Placement.of_fit(100, 200, "pad"), SQUARE).elements[0]
    assert tall.box == (0.25, 0, 0.75, 1)
    assert (tall.ellipse.major, tall.ellipse.minor) == (0.125, 0.05)


def test_a_crop_clips_drops_and_says_so():
    given_document = document(
        boxed((0, 0, 1, 1), "all"),
        boxed((0, 0, 0.2, 0.5), "outside"),
        boxed((0, 0, 0.3, 0.5), "sliver"),
        boxed((0.2, 0, 0.3, 0.5), "half", mask=Mask(polygons=((0.2, 0, 0.3, 0, 0.3, 0.5),))),
        relations=(Relation(subject="half", text="by", object="outside"),),
    )
    moved = place(given_document, Placement.of_fit(200, 100, "crop"), SQUARE)
    assert [e.id for e in moved.elements] == ["all", "half"]
    assert moved.elements[0].box == (0, 0, 1, 1)
    assert moved.elements[1].box == pytest.approx((0, 0, 0.1, 0.5))
    assert moved.elements[1].mask.polygons[0] == pytest.approx((0, 0, 0.1, 0, 0.1, 0.5))
    assert moved.image.crop == (0.25, 0, 0.75, 1) and moved.relations is None
    assert [lost.path for lost in moved.origin.lost] == ["elements[1]", "elements[2]"]


def test_keeping_changes_nothing():
    given_document = document(boxed((0.1, 0.2, 0.3, 0.4)))
    kept = place(given_document, Placement.of_fit(200, 100, "keep"), Image(width=64, height=32))
    assert kept.elements == given_document.elements


@pytest.mark.parametrize("fit", ["pad", "crop"])
@given(st.integers(40, 120), st.integers(40, 120), st.integers(0, 2**32))
def test_boxes_land_where_the_pixels_land(fit, width, height, seed):
    rng = np.random.default_rng(seed)
    x1, y1 = int(rng.integers(0, width - 10)), int(rng.integers(0, height - 10))
    x2, y2 = int(rng.integers(x1 + 8, width + 1)), int(rng.integers(y1 + 8, height + 1))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    shown = np.asarray(fit_image(Picture.fromarray(pixels), 256, fit))[:, :, 0] > 127
    box = (x1 / width, y1 / height, x2 / width, y2 / height)
    moved = place(
        document(boxed(box)), Placement.of_fit(width, height, fit), Image(width=256, height=256)
    )
    if not moved.elements:
        assert shown.sum() <= 256 * 256 * VISIBLE * 1.1
        return
    if fit == "pad" and (x1 == 0 or y1 == 0 or x2 == width or y2 == height):
        return  # the padding takes the colour of the border
    rows, columns = np.nonzero(shown)
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    pixel = 256 / min(width, height)  # a crop of an odd margin is half of one off
    assert np.allclose(np.array(moved.elements[0].box) * 256, seen, atol=1 + 0.75 * pixel)


RUNS = Mask(size=(100, 200), counts=(100 * 50, 100 * 100, 100 * 50))
"""The middle half of the columns."""


@pytest.mark.parametrize(
    ("fit", "columns", "rows"), [("pad", (16, 48), (16, 48)), ("crop", (0, 64), (0, 64))]
)
def test_masks_in_run_lengths_land_where_the_pixels_land(fit, columns, rows):
    moved = place(
        document(boxed((0.25, 0, 0.75, 1), mask=RUNS)), Placement.of_fit(200, 100, fit), SQUARE
    )
    mask = moved.elements[0].mask
    assert mask.size == (64, 64)
    centres = (np.arange(64) + 0.5) / 64
    pixels = pixels_of_runs(mask.counts, mask.size, centres, centres)
    expected = np.zeros((64, 64), bool)
    expected[rows[0] : rows[1], columns[0] : columns[1]] = True
    assert np.array_equal(pixels, expected)


def test_a_kept_picture_of_another_size_has_masks_of_its_size():
    small = Image(width=20, height=10)
    moved = place(document(boxed((0.25, 0, 0.75, 1), mask=RUNS)), Placement(), small)
    assert moved.elements[0].mask == Mask(size=(10, 20), counts=(50, 100, 50))
    same = place(
        document(boxed((0, 0, 1, 1), mask=RUNS)), Placement(), Image(width=200, height=100)
    )
    assert same.elements[0].mask == RUNS and same.origin is None
    huge = Image(width=1_000_000, height=500_000)
    assert place(document(boxed((0, 0, 1, 1), mask=RUNS)), Placement(), huge).elements[
        0
    ].mask.size == (1024, 2048)


def test_masks_that_cannot_move_are_listed_as_lost():
    noise = Mask(size=(1000, 1000), counts=(1,) * 1000 + (999_000,))
    given_document = document(
        boxed((0, 0, 1, 1), "file", mask=Mask(file="a.png", value=3)),
        boxed((0, 0, 1, 1), "runs", mask=noise),
    )
    moved = place(given_document, Placement.of_fit(200, 100, "pad"), SQUARE)
    assert [e.mask is None for e in moved.elements] == [True, False]
    assert [lost.path for lost in moved.origin.lost] == ["elements[0].mask"]
    kept = place(given_document, Placement(), SQUARE)
    assert kept.elements[0].mask == Mask(file="a.png", value=3), "its picture is the same"
