"""What is read of a verdict is what the scene was made of."""

from collections import Counter

import numpy as np

from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.scenes.factors import BACKGROUNDS, COLOURS, SIZES, TEXTURES
from pipelines.scenes.modes import FACTORS, matches
from pipelines.scenes.oracle import arrangements, factor_values, known_values, of_objects
from pipelines.scenes.reference import Asked, reference_scenes, scene_images


def found(shape="circle", x=500, y=500, side=300):
    half = side // 2
    return FoundObject(
        shape,
        (x - half, y - half, x + half, y + half),
        0.9,
        {"colour": "red", "texture": "plain"},
    )


def test_the_judge_of_real_pictures_reads_what_they_were_drawn_from(judge):
    scenes = reference_scenes("a star and two circles", 32, 0, "data")
    verdicts = judge(scene_images(scenes, 64))
    asked = Asked.by("a star and two circles")
    pairs = [p for p in zip(scenes, verdicts, strict=True) if matches(p[1], asked)]
    assert len(pairs) > 28
    valid = [verdict for _, verdict in pairs]
    stars = [next(i for i in scene.objects if i.shape == "star") for scene, _ in pairs]
    truth = {
        "colour": [COLOURS.index(star.colour) for star in stars],
        "texture": [TEXTURES.index(star.texture) for star in stars],
        "size": [[*SIZES].index(star.size) for star in stars],
        "place": [int(star.y * 3) * 3 + int(star.x * 3) for star in stars],
    }
    for factor, numbers in truth.items():
        (others, twice), (values, weight) = factor_values(valid, asked, factor)
        assert (values.shape, weight) == ((len(pairs), 1), 1)
        assert (others.shape, twice) == ((len(pairs), 2), 2)
        assert np.mean(values[:, 0] == numbers) > 0.9
    ((seen, _),) = factor_values(valid, asked, "background")
    assert np.mean(seen[:, 0] == [BACKGROUNDS.index(s.background) for s, _ in pairs]) > 0.95
    assert arrangements(valid) == [scene.arrangement for scene, _ in pairs]


def test_places_are_counted_by_rows_and_what_reaches_beyond_is_in_the_last():
    objects = [found(x=100, y=100), found(x=900, y=100), found(x=500, y=900), found(x=1000, y=1000)]
    assert of_objects(objects, "place").tolist() == [0, 2, 7, 8]


def test_objects_of_other_numbers_than_the_data_have_no_arrangement():
    verdicts = [Verdict((found(),) * n, "paper") for n in (0, 1, 4, 1)]
    assert arrangements(verdicts) == ["free", "centre", "free", "centre"]
    ((values, _),) = factor_values(verdicts[2:3], Asked(Counter(circle=4), {}), "arrangement")
    assert values.tolist() == [[0]] and known_values("arrangement", 4) == 1


def test_no_pictures_show_no_values():
    for factor in FACTORS:
        for values, _ in factor_values([], Asked(Counter(circle=2), {}), factor):
            assert len(values) == 0
