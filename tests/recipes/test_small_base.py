"""The small base of scenes: its data, its training, and what the judge sees in its pictures."""

from __future__ import annotations

from itertools import islice
from math import isfinite

import pytest

from pipelines.bases.base import load_base
from pipelines.bases.families.sd15 import Sd15
from pipelines.embedded.paths import embedded_path
from pipelines.plan.with_base import plain_requests, sample_with_base
from pipelines.scenes.judge import Judge
from pipelines.workspace.workspace import Workspace
from recipes import train_small_base
from recipes.measure_folders import measure
from recipes.small_scenes import (
    DESCRIBED,
    MOST,
    SIDE,
    new_captions,
    training_scenes,
    write_pictures,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_its_scenes_have_few_objects_and_captions_of_varied_detail():
    scenes = list(islice(training_scenes(0), 200))
    assert {len(scene.objects) for scene, _ in scenes} == set(range(1, MOST + 1))
    assert {scene.split for scene, _ in scenes} == {"train"}
    detailed = sum("." in caption for _, caption in scenes) / len(scenes)
    assert detailed == pytest.approx(DESCRIBED, abs=0.1)
    assert len(set(new_captions(8))) == 8


def test_its_pictures_are_written_with_their_captions(tmp_path):
    write_pictures(tmp_path, 3, seed=1)
    captions = [caption for _, caption in islice(training_scenes(1), 3)]
    assert [file.read_text() for file in sorted(tmp_path.glob("*.txt"))] == captions
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_a_base_is_trained_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(train_small_base, "SCENES", 24)
    for part in ("AUTOENCODER_IMAGES", "DECODER_IMAGES"):
        monkeypatch.setattr(train_small_base, part, train_small_base.BATCH)
    folder = tmp_path / "base"
    given = ["--out", str(folder), "--images", str(2 * train_small_base.BATCH)]
    assert train_small_base.main(given) == 0
    base = load_base(str(folder))
    assert isinstance(base.family, Sd15) and base.family.default_side(base.pipe) == SIDE
    words = base.pipe.tokenizer.tokenize("A circle, on paper.")
    assert words[1] == "circle</w>" and words[-1] == ".</w>"
    workspace, captions = Workspace.init(tmp_path / "workspace"), new_captions(2)
    changes = {"sample.cfg": 1.0, "sample.steps": 2}
    sample_with_base(workspace, base, plain_requests(captions, 2), changes, "plain", None)
    judge, drawn = Judge.load(embedded_path("judge")), workspace.samples("plain")
    found = measure(judge, [drawn])
    assert set(found) == {"plain", "real"}
    assert found["real"]["kept"][0] == 1.0 and "kept.difference" in found["real"]
    assert isfinite(found["plain"]["vendi"][0]) and "boxes" not in found["plain"]
    decoded = measure(judge, [drawn], base.pipe.vae)
    assert decoded["plain"] == found["plain"] and decoded["real"]["kept"][0] == 0.0
