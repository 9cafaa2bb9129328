"""A pipe that nobody writes to, a socket or a device in place of a file: an error, never a wait."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.inputs import MAX_BYTES, read_file
from pipelines.data.folder import write_folder
from pipelines.extract.recaption import read_prompt
from tests.cli.test_z import KITE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")

WAIT_SECONDS = 5.0
"""After this time the reader of a pipe gets its end, so that a fault fails and does not hang."""


@contextmanager
def pipe(path: Path) -> Iterator[None]:
    os.mkfifo(path)

    def end() -> None:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    timer = threading.Timer(WAIT_SECONDS, end)
    timer.start()
    try:
        yield
        assert timer.is_alive(), "something waited for the pipe"
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def listener(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fsencode(path))
        yield


@contextmanager
def device(path: Path) -> Iterator[None]:
    path.symlink_to("/dev/null")
    yield


COMMANDS = {
    "verify": ("z", "verify", "ODD"),
    "convert": ("z", "convert", "ODD", "--to", "coco"),
    "export": ("z", "export", "ODD", "--to", "coco", "--out", "new"),
    "show": ("z", "show", "ODD"),
    "diff": ("z", "diff", "ODD", KITE),
    "names": ("z", "verify", KITE, "--names", "ODD"),
    "annotate": ("data", "annotate", "ODD", "--from", "coco"),
    "table": ("data", "table", "ODD"),
    "from-z": ("sample", "--from-z", "ODD"),
    "captions": ("sample", "--captions", "ODD"),
    "plan": ("plan", "--captions", "ODD"),
}


@pytest.mark.parametrize("kind", [pipe, listener, device])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_what_is_no_file(
    command, kind, workspace, write_data, records, invoke, monkeypatch, tmp_path
):
    write_data(records, 10)
    monkeypatch.chdir(workspace.root)
    odd = workspace.root / "odd.csv"
    with kind(odd):
        asked = [str(odd) if word == "ODD" else word for word in COMMANDS[command]]
        said = invoke(*asked, code=1)
    assert str(odd) in said.err or "/dev/null" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("kind", [pipe, listener, device])
@pytest.mark.parametrize("name", ["captions.csv", "captions.jsonl", "metadata.csv"])
def test_a_folder_whose_caption_table_is_no_file(name, kind, workspace, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with kind(folder / name), pytest.raises(KaleidoError) as caught:
        write_folder(workspace, folder)
    assert caught.value.code in ("bad-data", "input-missing")


@pytest.mark.parametrize("kind", [pipe, listener, device])
def test_a_prompt_that_is_no_file(kind, tmp_path):
    with kind(tmp_path / "odd"), pytest.raises(KaleidoError):
        read_prompt(tmp_path / "odd")


def test_files_are_read_to_the_limit_and_no_further(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_file(tmp_path / "a") == b"abc"
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, code in (("large", "bad-data"), ("none", "input-missing"), ("", "bad-data")):
        with pytest.raises(KaleidoError) as caught:
            read_file(tmp_path / name)
        assert caught.value.code == code
