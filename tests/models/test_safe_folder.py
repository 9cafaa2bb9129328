"""Folders that are damaged, or ask for more than their weights, never reach a library."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.core.errors import KaleidoError
from pipelines.models.hub import load_model, model_identity
from pipelines.models.safe_folder import MAX_LAYERS, require_safe_folder, require_weights

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n"


@pytest.fixture
def folder(tmp_path):
    """A sound model's folder."""
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 2}')
    save_file({"w": np.zeros(4, np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def refused(folder, code):
    with pytest.raises(KaleidoError) as caught:
        require_safe_folder(folder)
    assert caught.value.code == code
    return caught.value.what


def test_a_sound_folder_passes(folder):
    (folder / "README.md").write_bytes(b"\xff")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.json").write_text("no JSON")
    (folder / "vocab.json").write_text('{"layers": 5000, "auto_map": 7}')
    require_safe_folder(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "evil.Model"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.P"}}),
        ("processor_config.json", {"audio_tokenizer": {"audio_tokenizer_name_or_path": "a/b"}}),
        ("adapter_config.json", {"base_model_name_or_path": "someone/else"}),
        ("config.json", {"attn_implementation": "kernels-community/flash-attn"}),
        ("model.safetensors.index.json", {"weight_map": {"w": "pytorch_model.bin"}}),
        ("model.safetensors.index.json", {"weight_map": {"w": "../model.safetensors"}}),
        ("model.safetensors.index.json", {"weight_map": {"w": "/etc/model.safetensors"}}),
    ],
)
def test_what_asks_for_code_or_other_files_is_refused(folder, name, content):
    (folder / name).write_text(json.dumps(content))
    assert refused(folder, "unsafe-model") == str(folder / name)
    with pytest.raises(KaleidoError) as caught:
        load_model(folder, "AutoProcessor", "AutoModel", "judge", "")
    assert caught.value.code == "unsafe-model"


def test_a_subfolder_is_looked_into_too(folder):
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    refused(folder, "unsafe-model")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", ""),
        ("config.json", '{"a": '),
        ("config.json", POINTER),
        ("config.json", "[" * 100_000),
        ("config.json", json.dumps({"num_hidden_layers": MAX_LAYERS + 1})),
        ("config.json", json.dumps({"vision_config": {"depths": [2, 10**9]}})),
        ("config.json", json.dumps({"num_labels": 300_000_000})),
        ("config.json", json.dumps({"text_config": {"num_experts": 1e9}})),
        ("tokenizer.model", POINTER),
        ("model.safetensors", ""),
        ("model.safetensors", POINTER),
        ("model.safetensors", "\x02" + "\0" * 7 + "[]"),
        ("model.safetensors.index.json", '{"weight_map": ["model.safetensors"]}'),
        ("model.safetensors.index.json", '{"weight_map": {"w": "missing.safetensors"}}'),
        ("model.safetensors.index.json", "[]"),
    ],
)
def test_damaged_files_are_named(folder, name, text):
    (folder / name).write_text(text)
    assert refused(folder, "bad-model") == str(folder / name)


@pytest.mark.parametrize("cut", [4, 20, -1])
def test_cut_weights_are_named(folder, cut):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert refused(folder, "bad-model") == str(path)


@pytest.mark.parametrize("name", ["config.json", "notes.txt", "weights.bin"])
def test_a_fifo_is_no_file(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert refused(folder, "bad-model") == str(folder / name)


def test_a_device_behind_a_link_is_no_file(folder):
    (folder / "merges.txt").symlink_to("/dev/zero")
    assert refused(folder, "bad-model") == str(folder / "merges.txt")


def test_weights_in_subfolders_count(folder):
    (folder / "model.safetensors").unlink()
    part = folder / "parts" / "one.safetensors"
    part.parent.mkdir()
    save_file({"w": np.zeros(4, np.float32)}, part)
    index = {"weight_map": {"w": "parts/one.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    first = model_identity(folder)
    save_file({"w": np.ones(4, np.float32)}, part)
    assert model_identity(folder) != first


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_model_that_was_saved_in_part_is_refused(folder, lost):
    require_weights(folder)
    part = folder / "part"
    part.mkdir()
    for path in list(folder.glob("*.*")):
        (part / path.name).write_bytes(path.read_bytes())
    require_weights(folder, "part")
    (part / lost).unlink()
    require_weights(folder)
    with pytest.raises(KaleidoError) as caught:
        require_weights(folder, "part")
    assert (caught.value.code, caught.value.what) == ("bad-model", str(part))


def test_weights_that_were_cut_while_saving_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KaleidoError) as caught:
        require_weights(folder)
    assert caught.value.code == "bad-model"
