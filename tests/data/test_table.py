"""`data table`: Parquet with bytes or paths, CSV and JSON Lines."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.data import table as table_module
from pipelines.data.rows import RawRow, _in_parts
from pipelines.data.table import write_table
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.shards import read_records
from tests.conftest import Told


def picture(value=0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (value, 100, 200)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "set"
    (folder / "png").mkdir(parents=True)
    for index in range(3):
        (folder / "png" / f"{index}.png").write_bytes(picture(40 * index))
    return folder


def records_of(workspace):
    return [record for path in workspace.data_shards() for record in read_records(path)]


def failures(workspace):
    rows = [row for path in workspace.data_shards() for row in read_rows(path)]
    return {row.key: row.reason for row in rows if row.outcome == "failed"}


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_with_bytes(workspace, tmp_path):
    pictures, texts = [picture(40 * i) for i in range(5)], [f"a {i}" for i in range(5)]
    path = write_parquet(tmp_path / "one.parquet", image=pictures, text=texts)
    summary = write_table(workspace, path)
    assert (summary.ok, summary.failed) == (5, 0)
    records = records_of(workspace)
    assert [record.caption for record in records] == texts
    assert records[3].key == "row-0000-00000003"
    assert (records[3].pixels == (120, 100, 200)).all()
    assert records[3].meta["source"] == "table"


def test_parquet_as_datasets_writes_it_and_a_folder_of_it(workspace, images):
    rows = [
        {"bytes": picture(7), "path": "x.png"},
        {"bytes": None, "path": "png/1.png"},
        {"bytes": None, "path": None},
    ]
    for name in ("a", "b"):
        write_parquet(images / f"{name}.parquet", image=rows, caption=["one", "two", "three"])
    summary = write_table(workspace, images)
    assert (summary.ok, summary.failed) == (4, 2)
    assert [record.pixels[0, 0, 0] for record in records_of(workspace)] == [7, 40, 7, 40]
    assert failures(workspace)["row-0000-00000002"].endswith("it has no image.")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_named_columns_and_paths_from_the_tables_folder_on(workspace, images, suffix):
    path = images / f"list{suffix}"
    rows = [("png/0.png", "a"), (str(images / "png" / "1.png"), "b"), ("png/9.png", "c")]
    if suffix == ".csv":
        path.write_text("where,what\n" + "".join(f"{a},{b}\n" for a, b in rows))
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps({"where": a, "what": b}) + "\n" for a, b in rows))
    else:
        write_parquet(path, where=[a for a, _ in rows], what=[b for _, b in rows])
    summary = write_table(workspace, path, "where", "what")
    assert (summary.ok, summary.failed) == (2, 1)
    assert [record.caption for record in records_of(workspace)] == ["a", "b"]
    assert "the image does not exist" in next(iter(failures(workspace).values()))


def test_bad_rows_cost_themselves(workspace, tmp_path):
    path = write_parquet(
        tmp_path / "bad.parquet",
        image=[picture(), b"no image", None, picture()],
        caption=[None, "b", "c", " "],
    )
    assert write_table(workspace, path).failed == 4
    reasons = list(failures(workspace).values())
    for reason, part in zip(
        reasons, ("no caption", "known format", "no image", "is empty"), strict=True
    ):
        assert part in reason
        assert reason.startswith("row ")


def test_only_shards_whose_rows_changed_are_written_again(workspace, tmp_path):
    pictures, captions = [picture(i) for i in range(6)], [f"a {i}" for i in range(6)]
    settings = override(workspace.settings, {"data.shard_size": 2})
    workspace = replace(workspace, settings=settings)
    path = tmp_path / "one.parquet"
    write_parquet(path, image=pictures, caption=captions)
    assert write_table(workspace, path).skipped == 0
    captions[3] = "another"
    write_parquet(path, image=pictures, caption=captions)
    summary = write_table(workspace, path)
    assert (summary.shards, summary.skipped, summary.ok) == (3, 2, 6)
    assert records_of(workspace)[3].caption == "another"


def test_what_is_no_table_is_named(workspace, tmp_path):
    (tmp_path / "no.parquet").write_bytes(b"no parquet")
    with pytest.raises(KaleidoError) as caught:
        write_table(workspace, tmp_path / "no.parquet")
    assert caught.value.code == "bad-data"
    assert "no.parquet" in caught.value.what
    with pytest.raises(KaleidoError) as caught:
        write_table(workspace, tmp_path / "nowhere.xls")
    assert caught.value.code == "bad-data"
    assert ".jsonl" in caught.value.hint
    path = write_parquet(tmp_path / "one.parquet", picture=[picture()], words=["a"])
    with pytest.raises(KaleidoError) as caught:
        write_table(workspace, path)
    assert caught.value.code == "bad-data"
    assert "picture, words" in caught.value.hint
    assert not workspace.data_shards()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_wrong_column_replaces_nothing(workspace, tmp_path, suffix):
    path = write_parquet(tmp_path / "one.parquet", image=[picture()], text=["a"])
    write_table(workspace, path)
    if suffix == ".csv":
        path = tmp_path / "one.csv"
        path.write_text("image,text\n0.png,a\n")
    with pytest.raises(KaleidoError) as caught:
        write_table(workspace, path, caption_column="txet", overwrite=True)
    assert caught.value.code == "bad-data"
    assert len(workspace.data_shards()) == 1


def test_text_that_is_not_utf8_costs_its_row(workspace, tmp_path):
    offsets, letters = np.array([0, 2, 3], np.int32), b"\xff\xfea"
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(letters)]
    words = pa.Array.from_buffers(pa.string(), 2, buffers)
    path = write_parquet(tmp_path / "one.parquet", image=[picture(), picture(1)], text=words)
    summary = write_table(workspace, path)
    assert (summary.ok, summary.failed) == (1, 1)
    assert "not UTF-8" in next(iter(failures(workspace).values()))


def test_lists_of_captions_in_every_kind_of_table(workspace, images):
    for suffix in (".parquet", ".jsonl"):
        path = images / f"list{suffix}"
        if suffix == ".parquet":
            write_parquet(path, file=["png/0.png", "png/1.png"], caption=[["a", "b"], []])
        else:
            rows = [{"path": "png/0.png", "captions": ["a", "b"]}, {"path": "1", "captions": []}]
            path.write_text("\n".join(map(json.dumps, rows)))
        summary = write_table(workspace, path, overwrite=True)
        assert (summary.ok, summary.failed) == (2, 1)
        assert [record.caption for record in records_of(workspace)] == ["a", "b"]


def test_a_csv_row_that_does_not_fit_fails_alone(workspace, images):
    path = images / "list.csv"
    path.write_text("file,caption\npng/0.png,red, ripe\npng/1.png,a pear\n")
    summary = write_table(workspace, path)
    assert (summary.ok, summary.failed) == (1, 1)
    assert "3 cells" in next(iter(failures(workspace).values()))


def test_paths_of_other_systems(workspace, images):
    (images / unicodedata.normalize("NFD", "é.png")).write_bytes(picture())
    path = images / "list.csv"
    path.write_text(f"file,caption\npng\\0.png,a\n{unicodedata.normalize('NFC', 'é.png')},b\n")
    assert write_table(workspace, path).ok == 2


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_picture_in_text_where_a_path_belongs_fails_alone(workspace, images, suffix):
    rows = [{"image": name, "caption": "words"} for name in ("png/0.png", "iVBORw0KGgo" * 400)]
    path = images / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    assert write_table(workspace, path).ok == 1
    reason = next(iter(failures(workspace).values()))
    assert "4,400 characters" in reason and len(reason) < 300


def test_names_of_tables_in_capitals(workspace, images):
    path = images / "LIST.CSV"
    path.write_text("file,caption\npng/0.png,a\n")
    assert write_table(workspace, path).ok == 1


def test_what_is_no_parquet_in_a_folder_of_it_is_named(workspace, tmp_path):
    write_parquet(tmp_path / "a.PARQUET", image=[picture()], text=["a"])
    (tmp_path / "more").mkdir()
    told = Told()
    assert write_table(workspace, tmp_path, progress=told).ok == 1
    assert "more" in "\n".join(told.said)


def test_addresses_in_text_tables_are_not_fetched(workspace, images):
    path = images / "list.csv"
    path.write_text("file,caption\nhttps://example.org/1.png,a\npng/0.png,b\n")
    assert write_table(workspace, path).failed == 1
    assert "with --fetch only" in next(iter(failures(workspace).values()))


def test_one_value_that_stands_for_many_cells_is_not_held_many_times(tmp_path, monkeypatch):
    """A file of some kB: 40 cells of 8 MB, all of them one entry of the dictionary."""
    monkeypatch.setattr(table_module, "BATCH_BYTES", 24 * 2**20)
    value = bytes(8 * 2**20)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int32()), [value])
    table = pa.table({"image": column, "caption": [f"words {i}" for i in range(40)]})
    path = tmp_path / "bomb.parquet"
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 100_000
    with pq.ParquetFile(path) as file:
        batches = table_module._batches(file, ["image", "caption"])
        assert 8 * 2**20 < next(batches).nbytes <= 24 * 2**20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_a_folder_of_parquet_does_not_hang(workspace, images):
    os.mkfifo(images / "a.parquet")
    with pytest.raises(KaleidoError):
        write_table(workspace, images)


def test_rows_in_memory_are_cut_by_their_bytes():
    rows = [RawRow(str(size), "x", bytes(size)) for size in (5, 5, 1, 30, 1, 1, 1)]
    parts = [[row.size for row in part] for part in _in_parts(rows, 3, 10)]
    assert parts == [[5, 5], [1], [30], [1, 1, 1]]
