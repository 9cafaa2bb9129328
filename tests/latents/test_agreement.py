"""Boxes against blobs of one z: pairs by label, and what has no partner counts as 0."""

import pytest

from pipelines.latents.agreement import agreement
from pipelines.latents.sequence import z_from_text

STAR = "star <100><100><300><300>"


def of(text):
    return agreement(z_from_text(text))


def test_a_circle_around_the_middle_of_a_square_box_fits_it_exactly():
    found = of(f"<boxes> {STAR} <blobs> star <200><200><100><100><0>")
    assert found.overlaps == (pytest.approx(1.0),)
    assert found.distances == (pytest.approx(0.0),)


def test_a_blob_moved_by_half_a_box_has_a_third_of_the_union():
    found = of(f"<boxes> {STAR} <blobs> star <300><200><100><100><0>")
    assert found.overlaps == (pytest.approx(1 / 3),)
    assert found.distances == (pytest.approx(100.0),)


def test_pairs_have_one_label_whatever_overlaps_better():
    boxes = f"<boxes> {STAR} <;> circle <600><600><800><800>"
    swapped = of(f"{boxes} <blobs> circle <200><200><100><100><0> <;> star <700><700><100><100><0>")
    assert swapped.overlaps == (0.0, 0.0) and len(swapped.distances) == 2
    assert swapped.least == 0.0


def test_of_blobs_that_touch_nothing_the_nearest_is_the_partner():
    found = of(f"<boxes> {STAR} <blobs> star <900><900><50><50><0> <;> star <500><200><50><50><0>")
    assert found.distances == (pytest.approx(300.0),)
    assert found.overlaps == (0.0, 0.0)  # the pair, and the blob that is left


def test_a_missing_partner_counts_on_either_side():
    more_boxes = of(f"<boxes> {STAR} <;> {STAR} <blobs> star <200><200><100><100><0>")
    assert more_boxes.overlaps == (pytest.approx(1.0), 0.0) and more_boxes.least == 0.0
    other = of(f"<boxes> {STAR} <blobs> circle <200><200><100><100><0>")
    assert other.overlaps == (0.0, 0.0) and other.distances == ()


@pytest.mark.parametrize("text", [f"<boxes> {STAR}", "<blobs> star <200><200><100><100><0>"])
def test_one_kind_alone_agrees_with_nothing(text):
    assert of(text) is None
