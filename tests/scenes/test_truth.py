import numpy as np
import pytest
from PIL import Image

from pipelines.core.seeds import generator
from pipelines.evaluate.adherence.boxes import box_adherence
from pipelines.evaluate.adherence.truth import WITHOUT, TrueZ
from pipelines.latents.sequence import z_from_text
from pipelines.scenes.reference import scene_for, scene_images
from pipelines.scenes.truth import z_of_scene

CAPTION = "two circles and a star"


@pytest.fixture
def scenes():
    rng = generator(0, "test", CAPTION)
    return [scene_for(CAPTION, rng) for _ in range(20)]


def test_a_real_pictures_z_has_the_kinds_of_the_models_in_their_order(scenes):
    z = z_from_text(z_of_scene(TrueZ(("boxes", "blobs", "palette")), scenes[0], CAPTION))
    assert list(z) == ["boxes", "blobs", "palette"]
    # What the caption names first comes first, as extractors write it.
    assert [item.label for item in z["boxes"].items] == ["circle", "circle", "star"]
    assert [item.label for item in z["blobs"].items] == ["circle", "circle", "star"]
    described = z_from_text(z_of_scene(TrueZ(("description",)), scenes[0], CAPTION))
    assert scenes[0].background in described["description"].text


def test_the_judge_finds_the_boxes_of_real_pictures(scenes, judge):
    z = [z_of_scene(TrueZ(("boxes",)), scene, CAPTION) for scene in scenes]
    got = box_adherence(z, judge(scene_images(scenes, 32)))
    assert got["boxes"] > 0.95 and got["boxes.iou"] > 0.85


def test_without_kinds_there_is_no_z(scenes):
    assert z_of_scene(WITHOUT, scenes[0], CAPTION) == ""


def test_pixels_alone_give_a_palette_and_no_boxes():
    image = Image.fromarray(np.full((8, 8, 3), (220, 40, 40), np.uint8))
    z = z_from_text(TrueZ(("boxes", "palette")).of_pixels(image))
    assert list(z) == ["palette"] and z["palette"].items[0].weight == 1000
