"""Descriptions: from the pixels, by the captioner."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok
from pipelines.embedded import paths
from pipelines.extract.captioners.tiny import build_captioner
from pipelines.extract.descriptions import DescriptionsStage
from pipelines.extract.run import extract
from pipelines.models.metadata import captioner_metadata
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.workspace import Workspace


def record(key: str, width: int = 16) -> Record:
    pixels = np.random.default_rng(len(key)).integers(0, 255, (16, width, 3), np.uint8)
    return Record(key, encode_png(pixels), "a caption")


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(3)  # it writes text, not control characters
    captioner = build_captioner(
        ["a red star on fog."], image_size=16, width=16, layers=1, heads=2, max_tokens=8
    )
    captioner.save(tmp_path / "captioner")
    return tmp_path / "captioner"


def test_a_record_is_described_whatever_its_batch_and_size(folder) -> None:
    stage = DescriptionsStage(folder)
    stage.setup()
    records = [record("a"), record("bb", width=30)]
    together = stage(records)
    assert all(isinstance(outcome, Ok) for outcome in together)
    assert together == [stage([each])[0] for each in records]


def test_a_blank_answer_has_failed(folder, monkeypatch) -> None:
    stage = DescriptionsStage(folder)
    stage.setup()
    monkeypatch.setattr(type(stage._captioner), "describe", lambda self, images: [" ", "on fog."])
    blank, told = stage([record("a"), record("b")])
    assert isinstance(blank, Failed)
    assert told.value.text == "on fog."


def test_other_weights_give_another_fingerprint(folder, tmp_path) -> None:
    torch.manual_seed(2)
    other = build_captioner(["a red star."], image_size=16, width=16, layers=1, heads=2)
    other.save(tmp_path / "other")
    specs = [DescriptionsStage(each).spec for each in (folder, tmp_path / "other")]
    assert specs[0].output == "description"
    assert specs[0].options != specs[1].options


@pytest.fixture
def shipped(folder, monkeypatch):
    """Ship the small captioner, of 16 pixels."""
    monkeypatch.setattr(paths, "ROOT", folder.parent)


def test_scenes_are_described_by_the_shipped_captioner(shipped, folder, tmp_path) -> None:
    scenes = Workspace.init(tmp_path / "scenes")
    write_scenes(scenes, 4, seed=0, size=16)
    (summary,) = extract(scenes, ["description"])
    assert summary.ok + summary.failed == 4
    made = read_manifest(scenes.latents("description") / "000000.tar")
    assert made.options["captioner"] == captioner_metadata(folder)["identity"]


@pytest.mark.parametrize("other", [{"size": 32}, {"size": 16, "hard": True}])
def test_other_scenes_need_a_model(shipped, tmp_path, other) -> None:
    scenes = Workspace.init(tmp_path / "scenes")
    write_scenes(scenes, 4, seed=0, **other)
    with pytest.raises(KaleidoError) as caught:
        extract(scenes, ["description"])
    assert (caught.value.code, caught.value.what) == ("bad-option", "--model")


def test_so_do_other_data(shipped, workspace, records, write_data) -> None:
    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        extract(workspace, ["description"])
    assert (caught.value.code, caught.value.what) == ("bad-option", "--model")
