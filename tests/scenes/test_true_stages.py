"""z of scenes by their truth: all kinds of one z are about the same objects."""

from collections import Counter

import numpy as np
import pytest

from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.latents.agreement import agreement
from pipelines.latents.items import first_mention
from pipelines.scenes.descriptions import read_description
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.true_stages import KINDS, TrueStage
from pipelines.workspace.reader import read_joined
from pipelines.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    workspace = Workspace.init(tmp_path_factory.mktemp("true") / "workspace")
    write_scenes(workspace, 60, seed=4)
    for summary in run_stages(workspace, [TrueStage(KINDS, 1)], LocalEngine()):
        assert summary.ok == 60
    (shard,) = workspace.data_shards()
    return list(read_joined(workspace, shard, KINDS))


def test_boxes_and_blobs_fit_each_other_and_the_masks(records):
    for record in records:
        found = agreement(record.latents)
        assert found.least > 0.5
        truth = record.meta["truth"]["objects"]
        for box in record.latents["boxes"].items:
            edges = (box.x1, box.y1, box.x2, box.y2)
            boxes = [o["box"] for o in truth if o["shape"] == box.label]
            assert min(np.abs(1000 * np.array(b) - edges).max() for b in boxes) <= 1.0


def test_labels_follow_the_caption_and_the_description_states_all(records):
    starts = Counter()
    for record in records:
        labels = [box.label for box in record.latents["boxes"].items]
        assert labels == [blob.label for blob in record.latents["blobs"].items]
        places = [first_mention(label, record.caption) for label in labels]
        assert places == sorted(places)
        text = record.latents["description"].text
        facts = read_description(text)
        for item in record.meta["truth"]["objects"]:
            assert facts["colour", item["shape"], item["colour"]]
        starts[text.split()[0]] += 1
    assert len(starts) > 3  # worded in several ways


def test_the_wordings_follow_from_seed_and_key(records):
    stage = TrueStage(("description",), 1)
    again = stage.compute(records, {"description"})["description"]
    assert [each.value for each in again] == [r.latents["description"] for r in records]
    other = TrueStage(("description",), 2).compute(records, {"description"})["description"]
    assert [each.value for each in other] != [each.value for each in again]
