"""Models of others: found by folder, told apart by what they hold, never read from a pickle."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.core.errors import KaleidoError
from pipelines.models.hub import (
    architecture_of,
    first_line,
    load_model,
    loading_error,
    model_folder,
    model_identity,
    read_config,
)


@pytest.fixture
def folder(tmp_path):
    """What looks like a model."""
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    save_file({"w": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def test_a_folder_is_itself(folder):
    assert model_folder(str(folder)) == folder


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "nothing/"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "a.pt").write_bytes(b"")
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(KaleidoError) as caught:
        model_folder(str(tmp_path / name))
    assert (caught.value.code, caught.value.what) == ("bad-option", str(tmp_path / name))


def test_a_path_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked"))
    for name in ("./nothing", "../nothing", str(tmp_path / "nothing")):
        with pytest.raises(KaleidoError) as caught:
            model_folder(name)
        assert caught.value.code == "bad-option"


def test_weights_and_configuration_count_and_nothing_else(folder):
    first = model_identity(folder)
    (folder / "notes.md").write_text("words")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    assert model_identity(folder) == first
    (folder / "config.json").write_text('{"changed": true}')
    assert model_identity(folder) != first
    (folder / "model.safetensors").unlink()
    with pytest.raises(KaleidoError) as caught:
        model_identity(folder)
    assert (caught.value.code, caught.value.what) == ("bad-model", str(folder))


def test_a_configuration_is_an_object(folder):
    assert read_config(folder, "a judge") == {"model_type": "unheard-of"}
    for text in ("[]", "{", "\xff"):
        (folder / "index.json").write_text(text, "latin-1")
        with pytest.raises(KaleidoError) as caught:
            read_config(folder, "a judge", "index.json")
        assert (caught.value.code, caught.value.what) == ("bad-model", str(folder / "index.json"))
    with pytest.raises(KaleidoError) as caught:
        read_config(folder / "elsewhere", "a judge")
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"architectures": ["BertModel", "BertForMaskedLM"]}, "BertModel"),
        ({"architectures": []}, ""),
        ({"architectures": None}, ""),
        ({}, ""),
    ],
)
def test_the_class_that_a_configuration_names(config, name):
    assert architecture_of(config) == name


def test_what_cannot_be_loaded_is_told(folder):
    with pytest.raises(KaleidoError) as caught:
        load_model(folder, "AutoImageProcessor", "AutoModel", "judge", "It needs more.")
    assert (caught.value.code, caught.value.hint) == ("bad-model", "It needs more.")


def test_an_error_without_words_is_named():
    assert first_line(ValueError("one.\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
        (RuntimeError("CUDA out of memory. Tried"), "out-of-memory"),
        (ImportError("no scipy"), "not-installed"),
        (RuntimeError("size mismatch"), "bad-model"),
        (KaleidoError("a", "b", code="network"), "network"),
    ],
)
def test_errors_of_loading_carry_a_code(tmp_path, error, code):
    assert loading_error(error, tmp_path, "judge", "").code == code
