"""Hostile tars: everything but plain files named KEY.EXT is refused, at once."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import KaleidoError
from pipelines.workspace.shards import MAX_MEMBER, read_shard, write_shard


def _write(path, *members: tuple[tarfile.TarInfo, bytes], form=tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _typed(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


def refused(path) -> KaleidoError:
    with pytest.raises(KaleidoError) as caught:
        list(read_shard(path))
    assert (caught.value.code, caught.value.what) == ("bad-data", str(path))
    return caught.value


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
    refused(path)


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
    refused(path)


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
    refused(path)


def extension_of(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """A header that extends the next one, with its data; it may claim another size."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, len(data) if size is None else size
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


SPARSE = "".join(
    f"{len(line) + 4} {line}\n"
    for line in ("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=a", "path=a.png")
).encode()


@pytest.mark.parametrize("place", ["first", "second"])
@pytest.mark.parametrize(
    "extension",
    [
        extension_of(tarfile.XHDTYPE, b"1" * 100_000),
        extension_of(tarfile.XHDTYPE, b"", 3 * 2**30),
        extension_of(tarfile.XHDTYPE, b"30 mtime=1796097048.1234567\n"),
        extension_of(tarfile.XHDTYPE, SPARSE),
        extension_of(tarfile.XGLTYPE, b"20 comment=anything\n"),
        extension_of(tarfile.SOLARIS_XHDTYPE, b"1" * 100_000),
        extension_of(tarfile.GNUTYPE_LONGNAME, b"a" * 5_000_000 + b".png\0"),
        extension_of(tarfile.GNUTYPE_LONGLINK, b"a" * 5_000_000),
        extension_of(tarfile.GNUTYPE_SPARSE, b""),
        extension_of(tarfile.XHDTYPE, b"") * 5000,
    ],
    ids=["pax", "pax-size", "pax-small", "pax-sparse", "pax-global", "solaris", "long-name",
         "long-link", "sparse", "chain"],
)  # fmt: skip
def test_extended_headers_are_refused_at_once(tmp_path, extension, place):
    """They take minutes or gigabytes in tarfile, and their errors quoted names of megabytes."""
    path = tmp_path / "s.tar"
    plain = tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes((plain if place == "second" else b"") + extension + plain + bytes(10240))
    tracemalloc.start()
    start = time.process_time()
    error = refused(path)
    assert time.process_time() - start < 1.0
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert len(str(error)) < 1000


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_headers_give_no_other_error(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.tar"
        write_shard(path, [("a", {"png": b"1", "json": b"{}"}), ("b", {"png": b"2" * 600})])
        content = bytearray(path.read_bytes())
        header = 512 * data.draw(st.sampled_from([0, 2, 4]))
        for _ in range(data.draw(st.integers(1, 4))):
            content[header + data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):  # a header that is wrong, though its checksum is right
            block = content[header : header + 512]
            block[148:156] = b" " * 8
            content[header + 148 : header + 156] = b"%06o\0 " % sum(block)
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            list(read_shard(path))
        except KaleidoError as error:
            assert error.code == "bad-data"


def test_rows_that_are_repeated_or_scattered_are_refused(tmp_path):
    path = tmp_path / "s.tar"
    _write(path, *((tarfile.TarInfo(name), b"1") for name in ("a.png", "b.png", "a.json")))
    refused(path)
    _write(path, *((tarfile.TarInfo(name), b"1") for name in ("a.png", "a.png")))
    refused(path)


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8b\x08\x00" + bytes(600), bytes(511)])
def test_what_is_not_a_tar_is_refused(tmp_path, data):
    path = tmp_path / "s.tar"
    path.write_bytes(data)
    refused(path)


def test_a_compressed_tar_is_refused(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    refused(path)


def test_a_name_that_is_a_command_is_only_a_name(tmp_path):
    with pytest.raises(KaleidoError):
        list(read_shard(Path(f"pipe:touch {tmp_path}/owned")))
    assert not (tmp_path / "owned").exists()
