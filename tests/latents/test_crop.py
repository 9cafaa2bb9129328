"""z of a part of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.crop import WHOLE, crop_z
from pipelines.latents.description import Description
from pipelines.latents.items import LabelledList
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.regions import VISIBLE
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens

edges = st.tuples(st.integers(0, 900), st.integers(60, 1000)).filter(lambda p: p[0] + 50 < p[1])
regions = st.tuples(edges, edges).map(
    lambda both: tuple(v / 1000 for v in (both[0][0], both[1][0], both[0][1], both[1][1]))
)
boxes = st.tuples(edges, edges).map(
    lambda both: Box("a", both[0][0], both[1][0], both[0][1], both[1][1])
)
blobs = st.builds(
    Blob,
    st.just("a"),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(40, 300),
    st.integers(20, 40),
    st.integers(0, 179),
)


def covered(height: int, width: int, inside) -> np.ndarray:
    """Return the pixels of a picture whose centre, in fractions, is inside of a shape."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return inside(x / width, y / height)


def box_mask(box: Box, height: int, width: int) -> np.ndarray:
    return covered(
        height,
        width,
        lambda x, y: (x * 1000 >= box.x1) & (x * 1000 < box.x2) & (y * 1000 >= box.y1)
        & (y * 1000 < box.y2),
    )  # fmt: skip


def part_of(mask: np.ndarray, region) -> np.ndarray:
    height, width = mask.shape
    left, top, right, bottom = region
    return mask[
        round(top * height) : round(bottom * height), round(left * width) : round(right * width)
    ]


@given(boxes, regions)
def test_a_box_is_where_its_pixels_are_in_the_cropped_picture(box, region):
    """Painted and cropped, or cropped and painted: the same pixels, but for rounding."""
    painted = box_mask(box, 500, 1000)
    cut = part_of(painted, region)
    found = crop_z({"boxes": Boxes((box,))}, region)
    share = cut.sum() / painted.sum()
    if not found:
        assert share < VISIBLE + 0.02
        return
    assert share > VISIBLE - 0.02
    (moved,) = found["boxes"].items
    again = box_mask(moved, *cut.shape)
    rim = 2 * sum(cut.shape)
    assert (again ^ cut).sum() <= rim


@given(blobs, regions)
def test_a_blob_keeps_its_pixels_too(blob, region):
    found = crop_z({"blobs": Blobs((blob,))}, region)
    left, top, right, bottom = region
    before = blob.outline() / 1000
    seen = (before - [left, top]) / [right - left, bottom - top]
    if not found:
        clipped = seen.clip(0, 1)
        area = np.prod(np.ptp(seen, 0))
        centre = np.array([blob.xc, blob.yc]) / 1000
        outside = (centre < [left, top]).any() or (centre > [right, bottom]).any()
        assert outside or np.prod(np.ptp(clipped, 0)) < (VISIBLE + 0.02) * area
        return
    (moved,) = found["blobs"].items
    if moved.r_major == 1000:  # the longest that there is
        return
    low, high = moved.outline().min(0) / 1000, moved.outline().max(0) / 1000
    slack = 0.004 / min(right - left, bottom - top)
    np.testing.assert_allclose(low, seen.min(0), atol=slack)
    np.testing.assert_allclose(high, seen.max(0), atol=slack)


@given(boxes, blobs)
def test_the_whole_picture_changes_nothing(box, blob):
    z = {"boxes": Boxes((box,)), "blobs": Blobs((blob,))}
    assert crop_z(z, WHOLE) == z
    assert {kind: latent.crop(WHOLE) for kind, latent in z.items()} == z


def test_two_crops_are_one():
    z = {"boxes": Boxes((Box("a", 100, 100, 300, 500), Box("b", 600, 0, 900, 900)))}
    twice = crop_z(crop_z(z, (0.0, 0.0, 0.5, 1.0)), (0.0, 0.0, 1.0, 0.5))
    assert twice == crop_z(z, (0.0, 0.0, 0.5, 0.5))
    assert [box.label for box in twice["boxes"].items] == ["a"]


def test_palette_and_description_stay_and_an_empty_kind_goes():
    z = {
        "description": Description("a kite over a field"),
        "boxes": Boxes((Box("kite", 0, 0, 100, 100),)),
        "palette": Palette((Colour(500, 500, 500, 1000),)),
    }
    cropped = crop_z(z, (0.5, 0.0, 1.0, 1.0))
    assert cropped == {kind: z[kind] for kind in ("description", "palette")}


@dataclass(frozen=True, slots=True)
class Look:
    label: str
    shade: int


class Looks(LabelledList[Look]):
    """A kind without places, whose items follow those of boxes."""

    kind, version, item, max_items, placed_by = "looks", 1, Look, 15, ("boxes", "blobs")

    @classmethod
    def bounds(cls, numbers, before):
        return 0, 9

    def draw(self, image):
        return image


def test_items_that_describe_objects_one_by_one_go_with_them():
    two = Boxes((Box("dog", 0, 0, 200, 200), Box("dog", 600, 600, 900, 900)))
    looks = Looks((Look("dog", 1), Look("dog", 2)))
    right = (0.5, 0.0, 1.0, 1.0)
    assert crop_z({"boxes": two, "looks": looks}, right)["looks"] == Looks((Look("dog", 2),))
    other = Looks((Look("dog", 1), Look("cat", 2)))  # there is no box of a cat
    assert crop_z({"boxes": two, "looks": other}, right)["looks"] == Looks((Look("cat", 2),))
    assert crop_z({"looks": looks}, right)["looks"] == looks
    assert "looks" not in crop_z({"boxes": two, "looks": looks}, (0.25, 0.25, 0.5, 0.5))


def test_visual_tokens_are_refused():
    tokens = Tokens(1, 2, 16, (3, 4))
    assert crop_z({"tokens": tokens}, WHOLE) == {"tokens": tokens}
    with pytest.raises(LatentError):
        crop_z({"tokens": tokens}, (0.0, 0.0, 0.5, 1.0))
