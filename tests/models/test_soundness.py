"""What the data's z have in common, and how z are judged by it."""

import pytest

from pipelines.latents.sequence import z_from_text
from pipelines.models import soundness
from pipelines.models.soundness import ALWAYS, SLACK, Soundness, SoundnessSeen, missing_colours

CIRCLE = "<boxes> circle <100><100><300><300> <blobs> circle <{x}><200><100><100><0>"
RED = "<description> a red star <palette> <581><746><630><1000>"


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(soundness, "FEWEST", 2)


def at(x):
    """A circle whose blob is moved to the right by x - 200; half of the box is 100."""
    return z_from_text(CIRCLE.format(x=x))


def test_the_overlap_is_learned_by_label(few):
    seen = SoundnessSeen()
    for x in [200] * 150 + [300]:  # one in 150, a third of whose union is common
        seen.add(at(x))
    seen.add(z_from_text("<boxes> star <1><1><9><9> <blobs> star <5><5><4><4><0>"))
    assert seen.result() == Soundness({"circle": 1.0}, 0.0)  # a single star teaches nothing


def test_a_label_teaches_from_fifty_objects_on():
    """All but the worst hundredth: 1 - 0.51 of the step to the second worst of fifty-two."""
    seen = SoundnessSeen()
    for x in [207] * 49:
        seen.add(at(x))
    assert seen.result().overlaps == {}
    seen.add(at(207))
    assert seen.result().overlaps == {"circle": round(193 / 207, 3)}
    for x in (300, 200):
        seen.add(at(x))
    assert seen.result().overlaps["circle"] == round(1 / 3 + 0.51 * (193 / 207 - 1 / 3), 3)


def test_an_object_must_reach_what_the_data_do_and_what_is_asked():
    learned = Soundness({"circle": 0.9 / SLACK})
    assert (
        learned.shortfall(at(200), 0.5, True, True)
        == learned.shortfall(at(204), 0.5, True, True)
        == 0.0
    )
    assert learned.shortfall(at(220), 0.5, True, True) == pytest.approx(0.9 - 180 / 220)
    assert Soundness().shortfall(at(220), 0.5, True, True) == 0.0
    assert Soundness().shortfall(at(220), 0.95, True, True) == pytest.approx(0.95 - 180 / 220)
    assert learned.shortfall(at(900), 0.0, True, True) == 0.0  # the check is left out
    assert Soundness({"circle": 1.0}).least("circle", 0.5) == 0.9
    assert Soundness({"circle": 0.5}).least("circle", 0.5) == 0.5 == learned.least("star", 0.5)


def test_described_colours_must_be_in_the_palette_if_the_data_have_them():
    red, blue = z_from_text(RED), z_from_text(RED.replace("red", "blue"))
    assert missing_colours(red) == set() and missing_colours(blue) == {"blue"}
    assert missing_colours(at(200)) is None
    always, often = Soundness(colours=ALWAYS), Soundness(colours=0.979)
    assert [always.shortfall(z, 0.5, True, True) for z in (red, blue)] == [0.0, 1.0]
    assert often.shortfall(blue, 0.5, True, True) == always.shortfall(blue, 0.5, False, True) == 0.0


def test_the_share_with_their_colours_is_learned():
    seen = SoundnessSeen()
    for word in ("red", "red", "red", "blue"):
        seen.add(z_from_text(RED.replace("red", word)))
    assert seen.result() == Soundness({}, 0.75)
    for word in ("blue", "blue"):
        seen.add(z_from_text(RED.replace("red", word)))
    seen.add(z_from_text("<palette> <581><746><630><1000>"))  # nothing is described
    assert seen.result() == Soundness({}, 0.5)
    seen.add(z_from_text(RED))
    assert seen.result() == Soundness({}, 0.571)


STAR = "<description> a {size} star in the top left <boxes> star <{x}><50><{end}><250>"


def test_described_places_must_be_those_of_the_boxes_if_the_data_have_them():
    right = z_from_text(STAR.format(size="small", x=50, end=250))
    wrong = z_from_text(STAR.format(size="small", x=750, end=950))
    always, often = Soundness(places=ALWAYS), Soundness(places=0.979)
    assert [always.shortfall(z, 0.5, True, True) for z in (right, wrong)] == [0.0, 1.0]
    assert often.shortfall(wrong, 0.5, True, True) == 0.0
    assert always.shortfall(wrong, 0.5, True, False) == 0.0
    seen = SoundnessSeen()
    for z in (right, right, right, wrong):
        seen.add(z)
    seen.add(at(200))  # nothing is described
    assert seen.result() == Soundness({}, 0.0, 0.75)
