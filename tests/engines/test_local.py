from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from colour_stage import MeanColour, PaletteAgain, Unreadable, run_stage

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.progress import Progress
from pipelines.core.stage import Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.workspace.manifest import read_manifest, read_rows
from pipelines.workspace.shards import read_shard
from pipelines.workspace.status import status
from pipelines.workspace.workspace import Workspace


def _files(workspace: Workspace, kind: str = "palette") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.latents(kind).iterdir()}


def _captioned(records, **captions):
    return [replace(record, caption=captions.get(record.key, "plain")) for record in records]


def test_every_record_gets_a_latent(workspace, write_data, records):
    write_data(records, 4)
    summary = run_stage(workspace, MeanColour())
    assert (summary.kind, summary.shards, summary.skipped) == ("palette", 3, 0)
    assert (summary.ok, summary.filtered, summary.failed, summary.failures) == (10, 0, 0, [])
    paths = sorted(workspace.latents("palette").glob("*.tar"))
    rows = [row for path in paths for row in read_shard(path)]
    assert [(key, list(fields)) for key, fields in rows] == [
        (record.key, ["palette.json"]) for record in records
    ]


def test_a_batch_never_crosses_a_shard(workspace, write_data, records):
    write_data(records[:5], 3)
    stage = MeanColour()
    run_stage(workspace, stage)
    assert stage.calls == [["r000", "r001"], ["r002"], ["r003", "r004"]]


def test_a_bad_record_costs_itself_and_is_named(workspace, write_data, records):
    chosen = {"r001": "raise", "r004": "nothing", "r006": "invalid"}
    bad = replace(records[7], image=records[7].image[:60])
    write_data(_captioned([*records[:7], bad, *records[8:]], **chosen), 5)
    summary = run_stage(workspace, MeanColour())
    assert (summary.ok, summary.filtered, summary.failed) == (6, 1, 3)
    reasons = dict(summary.failures)
    assert list(reasons) == ["r001", "r006", "r007"]
    assert reasons["r001"] == "ValueError: odd"
    assert "damaged" in reasons["r007"]
    rows = [
        row
        for shard in workspace.data_shards()
        for row in read_rows(workspace.latents("palette") / shard.name)
    ]
    assert [row.key for row in rows] == [record.key for record in records]
    assert {row.key: row.reason for row in rows if row.outcome == "filtered"} == {
        "r004": "no colour"
    }
    listed = status(workspace)["latents"]["palette"]["failures"]
    assert [(entry["key"], entry["reason"]) for entry in listed] == summary.failures


def test_a_shard_without_any_latent_can_be_read(workspace, write_data, records):
    write_data(_captioned(records[:2], r000="nothing", r001="nothing"), 2)
    assert run_stage(workspace, MeanColour()).filtered == 2
    assert list(read_shard(workspace.latents("palette") / "000000.tar")) == []


def test_what_is_up_to_date_is_skipped(workspace, write_data, records):
    write_data(_captioned(records, r003="raise"), 5)
    first = run_stage(workspace, MeanColour())
    before = {p: p.stat().st_mtime_ns for p in workspace.latents("palette").iterdir()}
    stage = MeanColour()
    second = run_stage(workspace, stage)
    assert (second, stage.calls) == (replace(first, skipped=2), [])
    assert {p: p.stat().st_mtime_ns for p in workspace.latents("palette").iterdir()} == before


class Threshold(MeanColour):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.spec = replace(self.spec, options={"value": value})


@pytest.mark.parametrize(("other", "skipped"), [(0.5, 2), (0.6, 0)])
def test_changed_options_are_not_skipped(workspace, write_data, records, other, skipped):
    write_data(records, 5)
    run_stage(workspace, Threshold(0.5))
    assert run_stage(workspace, Threshold(other)).skipped == skipped


def test_a_new_version_is_not_skipped(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, MeanColour(version=1))
    assert run_stage(workspace, MeanColour(version=2)).skipped == 0
    manifest = read_manifest(workspace.latents("palette") / "000000.tar")
    assert manifest is not None
    assert manifest.version == 2


