from __future__ import annotations

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.latents.palette import Colour, Palette
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_manifest,
    write_manifest,
)
from pipelines.workspace.reader import read_joined, token_makers
from pipelines.workspace.shards import write_shard


def _palette(index: int) -> Palette:
    return Palette((Colour(index, 500, 500, 1000),))


def _write(workspace, kind, shard, keys, fields=None) -> None:
    """Commit latents of the given keys as an engine does; the other records are filtered."""
    data_path = workspace.data / f"{shard}.tar"
    data = read_manifest(data_path)
    rows = [RowOutcome(key, "ok") for key in keys]
    rows += [
        RowOutcome(f"gap{n}", "filtered", "none") for n in range(data.counts["ok"] - len(keys))
    ]
    content = [(key, fields or {f"{kind}.json": _palette(int(key[1:])).to_bytes()}) for key in keys]
    path = workspace.latents(kind) / f"{shard}.tar"
    info = write_shard(path, content)
    inputs = {"data": data.sha256}
    write_manifest(path, Manifest(kind, 1, "f", count_outcomes(rows), info.sha256, inputs), rows)


@pytest.mark.parametrize("present", [[], [0], [4], [1, 3], [0, 1, 2, 3, 4]])
def test_records_are_joined_by_key_and_gaps_are_absent(workspace, write_data, records, present):
    write_data(records[:5], 5)
    _write(workspace, "palette", "000000", [f"r{n:03d}" for n in present])
    joined = list(read_joined(workspace, workspace.data / "000000.tar", ["palette"]))
    assert [record.key for record in joined] == [record.key for record in records[:5]]
    assert [record.image for record in joined] == [record.image for record in records[:5]]
    assert [record.latents for record in joined] == [
        {"palette": _palette(n)} if n in present else {} for n in range(5)
    ]


def test_without_kinds_it_reads_the_data(workspace, write_data, records):
    write_data(records, 10)
    assert list(read_joined(workspace, workspace.data / "000000.tar")) == records


def test_a_kind_that_is_not_extracted_names_the_command(workspace, write_data, records):
    write_data(records, 10)
    with pytest.raises(InputMissing) as caught:
        next(read_joined(workspace, workspace.data / "000000.tar", ["blobs"]))
    assert caught.value.code == "input-missing" and "kaleido extract blobs" in caught.value.hint


def test_latents_of_older_data_name_the_command(workspace, write_data, records):
    write_data(records, 10)
    _write(workspace, "palette", "000000", ["r001"])
    write_data(records[:9], 10)
    with pytest.raises(InputMissing) as caught:
        next(read_joined(workspace, workspace.data / "000000.tar", ["palette"]))
    assert caught.value.code == "input-missing" and "kaleido extract palette" in caught.value.hint


@pytest.mark.parametrize("keys", [["r999"], ["r003", "r001"]])
def test_latents_that_the_data_does_not_have_are_an_error(workspace, write_data, records, keys):
    write_data(records, 10)
    _write(workspace, "palette", "000000", keys)
    with pytest.raises(KaleidoError) as caught:
        list(read_joined(workspace, workspace.data / "000000.tar", ["palette"]))
    assert caught.value.code == "bad-data" and repr(keys[-1]) in caught.value.why


def test_a_row_of_another_kind_is_an_error(workspace, write_data, records):
    write_data(records, 10)
    _write(workspace, "palette", "000000", ["r001"], fields={"boxes.json": b"{}"})
    with pytest.raises(KaleidoError) as caught:
        list(read_joined(workspace, workspace.data / "000000.tar", ["palette"]))
    assert caught.value.code == "bad-data" and "palette.json" in caught.value.why


def test_who_wrote_tokens(tmp_path):
    shards = [tmp_path / f"{number:06d}.tar" for number in range(4)]
    for path, options in zip(shards, ({"tokenizer": "a"}, {"tokenizer": "b"}, {}), strict=False):
        info = write_shard(path, [])
        made = Manifest("tokens", 1, "f", count_outcomes([]), info.sha256, options=options)
        write_manifest(path, made, [])
    assert token_makers(shards[:1]) == {"a"}
    assert token_makers(shards) == {"a", "b", ""}
    assert token_makers(shards[3:]) == set()
