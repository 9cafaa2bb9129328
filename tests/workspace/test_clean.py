"""`kaleido clean`: leftovers go, and nothing of the user's does."""

from __future__ import annotations

import os
import shutil

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.files import TEMPORARY, temporary_path
from pipelines.core.progress import SILENT
from pipelines.core.unfinished import MARK
from pipelines.extract.run import extract
from pipelines.sample.folder import new_folder
from pipelines.scenes.generate import write_scenes
from pipelines.workspace import clean as module
from pipelines.workspace.clean import clean
from pipelines.workspace.journal import Journal

FOREIGN = (
    "prior.20240101.old", "x.tmp", "notes.txt", "000000.tar.99.tmp", "000777.tar", "000777.parquet",
    "000777.json", "checkpoint.old", "checkpoint.tmp", "prior.77.tmp", ".hidden",
    ".x.kaleido-tmp-3f9a1c22-1", "x.kaleido-tmp-3f9a1c22-1-9b1c2d3e", ".kaleido", "data.journal",
)  # fmt: skip
"""Names of the user's own files, some of them much like ours."""


def put(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def contents(folder):
    """Bytes of all files, links as such; locks come and go."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and path.suffix != ".lock"
    }


@pytest.fixture
def filled(workspace):
    write_scenes(workspace, 6, seed=1)
    extract(workspace, ("palette",))
    return workspace


@pytest.fixture
def planted(filled, tmp_path):
    """Foreign files, folders and links everywhere."""
    root, outside = filled.root, tmp_path / "outside"
    put(outside / "photo.png")
    put(temporary_path(outside / "prior") / "model.safetensors")  # of another workspace
    folders = [root, filled.data, filled.latents("palette"), filled.latents("mine")]
    for place in ("models", "models/prior", "reports", "reports/a", "samples", "logs", "downloads",
                  "logs/prior", "logs/evaluate", "logs/prior/checkpoint", "mine"):  # fmt: skip
        folders.append(root / place)
    for folder in folders:
        for name in FOREIGN:
            put(folder / name, f"mine {name}")
        put(folder / "folder.123.old" / "inside.tmp")
        (folder / "link").symlink_to(outside)
        temporary_path(folder / "linked").symlink_to(outside)
        temporary_path(folder / "linked", "old").symlink_to(outside)
    return filled


def test_a_sound_workspace_has_no_leftovers(filled):
    before = contents(filled.root)
    assert clean(filled, remove=True).leftovers == ()
    assert contents(filled.root) == before


def test_nothing_of_the_users_is_removed(planted, tmp_path):
    before = contents(tmp_path)
    assert clean(planted, remove=True).leftovers == ()
    assert contents(tmp_path) == before


def test_leftovers_are_removed_only_on_request_and_beside_foreign_files(planted, tmp_path):
    before = contents(tmp_path)
    killed = [
        put(temporary_path(planted.data / "000000.tar"), "12345"),
        put(temporary_path(planted.latents("palette") / "000000.parquet")),
        put(temporary_path(planted.models("prior")) / "model.safetensors"),
        put(temporary_path(planted.models("prior"), "old") / "model.safetensors"),
        put(temporary_path(planted.logs / "prior" / "checkpoint") / "state.json"),
        put(temporary_path(planted.reports("a") / "report.html")),
        put(temporary_path(planted.data_journal)),
    ]
    (killed[2].parent / "link").symlink_to(tmp_path / "outside")
    summary = clean(planted, remove=False)
    assert len(summary.leftovers) == 7 and not summary.removed
    assert summary.bytes == sum(item.bytes for item in summary.leftovers) >= 11
    assert all(path.exists() for path in killed)
    assert clean(planted, remove=True).removed
    assert contents(tmp_path) == before
    assert clean(planted, remove=False).leftovers == ()


def test_unfinished_shards_go_if_the_journal_names_them(planted):
    before = contents(planted.root)
    shards = [planted.data / f"{number:06d}.tar" for number in (8, 9)]
    Journal(planted.data, planted.data_journal).begin(shards)
    files = [put(shards[0]), put(shards[1]), put(shards[1].with_suffix(".parquet"))]
    assert sorted(item.path for item in clean(planted, remove=False).leftovers) == sorted(files)
    clean(planted, remove=True)
    assert contents(planted.root) == before
    assert not planted.data_journal.exists()


def test_a_finished_shard_in_the_journal_stays(filled):
    before = contents(filled.root)
    Journal(filled.data, filled.data_journal).begin([filled.data / "000000.tar"])
    assert clean(filled, remove=True).leftovers == ()
    assert contents(filled.root) == before


def test_latents_without_data_go(planted):
    for path in planted.data.glob("000000.*"):
        if path.suffix in (".tar", ".json", ".parquet"):
            path.unlink()
    folder = planted.latents("palette")
    expected = {folder / f"000000{suffix}" for suffix in (".json", ".parquet", ".tar")}
    assert {item.path for item in clean(planted, remove=True).leftovers} == expected
    assert not any(path.exists() for path in expected)
    assert (folder / "000777.tar").exists()


def test_latents_stay_where_the_data_were_moved_away(filled):
    filled.data.rename(filled.root / "elsewhere")
    before = contents(filled.root)
    assert clean(filled, remove=True).leftovers == ()
    filled.data.symlink_to(filled.root / "not-mounted")
    assert clean(filled, remove=True).leftovers == ()
    filled.data.unlink()
    assert contents(filled.root) == before


def test_the_only_copy_is_recovered(filled):
    old = temporary_path(filled.models("prior"), "old")
    put(old / "model.safetensors")
    summary = clean(filled, remove=False)
    assert (summary.leftovers, summary.recovered) == ((), (filled.models("prior"),))
    assert old.exists()
    clean(filled, remove=True)
    assert (filled.models("prior") / "model.safetensors").exists() and not old.exists()


def test_nothing_is_removed_through_a_link(filled, tmp_path):
    """Folders of the workspace that are links lead out of it."""
    for name in ("models", "latents", "data"):
        outside = tmp_path / "disk" / name
        outside.parent.mkdir(exist_ok=True)
        folder = filled.root / name
        if folder.exists():
            folder.rename(outside)
        else:
            outside.mkdir()
        folder.symlink_to(outside)
        put(temporary_path(outside / "000000.tar"))
    before = contents(tmp_path)
    Journal(tmp_path, filled.data_journal).begin([tmp_path / "000009.tar"])
    put(filled.data / "000009.tar")
    clean(filled, remove=True)
    (filled.data / "000009.tar").unlink()
    filled.data_journal.unlink()
    assert contents(tmp_path) == before


def test_one_leftover_that_cannot_go_does_not_keep_the_others(filled, monkeypatch):
    kept = put(temporary_path(filled.models("a")) / "model.safetensors").parent
    gone = put(temporary_path(filled.models("b")) / "model.safetensors").parent
    rmtree = module.shutil.rmtree

    def refuse(path):
        if path == kept:
            raise PermissionError(13, "Permission denied")
        rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", refuse)
        with pytest.raises(KaleidoError) as caught:
            clean(filled, remove=True)
    assert caught.value.what == str(kept)
    assert kept.exists() and not gone.exists()
    clean(filled, remove=True)
    assert not kept.exists()


@pytest.mark.parametrize("purpose", ["data", "latents/palette", "models/prior", "reports/late"])
def test_nothing_is_touched_while_a_process_writes(filled, purpose):
    left = put(temporary_path(filled.logs / "prior" / "checkpoint") / "state.json")
    put(filled.logs / "evaluate" / "late" / "a.npz")
    with filled.lock(purpose), pytest.raises(KaleidoError) as caught:
        clean(filled, remove=True)
    assert caught.value.code == "locked" and purpose in caught.value.why
    assert left.exists()


def test_nothing_is_touched_while_a_part_is_extracted(filled):
    left = put(temporary_path(filled.latents("palette") / "000000.tar"))
    with filled.lock("latents/palette", "2-of-3"), pytest.raises(KaleidoError) as caught:
        clean(filled, remove=True)
    assert caught.value.code == "locked" and left.exists()
    assert clean(filled, remove=True).removed and not left.exists()


@pytest.mark.parametrize("place", ["samples", "plans"])
def test_a_folder_goes_if_its_run_was_killed_before_it_made_anything(planted, tmp_path, place):
    before = contents(tmp_path)
    empty, begun = (planted.root / place / name for name in ("empty", "begun"))
    for folder in (empty, begun):
        put(folder / MARK, "")
        put(folder / "samples.jsonl", "")
        put(temporary_path(folder / "0000-0000.png"))
    picture = put(begun / "0000-0000.png")
    (planted.root / place / "linked").symlink_to(empty)
    summary = clean(planted, remove=False)
    names = [item.path.name for item in summary.leftovers]
    assert len(names) == 2 and "empty" in names and TEMPORARY.fullmatch(names[0])
    clean(planted, remove=True)
    assert not empty.exists()
    kept = [path.name for path in sorted(begun.iterdir())]
    assert kept == [MARK, picture.name, "samples.jsonl"]
    shutil.rmtree(begun)
    (planted.root / place / "linked").unlink()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("foreign", ["notes.txt", "folder/x", "link"])
def test_a_folder_of_a_killed_run_stays_if_the_user_put_something_there(
    workspace, tmp_path, foreign
):
    folder = workspace.samples("a")
    put(folder / MARK, "")
    if foreign == "link":
        folder.joinpath("samples.jsonl").symlink_to(put(tmp_path / "mine"))
    else:
        put(folder / foreign)
    before = contents(tmp_path)
    assert clean(workspace, remove=True).leftovers == ()
    assert contents(tmp_path) == before


def test_nothing_is_touched_where_a_run_is_drawing(workspace):
    with new_folder(workspace.samples, "a", "x", SILENT) as folder:
        put(temporary_path(folder / "0000-0000.png"))
        before = contents(workspace.root)
        assert clean(workspace, remove=True).leftovers == ()
        assert contents(workspace.root) == before


def test_the_command(filled, invoke):
    left = put(temporary_path(filled.data / "000000.tar"), "12345")
    flags = ("--workspace", str(filled.root))
    assert left.name in invoke("clean", *flags).out
    assert left.exists()
    assert "1 leftover" in invoke("clean", "--yes", *flags).out
    assert not left.exists()
