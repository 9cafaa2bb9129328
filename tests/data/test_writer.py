"""Writing data shards: what cannot be written costs one row, not the run."""

from __future__ import annotations

from dataclasses import replace

from pipelines.data.writer import ShardPlan, Source, write_data
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.shards import read_records


def test_a_record_that_cannot_be_written_fails_alone(workspace, records) -> None:
    rows = [
        records[0],
        replace(records[1], meta={"score": float("nan")}),
        replace(records[2], image=b"GIF89a"),
        records[3],
    ]
    plan = ShardPlan("fixture", lambda: rows)
    summary = write_data(workspace, Source("fixture", 1, {}), [plan], len(rows))
    assert (summary.ok, summary.failed) == (2, 2)
    (path,) = workspace.data_shards()
    assert [record.key for record in read_records(path)] == ["r000", "r003"]
    reasons = {row.key: row.reason for row in read_rows(path) if row.outcome == "failed"}
    assert "JSON" in reasons["r001"]
    assert "not PNG" in reasons["r002"]
