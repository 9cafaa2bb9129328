import numpy as np
import pytest

from pipelines.core.seeds import generator
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.description import Description
from pipelines.latents.sequence import z_to_text
from pipelines.scenes.description_adherence import FACTORS, description_adherence, facts_seen
from pipelines.scenes.descriptions import describe_scene
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.reference import scene_for

VERDICT = Verdict(
    (FoundObject("star", (350, 350, 650, 650), 0.9, {"colour": "red", "texture": "plain"}),),
    "paper",
)


def z_of(text):
    return z_to_text({"description": Description(text)})


def test_facts_have_the_form_of_those_that_are_read():
    assert facts_seen(VERDICT) == {
        ("shape", "star"): 1,
        ("colour", "star", "red"): 1,
        ("texture", "star", "plain"): 1,
        ("size", "star", "small"): 1,
        ("place", "star", "middle", "centre"): 1,
        ("arrangement", "centre"): 1,
        ("background", "paper"): 1,
    }


def test_each_kind_of_fact_is_counted_apart():
    stated = "a small blue plain star at the middle centre; arranged as centre; on slate."
    got = description_adherence([z_of(stated)], [VERDICT])
    assert got["description"] == pytest.approx(5 / 7)
    wrong = {name for name in FACTORS if got[f"description.{name}"] == 0.0}
    assert wrong == {"colour", "background"} and got["description.count"] == 1.0


def test_more_objects_than_are_there_are_not_shown():
    star = "a small red plain star at the middle centre"
    got = description_adherence([z_of(f"{star}; {star}; arranged as centre; on paper.")], [VERDICT])
    assert got["description.shape"] == 0.5 and got["description.count"] == 0.0


def test_free_wording_states_nothing_that_could_be_checked():
    got = description_adherence([z_of("A quiet evening by the sea."), ""], [VERDICT] * 2)
    assert np.isnan(list(got.values())).all()


def test_the_ceiling_on_real_pictures_is_high_and_chance_is_not(judge):
    caption, rng = "a circle and a heart", generator(0, "test", "facts")
    scenes = [scene_for(caption, rng) for _ in range(60)]
    verdicts = judge(np.stack([draw_scene(scene).pixels for scene in scenes]))
    z = [z_of(describe_scene(scene, rng)) for scene in scenes]
    got = description_adherence(z, verdicts)
    assert min(got.values()) > 0.85
    chance = description_adherence([*z[1:], *z[:1]], verdicts)
    assert chance["description.colour"] < 0.5 * got["description.colour"]
