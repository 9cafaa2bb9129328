from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.adherence.blobs import blob_adherence, count_blobs
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.sequence import z_to_text

OVAL = Blob("oval", 500, 500, 200, 100, 30)


def seen(blob, **changes):
    """A found object with just the ellipse of a blob."""
    blob = replace(blob, **changes)
    ellipse = (blob.xc, blob.yc, blob.r_major, blob.r_minor, blob.theta)
    return FoundObject(blob.label, (0, 0, 1, 1), 0.9, ellipse=ellipse)


def test_a_blob_drawn_as_it_was_asked_for_has_no_error():
    (pair,) = count_blobs([OVAL], [seen(OVAL)]).pairs
    assert pair == {"iou": pytest.approx(1.0), "centre": 0.0, "angle": 0.0}


def test_errors_of_centre_and_of_angle_modulo_half_a_turn():
    (pair,) = count_blobs([OVAL], [seen(OVAL, xc=530, yc=460)]).pairs
    assert pair["centre"] == pytest.approx(50.0) and 0.5 < pair["iou"] < 0.9
    for theta, error in ((50, 20.0), (175, 35.0), (179, 31.0)):
        (pair,) = count_blobs([OVAL], [seen(OVAL, theta=theta)]).pairs
        assert pair["angle"] == pytest.approx(error)


def test_the_iou_is_that_of_circles_in_closed_form():
    # Circles of one middle: the ratio of their areas.
    big, small = Blob("circle", 500, 500, 200, 200, 0), {"r_major": 150, "r_minor": 150}
    (pair,) = count_blobs([big], [seen(big, **small)]).pairs
    assert pair["iou"] == pytest.approx(0.75**2, abs=0.005)


def test_a_round_blob_has_no_angle():
    (pair,) = count_blobs([replace(OVAL, r_minor=180)], [seen(OVAL, r_minor=180, theta=90)]).pairs
    assert np.isnan(pair["angle"])


def test_another_shape_another_place_or_no_ellipse_is_not_the_blob():
    for found in (
        seen(OVAL, label="circle"),
        seen(OVAL, xc=800),
        replace(seen(OVAL), ellipse=None),
    ):
        kept = count_blobs([OVAL], [found])
        assert (kept.asked, kept.found, kept.extra) == (1, 0, 1)
    assert count_blobs([OVAL], []).share == 0.0


def test_pictures_without_blobs_are_left_out():
    texts = [z_to_text({"blobs": Blobs((OVAL,))}), "", "<blobs> oval <1>"]
    got = blob_adherence(texts, [Verdict((seen(OVAL), seen(OVAL)), "fog")] * 3)
    assert (got["blobs"], got["blobs.extra"], got["blobs.missing"]) == (1.0, 1.0, 0.0)
