"""A preview shows what extraction will find, and writes no latents."""

from __future__ import annotations

from dataclasses import replace

from pipelines.extract.preview import preview
from pipelines.extract.run import extract
from pipelines.extract.stages import READY
from pipelines.scenes.generate import make_records
from pipelines.workspace.reader import read_joined


def test_a_preview_finds_what_the_run_finds(workspace, write_data):
    write_data(list(make_records(5, seed=3)), 3)
    found = preview(workspace, READY, 4)
    assert found.sheet is not None and found.sheet.is_file()
    assert not (workspace.root / "latents").exists()
    extract(workspace, READY)
    made = {
        record.key: {kind: latent.to_text() for kind, latent in record.latents.items()}
        for shard in workspace.data_shards()
        for record in read_joined(workspace, shard, READY)
    }
    assert len(found.records) == 4
    assert all(record.latents == made[record.key] for record in found.records)
    assert found.problems == []


def test_what_cannot_be_read_is_named(workspace, write_data):
    good, bad = make_records(2, seed=3)
    write_data([good, replace(bad, image=bad.image[:60])], 2)
    found = preview(workspace, ["palette", "boxes"], 2)
    assert [record.key for record in found.records] == [good.key]
    assert {(key, kind) for key, kind, _ in found.problems} == {
        (bad.key, "palette"),
        (bad.key, "boxes"),
    }
