"""Descriptions: from the pixels, by the captioner."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok
from pipelines.extract.descriptions import DescriptionsStage
from pipelines.models.captioner import build_captioner


def record(key: str, width: int = 16) -> Record:
    pixels = np.random.default_rng(len(key)).integers(0, 255, (16, width, 3), np.uint8)
    return Record(key, encode_png(pixels), "a caption")


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
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
