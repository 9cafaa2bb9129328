from __future__ import annotations

import errno
import hashlib
import os
import re
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.core.errors import KaleidoError
from pipelines.core.files import (
    TEMPORARY,
    atomic_write,
    check_replaceable,
    making_folder,
    recover_folder,
    remove_folder,
    remove_leftovers,
    replacing,
    replacing_folder,
    require_new,
    sha256_file,
    temporary_path,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".kaleido-files.json")


def write(folder, *files, text="ours"):
    with replacing_folder(folder) as fresh:
        for name in files:
            (fresh / name).parent.mkdir(exist_ok=True)
            (fresh / name).write_text(text)


def test_atomic_write_creates_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.bin"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["b.bin"]


def test_an_error_leaves_the_old_bytes_and_no_temporary_file(tmp_path):
    path = tmp_path / "b.bin"
    atomic_write(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["000000.tar", "x" * 255, "é" * 127, "a b"])
def test_temporary_names_have_their_own_form_and_never_collide(tmp_path, name):
    found = {temporary_path(tmp_path / name).name for _ in range(20)}
    assert len(found) == 20
    for temporary in found:
        match = TEMPORARY.fullmatch(temporary)
        assert match["kind"] == "tmp" and name.startswith(match["target"])
        assert re.search(rf"-[0-9a-f]{{8}}-{os.getpid()}-", temporary)
        assert not temporary.endswith((".tar", ".json", ".parquet"))
    atomic_write(tmp_path / name, b"fits")


@pytest.mark.parametrize(
    "name",
    ["prior.20240101.old", "x.tmp", "000000.tar.99.tmp", "prior.77.old", ".x.kaleido-tmp",
     ".x.kaleido-tmp-3f9a1c22-1", "x.kaleido-tmp-3f9a1c22-1-9b1c2d3e", "checkpoint.old",
     ".x.kaleido-tmp-3F9A1C22-1-9b1c2d3e", ".x.kaleido-new-3f9a1c22-1-9b1c2d3e"],
)  # fmt: skip
def test_names_of_the_user_are_no_temporary_names(tmp_path, name):
    (tmp_path / name).write_text("mine")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [name]


def test_remove_leftovers_removes_unfinished_files_only(tmp_path):
    temporary_path(tmp_path / "000000.tar").write_bytes(b"half")
    replaced = temporary_path(tmp_path / "000000.tar", "old")
    replaced.write_bytes(b"whole")
    link = temporary_path(tmp_path / "000001.tar")
    link.symlink_to(replaced)
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {replaced, link}
    remove_leftovers(tmp_path / "missing")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_get_the_mode_of_the_umask_whatever_writes_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "w.safetensors") as temporary:
            save_file({"w": np.ones(1)}, temporary)  # writes mode 0600
        with replacing_folder(tmp_path / "model") as fresh:
            save_file({"w": np.ones(1)}, fresh / "model.safetensors")
            (fresh / "part").mkdir()
            (fresh / "part" / "config.json").write_text("{}")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


