import json

import numpy as np
import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.embedded.paths import embedded_path
from pipelines.latents.matching import iou
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import Scene, SceneObject
from pipelines.scenes.judge import Judge, save_judge
from pipelines.scenes.reference import reference_images


def picture(size=64):
    scene = Scene(
        (
            SceneObject("star", "yellow", "plain", "medium", 0.28, 0.5, 0.165, 0.0),
            SceneObject("square", "blue", "striped", "large", 0.72, 0.5, 0.2, 10.0),
        ),
        "row",
        "slate",
    )
    return draw_scene(scene, size).pixels[None]


def test_it_sees_shape_colour_texture_place_and_background(judge):
    (verdict,) = judge(picture())
    assert verdict.background == "slate"
    star, square = sorted(verdict.objects, key=lambda item: item.box[0])
    assert (star.label, star.attributes) == ("star", {"colour": "yellow", "texture": "plain"})
    assert (square.label, square.attributes) == (
        "square",
        {"colour": "blue", "texture": "striped"},
    )
    assert iou(star.box, (92, 302, 468, 660)) > 0.85
    assert iou(square.box, (523, 303, 917, 697)) > 0.85
    assert 0.35 < star.score <= 1.0


def test_it_sees_blurred_and_larger_pictures_alike(judge):
    soft = np.asarray(picture(), np.float32)
    soft[:, 1:-1] = (soft[:, :-2] + 2.0 * soft[:, 1:-1] + soft[:, 2:]) / 4.0
    for other in (soft.astype(np.uint8), picture(128)):
        seen = [(i.label, *i.attributes.values()) for i in judge(other)[0].objects]
        assert sorted(seen) == [("square", "blue", "striped"), ("star", "yellow", "plain")]


@pytest.mark.parametrize("value", [0, 90, 255])
def test_an_empty_picture_has_no_objects(judge, value):
    assert judge(np.full((1, 64, 64, 3), value, np.uint8))[0].objects == ()


def test_features_tell_places_apart_and_do_not_depend_on_the_batch(judge):
    images = np.concatenate([picture(), picture()[:, :, ::-1], picture()])
    features = judge.features(images)
    assert features.shape == (3, judge.config.features) and features.dtype == np.float32
    np.testing.assert_allclose(features[0], features[2], atol=1e-5)
    np.testing.assert_allclose(judge.features(images[:1])[0], features[0], atol=1e-4)
    assert np.linalg.norm(features[0] - features[1]) > 0.3
    assert judge.features(images[:0]).shape == (0, judge.config.features)


def test_features_of_unrelated_scenes_have_a_cosine_near_zero(judge, reference):
    rows = reference.features.reshape(-1, judge.config.features)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert abs((rows @ rows.T).mean()) < 0.2


def test_its_ceiling_is_high_and_recorded(judge):
    assert set(judge.config.ceiling) == {
        *("box", "adherence", "shape", "colour", "texture", "background", "count"),
    }
    assert min(judge.config.ceiling.values()) > 0.95


def test_saving_and_loading_gives_the_same_judge(judge, tmp_path):
    copy = save_judge(tmp_path, judge.network, judge.config)
    assert copy.name == judge.name and copy.config == judge.config
    np.testing.assert_array_equal(copy.features(picture()), judge.features(picture()))
    assert copy(picture()) == judge(picture())


def test_its_name_holds_the_hash_of_its_weights(judge):
    import hashlib

    data = (embedded_path("judge") / "model.safetensors").read_bytes()
    assert judge.name == f"scenes-judge@{hashlib.sha256(data).hexdigest()[:8]}"


def test_a_missing_or_damaged_judge_is_an_error_that_says_so(judge, tmp_path):
    with pytest.raises(InputMissing) as caught:
        Judge.load(tmp_path / "nothing")
    assert caught.value.what == str(tmp_path / "nothing")
    save_judge(tmp_path, judge.network, judge.config)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(KaleidoError) as caught:
        Judge.load(tmp_path)
    assert (caught.value.code, caught.value.what) == ("bad-model", str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(weights)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"shapes": ["circle"]}))
    with pytest.raises(KaleidoError) as caught:
        Judge.load(tmp_path)
    assert (caught.value.code, caught.value.what) == ("bad-model", str(tmp_path))


def test_pictures_of_another_form_are_refused(judge):
    for bad in (np.zeros((64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            judge(bad)


def test_iou_of_known_boxes():
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_one_look_gives_what_two_would(judge):
    images = reference_images("two hearts", 5, 0, "data")
    features, verdicts = judge.inspect(images)
    np.testing.assert_array_equal(features, judge.features(images))
    assert verdicts == judge(images) and len(verdicts) == 5
    assert judge.inspect(images[:0])[0].shape == (0, judge.config.features)


def test_each_picture_has_its_own_objects_the_surest_first(judge):
    images = reference_images("a circle, a star and a heart", 6, 0, "data")
    images[2] = 255  # one without any
    together, apart = judge(images), [judge(image[None])[0] for image in images]
    assert [len(verdict.objects) for verdict in together] == [3, 3, 0, 3, 3, 3]
    for one, other in zip(together, apart, strict=True):
        assert [(i.label, i.box) for i in one.objects] == [(i.label, i.box) for i in other.objects]
        scores = [item.score for item in one.objects]
        assert scores == sorted(scores, reverse=True)
