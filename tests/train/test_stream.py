"""The order in which training sees records."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.core.stage import Ok, Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.latents.description import Description
from pipelines.train.stream import RecordStream
from pipelines.workspace.index import ShardIndex


def _keys(stream: RecordStream, start: int, count: int) -> list[str]:
    return [record.key for record in stream.batch(start, count)]


def test_an_epoch_sees_every_training_record_once(workspace, records, write_data) -> None:
    write_data(records, 3)
    stream = RecordStream(workspace, (), seed=1)
    assert stream.size == len(records)
    assert sorted(_keys(stream, 0, 10)) == sorted(record.key for record in records)
    assert sorted(_keys(stream, 10, 10)) == sorted(record.key for record in records)
    assert _keys(stream, 0, 10) != _keys(stream, 10, 10)


def test_order_depends_on_seed_and_position_only(workspace, records, write_data) -> None:
    write_data(records, 4)
    whole = _keys(RecordStream(workspace, (), seed=1), 0, 25)
    later = RecordStream(workspace, (), seed=1)
    assert _keys(later, 17, 8) == whole[17:]
    assert _keys(later, 3, 4) == whole[3:7]
    assert _keys(RecordStream(workspace, (), seed=2), 0, 25) != whole


def test_an_epoch_shuffles_shards_then_the_records_of_a_window(
    workspace, records, write_data, monkeypatch
) -> None:
    """The order is part of what a checkpoint means, so it must never change."""
    write_data(_split(records, 2), 4)
    monkeypatch.setattr("pipelines.train.order.WINDOW_SHARDS", 2)
    shards = [[f"r{at:03d}" for at in rows] for rows in (range(2, 4), range(4, 8), range(8, 10))]
    expected: list[str] = []
    for epoch in range(3):
        order = generator(1, "shard order", epoch).permutation(3)
        for number, window in enumerate((order[:2], order[2:])):
            keys = [key for at in window for key in shards[at]]
            mixed = generator(1, "record order", f"{epoch} {number}").permutation(len(keys))
            expected += [keys[at] for at in mixed]
    assert _keys(RecordStream(workspace, (), seed=1), 0, 24) == expected
    assert RecordStream(workspace, (), seed=1).keys(0, 24) == expected


def test_nothing_is_read_before_the_first_batch(trained_on, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.stream.ShardIndex", None)
    monkeypatch.setattr("tarfile.open", None)
    stream = RecordStream(trained_on, ("palette",), seed=1)
    assert stream.size + stream.heldout == 40


def test_a_batch_reads_its_own_members_only(trained_on, monkeypatch) -> None:
    with_images = RecordStream(trained_on, ("palette",), seed=1).batch(0, 3)
    read: list[tuple[str, ...]] = []
    usual = ShardIndex.read

    def noting(self, key, extensions):
        read.append((key, *extensions))
        return usual(self, key, extensions)

    monkeypatch.setattr(ShardIndex, "read", noting)
    stream = RecordStream(trained_on, ("palette",), seed=1, images=False)
    without = stream.batch(0, 3)
    assert without == [replace(record, image=b"") for record in with_images]
    assert all(record.image for record in with_images)
    keys = [record.key for record in without]
    assert read == [row for key in keys for row in ((key, "json"), (key, "palette.json"))]


def test_shards_without_statistics_give_the_same_stream(trained_on, tmp_path) -> None:
    """Those of older versions are counted once; what was counted is kept."""
    new = RecordStream(trained_on, ("palette",), seed=1)
    root = tmp_path / "old"
    shutil.copytree(trained_on.root, root, ignore=shutil.ignore_patterns(".cache"))
    for path in [*root.glob("data/*.json"), *root.glob("latents/*/*.json")]:
        manifest = json.loads(path.read_text())
        assert manifest.pop("statistics")
        path.write_text(json.dumps(manifest))
    workspace = replace(trained_on, root=root)
    old = RecordStream(workspace, ("palette",), seed=1)
    assert old.batch(0, 50) == new.batch(0, 50)
    assert (old.size, old.heldout, old.found) == (new.size, new.heldout, new.found)
    kept = {path.name for path in (root / ".cache" / "statistics").iterdir()}
    assert len(kept) == 4  # of two shards of data and two of palettes
    assert RecordStream(workspace, ("palette",), seed=1).batch(0, 5) == new.batch(0, 5)
    assert {path.name for path in (root / ".cache" / "statistics").iterdir()} == kept


def test_held_out_records_are_counted_and_can_be_read(workspace, records, write_data) -> None:
    write_data(_split(records, 4), 3)
    stream = RecordStream(workspace, (), seed=1)
    assert (stream.size, stream.heldout) == (6, 4)
    assert [record.key for record in stream.held_out(3)] == ["r000", "r001", "r002"]


def test_a_tar_that_was_replaced_is_named(workspace, records, write_data) -> None:
    write_data(records, 10)
    stream = RecordStream(workspace, (), seed=1)
    before = stream.batch(0, 2)
    path = workspace.data / "000000.tar"
    content = path.read_bytes()
    path.write_bytes(content[1024:] + content[:1024])
    with pytest.raises(KaleidoError) as caught:
        stream.batch(0, 2)
    assert caught.value.what == str(path)
    path.write_bytes(content[:1024])
    with pytest.raises(KaleidoError) as caught:
        stream.batch(0, 2)
    assert caught.value.what == str(path)
    path.write_bytes(content)
    assert stream.batch(0, 2) == before


def test_a_tar_that_was_cut_is_named(workspace, records, write_data) -> None:
    write_data(records, 10)
    path = workspace.data / "000000.tar"
    path.write_bytes(path.read_bytes()[: 512 * 9])
    with pytest.raises(KaleidoError) as caught:
        RecordStream(workspace, (), seed=1).batch(0, 2)
    assert caught.value.what == str(path)


def _split(records: list[Record], heldout: int) -> list[Record]:
    return [_held_out(record) for record in records[:heldout]] + records[heldout:]


def _held_out(record: Record) -> Record:
    return replace(record, meta={**record.meta, "split": "heldout"})


def test_held_out_records_are_never_trained_on(workspace, records, write_data) -> None:
    write_data(_split(records, 4), 10)
    stream = RecordStream(workspace, (), seed=0)
    assert stream.size == 6
    assert not set(_keys(stream, 0, 30)) & {record.key for record in records[:4]}


def test_no_data_names_the_command(workspace) -> None:
    with pytest.raises(InputMissing) as caught:
        RecordStream(workspace, (), seed=0)
    assert "kaleido data" in caught.value.hint


def test_latents_not_extracted_name_the_command(workspace, records, write_data) -> None:
    write_data(records, 5)
    with pytest.raises(InputMissing) as caught:
        RecordStream(workspace, ("palette",), seed=0)
    assert "kaleido extract palette" in caught.value.hint


def test_only_held_out_records_is_an_error(workspace, records, write_data) -> None:
    write_data([_held_out(record) for record in records], 10)
    with pytest.raises(KaleidoError) as caught:
        RecordStream(workspace, (), seed=0)
    assert caught.value.code == "nothing-produced"


class Several(Stage):
    """Three descriptions of each picture, the last ten times as often."""

    spec = StageSpec(name="several", version=1, output="description")

    def __call__(self, records):
        return [
            Ok(Description(f"first {r.key}", (("second one", 1.0), ("third one", 10.0))))
            for r in records
        ]


def test_each_epoch_draws_one_of_several_descriptions(workspace, records, write_data) -> None:
    write_data(records, 4)
    run_stages(workspace, [Several()], LocalEngine())

    def texts(start: int, count: int, seed: int = 1) -> dict[str, str]:
        stream = RecordStream(workspace, ("description",), seed)
        drawn = {r.key: r.latents["description"] for r in stream.batch(start, count)}
        assert not any(each.others for each in drawn.values())
        return {key: each.text for key, each in drawn.items()}

    first = texts(0, 10)
    assert first | texts(4, 3) == first, "it follows from the epoch and the key"
    counts = Counter(text.split()[0] for at in range(40) for text in texts(10 * at, 10).values())
    expected = {"first": 400 / 12, "second": 400 / 12, "third": 4000 / 12}
    assert all(abs(counts[name] - number) < 25 for name, number in expected.items())
    assert len({tuple(sorted(texts(10 * at, 10).items())) for at in range(5)}) > 2
