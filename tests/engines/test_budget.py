"""A disk budget is never exceeded; what was written before it ended stays and is gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from colour_stage import MeanColour, run_stage

from pipelines.core.errors import KaleidoError
from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Outcome, Stage, StageSpec
from pipelines.engines.local import run_stages
from pipelines.workspace.config import override
from pipelines.workspace.manifest import bytes_on_disk, read_manifest
from pipelines.workspace.shards import shard_size, write_shard
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told


class NoBlobs(Stage):
    """Shares a pass with `MeanColour`, and finds nothing."""

    spec = StageSpec("no-blobs", 1, "blobs", batch_size=2)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        return [Filtered("none")] * len(records)


@pytest.fixture
def filled(workspace, write_data, records) -> Workspace:
    """Return a workspace of five shards."""
    write_data(records, 2)
    return workspace


def limited(workspace: Workspace, budget: int) -> Workspace:
    settings = override(workspace.settings, {"extract.disk_budget": str(budget)})
    return replace(workspace, settings=settings)


def latents(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.root / "latents"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def taken(workspace: Workspace) -> int:
    return sum(map(len, latents(workspace).values()))


@pytest.fixture
def whole(filled) -> dict[str, bytes]:
    """What a run without a budget writes; it is taken away again."""
    run_stage(filled, MeanColour())
    files = latents(filled)
    for path in filled.latents("palette").iterdir():
        path.unlink()
    return files


@pytest.mark.parametrize("count", [1, 2, 100])
def test_the_size_of_a_shard_is_known_before_it_is_written(tmp_path, count):
    rows = [(f"k{i}", {"palette.json": bytes(i * 37), "txt": b"x"}) for i in range(count)]
    write_shard(tmp_path / "a.tar", rows)
    assert (tmp_path / "a.tar").stat().st_size == shard_size(rows)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_stops_at_a_shards_border_and_the_next_goes_on(filled, whole, workers):
    total = sum(map(len, whole.values()))
    budget = total * 3 // 5
    with pytest.raises(KaleidoError, match="the disk budget leaves"):
        run_stage(limited(filled, budget), MeanColour(), workers)
    assert 0 < taken(filled) <= budget
    made = latents(filled)
    assert made.items() <= whole.items()
    assert all(read_manifest(path) for path in filled.latents("palette").glob("*.tar"))
    summary = run_stage(limited(filled, total), MeanColour())  # to the byte
    assert summary.skipped == len(made) // 3
    assert latents(filled) == whole


def test_a_shard_that_is_replaced_counts_until_it_is_gone(filled, whole):
    total = sum(map(len, whole.values()))
    run_stage(filled, MeanColour(version=0))
    with pytest.raises(KaleidoError, match="leaves 0 bytes"):
        run_stage(limited(filled, taken(filled)), MeanColour())
    largest = max(bytes_on_disk(path) for path in filled.latents("palette").glob("*.tar"))
    run_stage(limited(filled, total + largest), MeanColour())
    assert latents(filled) == whole


def test_no_kind_of_a_shard_is_written_if_not_all_fit(filled):
    with pytest.raises(KaleidoError, match="palette, blobs of 000000.tar"):
        run_stages(limited(filled, 15_000), [MeanColour(), NoBlobs()])
    assert not latents(filled)


def test_the_run_says_before_it_begins_how_far_it_will_reach(filled):
    told = Told()
    run_stage(limited(filled, 10**9), MeanColour(), progress=told)
    assert told.said == ["The disk budget leaves 1.0 GB; what is needed is not known yet."]
    next(filled.latents("palette").glob("*.json")).unlink()
    told = Told()
    with pytest.raises(KaleidoError):
        run_stage(limited(filled, taken(filled) + 50), MeanColour(), progress=told)
    (text,) = told.said
    assert text.startswith("The disk budget leaves 50 bytes; about ")
    assert text.endswith("The run will stop before its end.")
    told = Told()
    run_stage(filled, MeanColour(), progress=told)
    assert told.said == []


def test_the_option_and_the_dry_run(filled, invoke, monkeypatch):
    monkeypatch.chdir(filled.root)
    invoke("extract", "palette")
    for path in filled.latents("palette").glob("00000[1-4].json"):
        path.unlink()
    size = taken(filled)
    tight = ("extract", "palette", "--disk-budget", f"{size + 10}B")
    assert "The run will stop before its end." in invoke(*tight, "--dry-run").out
    plans = json.loads(invoke(*tight, "--dry-run", "--json").out)
    assert plans["palette"]["disk_left"] == 10
    assert plans["palette"]["growth"] > 0
    assert "--disk-budget" in invoke(*tight, code=1).err
    assert "will stop" not in invoke("extract", "palette", "--disk-budget", "1GB", "--dry-run").out
    invoke("extract", "palette", "--disk-budget", "1GB")
    assert "no number of bytes" in invoke("extract", "palette", "--disk-budget", "lots", code=1).err
