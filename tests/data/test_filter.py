"""`data check --fix`: what is kept, what is left out and why, and that the input is not touched."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from kaleido_cli.__main__ import main
from pipelines.core.errors import KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.data.check import check_data
from pipelines.data.filter import write_filtered
from pipelines.data.folder import write_folder
from pipelines.workspace.manifest import count_outcomes, read_rows
from pipelines.workspace.shards import read_records
from pipelines.workspace.workspace import Workspace


def picture(seed) -> bytes:
    cells = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return encode_png(np.asarray(Image.fromarray(cells).resize((32, 32))))


def record(key, seed, caption, split="train", licence="cc0") -> Record:
    meta = {"source": "test", "file": key, "licence": licence, "split": split}
    return Record(key, picture(seed), caption, meta)


@pytest.fixture
def filled(workspace, write_data):
    write_data(
        [
            record("first", 1, "a thing"),
            record("twin", 1, "a thing"),
            record("caption", 1, "another caption"),
            record("leak", 1, "a thing", split="heldout"),
            record("other", 2, "a thing", licence="cc-by"),
            record("last", 3, "a thing", licence="unknown"),
        ],
        4,
    )
    return workspace


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copies_and_leaks_are_left_out_and_told_of(filled, tmp_path):
    before = files(filled.root)
    target = tmp_path / "clean"
    summary = write_filtered(filled, target, check_data(filled))
    assert (summary.ok, summary.filtered, summary.failed) == (4, 2, 0)
    clean = Workspace.find(explicit=target)
    kept = [item for path in clean.data_shards() for item in read_records(path)]
    assert [item.key for item in kept] == ["first", "caption", "other", "last"]
    assert kept[0].image == picture(1)
    reasons = {row.key: row.reason for path in clean.data_shards() for row in read_rows(path)}
    assert reasons["twin"] == "it looks like first, and has its caption."
    assert reasons["leak"] == "it looks like first, on the other side of the split."
    assert files(filled.root) == before
    assert clean.settings == filled.settings
    again = check_data(clean)
    assert (len(again.leaks), [copy.key for copy in again.copies]) == (0, ["caption"])


def test_a_second_run_skips_and_a_changed_set_does_not(filled, tmp_path, write_data):
    target = tmp_path / "clean"
    write_filtered(filled, target, check_data(filled))
    assert write_filtered(filled, target, check_data(filled)).skipped == 2
    write_data([record("first", 1, "a thing"), record("new", 9, "a new thing")], 4)
    summary = write_filtered(filled, target, check_data(filled))
    assert (summary.skipped, summary.ok) == (1, 4)  # the second shard is as before


def test_licences(filled, tmp_path):
    summary = write_filtered(filled, tmp_path / "free", check_data(filled), ["cc0", "cc-by"])
    assert (summary.ok, summary.filtered) == (3, 3)
    with pytest.raises(KaleidoError) as caught:
        write_filtered(filled, tmp_path / "none", check_data(filled), ["gpl"])
    assert caught.value.code == "bad-option"
    assert "cc0, cc-by, unknown" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_rows_that_had_failed_stay_accounted_for(workspace, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in (("good", picture(1)), ("bad", b"no image")):
        (folder / f"{name}.png").write_bytes(data)
        (folder / f"{name}.txt").write_text("a caption")
    write_folder(workspace, folder)
    write_filtered(workspace, tmp_path / "clean", check_data(workspace))
    (path,) = Workspace.find(explicit=tmp_path / "clean").data_shards()
    assert count_outcomes(read_rows(path)) == {"ok": 1, "filtered": 0, "failed": 1}


def test_the_checked_workspace_is_no_target(filled):
    with pytest.raises(KaleidoError) as caught:
        write_filtered(filled, filled.root, check_data(filled))
    assert caught.value.code == "bad-option"


def test_command(filled, tmp_path, monkeypatch, capsys):
    def run(*arguments: str) -> object:
        where = ("--workspace", str(filled.root))
        monkeypatch.setattr(sys, "argv", ["kaleido", "data", "check", *arguments, *where])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    assert not run("--fix", str(tmp_path / "clean"), "--json")
    assert json.loads(capsys.readouterr().out)["filtered"] == 2
    assert run("--licences", "cc0") == 1
    assert "Add --fix" in capsys.readouterr().err
