from collections import Counter

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.seeds import generator
from pipelines.scenes.factors import COLOURS, P_COLOUR, SHAPES, arrangement_distribution
from pipelines.scenes.reference import (
    asked_shapes,
    reference_images,
    scene_for,
    stated_colours,
)


def scenes(caption, n):
    rng = generator(0, "test", caption)
    return [scene_for(caption, rng) for _ in range(n)]


def test_scenes_have_the_captioned_shapes_and_the_stated_colour():
    caption = "two red circles and a star"
    assert stated_colours(caption) == {"circle": "red"}
    for scene in scenes(caption, 50):
        assert Counter(item.shape for item in scene.objects) == {"circle": 2, "star": 1}
        assert {item.colour for item in scene.objects if item.shape == "circle"} == {"red"}


def test_open_factors_follow_the_datas_conditional_distribution():
    drawn = scenes("a heart and an oval", 3000)
    for shape in ("heart", "oval"):
        colours = Counter(i.colour for scene in drawn for i in scene.objects if i.shape == shape)
        shares = np.array([colours[c] for c in COLOURS]) / len(drawn)
        np.testing.assert_allclose(shares, P_COLOUR[SHAPES.index(shape)], atol=0.035)
    places = Counter(scene.arrangement for scene in drawn)
    for name, p in arrangement_distribution(2).items():
        assert places[name] / len(drawn) == pytest.approx(p, abs=0.035)
    hearts_first = np.mean([scene.objects[0].shape == "heart" for scene in drawn])
    assert hearts_first == pytest.approx(0.5, abs=0.035)


def test_pictures_follow_from_seed_caption_and_purpose():
    first = reference_images("a star", 3, 0, "reference")
    assert first.shape == (3, 64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, reference_images("a star", 3, 0, "reference"))
    assert (first != reference_images("a star", 3, 1, "reference")).any()
    assert (first != reference_images("a star", 3, 0, "data")).any()


@pytest.mark.parametrize("caption", ["a dog in the rain", "six circles", ""])
def test_captions_of_other_things_are_refused(caption):
    with pytest.raises(KaleidoError) as caught:
        asked_shapes(caption)
    assert caught.value.code == "not-comparable"
    assert caught.value.what == f"caption {caption!r}" and SHAPES[0] in caught.value.hint
