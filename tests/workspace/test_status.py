from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipelines.core.files import atomic_write, temporary_path
from pipelines.workspace.manifest import Manifest, RowOutcome, count_outcomes, write_manifest
from pipelines.workspace.shards import write_shard
from pipelines.workspace.status import status

NONE = {
    "stage": None,
    "shards": 0,
    "ok": 0,
    "filtered": 0,
    "failed": 0,
    "failures": [],
    "unfinished": [],
    "stale": [],
}


def add_latents(workspace, shard, rows, source, kind="boxes") -> None:
    path = workspace.latents(kind) / f"{shard}.tar"
    ok = [(row.key, {f"{kind}.json": b"{}"}) for row in rows if row.outcome == "ok"]
    info = write_shard(path, ok)
    counts = count_outcomes(rows)
    write_manifest(path, Manifest(kind, 1, "f", counts, info.sha256, {"data": source}), rows)


def extract_all(workspace, kind) -> None:
    for path in sorted(workspace.data.glob("*.json")):
        source = json.loads(path.read_text())["sha256"]
        add_latents(workspace, path.stem, [RowOutcome("r000", "ok")], source, kind)


def add_model(workspace, name, **metadata) -> None:
    atomic_write(workspace.models(name) / "model.safetensors", b"")
    atomic_write(workspace.models(name) / "kaleido.json", json.dumps(metadata).encode())


def add_checkpoint(workspace, name, text) -> None:
    atomic_write(workspace.logs / name / "checkpoint" / "state.json", text.encode())


def test_an_empty_workspace(workspace):
    assert status(workspace) == {
        "workspace": str(workspace.root),
        "data": NONE,
        "latents": {},
        "models": [],
        "misfits": [],
        "training": {},
        "samples": [],
        "drawing": {},
        "reports": [],
        "problems": [],
        "next": "kaleido data folder PATH",
        "hint": status(workspace)["hint"],
    }


