"""Tars made by strangers: everything but plain files named KEY.EXT is refused."""

from __future__ import annotations

import io
import tarfile

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace.shards import MAX_MEMBER, read_shard


def _write(path, *members: tuple[tarfile.TarInfo, bytes], form=tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _typed(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.CONTTYPE,
    ],
)
def test_what_is_not_a_plain_file_is_refused(tmp_path, kind):
    path = tmp_path / "s.tar"
    _write(path, (tarfile.TarInfo("a.png"), b"1"), (_typed("b.png", kind), b""))
    with pytest.raises(KaleidoError, match="not a plain file"):
        list(read_shard(path))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd.png",
        "../up.png",
        "a/b.png",
        "./a.png",
        ".png",
        "noextension",
        "a..png",
        "a.png/",
        "a b.png",
        "é.png",
        "a\\b.png",
        "x" * 200 + ".png",
        "a." + "x" * 200,
        "C:a.png",
    ],
)
def test_names_that_are_not_key_and_extension_are_refused(tmp_path, name):
    path = tmp_path / "s.tar"
    _write(path, (tarfile.TarInfo(name), b"1"))
    with pytest.raises(KaleidoError, match="not a name of the form"):
        list(read_shard(path))


def test_a_key_ends_at_the_first_dot_as_in_webdataset(tmp_path):
    path = tmp_path / "s.tar"
    _write(path, (tarfile.TarInfo("a.v1.png"), b"1"))
    assert list(read_shard(path)) == [("a", {"v1.png": b"1"})]


@pytest.mark.parametrize("size", [MAX_MEMBER + 1, 2**40])
def test_a_huge_member_is_refused_before_it_is_read(tmp_path, size):
    path = tmp_path / "s.tar"
    member = tarfile.TarInfo("a.png")
    member.size = size
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(KaleidoError, match="over 268,435,456"):
        list(read_shard(path))


def test_a_sparse_member_that_claims_a_great_size_is_refused(tmp_path):
    path = tmp_path / "s.tar"
    member = tarfile.TarInfo("a.png")
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": str(2**40),
    }
    _write(path, (member, b"1"))
    with pytest.raises(KaleidoError, match="not a plain file"):
        list(read_shard(path))


def test_rows_that_are_repeated_or_scattered_are_refused(tmp_path):
    path = tmp_path / "s.tar"
    _write(path, *((tarfile.TarInfo(name), b"1") for name in ("a.png", "b.png", "a.json")))
    with pytest.raises(KaleidoError, match="not together"):
        list(read_shard(path))
    _write(path, *((tarfile.TarInfo(name), b"1") for name in ("a.png", "a.png")))
    with pytest.raises(KaleidoError, match="comes twice"):
        list(read_shard(path))


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8b\x08\x00" + bytes(600), bytes(511)])
def test_what_is_not_a_tar_is_refused(tmp_path, data):
    path = tmp_path / "s.tar"
    path.write_bytes(data)
    with pytest.raises(KaleidoError):
        list(read_shard(path))


def test_a_compressed_tar_is_refused(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(KaleidoError, match="cannot be read"):
        list(read_shard(path))


def test_a_name_that_is_a_command_is_only_a_name(tmp_path):
    from pathlib import Path

    with pytest.raises(KaleidoError, match="does not exist"):
        list(read_shard(Path(f"pipe:touch {tmp_path}/owned")))
    assert not (tmp_path / "owned").exists()
