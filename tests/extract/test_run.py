"""Extraction in a workspace, through the real engine."""

from __future__ import annotations

import pickle
import shutil
import sys
from dataclasses import replace

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.engines.ray_cluster import RayEngine
from pipelines.extract.context import StageContext
from pipelines.extract.detectors.yolo import YoloBackend
from pipelines.extract.objects import VERSIONS
from pipelines.extract.preview import preview
from pipelines.extract.run import engine_of, extract, plan
from pipelines.extract.stages import READY, STAGES, build_stages
from pipelines.latents.registry import CACHES, KINDS
from pipelines.scenes.generate import make_records, write_scenes
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.reader import read_joined


def test_all_kinds_are_extracted_once(workspace, write_data):
    write_data(list(make_records(6, seed=3)), 3)
    first = extract(workspace, list(READY))
    assert [summary.kind for summary in first] == list(READY)
    assert all(summary.ok == 6 and summary.skipped == 0 for summary in first)
    records = [
        record
        for shard in workspace.data_shards()
        for record in read_joined(workspace, shard, list(READY))
    ]
    assert all(set(record.latents) == set(READY) for record in records)
    again = extract(workspace, list(READY))
    assert all(summary.skipped == 2 for summary in again)


def test_boxes_and_blobs_share_one_look_at_each_image(workspace, write_data, monkeypatch):
    write_data(list(make_records(6, seed=3)), 3)
    apart = [summary for kind in READY for summary in extract(workspace, [kind])]
    expected = latent_files(workspace)
    shutil.rmtree(workspace.root / "latents")
    looks: list[int] = []
    predict = YoloBackend.predict

    def count(self, images, captions):
        looks.append(len(images))
        return predict(self, images, captions)

    monkeypatch.setattr(YoloBackend, "predict", count)
    assert extract(workspace, list(READY)) == apart
    assert (looks, latent_files(workspace)) == ([3, 3], expected)
    shutil.rmtree(workspace.latents("blobs"))
    extract(workspace, list(READY))
    assert (looks, latent_files(workspace)) == ([3, 3, 3, 3], expected)


def latent_files(workspace):
    folder = workspace.root / "latents"
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("0*")}


def test_two_workers_write_the_bytes_of_one(workspace, write_data):
    write_data(list(make_records(4, seed=4)), 2)
    extract(workspace, list(READY))
    one = latent_files(workspace)
    shutil.rmtree(workspace.root / "latents")
    extract(workspace, list(READY), workers=2)
    assert latent_files(workspace) == one


def test_every_stage_makes_a_known_kind():
    assert {*STAGES, *VERSIONS} == {*KINDS, *CACHES}


def test_an_unknown_kind_is_answered_with_the_nearest(workspace):
    with pytest.raises(KaleidoError) as caught:
        extract(workspace, ["boxs"])
    assert caught.value.code == "bad-option" and "'boxes'" in caught.value.hint


def test_missing_data_are_named(workspace):
    with pytest.raises(InputMissing) as caught:
        extract(workspace, ["palette"])
    assert "kaleido data" in caught.value.hint


def test_a_detector_of_ones_own(workspace, write_data, rtdetr):
    write_data(list(make_records(4, seed=3)), 2)
    changes = {"extract.boxes_model": str(rtdetr), "extract.boxes_confidence": 0.0}
    own = replace(workspace, settings=override(workspace.settings, changes))
    (summary,) = extract(own, ["boxes"])
    assert summary.ok == 4
    shard = workspace.data_shards()[0]
    labels = {
        box.label
        for record in read_joined(workspace, shard, ["boxes"])
        for box in record.latents["boxes"].items
    }
    assert labels <= {"cat", "dog"}
    assert read_manifest(workspace.latents("boxes") / shard.name).stage == "boxes-detection"
    assert extract(own, ["boxes"])[0].skipped == 2
    assert extract(workspace, ["boxes"])[0].skipped == 0  # another detector, other latents
    with pytest.raises(KaleidoError) as caught:
        extract(own, ["blobs"])
    assert caught.value.code == "model-mismatch"


def test_blobs_of_another_networks_masks(workspace, write_data, mask2former):
    write_data(list(make_records(4, seed=3)), 2)
    changes = {"extract.boxes_model": str(mask2former), "extract.boxes_confidence": 0.0}
    own = replace(workspace, settings=override(workspace.settings, changes))
    summaries = extract(own, ["boxes", "blobs"])
    assert [summary.ok + summary.filtered for summary in summaries] == [4, 4]
    assert summaries[0].ok > 0


@pytest.mark.parametrize("kinds", [["boxes"], ["palette", "blobs"], list(READY)])
def test_the_detector_of_scenes_is_not_used_for_other_data(workspace, write_data, records, kinds):
    write_data(records, 5)
    for run in (extract, plan, lambda *given: preview(*given, 2)):
        with pytest.raises(KaleidoError) as caught:
            run(workspace, kinds)
        assert (caught.value.code, caught.value.what) == ("bad-option", "--model")
    assert not (workspace.root / "latents").exists()
    assert extract(workspace, ["palette"])[0].ok == 10


@pytest.mark.parametrize("kind", ["boxes", "blobs"])
def test_the_detector_of_scenes_can_be_named(workspace, write_data, records, kind):
    write_data(records, 5)
    named = override(workspace.settings, {f"extract.{kind}_model": "scenes"})
    (summary,) = extract(replace(workspace, settings=named), [kind])
    assert summary.ok + summary.filtered == 10


def test_scenes_need_no_name(workspace):
    write_scenes(workspace, 2, seed=3, size=16)
    assert extract(workspace, ["boxes", "blobs"])[0].failed == 0


def test_kinds_of_one_detector_keep_the_asked_order(workspace, write_data):
    write_data(list(make_records(2, seed=3)), 2)
    kinds = ["blobs", "palette", "boxes"]
    assert [summary.kind for summary in extract(workspace, kinds)] == kinds
    assert [work.kind for work in plan(workspace, kinds)] == kinds


def test_a_cluster_needs_the_extra(workspace, write_data, records, monkeypatch):
    write_data(records, 5)
    monkeypatch.setitem(sys.modules, "ray", None)
    changes = {"extract.engine": "ray"}
    asked = replace(workspace, settings=override(workspace.settings, changes))
    with pytest.raises(KaleidoError) as error:
        extract(asked, ["palette"])
    assert error.value.code == "not-installed"
    assert "[ray]" in error.value.hint


def test_a_node_finds_models_that_are_named_relative_to_the_driver(
    workspace, tmp_path, rtdetr, monkeypatch
):
    monkeypatch.chdir(rtdetr.parent)
    changes = {"extract.engine": "ray", "extract.boxes_model": rtdetr.name}
    asked = replace(workspace, settings=override(workspace.settings, changes))
    expected = [stage.specs for stage in build_stages(["boxes"], StageContext(asked))]
    engine = engine_of(asked, 1, trust_weights=False)
    assert isinstance(engine, RayEngine)
    monkeypatch.chdir(tmp_path)
    recipe = pickle.loads(pickle.dumps(engine.recipe))
    assert [stage.specs for stage in recipe(asked, ["boxes"])] == expected
