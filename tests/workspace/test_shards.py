from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.record import Record
from pipelines.workspace.shards import (
    MAX_MEMBER,
    check_key,
    image_extension,
    read_records,
    read_shard,
    record_row,
    write_shard,
)

ROWS = [
    ("a", {"png": b"p" * 700, "json": b"{}"}),
    ("b-2_", {"boxes.json": b""}),
    ("c", {"x": b"1"}),
]

keys = st.text("ABCxyz019_-", min_size=1, max_size=20)
extensions = st.sampled_from(["png", "json", "boxes.json", "a-b_c", "jpg"])
row_lists = st.lists(
    st.tuples(keys, st.dictionaries(extensions, st.binary(max_size=1500), min_size=1)),
    unique_by=lambda row: row[0],
    max_size=6,
)


@given(rows=row_lists)
@settings(deadline=None, max_examples=60)
def test_rows_come_back_in_order(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("shard") / "s.tar"
    info = write_shard(path, rows)
    assert list(read_shard(path)) == [(key, dict(fields)) for key, fields in rows]
    assert (info.count, info.sha256) == (len(rows), sha256_file(path))


def test_equal_rows_give_equal_bytes(tmp_path):
    reordered = [(key, dict(reversed(fields.items()))) for key, fields in ROWS]
    first = write_shard(tmp_path / "1.tar", ROWS)
    second = write_shard(tmp_path / "2.tar", iter(reordered))
    assert first == second
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


# webdataset leaves the file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_our_shards(tmp_path, records):
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "000000.tar"
    rows = [record_row(record) for record in records]
    write_shard(path, [(key, {**fields, "boxes.json": b"[1]"}) for key, fields in rows])
    seen = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [row["__key__"] for row in seen] == [record.key for record in records]
    assert [row["png"] for row in seen] == [record.image for record in records]
    assert {row["boxes.json"] for row in seen} == {b"[1]"}


def test_a_cut_tar_is_an_error_wherever_it_is_cut(tmp_path):
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    write_shard(whole, ROWS)
    data = whole.read_bytes()
    content = len(data.rstrip(b"\0"))
    for length in [*range(0, content + 512, 97), *range(0, content, 512)]:
        cut.write_bytes(data[:length])
        with pytest.raises(KaleidoError) as caught:
            list(read_shard(cut))
        assert caught.value.code == "bad-data" and caught.value.what == str(cut)


def test_a_cut_between_members_yields_no_partial_row(tmp_path):
    path = tmp_path / "s.tar"
    write_shard(path, [("a", {"json": b"{}", "png": b"p"})])
    path.write_bytes(path.read_bytes()[:1024])  # the json member, whole
    rows = read_shard(path)
    with pytest.raises(KaleidoError, match="truncated"):
        next(rows)


def test_a_damaged_later_header_is_an_error(tmp_path):
    path = tmp_path / "s.tar"
    write_shard(path, ROWS)
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF  # in the checksum of the second header
    path.write_bytes(data)
    with pytest.raises(KaleidoError) as caught:
        list(read_shard(path))
    assert caught.value.code == "bad-data"


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damage_of_any_kind_never_escapes_as_another_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("shard") / "s.tar"
    write_shard(path, ROWS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 4 * 1024))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        rows = list(read_shard(path))
    except KaleidoError:
        return
    assert all(key and fields for key, fields in rows)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(KaleidoError) as caught:
        list(read_shard(tmp_path / "none.tar"))
    assert caught.value.code == "bad-data"


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "../a", "é", "a b", "a\n", "x" * 73, "."])
def test_bad_keys_are_refused_and_nothing_is_written(tmp_path, key):
    with pytest.raises(BadRecord):
        check_key(key)
    with pytest.raises(BadRecord):
        write_shard(tmp_path / "s.tar", [("good", {"x": b""}), (key, {"x": b""})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extension", ["", ".", "a/b", "../x", "a..b", ".png", "png\n", "x" * 28])
def test_bad_extensions_are_refused(tmp_path, extension):
    with pytest.raises(BadRecord):
        write_shard(tmp_path / "s.tar", [("key", {extension: b""})])


def test_the_longest_names_fit(tmp_path):
    rows = [("k" * 72, {"e" * 27: b"1"})]
    write_shard(tmp_path / "s.tar", rows)
    assert list(read_shard(tmp_path / "s.tar")) == rows


def test_a_key_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(KaleidoError) as caught:
        write_shard(tmp_path / "s.tar", [("a", {"x": b""}), ("b", {"x": b""}), ("a", {"y": b""})])
    assert caught.value.code == "bad-data"


def test_a_member_over_the_limit_is_refused(tmp_path):
    with pytest.raises(BadRecord) as caught:
        write_shard(tmp_path / "s.tar", [("a", {"x": bytes(MAX_MEMBER + 1)})])
    assert caught.value.code == "bad-record"


def test_a_new_tar_is_not_described_by_the_old_manifest(tmp_path):
    path = tmp_path / "000000.tar"
    write_shard(path, ROWS)
    path.with_suffix(".json").write_text("{}")
    write_shard(path, ROWS[:1])
    assert not path.with_suffix(".json").exists()


def test_records_come_back(tmp_path, records):
    odd = Record("odd", records[0].image, "naïve ☃ | # (1, 2)\n</script>", {"truth": {"n": [1]}})
    write_shard(tmp_path / "s.tar", [record_row(record) for record in [*records, odd]])
    assert list(read_records(tmp_path / "s.tar")) == [*records, odd]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"image": b"BM" + bytes(60)}, "PNG, JPEG or WebP"),
        ({"caption": "\ud800"}, "JSON"),
        ({"meta": {"truth": float("nan")}}, "JSON"),
        ({"meta": {"truth": object()}}, "JSON"),
        ({"meta": {"caption": "x"}}, "`caption`"),
    ],
)
def test_a_record_that_cannot_be_stored_says_why(records, change, name):
    values = {"key": "k", "image": records[0].image, "caption": "c", "meta": {}} | change
    with pytest.raises(BadRecord, match=name):
        record_row(Record(**values))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"json": b'{"caption": "c"}'}, "0 images"),
        ({"png": b"1", "jpg": b"2", "json": b'{"caption": "c"}'}, "2 images"),
        ({"png": b"1"}, "no readable json"),
        ({"png": b"1", "json": b"\xff"}, "no readable json"),
        ({"png": b"1", "json": b"[]"}, "no caption"),
        ({"png": b"1", "json": b'{"caption": 3}'}, "no caption"),
    ],
)
def test_a_row_that_is_no_record_is_an_error(tmp_path, fields, message):
    write_shard(tmp_path / "s.tar", [("k", fields)])
    with pytest.raises(KaleidoError, match=message):
        list(read_records(tmp_path / "s.tar"))


def test_image_extension_goes_by_content(records):
    from io import BytesIO

    from PIL import Image

    for name, expected in [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", None)]:
        buffer = BytesIO()
        Image.fromarray(records[0].pixels).save(buffer, name)
        assert image_extension(buffer.getvalue()) == expected
