import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.scenes.generate import scene_of, write_scenes
from pipelines.scenes.heldout import captions_of, fresh_captions, require_scenes
from pipelines.scenes.reference import asked_shapes


def test_fresh_captions_are_held_out_scenes_always_the_same():
    captions = fresh_captions(16)
    assert len(set(captions)) == 16
    assert captions[:4] == fresh_captions(4)
    scenes = [scene_of(1, index)[0] for index in range(1000)]
    trained = {scene.combination for scene in scenes if scene.split == "train"}
    assert len(trained) > 50
    for caption in captions:
        assert tuple(sorted(asked_shapes(caption).elements())) not in trained


def test_captions_end_where_there_are_no_more(monkeypatch):
    monkeypatch.setattr("pipelines.scenes.heldout.FRESH_SCENES", 100)
    with pytest.raises(KaleidoError) as caught:
        fresh_captions(5000)
    assert (caught.value.code, caught.value.what) == ("not-comparable", "captions = 5,000")
    assert "100 scenes" in caught.value.why


def test_scenes_pass_and_give_their_held_out_captions(workspace):
    require_scenes(workspace)  # nothing is there yet, and models may have come without their data
    with pytest.raises(InputMissing) as caught:
        captions_of(workspace, 4)
    assert caught.value.what == "captions"
    assert "kaleido data scenes" in caught.value.hint and "--embedded" in caught.value.hint
    write_scenes(workspace, 60, seed=3, size=16)
    require_scenes(workspace)
    assert len(captions_of(workspace, 4)) == 4
