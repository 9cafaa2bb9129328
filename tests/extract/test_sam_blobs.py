"""Blobs by SAM: tiny networks of the real classes, asked with the workspace's boxes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Ok
from pipelines.extract.detectors.find import find_detector, find_segmenter
from pipelines.extract.detectors.sam import SamBackend
from pipelines.extract.run import extract, plan
from pipelines.extract.sam_blobs import SamBlobsStage
from pipelines.latents.boxes import Box, Boxes
from pipelines.scenes.generate import make_records
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.reader import read_joined

RNG = np.random.default_rng(0)
BOXES = Boxes((Box("a", 100, 100, 500, 600), Box("b", 400, 0, 1000, 1000)))
both = pytest.mark.parametrize("name", ["sam", "sam2"])


def record(key: str, height: int = 64, width: int = 64, boxes: Boxes = BOXES) -> Record:
    pixels = RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Record(key, encode_png(pixels), "noise", latents={"boxes": boxes})


def use(workspace, folder):
    changes = {"extract.blobs_model": str(folder)}
    return replace(workspace, settings=override(workspace.settings, changes))


@both
def test_each_box_has_the_mask_of_the_highest_predicted_iou(request, name, monkeypatch):
    backend = SamBackend(find_segmenter(str(request.getfixturevalue(name))))
    image = record("a", 48, 80).pixels
    boxes = np.array([[8, 8, 40, 40], [30, 0, 80, 48], [0, 0, 10, 10]], np.float32)
    seen = []
    network = backend._model

    def keep(**inputs):
        seen.append(network(**inputs))
        return seen[-1]

    monkeypatch.setattr(backend, "_model", keep)
    masks = backend.masks(image, boxes)
    assert (masks.shape, masks.dtype) == ((3, 48, 80), np.float32)
    assert set(np.unique(masks)) <= {0.0, 1.0}
    outputs = seen[0]
    assert outputs.iou_scores.shape == (1, 3, 3)
    best = outputs.iou_scores[0].argmax(1)
    for index, choice in enumerate(best.tolist()):
        share = (outputs.pred_masks[0, index, choice] > 0).float().mean()
        if share in (0.0, 1.0):
            assert masks[index].mean() == share


@both
def test_a_picture_is_seen_alike_alone_and_among_others(request, name):
    stage = SamBlobsStage(find_segmenter(str(request.getfixturevalue(name))))
    stage.setup()
    one = Boxes((Box("c", 0, 0, 700, 300),))
    records = [record("a"), record("b", boxes=one), record("c", 64, 40), record("d", 96, 96)]
    together = stage(records)
    assert together == [outcome for each in records for outcome in stage([each])]
    assert isinstance(together[2], Ok)  # of another shape
    for outcome, each in zip(together, records, strict=True):
        if isinstance(outcome, Ok):
            labels = [box.label for box in each.latents["boxes"].items]
            assert [blob.label for blob in outcome.value.items] == labels


def test_the_workspaces_boxes_are_asked_for(workspace, write_data, sam):
    write_data(list(make_records(6, seed=3)), 3)
    own = use(workspace, sam)
    with pytest.raises(InputMissing) as caught:
        extract(own, ["blobs"])
    assert "kaleido extract boxes" in caught.value.hint
    extract(own, ["boxes"])
    (summary,) = extract(own, ["blobs"])
    assert summary.ok + summary.filtered == 6
    shard = workspace.data_shards()[0]
    manifest = read_manifest(workspace.latents("blobs") / shard.name)
    assert (manifest.stage, set(manifest.inputs)) == ("blobs-sam", {"data", "boxes"})
    for each in read_joined(workspace, shard, ["boxes", "blobs"]):
        if "blobs" in each.latents:
            labels = [box.label for box in each.latents["boxes"].items]
            assert {blob.label for blob in each.latents["blobs"].items} <= set(labels)
    assert extract(own, ["blobs"])[0].skipped == 2
    fewer = replace(own, settings=override(own.settings, {"extract.boxes_max": 1}))
    extract(fewer, ["boxes"])
    assert extract(own, ["blobs"])[0].skipped == 0  # other boxes, other blobs


def test_boxes_and_sams_blobs_in_one_run(workspace, write_data, sam2):
    write_data(list(make_records(3, seed=3)), 3)
    own = use(workspace, sam2)
    assert [item.pending for item in plan(own, ["boxes", "blobs"])] == [1, 1]
    assert [summary.kind for summary in extract(own, ["boxes", "blobs"])] == ["boxes", "blobs"]
    assert [item.pending for item in plan(own, ["boxes", "blobs"])] == [0, 0]


def test_the_command_and_its_preview(workspace, write_data, sam, invoke):
    write_data(list(make_records(3, seed=3)), 3)
    where = ["--workspace", str(workspace.root)]
    invoke("extract", "boxes", *where)
    command = ["extract", "blobs", "--model", str(sam), *where]
    assert "no boxes" not in invoke(*command, "--preview", "2").out
    invoke(*command)
    assert "--masks and --model" in invoke(*command, "--masks", str(workspace.root), code=1).err


def test_a_model_for_blobs_alone(workspace, write_data, mask2former, owlv2):
    write_data(list(make_records(2, seed=3)), 2)
    changes = {
        "extract.blobs_model": str(mask2former),
        "extract.boxes_model": str(owlv2),
        "extract.boxes_find": ("red disc",),
        "extract.boxes_confidence": 0.0,
    }
    own = replace(workspace, settings=override(workspace.settings, changes))
    boxes, blobs = extract(own, ["boxes", "blobs"])
    assert boxes.ok == blobs.ok + blobs.filtered == 2


def test_public_folders_of_sam_2_call_it_another_name(sam2, tmp_path):
    copy = shutil.copytree(sam2, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    backend = SamBackend(find_segmenter(str(copy)))
    assert backend.masks(record("a").pixels, np.array([[0, 0, 32, 32]])).shape == (1, 64, 64)


def test_a_sam_finds_no_boxes_and_a_detector_is_no_sam(sam, rtdetr):
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(sam))
    assert caught.value.code == "bad-model"
    assert find_segmenter(str(rtdetr)).family == "detection"


def test_one_search_finds_what_makes_masks(sam, sam2, mask2former, untrained):
    for folder, family in ((sam, "Sam"), (sam2, "Sam2")):
        found = find_segmenter(str(folder))
        assert (found.folder, found.family, found.has_masks) == (folder, family, True)
    for folder in (mask2former, untrained):
        assert find_segmenter(str(folder)) == find_detector(str(folder))


def test_damaged_weights_are_told(sam, tmp_path):
    copy = shutil.copytree(sam, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(KaleidoError) as caught:
        find_segmenter(str(copy))
    assert caught.value.code == "bad-model"
