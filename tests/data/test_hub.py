"""`data hub`: Hugging Face datasets from local paths; the hub itself is out of reach in tests."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kaleido_cli.__main__ import main
from pipelines.core.errors import KaleidoError
from pipelines.data.hub import write_hub
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.shards import read_records

datasets = pytest.importorskip("datasets")


def picture(value=0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (value, 100, 200)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def parquet(tmp_path):
    """A folder as the hub holds it: Parquet, images as structs, five captions an image."""
    images = [{"bytes": picture(40 * i), "path": f"{i}.png"} for i in range(3)]
    images.append({"bytes": b"no image", "path": "3.png"})
    captions = [[f"{i} a", f"{i} b"] for i in range(4)]
    folder = tmp_path / "set"
    folder.mkdir()
    table = pa.table({"image": images, "caption": captions, "other": [1, 2, 3, 4]})
    pq.write_table(table, folder / "train-00000.parquet")
    return folder


@pytest.fixture
def saved(tmp_path):
    """What ``save_to_disk`` writes, with an `Image` feature."""
    columns = {"image": [picture(40 * i) for i in range(3)], "text": list("abc")}
    dataset = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": dataset, "val": dataset.select([2])}).save_to_disk(
        tmp_path / "saved"
    )
    return tmp_path / "saved"


def records_of(workspace):
    return [record for path in workspace.data_shards() for record in read_records(path)]


def test_a_row_gives_a_record_for_each_of_its_captions(workspace, parquet):
    summary = write_hub(workspace, str(parquet))
    assert (summary.ok, summary.failed) == (6, 2)
    records = records_of(workspace)
    assert [record.caption for record in records] == ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"]
    assert records[3].key == "row-00000001-1"
    assert (records[3].pixels == (40, 100, 200)).all()
    assert records[3].meta["source"] == "hub"
    splits = [record.meta["split"] for record in records]
    assert splits[::2] == splits[1::2]
    rows = [row for path in workspace.data_shards() for row in read_rows(path)]
    assert {row.key for row in rows if row.outcome == "failed"} == {
        "row-00000003-0",
        "row-00000003-1",
    }


def test_what_save_to_disk_wrote_with_its_splits(workspace, saved):
    assert write_hub(workspace, str(saved)).ok == 3
    assert [record.pixels[0, 0, 0] for record in records_of(workspace)] == [0, 40, 80]
    assert write_hub(workspace, str(saved), split="val", overwrite=True).ok == 1
    assert records_of(workspace)[0].caption == "c"
    with pytest.raises(KaleidoError) as caught:
        write_hub(workspace, str(saved), split="test", overwrite=True)
    assert caught.value.code == "bad-data"
    assert "train, val" in caught.value.why
    assert len(records_of(workspace)) == 1  # a mistake costs no data


def test_a_folder_of_images_with_metadata(workspace, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = []
    for index in range(2):
        (folder / f"{index}.png").write_bytes(picture(40 * index))
        lines.append(json.dumps({"file_name": f"{index}.png", "text": f"picture {index}"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    assert write_hub(workspace, str(folder)).ok == 2
    assert {record.caption for record in records_of(workspace)} == {"picture 0", "picture 1"}


def test_limit_shards_and_a_second_run(workspace, parquet):
    settings = override(workspace.settings, {"data.shard_size": 2})
    workspace = replace(workspace, settings=settings)
    first = write_hub(workspace, str(parquet), limit=2)
    assert (first.ok, len(workspace.data_shards())) == (4, 2)
    before = [path.stat().st_mtime_ns for path in workspace.data_shards()]
    assert write_hub(workspace, str(parquet), limit=2).ok == 4
    assert [path.stat().st_mtime_ns for path in workspace.data_shards()] == before


def test_missing_column_split_and_folder_are_named(workspace, parquet, tmp_path):
    with pytest.raises(KaleidoError) as caught:
        write_hub(workspace, str(parquet), image_column="picture")
    assert caught.value.code == "bad-data"
    assert "image, caption, other" in caught.value.hint
    with pytest.raises(KaleidoError) as caught:
        write_hub(workspace, str(parquet), split="val")
    assert caught.value.code == "bad-data"
    with pytest.raises(KaleidoError) as caught:
        write_hub(workspace, str(tmp_path / "nothing"))
    assert caught.value.code == "bad-data"
    assert not workspace.data_shards()


def test_addresses_are_not_fetched(workspace, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    table = pa.table({"image": ["https://example.org/1.png"], "caption": ["a"]})
    pq.write_table(table, folder / "a.parquet")
    assert write_hub(workspace, str(folder)).failed == 1
    (row,) = [row for path in workspace.data_shards() for row in read_rows(path)]
    assert row.reason.endswith("its image is an address, which is fetched with --fetch only.")


def test_without_the_package_the_extra_is_named(workspace, parquet, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(KaleidoError) as caught:
        write_hub(workspace, str(parquet))
    assert caught.value.code == "not-installed"
    assert "kaleido-diffusion[hub]" in caught.value.hint


def test_command(workspace, parquet, monkeypatch, capsys):
    arguments = ["data", "hub", str(parquet), "--workspace", str(workspace.root), "--json"]
    monkeypatch.setattr(sys, "argv", ["kaleido", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["ok"] == 6


def test_a_dataset_is_named_and_not_addressed(workspace):
    with pytest.raises(KaleidoError) as caught:
        write_hub(workspace, "https://huggingface.co/datasets/nlphuji/flickr30k")
    assert caught.value.code == "bad-option"