def test_rows_are_counted_and_failures_listed(workspace, write_data, records):
    write_data(records, 5)
    source = json.loads((workspace.data / "000000.json").read_text())["sha256"]
    rows = [
        RowOutcome("r000", "ok"),
        RowOutcome("r001", "filtered", "no object"),
        RowOutcome("r002", "failed", "ValueError: odd"),
    ]
    add_latents(workspace, "000000", rows, source)
    add_latents(workspace, "000001", rows[:1], "other data")
    write_shard(workspace.latents("boxes") / "000002.tar", [])
    found = status(workspace)
    assert json.loads(json.dumps(found)) == found
    assert (found["data"]["shards"], found["data"]["ok"]) == (2, 10)
    assert found["latents"]["boxes"] == {
        "stage": "boxes",
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
        add_checkpoint(workspace, name, json.dumps({"step": step, "steps": 4000, "settings": {}}))
    add_checkpoint(workspace, "old", '{"step": 3}')
    assert status(workspace)["training"] == {"baseline": {"step": 2322, "steps": 4000}}


def test_models_samples_and_reports_are_listed(workspace):
    atomic_write(workspace.models("prior") / "t5" / "model.safetensors", b"")
    workspace.models("empty").mkdir()
    atomic_write(temporary_path(workspace.models("prior")) / "model.safetensors", b"")
    atomic_write(workspace.samples("stars") / "samples.jsonl", b"")
    atomic_write(workspace.reports("first") / "report.json", b"{}")
    found = status(workspace)
    assert (found["models"], found["samples"], found["reports"]) == (
        ["prior"],
        ["stars"],
        ["first"],
    )


def test_models_of_another_prior_are_marked(workspace):
    add_model(workspace, "prior", identity="new", z_kinds=["palette"])
    add_model(workspace, "diffusion", prior="new")
    add_model(workspace, "baseline", prior="old")
    add_model(workspace, "tokenizer", identity="other")
    assert status(workspace)["misfits"] == ["baseline"]


@pytest.mark.parametrize("text", ["", "{", '{"step": 3, "ste', "[]", "7", "\udcff", "[" * 100_000])
@pytest.mark.parametrize(
    "path", ["logs/prior/checkpoint/state.json", "models/prior/kaleido.json", "data/000000.json",
             "latents/boxes/000000.json"]
)  # fmt: skip
def test_damaged_files_are_reported(workspace, write_data, records, path, text):
    write_data(records, 5)
    extract_all(workspace, "boxes")
    add_model(workspace, "prior", identity="a")
    add_checkpoint(workspace, "prior", '{"step": 3, "steps": 4}')
    (workspace.root / path).write_bytes(text.encode("utf-8", "surrogateescape"))
    found = status(workspace)
    assert [problem["path"] for problem in found["problems"]] == [str(workspace.root / path)]
    assert found["problems"][0]["reason"] and found["next"]


@pytest.mark.parametrize(
    "values",
    [{"step": "3", "steps": 4}, {"step": None}, {"steps": 4}, {"step": [1], "steps": [2]}],
)
def test_a_state_of_another_form_is_no_stopped_run(workspace, values):
    add_checkpoint(workspace, "prior", json.dumps(values))
    assert status(workspace)["training"] == {}


@pytest.mark.parametrize(
    "change",
    [{"counts": {"ok": "5", "filtered": 0, "failed": 0}}, {"counts": [1]}, {"version": "1"},
     {"stage": 3}, {"inputs": None}, {"sha256": ["a"]}, {"more": 1}],
)  # fmt: skip
def test_a_manifest_of_another_form_is_reported(workspace, write_data, records, change):
    write_data(records, 5)
    path = workspace.data / "000000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = status(workspace)
    assert [problem["path"] for problem in found["problems"]] == [str(path)]
    assert found["data"]["shards"] == 1


def test_damaged_outcomes_are_reported(workspace, write_data, records):
    write_data(records, 5)
    add_latents(workspace, "000000", [RowOutcome("r", "failed", "odd")], "x")
    damaged = workspace.latents("boxes") / "000000.parquet"
    damaged.write_bytes(b"PAR1")
    found = status(workspace)
    assert [problem["path"] for problem in found["problems"]] == [str(damaged)]
    assert found["latents"]["boxes"]["failed"] == 1


@pytest.mark.parametrize("name", ["data", "latents", "models", "samples", "logs"])
def test_a_file_in_place_of_a_folder_is_reported(workspace, name):
    (workspace.root / name).write_text("mine")
    assert [problem["path"] for problem in status(workspace)["problems"]] == [
        str(workspace.root / name)
    ]


@pytest.mark.parametrize("name", ["data", "latents", "models", "logs"])
def test_links_that_lead_nowhere_or_in_circles(workspace, name):
    (workspace.root / name).symlink_to(workspace.root / name)
    assert status(workspace)["next"]
    (workspace.root / name).unlink()
    (workspace.root / name).mkdir()
    (workspace.root / name / "x").symlink_to("x")
    (workspace.root / name / "y").symlink_to("nowhere")
    assert status(workspace)["next"]


def test_an_unreadable_folder_is_reported(workspace, monkeypatch):
    models = workspace.root / "models"
    models.mkdir()
    iterdir = type(models).iterdir

    def refuse(path):
        if path == models:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(type(models), "iterdir", refuse)
    assert status(workspace)["problems"][0]["path"] == str(models)


def test_the_next_step_of_photographs_from_data_to_samples(workspace, write_data, records):
    """They need no detector on the way: a palette alone is a z."""
    write_data(records, 5)
    assert status(workspace)["next"] == "kaleido extract palette"
    extract_all(workspace, "palette")
    assert status(workspace)["next"] == "kaleido train prior"
    add_checkpoint(workspace, "prior", '{"step": 3, "steps": 4}')
    assert status(workspace)["next"] == "kaleido train prior", "as it was started"
    add_checkpoint(workspace, "prior", '{"step": 4, "steps": 4}')
    add_model(workspace, "prior", identity="new", z_kinds=["palette"])
    assert status(workspace)["next"] == "kaleido train diffusion"
    add_model(workspace, "diffusion", prior="old")
    assert status(workspace)["next"] == "kaleido train diffusion --restart"
    add_model(workspace, "diffusion", prior="new")
    assert status(workspace)["next"] == 'kaleido sample "A CAPTION"'
    workspace.samples("x").mkdir(parents=True)
    assert status(workspace)["next"] == "kaleido train diffusion --baseline"
    add_model(workspace, "baseline", prior="new")
    assert status(workspace)["next"] == "kaleido evaluate --features facebook/dinov2-base"
    write_data([replace(record, caption="another") for record in records], 5)
    assert status(workspace)["next"] == "kaleido extract palette"


def test_the_next_step_of_scenes(workspace, write_data, records):
    write_data(records, 5)
    for path in workspace.data.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"stage": "scenes"}))
    assert status(workspace)["next"] == "kaleido extract all"
    for kind in ("boxes", "blobs", "palette"):
        extract_all(workspace, kind)
    assert status(workspace)["next"] == "kaleido train prior"
    add_model(workspace, "prior", identity="new", z_kinds=["boxes", "blobs", "palette"])
    assert status(workspace)["next"] == "kaleido train diffusion"
    add_checkpoint(workspace, "tokenizer-decoder", '{"step": 3, "steps": 4}')
    assert status(workspace)["next"] == "kaleido train tokenizer"


def test_the_command_shows_problems_and_the_next_step(workspace, invoke):
    add_checkpoint(workspace, "prior", "{")
    out, err = invoke("status", "--workspace", str(workspace.root))
    assert "state.json" in out.replace("\n", "")
    assert "kaleido data folder PATH" in err
