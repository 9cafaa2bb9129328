"""`kaleido export`, and a push to a stand-in hub on the loopback."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from kaleido_diffusion import KaleidoPipeline, load_models
from pipelines.core.errors import KaleidoError
from pipelines.core.files import METADATA
from pipelines.models.hub import FILES
from pipelines.sample.card import data_facts
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace
from tests.stand_in_hub import TOKEN


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The embedded models, exported once."""
    from pipelines.sample.export import export_models

    folder = tmp_path_factory.mktemp("export") / "shapes"
    export_models(Workspace(folder.parent, Settings()), folder)
    return folder


def texts(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def draw(pipe) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    options = {"num_inference_steps": 2, "generator": generator, "output_type": "np"}
    return pipe("a red star", 1, **options).images


def test_an_export_draws_what_the_models_draw(exported):
    embedded = KaleidoPipeline.from_bundle(load_models(embedded=True))
    np.testing.assert_array_equal(draw(KaleidoPipeline.from_pretrained(exported)), draw(embedded))
    card = (exported / "README.md").read_text("utf-8")
    front = card.split("---")[1]
    assert "license: apache-2.0" in front and "library_name: diffusers" in front
    assert "boxes" in card and "64 x 64" in card
    assert str(exported.parent) not in card


def test_the_same_export_again_changes_nothing(exported, invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}
    assert "is there already" in invoke("export", str(exported)).out
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*")} == before


def test_another_export_is_replaced_on_demand_alone(invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "shapes"
    invoke("export", str(folder))
    (folder / "notes.txt").write_text("mine", "utf-8")
    said = invoke("export", str(folder), "--licence", "CC-BY-4.0", code=1)
    assert "--overwrite" in said.err
    shown = invoke("export", str(folder), "--licence", "CC-BY-4.0", "--overwrite", "--json").out
    assert json.loads(shown)["exported"]["licence"] == "CC-BY-4.0"
    assert "license: cc-by-4.0" in (folder / "README.md").read_text("utf-8")
    assert (folder / "notes.txt").read_text("utf-8") == "mine"


def test_a_folder_with_files_of_others_is_refused(invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", "utf-8")
    invoke("export", str(tmp_path / "out"), "--overwrite", code=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / METADATA).write_text('{"z_kinds": []}', "utf-8")
    invoke("export", str(tmp_path / "model"), "--overwrite", code=1)


def test_a_push_sends_what_from_pretrained_reads(exported, hub, invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    flags = (str(exported), "--push-to-hub", "me/shapes", "--private")
    said = invoke("export", *flags)
    assert "/me/shapes/commit/" in said.out
    assert hub.created[0].get("private") is True or hub.created[0]["visibility"] == "private"
    assert hub.tokens == {f"Bearer {TOKEN}"}
    sent = {name: data for name, data in texts(exported).items() if not name.startswith(".")}
    sent = {name: data for name, data in sent.items() if "/." not in name}
    assert hub.files == sent
    assert not any(name.endswith((".py", ".bin", ".pt")) for name in hub.files)
    assert TOKEN not in said.out + said.err
    assert TOKEN.encode() not in b"".join(hub.files.values())
    loaded = [name for name in hub.files if name.endswith(tuple(f[1:] for f in FILES))]
    assert "scheduler/scheduler_config.json" in loaded
    hub.files["diffusion/old.safetensors"] = b"old"
    invoke("export", *flags)
    assert "diffusion/old.safetensors" not in hub.files


def test_a_repository_with_something_else_is_refused(exported, hub, invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hub.files = {"model_index.json": b'{"_class_name": "SanaPipeline"}', "README.md": b"Sana"}
    flags = (str(exported), "--push-to-hub", "me/shapes")
    said = invoke("export", *flags, code=1)
    assert "something else than a KaleidoPipeline" in said.err and not hub.commits
    hub.files = {"weights.bin": b"1"}
    invoke("export", *flags, code=1)
    assert not hub.commits
    invoke("export", *flags, "--overwrite")
    assert "model_index.json" in hub.files and "weights.bin" in hub.files


def test_a_refused_push_keeps_the_export_and_says_no_token(
    exported, hub, invoke, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    hub.fails = 1
    flags = (str(exported), "--push-to-hub", "me/shapes")
    said = invoke("export", *flags, code=1)
    assert "hub refuses" in said.err
    assert TOKEN not in said.out + said.err
    assert "is there already" in invoke("export", *flags).out
    assert len(hub.commits) == 1


def test_without_a_token_nothing_is_written(invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    said = invoke("export", "out", "--push-to-hub", "me/shapes", code=1)
    assert "HF_TOKEN" in said.err
    assert not (tmp_path / "out").exists()
    assert invoke("export", "out", "--private", code=2)


def test_the_card_names_source_and_licences_of_own_data(tmp_path):
    workspace = Workspace.init(tmp_path / "secret-name")
    assert "unknown" in data_facts(workspace)
    write_scenes(workspace, 3, seed=1, size=16, shard_size=2)
    found = data_facts(workspace)
    assert "kaleido data scenes" in found and "3 records" in found and "(3)" in found
    assert "secret-name" not in found


def test_models_without_a_prior_are_not_exported(tmp_path):
    from pipelines.sample.export import export_models

    workspace = Workspace.init(tmp_path / "ws")
    (workspace.models("prior")).mkdir(parents=True)
    (workspace.models("prior") / METADATA).write_text("{}", "utf-8")
    with pytest.raises(KaleidoError):
        export_models(workspace, tmp_path / "out")
    assert not (tmp_path / "out").exists()
