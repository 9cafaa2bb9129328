from __future__ import annotations

import errno
import hashlib

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.files import (
    atomic_write,
    remove_leftovers,
    replacing,
    replacing_folder,
    sha256_file,
)


def test_atomic_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.bin"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.bin"]


def test_an_error_leaves_the_old_bytes_and_no_temporary_file(tmp_path):
    path = tmp_path / "b.bin"
    atomic_write(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_remove_leftovers_removes_only_temporary_files(tmp_path):
    (tmp_path / "000000.tar.123.tmp").write_bytes(b"half")
    (tmp_path / "000000.tar").write_bytes(b"whole")
    (tmp_path / "notes.tmp").write_bytes(b"a user's own")
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000.tar", "notes.tmp"]


def test_sha256_file(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    for text in ("one", "two"):
        with replacing_folder(target) as fresh:
            (fresh / f"{text}.txt").write_text(text)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    with pytest.raises(RuntimeError), replacing_folder(target) as fresh:
        (fresh / "three.txt").write_text("half")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named_with_the_file_and_the_mend(tmp_path):
    path = tmp_path / "b.bin"
    atomic_write(path, b"old")
    with pytest.raises(KaleidoError, match="b.bin: it cannot") as caught, replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "Free some space" in caught.value.hint
    assert path.read_bytes() == b"old"
    with pytest.raises(PermissionError), replacing(path):
        raise PermissionError
