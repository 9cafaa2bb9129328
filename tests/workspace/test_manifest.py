from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_manifest,
    read_rows,
    write_manifest,
)
from pipelines.workspace.shards import write_shard

ROWS = [
    RowOutcome("a", "ok"),
    RowOutcome("b", "filtered", "no object"),
    RowOutcome("c", "failed", "ValueError: naïve ☃"),
    RowOutcome("d", "ok"),
]


def _commit(path, rows=ROWS) -> Manifest:
    info = write_shard(path, [(row.key, {"x": b"1"}) for row in rows if row.outcome == "ok"])
    manifest = Manifest(
        "boxes", 2, "f" * 64, count_outcomes(rows), info.sha256, {"data": "0" * 64}, {"top": 0.5}
    )
    write_manifest(path, manifest, rows)
    return manifest


def test_manifest_and_rows_come_back(tmp_path):
    path = tmp_path / "000000.tar"
    manifest = _commit(path)
    assert read_manifest(path) == manifest
    assert manifest.counts == {"ok": 2, "filtered": 1, "failed": 1}
    assert read_rows(path) == ROWS
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "000000.json",
        "000000.parquet",
        "000000.tar",
    ]


def test_equal_content_gives_equal_files(tmp_path):
    for name in ("one", "two"):
        _commit(tmp_path / name / "000000.tar")
    for suffix in ("tar", "json", "parquet"):
        one, two = (tmp_path / name / f"000000.{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_shard_without_rows_can_be_committed(tmp_path):
    _commit(tmp_path / "000000.tar", [])
    assert read_rows(tmp_path / "000000.tar") == []


def test_a_reason_that_is_not_utf8_is_kept_escaped(tmp_path):
    path = tmp_path / "000000.tar"
    _commit(path, [RowOutcome("a", "failed", "caf\udce9.png")])
    assert read_rows(path)[0].reason == "caf\\udce9.png"


def test_counts_must_be_those_of_the_rows(tmp_path):
    path = tmp_path / "000000.tar"
    manifest = _commit(path)
    with pytest.raises(ValueError, match="counts"):
        write_manifest(path, manifest, ROWS[:2])


def test_no_manifest_or_no_tar_means_unfinished(tmp_path):
    path = tmp_path / "000000.tar"
    assert read_manifest(path) is None
    _commit(path)
    path.unlink()
    assert read_manifest(path) is None
    write_shard(path, [])
    assert read_manifest(path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"'])
def test_a_damaged_manifest_is_named(tmp_path, text):
    path = tmp_path / "000000.tar"
    _commit(path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(KaleidoError) as caught:
        read_manifest(path)
    assert caught.value.code == "bad-data" and caught.value.what.endswith("000000.json")


def test_a_manifest_with_other_counts_is_damaged(tmp_path):
    path = tmp_path / "000000.tar"
    _commit(path)
    values = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(values | {"counts": {"ok": 1}}))
    with pytest.raises(KaleidoError) as caught:
        read_manifest(path)
    assert caught.value.code == "bad-data"


def test_damaged_rows_are_named(tmp_path):
    path = tmp_path / "000000.tar"
    _commit(path)
    path.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(KaleidoError) as caught:
        read_rows(path)
    assert caught.value.code == "bad-data" and caught.value.what.endswith("000000.parquet")
    path.with_suffix(".parquet").unlink()
    with pytest.raises(KaleidoError) as caught:
        read_rows(path)
    assert caught.value.code == "bad-data" and caught.value.what.endswith("000000.parquet")


def test_a_short_program_that_reads_or_writes_rows_ends_well(tmp_path):
    """pyarrow's thread pools, once started, aborted one such program in three at its end."""
    path = tmp_path / "000000.tar"
    program = (
        "import sys; from pathlib import Path; from pipelines.workspace.manifest import *; "
        "rows = [RowOutcome('a', 'ok')]; path = Path(sys.argv[1]); "
        "write_manifest(path, Manifest('s', 1, 'f', count_outcomes(rows), '0'), rows); "
        "assert read_rows(path) == rows"
    )
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
