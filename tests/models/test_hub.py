"""Models of others: found by folder, told apart by what they hold, never read from a pickle."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.models.hub import (
    architecture_of,
    first_line,
    load_model,
    model_folder,
    model_identity,
    read_config,
)


@pytest.fixture
def folder(tmp_path):
    """What looks like a model."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_a_folder_is_itself(folder):
    assert model_folder(str(folder)) == folder


@pytest.mark.parametrize(
    ("name", "words"), [("a.pt", "pickles are not read"), ("a.safetensors", "this is a file")]
)
def test_a_file_is_no_folder(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(KaleidoError, match=words):
        model_folder(str(tmp_path / name))


def test_a_path_is_not_asked_of_the_hub(tmp_path):
    for name in ("./nothing", "../nothing", str(tmp_path / "nothing")):
        with pytest.raises(KaleidoError, match="there is no such folder. Check the path"):
            model_folder(name)


def test_weights_and_configuration_count_and_nothing_else(folder):
    first = model_identity(folder)
    (folder / "notes.md").write_text("words")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    assert model_identity(folder) == first
    (folder / "config.json").write_text('{"changed": true}')
    assert model_identity(folder) != first
    (folder / "model.safetensors").unlink()
    with pytest.raises(KaleidoError, match="pickles are not read"):
        model_identity(folder)


def test_a_configuration_is_an_object(folder):
    assert read_config(folder, "a judge") == {}
    for text in ("[]", "{", "\xff"):
        (folder / "index.json").write_text(text, "latin-1")
        with pytest.raises(KaleidoError, match="not a judge's folder"):
            read_config(folder, "a judge", "index.json")
    with pytest.raises(KaleidoError, match="not a judge's folder.*No such file"):
        read_config(folder / "elsewhere", "a judge")


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
    with pytest.raises(KaleidoError, match="the judge cannot be loaded.*It needs more"):
        load_model(folder, "AutoImageProcessor", "AutoModel", "judge", "It needs more.")


def test_an_error_without_words_is_named():
    assert first_line(ValueError("one.\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
