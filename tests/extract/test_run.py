"""Extraction in a workspace, through the real engine."""

from __future__ import annotations

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.data.scenes.generate import make_records
from pipelines.extract.run import STAGES, extract
from pipelines.latents.kinds import KINDS
from pipelines.latents.reader import read_joined


def test_all_kinds_are_extracted_once(workspace, write_data):
    write_data(list(make_records(6, seed=3)), 3)
    first = extract(workspace, list(STAGES))
    assert [summary.kind for summary in first] == list(STAGES)
    assert all(summary.ok == 6 and summary.skipped == 0 for summary in first)
    records = [
        record
        for shard in workspace.data_shards()
        for record in read_joined(workspace, shard, list(STAGES))
    ]
    assert all(set(record.latents) == set(STAGES) for record in records)
    again = extract(workspace, list(STAGES))
    assert all(summary.skipped == 2 for summary in again)


def test_two_workers_write_the_bytes_of_one(workspace, write_data):
    write_data(list(make_records(4, seed=4)), 2)
    paths = [workspace.latents("palette") / shard.name for shard in workspace.data_shards()]
    extract(workspace, ["palette"])
    one = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    extract(workspace, ["palette"], workers=2)
    assert [path.read_bytes() for path in paths] == one


def test_every_kind_has_a_stage():
    assert set(STAGES) == set(KINDS)


def test_an_unknown_kind_is_answered_with_the_nearest(workspace):
    with pytest.raises(KaleidoError, match="boxes"):
        extract(workspace, ["boxs"])


def test_missing_data_are_named(workspace):
    with pytest.raises(InputMissing, match="kaleido data"):
        extract(workspace, ["palette"])
