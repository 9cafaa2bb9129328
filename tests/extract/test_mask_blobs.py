"""Blobs of the user's own masks."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import InputMissing
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok
from pipelines.extract.mask_blobs import MaskBlobsStage
from pipelines.extract.run import extract
from pipelines.scenes.generate import make_records, mask_from_runs
from pipelines.workspace.config import override
from pipelines.workspace.reader import read_joined

Y, X = np.mgrid[0:64, 0:64]
DISC = ((X - 20) ** 2 + (Y - 40) ** 2 < 100).astype(np.uint8)


def record(key: str = "a", side: int = 64, caption: str = "a dog") -> Record:
    return Record(key, encode_png(np.full((side, side, 3), 90, np.uint8)), caption)


def blobs(folder, values, mode="L", names=None, side=64):
    Image.fromarray(values).convert(mode).save(folder / "a.png")
    if names is not None:
        (folder / "a.json").write_text(json.dumps(names))
    (outcome,) = MaskBlobsStage(folder, 8)([record(side=side)])
    return list(outcome.value.items) if isinstance(outcome, Ok) else outcome


@pytest.mark.parametrize("mode", ["L", "1", "I;16"])
def test_a_value_is_an_instance(tmp_path, mode):
    (blob,) = blobs(tmp_path, DISC * 255, mode)
    assert blob.label == "object"
    assert abs(blob.xc - 320) < 12 and abs(blob.yc - 633) < 12
    assert abs(blob.r_major - 156) < 12


def test_of_an_indexed_png_the_index_counts(tmp_path):
    image = Image.fromarray(DISC * 2, mode=None).convert("P")
    image.putdata((DISC * 2).ravel().tolist())
    image.putpalette([0, 0, 0] * 256)
    image.save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text('{"2": "dog"}')
    (outcome,) = MaskBlobsStage(tmp_path, 8)([record()])
    assert [blob.label for blob in outcome.value.items] == ["dog"]


def test_instances_are_named_and_in_canonical_order(tmp_path):
    values = np.zeros((64, 64), np.uint8)
    values[10:30, 5:15], values[10:30, 40:60], values[50:60, 20:40] = 3, 7, 9
    found = blobs(tmp_path, values, names={"7": "dog", "3": "ball"})
    assert [blob.label for blob in found] == ["dog", "ball", "object"]


def test_holes_thin_and_parted_masks(tmp_path):
    ring = (((X - 32) ** 2 + (Y - 32) ** 2 < 400) & ((X - 32) ** 2 + (Y - 32) ** 2 > 200)) * 1
    (blob,) = blobs(tmp_path, ring.astype(np.uint8))
    assert abs(blob.xc - 508) < 16 and abs(blob.r_major - 312) < 40
    line = np.zeros((64, 64), np.uint8)
    line[31, 4:60] = 1
    (blob,) = blobs(tmp_path, line)
    assert blob.r_minor < 30 < 300 < blob.r_major and blob.theta in (0, 179, 1)
    parts = np.zeros((64, 64), np.uint8)
    parts[28:36, 4:14], parts[28:36, 50:60] = 1, 1
    (blob,) = blobs(tmp_path, parts)
    assert blob.r_major >= blob.r_minor >= 1
    point = np.zeros((64, 64), np.uint8)
    point[63, 63] = 1
    (blob,) = blobs(tmp_path, point)
    assert (blob.xc, blob.yc) == (992, 992)


def test_a_mask_may_be_larger_than_the_picture(tmp_path):
    (small,) = blobs(tmp_path, DISC)
    (large,) = blobs(tmp_path, np.kron(DISC, np.ones((4, 4), np.uint8)), side=32)
    assert abs(small.xc - large.xc) < 12 and abs(small.r_major - large.r_major) < 12


def test_only_the_largest_are_kept(tmp_path):
    values = np.zeros((64, 64), np.uint8)
    for index in range(10):
        values[6 * index : 6 * index + 5, : 10 + index] = index + 1
    assert len(blobs(tmp_path, values)) == 8
    assert min(blob.yc for blob in blobs(tmp_path, values)) > 180


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: Image.new("RGB", (64, 64)).save(path), "the mask has colours"),
        (lambda path: path.write_bytes(b"no picture"), "the mask cannot be read"),
        (lambda path: Image.new("L", (64, 32)).save(path), "not the form of the image, 64 x 64"),
        (
            lambda path: (
                Image.new("L", (64, 64)).save(path),
                path.with_suffix(".json").write_text("[1]"),
            ),
            "the names of the mask cannot be read",
        ),
    ],
)
def test_a_bad_mask_fails_alone(tmp_path, make, words):
    make(tmp_path / "a.png")
    Image.fromarray(DISC).save(tmp_path / "b.png")
    outcomes = MaskBlobsStage(tmp_path, 8)([record("a"), record("b"), record("c")])
    assert isinstance(outcomes[0], Failed) and words in outcomes[0].error
    assert isinstance(outcomes[1], Ok)
    assert outcomes[2] == Filtered("no mask file")


def test_a_mask_of_nothing_is_filtered(tmp_path):
    assert blobs(tmp_path, DISC * 0) == Filtered("no object found")


def test_the_folder_is_looked_for(tmp_path):
    with pytest.raises(InputMissing, match="no such folder"):
        MaskBlobsStage(tmp_path / "none", 8)
    with pytest.raises(InputMissing, match="no masks in it"):
        MaskBlobsStage(tmp_path, 8)


def test_true_masks_of_scenes_by_the_command(workspace, write_data, tmp_path, invoke):
    records = list(make_records(6, seed=3))
    write_data(records, 3)
    for each in records:
        values = np.zeros((64, 64), np.uint8)
        names = {}
        for index, item in enumerate(each.meta["truth"]["objects"], 1):
            values[mask_from_runs(item["mask"], 64)] = index
            names[str(index)] = item["shape"]
        Image.fromarray(values).save(tmp_path / f"{each.key}.png")
        (tmp_path / f"{each.key}.json").write_text(json.dumps(names))
    flags = ["--masks", str(tmp_path), "--workspace", str(workspace.root)]
    invoke("extract", "blobs", *flags)
    shard = workspace.data_shards()[0]
    for each in read_joined(workspace, shard, ["blobs"]):
        shapes = {item["shape"] for item in each.meta["truth"]["objects"]}
        assert {blob.label for blob in each.latents["blobs"].items} <= shapes
    changes = {"extract.blobs_masks": str(tmp_path)}
    own = replace(workspace, settings=override(workspace.settings, changes))
    assert extract(own, ["blobs"])[0].skipped == 2
    os.utime(tmp_path / f"{records[0].key}.png", (1, 1))
    assert extract(own, ["blobs"])[0].skipped == 0
