"""Looking at pictures elsewhere: the same eye, or none."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.adherence.tokens import shipped_retokenizer
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.observe import Look, SameEye
from pipelines.evaluate.own_data import SameFeatures
from pipelines.latents.sequence import z_to_text
from pipelines.scenes.protocol import SameJudge, real_of

CAPTION = "a star and a square"
Z = "<boxes> star <1><2><300><400>"


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    ((_, found),) = real_of(3, "data")([CAPTION], 0)
    return found


def test_an_eye_elsewhere_sees_what_this_one_does(judge, images, workspace) -> None:
    reader = shipped_retokenizer()
    z = z_to_text({"tokens": reader.tokens(images[0])})
    there = SameEye(SameJudge(judge.name), reader.name, is_shipped=True)
    eye = pickle.loads(pickle.dumps(there)).load(workspace)
    (seen,) = pickle.loads(pickle.dumps(Look(CAPTION, [z] * 3, images, [Z] * 3))).run({"eye": eye})
    features, verdicts = judge.inspect(images)
    np.testing.assert_array_equal(seen["features"], features)
    assert seen["verdicts"] == verdicts and seen["z"] == [z] * 3
    np.testing.assert_array_equal(seen["ids"], reader.read(images, [z] * 3))
    assert seen["colours"].shape[0] == seen["plain"].shape[0] == len(seen["edges"]) == 3


def test_a_feature_network_is_found_again(clip, images, workspace, monkeypatch) -> None:
    monkeypatch.chdir(clip.parent)
    network = PretrainedFeatures("clip")
    monkeypatch.chdir(workspace.root)  # a node works in another folder
    found = pickle.loads(pickle.dumps(SameFeatures(network.given, network.name))).load(workspace)
    features, verdicts = found(images, [""] * 3)
    np.testing.assert_array_equal(features, network(images))
    assert verdicts == []


@pytest.mark.parametrize("what", ["judge", "tokenizer", "features"])
def test_another_one_is_refused(what, judge, clip, workspace) -> None:
    eyes = {
        "judge": SameEye(SameJudge("scenes-judge@0"), "", is_shipped=True),
        "tokenizer": SameEye(SameJudge(judge.name), "vq@0", is_shipped=True),
        "features": SameEye(SameFeatures(str(clip), "clip@0"), "", is_shipped=True),
    }
    with pytest.raises(KaleidoError) as caught:
        eyes[what].load(workspace)
    assert caught.value.code == "model-mismatch"
