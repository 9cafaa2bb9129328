"""`kaleido clean`: what goes, and above all what stays."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.extract.run import extract
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.clean import clean


def put(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def files(workspace):
    return {path for path in workspace.root.rglob("*") if path.is_file()}


@pytest.fixture
def filled(workspace):
    write_scenes(workspace, 6, seed=1)
    extract(workspace, ("palette",))
    return workspace


def test_a_sound_workspace_has_none(filled):
    before = files(filled)
    assert clean(filled, remove=True).leftovers == ()
    assert files(filled) == before


def test_leftovers_are_told_of_and_removed_only_when_asked(filled):
    killed = [
        put(filled.data / "000000.tar.123.tmp", "12345"),
        put(filled.data / "000009.tar"),
        put(filled.latents("palette") / "000009.parquet"),
        put(filled.models("prior.77.tmp") / "model.safetensors"),
        put(filled.logs / "prior" / "checkpoint.tmp" / "state.json"),
    ]
    summary = clean(filled, remove=False)
    assert len(summary.leftovers) == 5
    assert (summary.leftovers[0].bytes, summary.bytes) == (5, 9)
    assert all(path.exists() for path in killed)
    assert clean(filled, remove=True).removed
    assert not any(path.exists() for path in killed)
    assert clean(filled, remove=False).leftovers == ()


def test_latents_whose_data_are_gone(filled):
    for path in filled.data.glob("000000.*"):
        path.unlink()
    reasons = {item.path.suffix: item.reason for item in clean(filled, remove=True).leftovers}
    assert reasons == dict.fromkeys(
        (".json", ".parquet", ".tar"), "of latents whose data shard is gone"
    )


def test_the_only_copy_and_the_users_own_files_stay(filled):
    kept = [
        put(filled.models("prior.77.old") / "model.safetensors"),  # killed between two renames
        put(filled.logs / "prior" / "checkpoint.old" / "state.json"),
        put(filled.data / "notes.txt"),
        put(filled.data / "mine.tmp"),
        put(filled.root / "reports" / "a" / "draft.old"),
        put(filled.root / "thesis.1.tmp"),
    ]
    assert clean(filled, remove=True).leftovers == ()
    assert all(path.exists() for path in kept)


def test_a_second_copy_goes(filled):
    put(filled.models("prior") / "model.safetensors")
    old = put(filled.models("prior.77.old") / "model.safetensors")
    assert [item.path for item in clean(filled, remove=True).leftovers] == [old.parent]


@pytest.mark.parametrize("purpose", ["data", "latents/palette", "models/prior", "reports/late"])
def test_nothing_is_touched_while_a_process_writes(filled, purpose):
    put(filled.logs / "prior" / "checkpoint.tmp")
    put(filled.logs / "evaluate" / "late" / "a.npz")
    with filled.lock(purpose), pytest.raises(KaleidoError, match=purpose):
        clean(filled, remove=True)
    assert (filled.logs / "prior" / "checkpoint.tmp").exists()
