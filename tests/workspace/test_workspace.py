from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace.config import write_toml
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace


def test_init_writes_the_settings_once(tmp_path):
    workspace = Workspace.init(tmp_path / "new" / "ws")
    assert workspace.settings == Settings()
    assert (workspace.root / "kaleido.toml").read_text() == write_toml(Settings())
    with pytest.raises(KaleidoError) as caught:
        Workspace.init(workspace.root)
    assert caught.value.code == "would-overwrite"


def test_init_keeps_what_a_folder_holds(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    Workspace.init(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_init_on_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KaleidoError) as caught:
        Workspace.init(tmp_path / "file")
    assert caught.value.code == "bad-option"


def test_find_looks_upward(tmp_path, monkeypatch):
    workspace = Workspace.init(tmp_path / "ws")
    below = workspace.root / "a" / "b"
    below.mkdir(parents=True)
    assert Workspace.find(start=below) == workspace
    monkeypatch.chdir(below)
    assert Workspace.find() == workspace


def test_find_takes_the_nearest_and_reads_its_settings(tmp_path):
    Workspace.init(tmp_path)
    inner = Workspace.init(tmp_path / "inner")
    (inner.root / "kaleido.toml").write_text("[sample]\nn = 3\n")
    assert Workspace.find(start=inner.root).settings.sample.n == 3


def test_an_explicit_workspace_is_taken_as_named(tmp_path):
    workspace = Workspace.init(tmp_path / "ws")
    assert Workspace.find(explicit=workspace.root) == workspace
    (workspace.root / "a").mkdir()
    with pytest.raises(KaleidoError) as caught:
        Workspace.find(explicit=workspace.root / "a")
    assert caught.value.code == "input-missing" and "kaleido init" in caught.value.hint


def test_no_workspace_names_the_command(tmp_path):
    with pytest.raises(KaleidoError) as caught:
        Workspace.find(start=tmp_path)
    assert caught.value.code == "input-missing" and "kaleido init" in caught.value.hint


def test_places(workspace):
    root = workspace.root
    assert workspace.data == root / "data"
    assert workspace.logs == root / "logs"
    assert workspace.latents("boxes") == root / "latents" / "boxes"
    assert workspace.models("prior") == root / "models" / "prior"
    assert workspace.samples("stars-1.5") == root / "samples" / "stars-1.5"
    assert workspace.reports("r") == root / "reports" / "r"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\\b", "a\n"])
def test_a_name_cannot_leave_its_folder(workspace, name):
    for place in (workspace.latents, workspace.models, workspace.samples, workspace.reports):
        with pytest.raises(KaleidoError) as caught:
            place(name)
        assert caught.value.code == "bad-option"


def test_data_shards_are_the_finished_ones_in_order(workspace, write_data, records):
    assert workspace.data_shards() == []
    write_data(records, 3)
    (workspace.data / "000001.json").unlink()
    assert [path.stem for path in workspace.data_shards()] == ["000000", "000002", "000003"]
