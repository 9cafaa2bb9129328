"""Several kinds in one pass, and failed rows again: each kind keeps its own shards and bytes."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from colour_stage import MeanColour, PaletteAgain, run_stage, run_stages

from pipelines.core import record as record_module
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Progress
from pipelines.core.stage import Ok, StageSpec
from pipelines.engines.tasks import passes
from pipelines.latents.boxes import Box, Boxes
from pipelines.workspace.manifest import read_manifest, read_rows
from pipelines.workspace.shards import read_shard
from pipelines.workspace.workspace import Workspace


class WholeBox(MeanColour):
    """One box around the whole image, in the batches of `MeanColour`."""

    def __init__(self, batch_size: int = 2) -> None:
        super().__init__()
        self.spec = StageSpec("whole-box", 1, "boxes", batch_size=batch_size)

    def __call__(self, records):
        self.calls.append([record.key for record in records])
        return [Ok(Boxes((Box(record.key, 0, 0, 1000, 1000),))) for record in records]


class Moody(MeanColour):
    """Fails at the keys in `bad`, which no fingerprint knows of: a server that is down, say."""

    def __init__(self, *bad: str) -> None:
        super().__init__()
        self.bad = bad

    def _one(self, record):
        if record.key in self.bad:
            raise ValueError("not today")
        return super()._one(record)


def _files(workspace: Workspace, *kinds: str) -> dict[str, bytes]:
    return {
        f"{kind}/{path.name}": path.read_bytes()
        for kind in kinds
        for path in workspace.latents(kind).iterdir()
    }


@pytest.fixture
def decoded(monkeypatch) -> Counter[str]:
    """Count how often each record's image is decoded."""
    counts: Counter[str] = Counter()
    decode = record_module.decode_image

    def count(data, name):
        counts[name] += 1
        return decode(data, name)

    monkeypatch.setattr(record_module, "decode_image", count)
    return counts


def test_one_pass_decodes_once_and_writes_what_two_passes_write(
    workspace, write_data, records, decoded
):
    broken = replace(records[3], image=records[3].image[:60])
    write_data([*records[:3], broken, *records[4:]], 4)
    alone = [run_stage(workspace, WholeBox()), run_stage(workspace, MeanColour())]
    expected = _files(workspace, "boxes", "palette")
    assert set(decoded.values()) == {2}
    shutil.rmtree(workspace.root / "latents")
    decoded.clear()
    together = run_stages(workspace, [WholeBox(), MeanColour()])
    assert (together, _files(workspace, "boxes", "palette")) == (alone, expected)
    assert decoded == {record.key: 1 for record in records}


def test_two_workers_write_the_bytes_of_one(workspace, write_data, records):
    write_data(records, 3)
    one = run_stages(workspace, [WholeBox(), MeanColour()])
    expected = _files(workspace, "boxes", "palette")
    shutil.rmtree(workspace.root / "latents")
    two = run_stages(workspace, [WholeBox(), MeanColour()], workers=2)
    assert (two, _files(workspace, "boxes", "palette")) == (one, expected)


def test_a_kind_that_is_done_is_not_computed_again(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, WholeBox())
    for suffix in (".tar", ".json", ".parquet"):
        (workspace.latents("boxes") / "000001").with_suffix(suffix).unlink()
    boxes, palette = WholeBox(), MeanColour()
    summaries = run_stages(workspace, [boxes, palette])
    assert [(each.kind, each.skipped) for each in summaries] == [("boxes", 1), ("palette", 0)]
    assert boxes.calls == [["r005", "r006"], ["r007", "r008"], ["r009"]]
    assert len(palette.calls) == 6


def test_training_is_told_of_the_rows_it_sees(workspace, write_data, records):
    """Which rows have a latent, and the labels of those that are not held out."""
    heldout = replace(records[1], meta=records[1].meta | {"split": "heldout"})
    broken = replace(records[2], image=records[2].image[:60])
    write_data([records[0], heldout, broken, records[3]], 4)
    run_stage(workspace, WholeBox())
    manifest = read_manifest(workspace.latents("boxes") / "000000.tar")
    assert manifest.statistics == {"rows": "0-1 3", "labels": ["r000", "r003"]}


class NeverReady(WholeBox):
    def setup(self) -> None:
        raise AssertionError("it has nothing to do")


