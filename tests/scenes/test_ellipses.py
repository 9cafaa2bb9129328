import numpy as np
import pytest

from pipelines.core.seeds import generator
from pipelines.evaluate.adherence.blobs import blob_adherence
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.latents.text import GRID
from pipelines.scenes.draw import draw_scene, ellipse_truth
from pipelines.scenes.ellipses import with_ellipses
from pipelines.scenes.factors import Scene, SceneObject
from pipelines.scenes.reference import scene_for
from pipelines.scenes.truth import z_of_scene


def alone(texture, background, shape="oval", rotation=25.0):
    item = SceneObject(shape, "blue", texture, "large", 0.45, 0.55, 0.24, rotation)
    return Scene((item,), "centre", background)


@pytest.mark.parametrize("background", ["paper", "slate", "fog", "check"])
@pytest.mark.parametrize("texture", ["plain", "striped"])
@pytest.mark.parametrize("side", [32, 64])
def test_the_ellipse_of_an_oval_is_that_which_was_drawn(judge, texture, background, side):
    scene = alone(texture, background)
    images = draw_scene(scene, side).pixels[None]
    (verdict,) = with_ellipses(images, judge(images))
    truth = ellipse_truth(scene.objects[0])
    (found,) = verdict.objects
    np.testing.assert_allclose(found.ellipse[:4], np.array(truth[:4]) * GRID, atol=640 / side)
    assert found.ellipse[4] == pytest.approx(truth[4], abs=4.0)


def test_real_pictures_keep_the_blobs_of_their_true_z(judge):
    caption, rng = "an oval, a heart and a square", generator(0, "test", "ellipses")
    scenes = [scene_for(caption, rng) for _ in range(40)]
    truth = TrueZ(("blobs",))
    z = [z_of_scene(truth, scene, caption) for scene in scenes]
    images = np.stack([draw_scene(scene, 32).pixels for scene in scenes])
    verdicts = with_ellipses(images, judge(images))
    got = blob_adherence(z, verdicts)
    assert got["blobs"] > 0.97 and got["blobs.iou"] > 0.88
    assert got["blobs.centre"] < 12.0 and got["blobs.angle"] < 6.0
    assert got["blobs.extra"] < 0.1
    assert blob_adherence([*z[1:], *z[:1]], verdicts)["blobs"] < 0.4


def test_two_objects_of_one_colour_are_cut_apart(judge):
    left = SceneObject("circle", "red", "plain", "large", 0.3, 0.5, 0.21, 0.0)
    right = SceneObject("circle", "red", "plain", "large", 0.7, 0.5, 0.21, 0.0)
    images = draw_scene(Scene((left, right), "row", "paper")).pixels[None]
    (verdict,) = with_ellipses(images, judge(images))
    assert len(verdict.objects) == 2
    for item in verdict.objects:
        assert item.ellipse[2] == pytest.approx(210, abs=15)
        assert item.ellipse[3] == pytest.approx(210, abs=15)


def test_an_object_without_pixels_of_its_colour_has_no_ellipse(judge):
    images = draw_scene(alone("plain", "paper")).pixels[None]
    grey = np.full_like(images, (250, 246, 236))
    (verdict,) = with_ellipses(grey, judge(images))
    assert verdict.objects[0].ellipse is None
