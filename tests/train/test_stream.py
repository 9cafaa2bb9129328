"""The order in which training sees records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.record import Record
from pipelines.train.stream import RecordStream


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


def test_what_stays_in_memory_changes_nothing(workspace, records, write_data, monkeypatch) -> None:
    write_data(records, 4)
    usual = _keys(RecordStream(workspace, (), seed=1), 0, 25)
    kept = RecordStream(workspace, (), seed=1)
    for path in workspace.data_shards():
        path.with_suffix(".tar").unlink()
    assert _keys(kept, 0, 25) == usual
    write_data(records, 4)
    for name in ("KEPT_BYTES", "KEPT_RECORDS"):
        with monkeypatch.context() as patch:
            patch.setattr(f"pipelines.train.stream.{name}", 0)
            read_again = RecordStream(workspace, (), seed=1)
            assert not read_again._kept and _keys(read_again, 0, 25) == usual


def test_one_window_at_a_time_is_in_memory(workspace, records, write_data, monkeypatch) -> None:
    write_data(records, 2)
    monkeypatch.setattr("pipelines.train.stream.WINDOW_SHARDS", 2)
    stream = RecordStream(workspace, (), seed=1)
    read = stream._eligible

    def alone(path):
        assert stream._loaded is None
        return read(path)

    monkeypatch.setattr(stream, "_eligible", alone)
    assert len(_keys(stream, 0, 10)) == 10


def test_the_records_of_an_epoch_come_in_the_order_of_the_data(
    workspace, records, write_data
) -> None:
    write_data([_held_out(record) for record in records[:2]] + records[2:], 3)
    stream = RecordStream(workspace, (), seed=1)
    assert [record.key for record in stream.records()] == [record.key for record in records[2:]]


def _held_out(record: Record) -> Record:
    return replace(record, meta={**record.meta, "split": "heldout"})


def test_held_out_records_are_never_trained_on(workspace, records, write_data) -> None:
    write_data([_held_out(record) for record in records[:4]] + records[4:], 10)
    stream = RecordStream(workspace, (), seed=0)
    assert stream.size == 6
    assert not set(_keys(stream, 0, 30)) & {record.key for record in records[:4]}


def test_no_data_names_the_command(workspace) -> None:
    with pytest.raises(InputMissing, match="kaleido data"):
        RecordStream(workspace, (), seed=0)


def test_latents_not_extracted_name_the_command(workspace, records, write_data) -> None:
    write_data(records, 5)
    with pytest.raises(InputMissing, match="kaleido extract palette"):
        RecordStream(workspace, ("palette",), seed=0)


def test_only_held_out_records_is_an_error(workspace, records, write_data) -> None:
    write_data([_held_out(record) for record in records], 10)
    with pytest.raises(KaleidoError, match="no training record"):
        RecordStream(workspace, (), seed=0)
