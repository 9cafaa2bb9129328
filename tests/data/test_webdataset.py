"""`data webdataset`: shards that others wrote, whole, odd or cut off."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
import webdataset
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.data.webdataset import write_webdataset
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.shards import read_records


def picture(value=0, form="JPEG", size=(20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 100, 200)).save(buffer, form)
    return buffer.getvalue()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def rows_of(number, count=3):
    for index in range(count):
        key = f"{number:05d}{index:04d}"
        yield f"{key}.jpg", picture(20 * index + number)
        yield f"{key}.txt", f"a  picture {key}\n".encode()
        yield f"{key}.json", json.dumps({"url": "u", "license": "CC0", "caption": "no"}).encode()


@pytest.fixture
def shards(tmp_path):
    for number in range(2):
        write_tar(tmp_path / "shards" / f"{number:05d}.tar", rows_of(number))
    return tmp_path / "shards"


def records_of(workspace):
    return [record for path in workspace.data_shards() for record in read_records(path)]


def failures(workspace):
    return {
        row.key: row.reason
        for path in workspace.data_shards()
        for row in read_rows(path)
        if row.outcome == "failed"
    }


def test_img2datasets_shards_become_data_shards_one_for_one(workspace, shards):
    summary = write_webdataset(workspace, shards)
    assert (summary.shards, summary.ok, summary.failed) == (2, 6, 0)
    first = records_of(workspace)[0]
    assert (first.key, first.caption) == ("00000-000000000", "a picture 000000000")
    assert (first.meta["source"], first.meta["licence"]) == ("webdataset", "CC0")
    assert first.pixels.shape == (10, 20, 3)
    assert {record.meta["split"] for record in records_of(workspace)} <= {"train", "heldout"}


def test_what_webdataset_itself_writes_is_read(workspace, tmp_path):
    path = tmp_path / "its.own.tar"
    with path.open("wb") as file, webdataset.TarWriter(file) as writer:
        writer.write({"__key__": "sub/one", "png": picture(3, "PNG"), "txt": "a star"})
    write_webdataset(workspace, path)
    (record,) = records_of(workspace)
    assert (record.key, record.caption, record.meta["file"]) == (
        "its-own-one",
        "a star",
        "its.own.tar/sub/one",
    )


def test_shards_are_not_changed_and_finished_ones_are_skipped(workspace, shards):
    before = {path: (sha256_file(path), path.stat().st_mtime_ns) for path in shards.iterdir()}
    write_webdataset(workspace, shards)
    again = write_webdataset(workspace, shards)
    assert (again.skipped, again.ok) == (2, 6)
    write_tar(shards / "00001.tar", rows_of(1, 4))
    changed = write_webdataset(workspace, shards)
    assert (changed.skipped, changed.ok) == (1, 7)
    (shards / "00001.tar").unlink()
    assert write_webdataset(workspace, shards).ok == 3
    path = shards / "00000.tar"
    assert (sha256_file(path), path.stat().st_mtime_ns) == before[path]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.txt", b"a star")], "it has no image."),
        ([("a.jpg", picture())], "it has no caption."),
        ([("a.jpg", b"no image"), ("a.txt", b"a star")], "not a picture of a known format"),
        ([("a.jpg", picture()), ("a.txt", b" \n")], "the caption is empty"),
        ([("a.jpg", picture()), ("a.txt", b"caf\xe9")], "not UTF-8"),
        ([("a.jpg", picture()), ("a.txt", b"x" * 2_000_000)], "its txt is over 1,000,000 bytes"),
        ([("a.jpg", picture()), ("a.txt", b"x"), ("a.json", b"{")], "its json cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_row_costs_itself_and_is_named(workspace, tmp_path, members, reason):
    good = [("b.png", picture(1, "PNG")), ("b.json", b'{"caption": "a heart"}')]
    summary = write_webdataset(workspace, write_tar(tmp_path / "one.tar", [*members, *good]))
    assert (summary.ok, summary.failed) == (1, 1)
    assert records_of(workspace)[0].caption == "a heart"
    assert reason in failures(workspace)["one-a"]
    assert failures(workspace)["one-a"].startswith("one.tar/a: ")


def test_unknown_members_links_and_folders_are_passed_over(workspace, tmp_path):
    path = tmp_path / "one.tar"
    with tarfile.open(path, "w") as tar:
        for kind, name in ((tarfile.DIRTYPE, "x.jpg"), (tarfile.SYMTYPE, "y.txt")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in (("a.cls", b"7"), ("a.JPG", picture()), ("a.txt", b"a star")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert write_webdataset(workspace, path).ok == 1


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_a_shard_that_is_cut_off_gives_whole_rows_only_and_says_so(workspace, tmp_path, share):
    whole = write_tar(tmp_path / "whole.tar", rows_of(0, 6)).read_bytes()
    end = len(whole.rstrip(b"\0"))
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[: int(end * share)])
    summary = write_webdataset(workspace, path)
    assert 0 < summary.ok < 6
    assert summary.failed == 1
    (reason,) = failures(workspace).values()
    assert reason.startswith("cut.tar/cut.tar after the last row: the shard ")
    assert [record.caption for record in records_of(workspace)] == [
        f"a picture 00000{index:04d}" for index in range(summary.ok)
    ]


def test_a_cut_between_two_members_is_seen_too(workspace, tmp_path):
    with tarfile.open(tmp_path / "cut.tar", "w") as tar:
        for name, data in rows_of(0, 2):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        end = tar.offset
    data = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[:end])
    summary = write_webdataset(workspace, tmp_path / "cut.tar")
    # The last row looks whole, but nobody can tell.
    assert (summary.ok, summary.failed) == (1, 1)
    assert "its end mark is missing" in next(iter(failures(workspace).values()))


def test_a_damaged_header_in_the_middle_is_told_of(workspace, tmp_path):
    path = write_tar(tmp_path / "one.tar", rows_of(0, 6))
    data = bytearray(path.read_bytes())
    data[data.index(b"000000003.jpg")] ^= 1
    path.write_bytes(data)
    summary = write_webdataset(workspace, path)
    assert (summary.ok, summary.failed) == (2, 1)
    assert "cut off or damaged" in next(iter(failures(workspace).values()))


def test_several_tars_in_one_are_told_of(workspace, tmp_path):
    one, two = (write_tar(tmp_path / f"{n}.tar", rows_of(n)) for n in range(2))
    path = tmp_path / "both.tar"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    summary = write_webdataset(workspace, path)
    assert (summary.ok, summary.failed) == (3, 1)
    assert "several tars in one" in next(iter(failures(workspace).values()))


def test_a_negative_size_ends_the_reading(workspace, tmp_path):
    path = write_tar(tmp_path / "one.tar", rows_of(0, 2))
    data = bytearray(path.read_bytes())
    at = data.index(b"000000001.jpg")
    data[at + 124 : at + 136] = b"\xff" * 12  # -1, in base 256
    data[at + 148 : at + 156] = b" " * 8
    checksum = sum(data[at : at + 512])
    data[at + 148 : at + 156] = b"%06o\0 " % checksum
    path.write_bytes(data)
    summary = write_webdataset(workspace, path)
    assert (summary.ok, summary.failed) == (0, 1)
    assert "negative size" in next(iter(failures(workspace).values()))


def test_keys_of_shards_differ_though_their_names_begin_alike(workspace, tmp_path):
    for number in range(2):
        name = f"a-very-long-name-of-a-set-of-pictures-{'x' * 40}-{number:05d}.tar"
        write_tar(tmp_path / "set" / name, [("0.jpg", picture(number)), ("0.txt", b"a star")])
    write_webdataset(workspace, tmp_path / "set")
    assert len({record.key for record in records_of(workspace)}) == 2


def test_a_member_that_comes_twice_and_files_beside_are_told_apart(workspace, tmp_path):
    members = [("README.md", b"x"), ("._a.jpg", b"x"), ("a.jpg", picture()), ("a.txt", b"a star")]
    twice = [("b.jpg", picture()), ("b.jpg", picture(9)), ("b.txt", b"a star")]
    summary = write_webdataset(workspace, write_tar(tmp_path / "one.tar", members + twice))
    assert (summary.ok, summary.failed) == (1, 1)
    assert "2 members jpg" in failures(workspace)["one-b"]


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_what_is_no_tar_is_refused_before_anything_is_written(workspace, tmp_path, data):
    (tmp_path / "one.tar").write_bytes(data)
    with pytest.raises(KaleidoError) as caught:
        write_webdataset(workspace, tmp_path / "one.tar")
    assert caught.value.code == "bad-data"
    assert "one.tar" in caught.value.what
    assert not workspace.data_shards()


def test_a_path_without_shards_and_the_workspaces_own_are_named(workspace, shards, tmp_path):
    with pytest.raises(KaleidoError) as caught:
        write_webdataset(workspace, tmp_path / "nowhere")
    assert caught.value.code == "bad-data"
    write_webdataset(workspace, shards)
    with pytest.raises(KaleidoError) as caught:
        write_webdataset(workspace, workspace.data)
    assert caught.value.code == "bad-data"
