"""`extract --dry-run`: it says what a run then does, and writes nothing."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import pytest
from colour_stage import MeanColour, PaletteAgain, run_stages

from kaleido_cli.__main__ import main
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.engines.pace import read_pace
from pipelines.engines.plan import _differences, plan_stages
from pipelines.extract.run import extract, plan
from pipelines.scenes.generate import make_records
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_manifest


def files(workspace):
    return {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*") if path.is_file()}


def reasons(workspace, **options):
    (item,) = plan(workspace, ["palette"], **options)
    assert item.pending == sum(item.reasons.values())
    return dict(item.reasons)


@pytest.fixture
def filled(workspace, write_data):
    write_data(list(make_records(6, seed=3)), 3)
    return workspace


def test_a_plan_is_what_a_run_then_does(filled):
    before = files(filled)
    (item,) = plan(filled, ["palette"])
    assert (item.shards, item.pending, item.records) == (2, 2, 6)
    assert item.reasons == {"not extracted yet": 2}
    assert files(filled) == before
    assert extract(filled, ["palette"])[0].skipped == 0
    (item,) = plan(filled, ["palette"])
    assert (item.shards, item.pending, item.records, item.reasons) == (2, 0, 0, {})


def test_time_is_estimated_from_the_last_run(filled, write_data):
    (item,) = plan(filled, ["palette"])
    assert item.seconds is None
    begun = time.monotonic()
    extract(filled, ["palette"])
    pace = read_pace(filled, ["palette"])
    assert (pace.records, pace.workers) == (6, 1)
    assert 0 < pace.seconds < time.monotonic() - begun
    write_data(list(make_records(9, seed=4)), 3)
    (item,) = plan(filled, ["palette"])
    assert item.records == 9
    assert item.seconds == pytest.approx(1.5 * pace.seconds)
    two = replace(filled, settings=override(filled.settings, {"extract.workers": 2}))
    (item,) = plan(two, ["palette"])
    assert item.seconds == pytest.approx(0.75 * pace.seconds)
    extract(filled, ["palette"])
    last = read_pace(filled, ["palette"])
    for file in filled.latents("palette").glob("000001.*"):
        file.unlink()
    (item,) = plan(two, ["palette"])  # its one shard is computed by one process
    assert item.seconds == pytest.approx(last.seconds / 3)


def test_the_pace_of_an_older_version_is_read(filled):
    path = filled.logs / "extract/palette.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"records": 6, "seconds": 3.0, "workers": 2, "memory": 99}')
    assert plan(filled, ["palette"])[0].seconds == 6.0


def test_a_run_that_had_nothing_to_do_leaves_no_pace(filled):
    extract(filled, ["palette"])
    before = read_pace(filled, ["palette"])
    extract(filled, ["palette"])
    assert read_pace(filled, ["palette"]) == before
    assert read_pace(filled, ["boxes", "blobs"]) is None


def test_a_pace_that_cannot_be_read_is_no_pace(filled):
    extract(filled, ["palette"])
    pace = '{"records": %d, "seconds": 1, "workers": %d}'
    for text in ("", "[]", *(pace % numbers for numbers in ((0, 1), (-1, 1), (1, 0), (1, -1)))):
        (filled.logs / "extract/palette.json").write_text(text)
        assert read_pace(filled, ["palette"]) is None


def test_every_reason_is_told(filled, write_data):
    extract(filled, ["palette"])
    colours = filled.settings.extract.palette_colours
    changed = override(filled.settings, {"extract.palette_colours": colours - 1})
    changed = replace(filled, settings=changed)
    assert list(reasons(changed)) == [f"options changed: colours {colours} -> {colours - 1}"]

    first, second = (filled.latents("palette") / path.name for path in filled.data_shards())
    first.with_suffix(".parquet").unlink()
    assert reasons(filled) == {"its files are damaged or missing": 1}
    text = json.loads(second.with_suffix(".json").read_text())
    second.with_suffix(".json").write_text(json.dumps(text | {"fingerprint": "0" * 64}))
    assert reasons(filled)["another version of Kaleido made it"] == 1
    second.with_suffix(".json").write_text(json.dumps(text | {"fingerprint": "f" * 64}))
    assert reasons(filled)["another version of Kaleido made it"] == 1
    for other in ("a", "zz"):
        changes = {"stage": other, "fingerprint": "0" * 64}
        second.with_suffix(".json").write_text(json.dumps(text | changes))
        made = f"made by {other}, now {text['stage']}"
        assert reasons(filled) == {made: 1, "its files are damaged or missing": 1}
    write_data(list(make_records(6, seed=4)), 3)
    assert reasons(filled) == {"data changed": 2}


def test_options_are_told_by_name_and_long_ones_are_cut():
    old, new = {"a": 1, "b": [1, 2], "gone": "x" * 16}, {"a": 2, "b": (1, 2), "come": "y" * 17}
    assert _differences(old, new) == [
        "a 1 -> 2",
        f"come None -> {'y' * 15}…",
        f"gone {'x' * 16} -> None",
    ]
    assert _differences(new, old | {"a": 3})[0] == "a 2 -> 3"


def test_a_plan_counts_with_what_the_same_run_makes_first(workspace, write_data, records):
    def planned(version=1, **options):
        stages = [MeanColour(version), PaletteAgain()]
        return [(item.pending, item.reasons) for item in plan_stages(workspace, stages, **options)]

    write_data(records, 5)
    with pytest.raises(InputMissing) as caught:
        plan_stages(workspace, [PaletteAgain()])
    assert "kaleido extract palette" in caught.value.hint
    assert planned() == [(2, {"not extracted yet": 2})] * 2
    run_stages(workspace, [MeanColour(), PaletteAgain()])
    assert planned() == [(0, {})] * 2
    before, again = planned(version=2)
    assert before[0] == 2 and again == (2, {"palette computed first": 2})
    for file in workspace.latents("palette").glob("000001.*"):
        file.unlink()
    assert planned()[1] == (1, {"palette computed first": 1})
    write_data([replace(record, caption="another") for record in records], 5)
    assert planned() == [
        (2, {"data changed": 1, "not extracted yet": 1}),
        (2, {"data changed": 2}),
    ]


def test_only_failed_records_are_counted_where_they_are_retried(filled):
    extract(filled, ["palette"])
    path = filled.latents("palette") / filled.data_shards()[0].name
    text = json.loads(path.with_suffix(".json").read_text())
    text["counts"] = {"ok": 2, "filtered": 0, "failed": 1}
    path.with_suffix(".json").write_text(json.dumps(text))
    assert read_manifest(path).counts["failed"] == 1
    assert reasons(filled) == {}
    assert reasons(filled, retry_failed=True) == {"failed records are computed again": 1}
    assert plan(filled, ["palette"], retry_failed=True)[0].records == 1


def test_without_data_the_command_that_makes_them_is_named(workspace):
    with pytest.raises(InputMissing) as caught:
        plan(workspace, ["palette"])
    assert "kaleido data" in caught.value.hint


def test_command(filled, monkeypatch, capsys):
    arguments = ["extract", "all", "--dry-run", "--workspace", str(filled.root)]
    monkeypatch.setattr(sys, "argv", ["kaleido", *arguments])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert "palette: 2 of 2 shards to compute, 6 records" in printed
    assert "not extracted yet" in printed
    assert not (filled.root / "latents").exists()
    extract(filled, ["palette"])
    for path in filled.latents("palette").glob("*.parquet"):
        path.unlink()
    arguments[1] = "palette"
    monkeypatch.setattr(sys, "argv", ["kaleido", *arguments])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert "about 0 s for all kinds" in printed


@pytest.mark.parametrize("suffix", [".tar", ".json", ".parquet"])
def test_a_plan_names_files_in_the_way_as_the_run_does(filled, suffix):
    foreign = filled.latents("palette") / f"000001{suffix}"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    before = files(filled)
    with pytest.raises(KaleidoError) as planned:
        plan(filled, ["palette"])
    assert files(filled) == before
    with pytest.raises(KaleidoError) as run:
        extract(filled, ["palette"])
    assert planned.value.code == "would-overwrite"
    assert (planned.value.what, planned.value.why) == (run.value.what, run.value.why)


def test_a_plan_takes_what_a_killed_run_left_for_ours(filled):
    left = filled.latents("palette") / "000001.tar"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"cut")
    filled.latents_journal("palette", "").parent.mkdir(parents=True, exist_ok=True)
    filled.latents_journal("palette", "").write_text('["000001"]')
    (item,) = plan(filled, ["palette"])
    assert item.pending == 2
