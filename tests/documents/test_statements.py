import numpy as np
import pytest

from pipelines.documents.statements import contradictions, spoken_label, z_contradictions
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.latents.sequence import z_from_text
from pipelines.scenes.captions import caption_scene
from pipelines.scenes.factors import sample_scene
from pipelines.scenes.truth import z_of_scene

LEFT, RIGHT, LARGE = (0.1, 0.1, 0.2, 0.2), (0.8, 0.1, 0.9, 0.2), (0.6, 0.1, 0.9, 0.4)
TWINS = [("star", LEFT), ("star", LARGE)]


@pytest.mark.parametrize(
    ("text", "boxes", "found"),
    [
        ("A star at the top left; a kite at the top right.", [("star", LEFT)], 0),
        ("A star at the bottom left.", [("star", LEFT)], 1),
        ("A star on the right, in the sky.", [("star", LEFT)], 1),
        ("A star on the right of the house.", [("star", LEFT)], 0),
        ("A star on the right of the picture.", [("star", LEFT)], 1),
        ("Two stars at the bottom left.", [("star", LEFT)], 0),
        ("A star and a kite at the top left.", [("star", RIGHT), ("kite", LEFT)], 0),
        ("A star beside a kite at the top left.", [("star", RIGHT), ("kite", RIGHT)], 0),
        ("A star at the top right; a star at the top left.", TWINS, 0),
        ("A star at the top left; a star at the top left.", TWINS, 1),
        ("A star at the top left; a star at the top right.", [("star", LEFT)], 1),
        ("A small star at the top left; a big star at the top right.", TWINS, 0),
        ("A large star at the top left; a tiny star at the top right.", TWINS, 1),
        ("A Star at the TOP-LEFT.", [("star", LEFT)], 0),
        ("", [("star", LEFT)], 0),
        ("A c++ sign at the top left.", [("c++ sign", RIGHT), ("star", LEFT)], 1),
    ],
)
def test_what_words_say_and_boxes_do_not_show(text, boxes, found):
    assert len(contradictions(text, boxes)) == found


def test_sentences_name_what_is_said_and_of_what():
    (sentence,) = contradictions("A blue star at the bottom left.", [("star", LEFT)])
    assert "'A blue star at the bottom left'" in sentence and "'star'" in sentence
    (sentence,) = contradictions("A big star on the left; a small star on the right.", TWINS)
    assert "small of the larger" in sentence


@pytest.mark.parametrize(
    ("text", "others", "meant"),
    [
        ("A kite at the top left; a star at the top right.", [("kite", RIGHT)], "kite"),
        ("A kite at the top left; a star at the top right.", [("kite", LEFT)], "star"),
        ("A kite at the top left.", [("kite", RIGHT)], "star"),
        ("A star at the top left; a kite at the top left.", [("kite", RIGHT)], "star"),
        ("A kite at the top left; a star at the bottom.", [], "star"),
        (
            "A kite at the top left; a cat at the top left; a star at the top right.",
            [("kite", RIGHT), ("cat", RIGHT)],
            "star",
        ),
    ],
)
def test_mixed_up_labels_are_told_by_their_places(text, others, meant):
    assert spoken_label(text, "star", LEFT, others) == meant


def test_real_scenes_do_not_contradict_themselves():
    rng = np.random.default_rng(0)
    truth = TrueZ(("description", "boxes"))
    for _ in range(60):
        scene = sample_scene(rng)
        z = z_from_text(z_of_scene(truth, scene, caption_scene(scene, rng)))
        assert z_contradictions(z) == [] and z_contradictions({"boxes": z["boxes"]}) == []