def test_only_the_shard_whose_data_changed_is_made_again(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, MeanColour())
    write_data([*records[:9], replace(records[9], caption="changed")], 5)
    assert run_stage(workspace, MeanColour()).skipped == 1


def test_a_damaged_latent_shard_is_made_again(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, MeanColour())
    whole = _files(workspace)
    path = workspace.latents("palette") / "000001.tar"
    path.write_bytes(path.read_bytes()[:1000])
    assert run_stage(workspace, MeanColour()).skipped == 1
    assert _files(workspace) == whole


@pytest.mark.parametrize("bit", range(4))  # digests that are larger, and that are smaller
def test_a_changed_data_shard_is_refused(workspace, write_data, records, bit):
    write_data(records, 5)
    path = workspace.data / "000001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, MeanColour())
    assert caught.value.code == "bad-data" and caught.value.what == str(path)


def test_missing_data_names_the_command(workspace):
    with pytest.raises(InputMissing) as caught:
        run_stage(workspace, MeanColour())
    assert "kaleido data scenes" in caught.value.hint


def test_a_missing_input_kind_names_the_command(workspace, write_data, records):
    write_data(records, 5)
    with pytest.raises(InputMissing) as caught:
        run_stage(workspace, PaletteAgain())
    assert "kaleido extract palette" in caught.value.hint


def test_an_input_made_from_older_data_names_the_command(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, MeanColour())
    write_data(records[1:], 5)
    with pytest.raises(InputMissing) as caught:
        run_stage(workspace, PaletteAgain())
    assert "kaleido extract palette" in caught.value.hint


def test_a_record_without_the_input_is_filtered_before_the_stage(workspace, write_data, records):
    write_data(_captioned(records, r002="nothing", r003="raise"), 5)
    run_stage(workspace, MeanColour())
    summary = run_stage(workspace, PaletteAgain())
    assert (summary.ok, summary.filtered, summary.failed) == (0, 10, 0)
    reasons = {row.key: row.reason for row in read_rows(workspace.latents("blobs") / "000000.tar")}
    assert (reasons["r002"], reasons["r003"]) == ("no palette", "no palette")
    assert reasons["r001"].startswith("#")


def test_a_change_upstream_is_not_skipped(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, MeanColour())
    run_stage(workspace, PaletteAgain())
    assert run_stage(workspace, PaletteAgain()).skipped == 2
    write_data(_captioned(records, r000="nothing"), 5)
    run_stage(workspace, MeanColour())
    assert run_stage(workspace, PaletteAgain()).skipped == 0


def test_a_stage_for_an_unknown_kind_is_refused(workspace, write_data, records):
    class Unknown(MeanColour):
        def __init__(self) -> None:
            self.spec = StageSpec("unknown", 1, "pallette")

    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, Unknown())
    assert "'palette'" in caught.value.hint


class Recorder(Progress):
    def __init__(self) -> None:
        self.tasks, self.steps, self.messages = [], [], []

    @contextmanager
    def task(self, description, total, unit="it", done=0):
        self.tasks.append((description, total, unit, done))
        yield lambda n=1, note="": self.steps.append(n)

    def message(self, text):
        self.messages.append(text)


def test_progress_counts_records_and_what_was_done_before(workspace, write_data, records):
    write_data(records, 5)
    run_stage(workspace, MeanColour())
    shutil.rmtree(workspace.latents("palette"))
    run_stage(workspace, MeanColour(), progress=(first := Recorder()))
    assert (first.tasks, first.steps) == (
        [("extract palette", 10, "record", 0)],
        [2, 2, 1, 2, 2, 1],
    )
    for path in workspace.latents("palette").glob("000001.*"):
        path.unlink()
    run_stage(workspace, MeanColour(), workers=2, progress=(second := Recorder()))
    assert (second.tasks, sum(second.steps)) == ([("extract palette", 10, "record", 5)], 5)


def test_an_unfinished_data_shard_is_told_of(workspace, write_data, records):
    write_data(records, 5)
    (workspace.data / "000001.json").unlink()
    summary = run_stage(workspace, MeanColour(), progress=(progress := Recorder()))
    assert summary.shards == 1
    assert progress.messages == ["000001.tar has no manifest and is left out: make the data again."]


