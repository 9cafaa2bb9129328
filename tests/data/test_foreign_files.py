"""Files in ``data/`` that Kaleido did not write are never replaced or removed."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.files import temporary_path
from pipelines.data.folder import write_folder
from pipelines.data.writer import ShardPlan, Source, write_data
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.journal import Journal
from pipelines.workspace.manifest import RowOutcome

AROUND = (
    "pets.tar",
    "pets.json",
    "pets.parquet",
    "000500.tar",
    "000500.parquet",
    "0001.tar",
    "notes.20240101.tmp",
    "000000.tar.99.tmp",
    "README",
)
"""Names that no command needs."""

IN_THE_WAY = ("000000.tar", "000000.parquet", "000000.json")


@pytest.fixture
def pictures(tmp_path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for index in range(3):
        Image.effect_noise((16, 16), 40 + index).save(root / f"{index}.png")
        (root / f"{index}.txt").write_text(f"picture {index}")
    rows = [json.dumps({"file": f"{index}.png", "caption": "one"}) for index in range(3)]
    (tmp_path / "pictures.jsonl").write_text(
        "\n".join(rows).replace('"file": "', '"file": "pictures/')
    )
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name)
    return root


def plant(folder: Path, names) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(f"mine: {name}".encode())
    return contents(folder, names)


def contents(folder: Path, names) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def commands(pictures: Path) -> list[list[str]]:
    above = pictures.parent
    return [
        ["scenes", "--n", "4", "--size", "16"],
        ["folder", str(pictures)],
        ["table", str(above / "pictures.jsonl")],
        ["webdataset", str(above / "set.tar")],
        ["check"],
        ["check", "--fix", str(above / "target")],
        ["show"],
    ]


@pytest.mark.parametrize("linked", [False, True])
def test_no_command_touches_files_around_the_shards(workspace, pictures, invoke, linked, tmp_path):
    folder = workspace.data
    if linked:
        folder = tmp_path / "disk"
        folder.mkdir()
        workspace.data.symlink_to(folder, target_is_directory=True)
    before = plant(folder, AROUND)
    in_target = plant(tmp_path / "target" / "data", AROUND)
    for overwrite in (False, True):
        for command in commands(pictures):
            writes = command[0] not in ("check", "show") or "--fix" in command
            if writes and not overwrite and command[0] != "scenes":
                continue
            flags = ["--overwrite"] * (writes and overwrite)
            invoke("data", *command, *flags, "--workspace", str(workspace.root))
            assert contents(folder, AROUND) == before
            assert contents(tmp_path / "target" / "data", AROUND) == in_target
    assert workspace.data.is_symlink() == linked


@pytest.mark.parametrize("name", IN_THE_WAY)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_way_is_named_and_stays(workspace, pictures, invoke, name, overwrite):
    before = plant(workspace.data, [name])
    flags = ["--overwrite"] * overwrite
    for command in commands(pictures)[:4]:
        said = invoke("data", *command, *flags, "--workspace", str(workspace.root), code=1)
        assert name in said.err
        assert contents(workspace.data, [name]) == before
        assert [path.name for path in workspace.data.iterdir()] == [name]
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, pictures, overwrite=overwrite)
    assert caught.value.code == "would-overwrite"


def test_a_foreign_file_behind_our_shards_stops_the_run_there(workspace, pictures):
    write_folder(workspace, pictures, shard_size=1)
    for path in workspace.data.glob("000002.*"):
        path.unlink()
    before = plant(workspace.data, ["000002.tar"])
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, pictures, shard_size=1)
    assert caught.value.code == "would-overwrite"
    assert contents(workspace.data, ["000002.tar"]) == before
    write_folder(workspace, pictures, shard_size=2)
    assert contents(workspace.data, ["000002.tar"]) == before


def test_what_a_killed_run_left_is_replaced(workspace, pictures):
    """A kill leaves the journal's entry, a tar without a manifest, and a temporary file."""
    write_scenes(workspace, 6, seed=0, size=16, shard_size=3)
    whole = {path.name: path.read_bytes() for path in workspace.data.iterdir()}
    shard = workspace.data / "000001.tar"
    Journal(workspace.data, workspace.data_journal).begin([shard])
    shard.with_suffix(".json").unlink()
    temporary_path(shard).write_bytes(b"half")
    foreign = plant(workspace.data, ["000001.tar.1.tmp", "notes.5.tmp"])
    write_scenes(workspace, 6, seed=0, size=16, shard_size=3)
    after = {path.name: path.read_bytes() for path in workspace.data.iterdir()}
    assert after == whole | foreign
    assert not workspace.data_journal.exists()


@pytest.mark.parametrize("text", ["", "{", '["../../x"]', "[3]", "7", '["1"]', "[" * 100_000])
def test_a_damaged_journal_claims_nothing(tmp_path, text):
    (tmp_path / "journal").write_text(text)
    plant(tmp_path, ["000001.tar", "x.tar"])
    journal = Journal(tmp_path / "data", tmp_path / "journal")
    assert journal.unfinished() == []


def plan_of(rows) -> ShardPlan:
    return ShardPlan([repr(row) for row in rows], lambda: rows)


def test_sound_records_are_replaced_by_failed_ones_only_on_request(workspace, records):
    source = Source("fixture", 1, {})
    write_data(workspace, source, [plan_of(records[:2]), plan_of(records[2:4])], 4)
    before = {path.name: path.read_bytes() for path in workspace.data.iterdir()}
    # The second shard breaks; the first is as before.
    broken = [RowOutcome(record.key, "failed", "the disk is gone.") for record in records[2:4]]
    with pytest.raises(KaleidoError) as caught:
        write_data(workspace, source, [plan_of(records[:2]), plan_of(broken)], 4)
    assert caught.value.code == "would-overwrite"
    assert "the disk is gone" in caught.value.why
    assert {path.name: path.read_bytes() for path in workspace.data.iterdir()} == before
    assert write_data(workspace, source, [plan_of(records[:2])], 2).ok == 2
    rows = [*records[:1], broken[0]]
    assert write_data(workspace, source, [plan_of(rows)], 2).failed == 1  # it was not sound before
    write_data(workspace, source, [plan_of(records[:2])], 2)
    rows = [RowOutcome(records[0].key, "failed", "gone."), records[1]]
    assert write_data(workspace, source, [plan_of(rows)], 2, overwrite=True).failed == 1


def test_a_record_that_moved_to_a_later_shard_is_guarded_too(workspace, records):
    source = Source("fixture", 1, {})
    write_data(workspace, source, [plan_of(records[:2]), plan_of(records[2:4])], 4)
    moved = [RowOutcome(records[1].key, "failed", "gone."), *records[2:4]]
    with pytest.raises(KaleidoError) as caught:
        write_data(workspace, source, [plan_of([records[5], records[0]]), plan_of(moved)], 5)
    assert caught.value.code == "would-overwrite"
