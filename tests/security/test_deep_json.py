"""JSON and TOML that their parsers refuse with other errors than a syntax error."""

from __future__ import annotations

import json

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.files import FILE_LIST, own_files
from pipelines.engines.pace import Pace, read_pace, write_pace
from pipelines.sample.requests import read_requests
from pipelines.train.checkpoint import STATE, load_state
from pipelines.train.log import _truncate
from pipelines.workspace.config import load_settings
from pipelines.workspace.shards import read_records, write_shard

DEEP = "[" * 100_000
LONG = "9" * 5000


@pytest.mark.parametrize("text", [f"n = {DEEP}", f"[sample]\nn = {DEEP}", f"[sample]\nn = {LONG}"])
def test_settings(tmp_path, text):
    (tmp_path / "kaleido.toml").write_text(text)
    with pytest.raises(KaleidoError) as caught:
        load_settings(tmp_path / "kaleido.toml")
    assert caught.value.code == "bad-setting"


@pytest.mark.parametrize("text", [DEEP, f'{{"caption": {LONG}}}'])
def test_records(tmp_path, text):
    write_shard(tmp_path / "s.tar", [("a", {"png": b"1", "json": text.encode()})])
    with pytest.raises(KaleidoError) as caught:
        list(read_records(tmp_path / "s.tar"))
    assert caught.value.code == "bad-data"


def test_a_checkpoints_state(tmp_path):
    (tmp_path / STATE).write_text(DEEP)
    with pytest.raises(KaleidoError) as caught:
        load_state(tmp_path)
    assert caught.value.code == "bad-model"


def test_a_log_that_a_power_cut_damaged_keeps_its_sound_lines(tmp_path):
    path, sound = tmp_path / "log.jsonl", b'{"step": 1}\n'
    path.write_bytes(sound + DEEP.encode() + b"\n\0\0\xff\xfe\n")
    _truncate(path, 5)
    assert path.read_bytes() == sound


def test_notes_of_ours_are_done_without(tmp_path, workspace):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "mine").touch()
    (tmp_path / FILE_LIST).write_text(DEEP)
    assert own_files(tmp_path) == ["model.safetensors"]
    write_pace(workspace, ["palette"], Pace(4, 1.0, 1))
    (file,) = (path for path in workspace.root.rglob("*.json") if path.is_file())
    file.write_text(DEEP)
    assert read_pace(workspace, ["palette"]) is None


@pytest.mark.parametrize("caption", ["", " \n"])
def test_a_listed_sample_without_a_caption_is_not_drawn(caption):
    row = {"file": "a.png", "z": "<boxes> a <1><1><2><2>", "index": 0, "caption": caption}
    with pytest.raises(KaleidoError) as caught:
        read_requests(json.dumps(row).encode(), "samples.jsonl", ("boxes",))
    assert caught.value.code == "bad-data"
