from __future__ import annotations

import json

from pipelines.core.files import atomic_write
from pipelines.workspace.manifest import Manifest, RowOutcome, count_outcomes, write_manifest
from pipelines.workspace.shards import write_shard
from pipelines.workspace.status import status


def _boxes(workspace, shard, rows, source) -> None:
    path = workspace.latents("boxes") / f"{shard}.tar"
    ok = [(row.key, {"boxes.json": b"{}"}) for row in rows if row.outcome == "ok"]
    info = write_shard(path, ok)
    counts = count_outcomes(rows)
    write_manifest(path, Manifest("boxes", 1, "f", counts, info.sha256, {"data": source}), rows)


def test_an_empty_workspace(workspace):
    none = {
        "shards": 0,
        "ok": 0,
        "filtered": 0,
        "failed": 0,
        "failures": [],
        "unfinished": [],
        "stale": [],
    }
    assert status(workspace) == {
        "workspace": str(workspace.root),
        "data": none,
        "latents": {},
        "models": [],
        "training": {},
        "samples": [],
        "reports": [],
    }


def test_rows_are_counted_and_failures_named(workspace, write_data, records):
    write_data(records, 5)
    source = json.loads((workspace.data / "000000.json").read_text())["sha256"]
    rows = [
        RowOutcome("r000", "ok"),
        RowOutcome("r001", "filtered", "no object"),
        RowOutcome("r002", "failed", "ValueError: odd"),
    ]
    _boxes(workspace, "000000", rows, source)
    _boxes(workspace, "000001", rows[:1], "other data")
    write_shard(workspace.latents("boxes") / "000002.tar", [])
    found = status(workspace)
    assert json.loads(json.dumps(found)) == found
    assert (found["data"]["shards"], found["data"]["ok"]) == (2, 10)
    assert found["latents"]["boxes"] == {
        "shards": 2,
        "ok": 2,
        "filtered": 1,
        "failed": 1,
        "failures": [{"key": "r002", "shard": "000000", "reason": "ValueError: odd"}],
        "unfinished": ["000002"],
        "stale": ["000001"],
    }


def test_a_stopped_training_is_shown_until_it_is_finished(workspace):
    for name, step in (("prior", 4000), ("baseline", 2322)):
        state = {"step": step, "steps": 4000, "settings": {}}
        path = workspace.logs / name / "checkpoint" / "state.json"
        atomic_write(path, json.dumps(state).encode())
    atomic_write(workspace.logs / "old" / "checkpoint" / "state.json", b'{"step": 3}')
    assert status(workspace)["training"] == {"baseline": {"step": 2322, "steps": 4000}}


def test_models_samples_and_reports_are_named(workspace):
    atomic_write(workspace.models("prior") / "t5" / "model.safetensors", b"")
    workspace.models("empty").mkdir()
    atomic_write(workspace.samples("stars") / "samples.jsonl", b"")
    atomic_write(workspace.reports("first") / "report.json", b"{}")
    found = status(workspace)
    assert (found["models"], found["samples"], found["reports"]) == (
        ["prior"],
        ["stars"],
        ["first"],
    )
