"""Killed anywhere, a run that is started again gives the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from colour_stage import MeanColour, run_stage

import pipelines
from pipelines.core.errors import KaleidoError
from pipelines.core.files import TEMPORARY, sha256_file
from pipelines.core.stage import Ok
from pipelines.latents.palette import Colour, Palette
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.workspace import Workspace

PROGRAM = Path(__file__).with_name("colour_stage.py")
ROOT = Path(pipelines.__file__).parents[1]


@pytest.fixture
def filled(workspace, write_data, records) -> Workspace:
    """Return a workspace of five shards, some of whose records fail or are filtered."""
    captions = {"r002": "raise", "r005": "nothing"}
    write_data([replace(r, caption=captions.get(r.key, "plain")) for r in records], 2)
    return workspace


def _undisturbed(workspace: Workspace) -> dict[str, bytes]:
    run_stage(workspace, MeanColour())
    folder = workspace.latents("palette")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    return files


def _files(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.latents("palette").iterdir()}


def _ended(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for is a zombie, state Z."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _wait_until(condition) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, "it did not happen within 30 s"
        time.sleep(0.01)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_in_the_middle_then_again(filled, workers):
    expected = _undisturbed(filled)
    command = [sys.executable, str(PROGRAM), str(filled.root), "--delay", "0.3"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    folder = filled.latents("palette")
    _wait_until(lambda: list(folder.glob("*.json")))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_until(lambda: all(_ended(int(pid)) for pid in children))
    finished = len(list(folder.glob("*.json")))
    assert 0 < finished < 5

    summary = run_stage(filled, MeanColour())
    assert (summary.shards, summary.skipped) == (5, finished)
    assert _files(filled) == expected


class Black(MeanColour):
    def __call__(self, records):
        return [Ok(Palette((Colour.from_hex("#000000", 1000),))) for _ in records]


@pytest.mark.parametrize("step", range(1, 7))
def test_a_crash_at_any_rename_leaves_no_false_manifest(
    workspace, write_data, records, monkeypatch, step
):
    """An older version's complete output is in place; the crash comes while it is replaced."""
    write_data(records, 5)
    expected = _undisturbed(workspace)
    run_stage(workspace, Black(version=0))
    rename, calls = os.replace, 0

    def crash(source, target):
        nonlocal calls
        calls += 1
        if calls == step:
            raise SystemExit("crash")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(SystemExit):
            run_stage(workspace, MeanColour())
    for path in workspace.latents("palette").glob("*.tar"):
        manifest = read_manifest(path)
        assert manifest is None or manifest.sha256 == sha256_file(path)
    run_stage(workspace, MeanColour())
    assert _files(workspace) == expected


@pytest.mark.parametrize(("function", "step"), [("fsync", n) for n in range(1, 7)] + [("tar", 2)])
def test_a_full_disk_leaves_nothing_half_written(
    workspace, write_data, records, monkeypatch, function, step
):
    """An older version's complete output is in place; the disk is full while it is replaced."""
    write_data(records, 5)
    expected = _undisturbed(workspace)
    run_stage(workspace, Black(version=0))
    place, name = (os, "fsync") if function == "fsync" else (tarfile.TarFile, "addfile")
    write, calls = getattr(place, name), 0

    def fill(*arguments):
        nonlocal calls
        calls += 1
        if calls == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, fill)
        with pytest.raises(KaleidoError) as caught:
            run_stage(workspace, MeanColour())
    assert caught.value.code == "no-space"
    assert not [path for path in workspace.root.rglob("*") if TEMPORARY.fullmatch(path.name)]
    assert not list((workspace.root / ".locks").glob("*.json"))
    for path in workspace.latents("palette").glob("*.tar"):
        manifest = read_manifest(path)
        assert manifest is None or manifest.sha256 == sha256_file(path)
    run_stage(workspace, MeanColour())
    assert _files(workspace) == expected