def test_a_stage_without_work_is_not_set_up(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, WholeBox())
    assert run_stages(workspace, [NeverReady(), MeanColour()])[0].skipped == 2


def test_progress_counts_each_record_once(workspace, write_data, records):
    class Recorder(Progress):
        def task(self, description, total, unit="it", done=0):
            tasks.append((description, total, unit, done))
            return super().task(description, total, unit, done)

    tasks: list[tuple[object, ...]] = []
    write_data(records, 5)
    run_stages(workspace, [WholeBox(), MeanColour()], progress=Recorder())
    assert tasks == [("extract boxes, palette", 10, "record", 0)]


def test_stages_that_differ_in_batches_or_inputs_get_passes_of_their_own(
    workspace, write_data, records
):
    stages = [MeanColour(), WholeBox(batch_size=4), PaletteAgain()]
    assert passes(stages) == [[stage] for stage in stages]
    one, alike, two = MeanColour(), WholeBox(), WholeBox()
    alike.spec = replace(alike.spec, resources={"threads": 1})  # as many as without a word of it
    two.spec = replace(two.spec, resources={"threads": 2})
    assert passes([one, alike, two]) == [[one, alike], [two]]
    write_data(records, 5)
    assert [each.kind for each in run_stages(workspace, stages)] == ["palette", "boxes", "blobs"]


class Stops(MeanColour):
    def __call__(self, records):
        if records[0].key == "r007":
            raise RuntimeError("odd")
        return super().__call__(records)


def test_where_one_stage_stops_no_kind_of_the_shard_is_written(workspace, write_data, records):
    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        run_stages(workspace, [WholeBox(), Stops()])
    assert caught.value.what == "stage 'mean-colour'"
    names = {name.partition(".")[0] for name in _files(workspace, "boxes", "palette")}
    assert names == {"boxes/000000", "palette/000000"}


@pytest.mark.parametrize("workers", [1, 2])
def test_only_failed_rows_are_tried_again(workspace, write_data, records, workers):
    captions = {"r001": "nothing"}
    write_data([replace(r, caption=captions.get(r.key, "plain")) for r in records], 4)
    run_stage(workspace, Moody())
    whole = _files(workspace, "palette")
    shutil.rmtree(workspace.root / "latents")
    assert run_stage(workspace, Moody("r002", "r003", "r008")).failed == 3
    assert run_stage(workspace, Moody()).skipped == 3
    stage = Moody("r008")
    again = run_stage(workspace, stage, workers, retry_failed=True)
    assert (again.skipped, again.ok, again.filtered, again.failed) == (1, 8, 1, 1)
    if workers == 1:
        assert stage.calls == [["r002", "r003"], ["r008"]]
    last = run_stage(workspace, Moody(), retry_failed=True)
    assert (last.skipped, last.failed) == (2, 0)
    assert _files(workspace, "palette") == whole


def test_rows_that_did_not_fail_keep_their_bytes(workspace, write_data, records):
    """Even where the stage would say something else now."""
    write_data(records, 5)
    run_stage(workspace, Moody("r001"))
    path = workspace.latents("palette") / "000000.tar"
    before = dict(read_shard(path))

    class Black(Moody):
        def _one(self, record):
            return super()._one(replace(record, caption="nothing"))

    run_stage(workspace, Black(), retry_failed=True)
    assert dict(read_shard(path)) == before
    assert {row.key: row.outcome for row in read_rows(path)} == {
        **dict.fromkeys(("r000", "r002", "r003", "r004"), "ok"),
        "r001": "filtered",
    }


def test_retrying_computes_a_shard_of_other_options_as_a_whole(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, Moody("r001"))
    stage = MeanColour(version=2)
    assert run_stage(workspace, stage, retry_failed=True).skipped == 0
    assert sum(map(len, stage.calls)) == 10


def test_each_kind_retries_its_own_failures(workspace, write_data, records, decoded):
    write_data(records, 5)
    run_stages(workspace, [WholeBox(), Moody("r001")])
    decoded.clear()
    boxes, palette = WholeBox(), Moody()
    summaries = run_stages(workspace, [boxes, palette], retry_failed=True)
    assert [each.failed for each in summaries] == [0, 0]
    assert (boxes.calls, palette.calls, decoded) == ([], [["r001"]], {"r001": 1})