def test_the_lock_is_held(workspace, write_data, records):
    write_data(records, 5)
    with workspace.lock("latents/palette"), pytest.raises(KaleidoError) as caught:
        run_stage(workspace, MeanColour())
    assert caught.value.code == "locked"


def test_two_workers_write_the_same_bytes(workspace, write_data, records):
    write_data(_captioned(records, r002="raise", r003="nothing"), 2)
    one = run_stage(workspace, MeanColour())
    files = _files(workspace)
    shutil.rmtree(workspace.latents("palette"))
    before = dict(os.environ)
    two = run_stage(workspace, MeanColour(), workers=2)
    assert (two, _files(workspace)) == (one, files)
    assert dict(os.environ) == before


class NeedsWeights(MeanColour):
    def setup(self) -> None:
        raise KaleidoError("weights", "they are missing.", "Get them.", code="bad-model")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_setup_reaches_the_user_whole(workspace, write_data, records, workers):
    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, NeedsWeights(), workers)
    assert caught.value.code == "bad-model" and caught.value.hint == "Get them."


@pytest.mark.parametrize(
    ("caption", "reason", "hint"),
    [("killed", "killed", "fewer workers"), ("die", "exit code 9", "--workers 1")],
)
def test_a_worker_that_dies_is_an_error_not_a_hang(
    workspace, write_data, records, caption, reason, hint
):
    write_data(_captioned(records, r009=caption), 2)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, MeanColour(), workers=2)
    assert caught.value.code == "worker-died"
    assert reason in caught.value.why and hint in caught.value.hint


def test_a_worker_that_cannot_start_does_not_want_memory(workspace, write_data, records, capfd):
    write_data(records, 2)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, Unreadable(), workers=2)
    assert caught.value.code == "worker-died" and "could not start" in caught.value.why
    assert "no_such_module" in capfd.readouterr().err


@pytest.mark.parametrize(("resources", "threads"), [({}, 1), ({"threads": 3}, 3)])
def test_processes_have_the_threads_of_the_stages(
    workspace, write_data, records, monkeypatch, resources, threads
):
    asked = []

    def start(count, what, threads, *initial):
        asked.append((count, what, threads))
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.engines.local.Workers", start)
    write_data(records, 4)
    stage = MeanColour()
    stage.spec = replace(stage.spec, resources=resources)
    for workers, count in ((2, 2), (9, 3)):  # no more than shards
        with pytest.raises(KeyboardInterrupt):
            run_stage(workspace, stage, workers)
        assert asked.pop() == (count, "extract palette", threads)
    assert LocalEngine().workers == 1


def test_too_few_workers(workspace):
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, MeanColour(), workers=0)
    assert caught.value.code == "bad-option"


class TorchThreads(Stage):
    def __init__(self, resources: dict[str, int]) -> None:
        self.spec = StageSpec("threads", 1, "palette", resources=resources)

    def setup(self) -> None:
        import torch

        self.torch = torch

    def __call__(self, records):
        self.seen = self.torch.get_num_threads()
        return MeanColour()(records)


@pytest.mark.parametrize(("resources", "seen"), [({}, 1), ({"threads": 1}, 1), ({"threads": 3}, 3)])
def test_torch_runs_on_the_stages_threads_and_is_restored(
    workspace, write_data, records, resources, seen
):
    torch = pytest.importorskip("torch")
    write_data(records, 5)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    stage = TorchThreads(resources)
    try:
        run_stage(workspace, stage)
        assert (stage.seen, torch.get_num_threads()) == (seen, 2)
    finally:
        torch.set_num_threads(before)


def test_verify_reads_what_seems_unchanged(workspace, write_data, records):
    write_data(records, 5)
    shard = workspace.data_shards()[0]
    os.utime(shard, ns=(10**18, 10**18))
    run_stage(workspace, MeanColour())
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    os.utime(shard, ns=(10**18, 10**18))
    assert run_stage(workspace, MeanColour()).skipped == 2
    with pytest.raises(KaleidoError) as error:
        run_stage(workspace, MeanColour(), verify=True)
    assert error.value.code == "bad-data"
    with pytest.raises(KaleidoError):  # and now it is known
        run_stage(workspace, MeanColour())
