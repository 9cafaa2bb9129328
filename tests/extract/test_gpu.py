"""What extraction finds on a GPU is what it finds on a CPU, but for a unit of the grid."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import astuple

import numpy as np
import pytest
import torch

from pipelines.core.record import Record
from pipelines.core.stage import Ok
from pipelines.embedded.paths import embedded_path
from pipelines.extract.descriptions import DescriptionsStage
from pipelines.extract.detectors.yolo import YoloBackend
from pipelines.extract.run import extract
from pipelines.extract.stages import READY
from pipelines.extract.tokenizers.loading import OwnTokenizer
from pipelines.models.tokenizer import Tokenizer
from pipelines.scenes.generate import make_records
from pipelines.workspace.reader import read_joined
from pipelines.workspace.workspace import Workspace

pytestmark = pytest.mark.gpu

RECORDS = list(make_records(24, seed=4))
IMAGES = [record.pixels for record in RECORDS]


def test_the_detector(no_gpu) -> None:
    backend = YoloBackend(embedded_path("detector"), 0.25, 8)
    assert {value.device.type for value in backend._model.state_dict().values()} == {"cuda"}
    with no_gpu():
        expected = YoloBackend(embedded_path("detector"), 0.25, 8).predict(IMAGES)
    for found, wanted in zip(backend.predict(IMAGES), expected, strict=True):
        assert found.labels == wanted.labels
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)
        np.testing.assert_allclose(found.masks, wanted.masks, atol=0.01)


def test_the_tokenizer(no_gpu) -> None:
    on_gpu = np.stack(OwnTokenizer(Tokenizer.load(embedded_path("tokenizer"))).encode(IMAGES))
    with no_gpu():
        tokenizer = OwnTokenizer(Tokenizer.load(embedded_path("tokenizer")))
        on_cpu = np.stack(tokenizer.encode(IMAGES))
    assert (on_gpu == on_cpu).mean() > 0.998


def test_a_captioner(no_gpu) -> None:
    def described() -> list[Ok]:
        stage = DescriptionsStage(embedded_path("captioner"))
        stage.setup()
        return stage(RECORDS[:3])

    on_gpu = described()
    assert all(isinstance(outcome, Ok) for outcome in on_gpu)
    with no_gpu():
        assert described() == on_gpu


def test_two_workers_on_a_gpu_find_what_a_cpu_finds(workspace, write_data, no_gpu) -> None:
    write_data(RECORDS, 12)
    torch.zeros(1).cuda()  # a forked worker could not use a GPU that its parent has begun to use
    with no_gpu():
        extract(workspace, READY)
    on_cpu = found(workspace)
    shutil.rmtree(workspace.root / "latents")
    summaries = extract(workspace, READY, workers=2)
    assert [summary.ok for summary in summaries] == [24] * 3
    for record, wanted in zip(found(workspace), on_cpu, strict=True):
        one, other = record.latents, wanted.latents
        assert one["palette"] == other["palette"]
        for kind in ("boxes", "blobs"):
            assert labels(one, kind) == labels(other, kind)
            assert np.abs(numbers(one, kind) - numbers(other, kind)).max() <= 1


def found(workspace: Workspace) -> list[Record]:
    return [
        each for shard in workspace.data_shards() for each in read_joined(workspace, shard, READY)
    ]


def labels(latents: Mapping, kind: str) -> list[str]:
    return [item.label for item in latents[kind].items]


def numbers(latents: Mapping, kind: str) -> np.ndarray:
    """Corners of boxes; centres and radii of blobs, since a round one's angle says nothing."""
    return np.array([astuple(item)[1:5] for item in latents[kind].items])
