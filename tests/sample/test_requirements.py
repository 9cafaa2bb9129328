"""The language of requirements: what it reads, what it refuses, and which z keep to it."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.latents.grammar.required import Region
from pipelines.latents.sequence import z_from_text
from pipelines.sample.requirements import (
    broken,
    read_requirements,
    region_of,
    require_possible,
)

LEFT_STAR = "star <100><400><300><600>"
CIRCLE = "circle <600><600><800><800>"
RED, GREY = "<583><679><549>", "<656><500><500>"


@pytest.mark.parametrize(
    ("place", "region"),
    [
        ("left", ((0, 666), (0, 2000))),
        ("on the right", ((1334, 2000), (0, 2000))),
        ("upper-left", ((0, 666), (0, 666))),
        ("bottom right", ((1334, 2000), (1334, 2000))),
        ("centre", ((667, 1333), (667, 1333))),
        ("top center", ((667, 1333), (0, 666))),
        ("middle left", ((0, 666), (667, 1333))),
    ],
)
def test_places_are_thirds(place, region):
    assert region_of(place) == Region(*region)


@pytest.mark.parametrize("place", ["", "lefft", "left right", "top bottom", "the"])
def test_what_is_no_place_is_refused(place):
    with pytest.raises(KaleidoError) as caught:
        region_of(place)
    assert caught.value.code == "bad-requirement"


def kept(require, forbid=(), z=f"<boxes> {LEFT_STAR} <;> {CIRCLE}"):
    return broken(read_requirements(require, forbid), z_from_text(z))


@pytest.mark.parametrize(
    ("require", "forbid", "wrong"),
    [
        (["star@left"], [], []),
        (["star@right"], [], ["boxes"]),
        (["star", "circle@bottom right", "count=2"], [], []),
        (["count=3"], [], ["boxes"]),
        (["star.count=1", "circle.count=1"], [], []),
        (["star.count=2"], [], ["boxes"]),
        (["traffic light"], [], ["boxes"]),
        ([], ["circle"], ["boxes"]),
        ([], ["label=hat"], []),
    ],
)
def test_objects_counts_and_places(require, forbid, wrong):
    assert kept(require, forbid) == wrong


def test_boxes_and_blobs_are_checked_each():
    z = f"<boxes> {LEFT_STAR} <blobs> star <900><500><50><50><0>"
    assert kept(["star@left"], z=z) == ["blobs"]
    assert kept(["star@right"], z=z) == ["boxes"]


def test_a_colour_is_said_of_the_object_and_is_in_the_palette():
    said = "<description> A large red star; a blue circle on grey."
    assert kept(["star.colour=red"], z=said) == []
    assert kept(["star.color=blue"], z=said) == ["description"]
    assert kept(["circle.colour=red"], z=said) == ["description"]
    palette = f"{said} <palette> {RED}<600> <;> {GREY}<400>"
    assert kept(["star.colour=red"], z=palette) == []
    assert kept(["star.colour=red"], z=f"{said} <palette> {GREY}<1000>") == ["palette"]


def test_a_forbidden_colour_or_label_is_neither_said_nor_in_the_palette():
    z = f"<description> A star on grey. <palette> {RED}<600> <;> {GREY}<400>"
    assert kept([], ["red"], z) == ["palette"]
    assert kept([], ["grey"], z) == ["description", "palette"]
    assert kept([], ["green"], z) == []
    assert kept([], ["star"], z) == ["description"]


@pytest.mark.parametrize(
    ("require", "forbid"),
    [
        (["count=x"], []),
        (["count=16"], []),
        (["count=-1"], []),
        (["@left"], []),
        (["star.size=3"], []),
        (["star.colour=mauve"], []),
        (["count=2", "count=3"], []),
        (["star.count=2", "star.count=1"], []),
        (["star"], ["star"]),
        (["star.colour=red"], ["red"]),
        (["count=1", "star", "circle"], []),
        (["star.count=1", "star@left", "star@right"], []),
        ([], ["size=3"]),
        ([], ["colour=mauve"]),
    ],
)
def test_what_cannot_be_read_or_contradicts_itself_is_refused(require, forbid):
    with pytest.raises(KaleidoError) as caught:
        read_requirements(require, forbid)
    assert caught.value.code == "bad-requirement"


@pytest.mark.parametrize(
    ("require", "forbid", "kinds"),
    [
        (["hat"], [], ("boxes",)),
        (["star"], [], ("palette", "description")),
        (["star.colour=red"], [], ("boxes", "blobs")),
        ([], ["red"], ("boxes", "blobs")),
    ],
)
def test_what_the_kinds_or_labels_cannot_hold_is_refused(require, forbid, kinds):
    wanted = read_requirements(require, forbid)
    with pytest.raises(KaleidoError) as caught:
        require_possible(wanted, kinds, ("star", "circle"))
    assert caught.value.code == "cannot-require"


def test_any_label_may_be_asked_of_a_prior_that_writes_any():
    require_possible(read_requirements(["hat@left"], []), ("boxes",), ())