def test_sha256_file(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    for name in ("one.txt", "two.txt"):
        write(target, name)
    assert names(target) == ["two.txt"]
    with pytest.raises(RuntimeError), replacing_folder(target) as fresh:
        (fresh / "three.txt").write_text("half")
        raise RuntimeError
    assert names(target) == ["two.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_replaced_folder_keeps_the_files_of_the_user(tmp_path):
    target = tmp_path / "model"
    write(target, "model.safetensors", "a/b.json")
    (target / "a" / "notes.txt").write_text("mine")
    (target / "mine").mkdir()
    (target / "mine" / "photo.png").write_text("mine")
    (target / "link").symlink_to(tmp_path)
    write(target, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert names(target) == [
        "a", "link", "mine", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    assert names(target / "a") == ["notes.txt"]
    assert (target / "mine" / "photo.png").read_text() == "mine"
    assert (target / "link").is_symlink()
    (target / "README.md").write_text("mine")
    with pytest.raises(KaleidoError) as caught:
        write(target, "README.md")
    assert caught.value.code == "would-overwrite"
    assert (target / "README.md").read_text() == "mine"


def test_the_folder_of_an_older_version_is_replaced(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    old = ["kaleido.json", "config.json", "model-00001-of-00002.safetensors", "notes.txt"]
    for name in old:
        (target / name).write_text("old")
    write(target, "kaleido.json", "config.json", "model.safetensors")
    assert names(target) == ["config.json", "kaleido.json", "model.safetensors", "notes.txt"]
    assert (target / "config.json").read_text() == "ours"
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("model.safetensors", "buffers.safetensors", "state.json"):
        (checkpoint / name).write_text("old")
    write(checkpoint, "state.json")
    assert names(checkpoint) == ["state.json"]


def test_what_kaleido_did_not_write_is_not_replaced(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "file-link").symlink_to(tmp_path / "file")
    for name in ("home", "file", "link", "file-link"):
        with pytest.raises(KaleidoError) as caught:
            check_replaceable(tmp_path / name)
        assert caught.value.code == "would-overwrite"
        with pytest.raises(KaleidoError):
            write(tmp_path / name, "config.json")
    assert (home / "thesis.tex").read_text() == (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file", "file-link", "home", "link"]


def test_a_link_is_written_through(tmp_path):
    real, link = tmp_path / "disk" / "prior", tmp_path / "models" / "prior"
    write(real, "model.safetensors")
    link.parent.mkdir()
    link.symlink_to(real)
    write(link, "config.json")
    assert link.is_symlink() and names(real) == ["config.json"]
    assert names(link.parent) == names(real.parent) == ["prior"]
    dangling = tmp_path / "models" / "late"
    dangling.symlink_to(tmp_path / "disk" / "late")
    write(dangling, "config.json")
    assert dangling.is_symlink() and names(tmp_path / "disk" / "late") == ["config.json"]


def test_a_folder_lost_between_two_renames_is_recovered(tmp_path):
    target = tmp_path / "model"
    write(target, "config.json")
    target.rename(temporary_path(target, "old"))
    (tmp_path / "model.77.old").mkdir()
    recover_folder(target)
    assert names(tmp_path) == ["model", "model.77.old"]
    recover_folder(target)
    assert names(target) == ["config.json"]


def test_a_failed_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "model"
    write(target, "config.json")
    rename = type(target).rename

    def fail(path, to):
        if to == target and "kaleido-tmp" in path.name:
            raise PermissionError
        return rename(path, to)

    monkeypatch.setattr(type(target), "rename", fail)
    with pytest.raises(PermissionError):
        write(target, "other.json")
    assert names(target) == ["config.json"]
    assert names(tmp_path) == ["model"]


def test_remove_folder_keeps_the_files_of_the_user(tmp_path):
    target = tmp_path / "checkpoint"
    write(target, "model.safetensors", "part/state.json")
    remove_folder(target)
    assert not target.exists()
    write(target, "model.safetensors", "part/state.json")
    (target / "notes.txt").write_text("mine")
    remove_folder(target)
    assert names(target) == ["notes.txt"]
    link = tmp_path / "link"
    link.symlink_to(target)
    remove_folder(link)
    remove_folder(tmp_path / "missing")
    assert names(target) == ["notes.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
    ],
)
def test_a_full_disk_is_an_error_with_the_path(tmp_path, error):
    path = tmp_path / "b.bin"
    atomic_write(path, b"old")
    write(tmp_path / "model", "config.json")
    for target, writer in ((path, replacing), (tmp_path / "model", replacing_folder)):
        with pytest.raises(KaleidoError) as caught, writer(target):
            raise error
        assert (caught.value.code, caught.value.what) == ("no-space", str(target))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["b.bin", "model"]
    with pytest.raises(PermissionError), replacing(path):
        raise PermissionError


def test_a_full_disk_below_an_unfinished_folder_names_what_it_was_to_become(tmp_path):
    with (
        pytest.raises(KaleidoError) as caught,
        making_folder(tmp_path / "all") as fresh,
        replacing_folder(fresh / "prior"),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.what == str(tmp_path / "all" / "prior")


def test_a_folder_is_made_whole_or_not_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with making_folder(tmp_path / name) as folder:
            (folder / "a").write_text("a")
            assert not (tmp_path / name / "a").exists()
        assert names(tmp_path / name) == ["a"]
    with pytest.raises(ValueError), making_folder(tmp_path / "stopped") as folder:
        (folder / "a").write_text("a")
        raise ValueError
    assert names(tmp_path) == ["empty", "new"]


def test_a_folder_with_content_is_not_new(tmp_path):
    (tmp_path / "file").write_text("")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(KaleidoError) as caught, making_folder(taken):
            pass
        assert caught.value.code == "would-overwrite"
    require_new(tmp_path / "new")
