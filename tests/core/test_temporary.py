"""Temporary folders and semaphores are gone when the next command starts, even after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core import temporary
from pipelines.core.temporary import process_folder, remove_orphans

HOLDS = """
import multiprocessing, time
from pipelines.core.processes import Workers
from pipelines.core.temporary import process_folder

if __name__ == "__main__":
    with Workers(2, "waiting") as pool:
        pool.submit(time.sleep, 60)
        pool.submit(time.sleep, 60)
        print(process_folder(), flush=True)
        time.sleep(60)
"""
SEMAPHORES = Path("/dev/shm")
needs_shm = pytest.mark.skipif(not SEMAPHORES.is_dir(), reason="needs /dev/shm")


def semaphores(pid: int) -> list[Path]:
    return list(SEMAPHORES.glob(f"sem.kld*-{pid}-*"))


@needs_shm
def test_what_a_killed_group_of_processes_leaves_is_removed_at_the_next_start(tmp_path):
    script = tmp_path / "holds.py"
    script.write_text(HOLDS)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    folder = Path(process.stdout.readline().strip())
    assert folder.parent == tmp_path and semaphores(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert folder.is_dir() and semaphores(process.pid)
    code = "from pipelines.core.temporary import process_folder; print(process_folder())"
    after = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "TMPDIR": str(tmp_path)},
    )
    assert not folder.exists() and not semaphores(process.pid)
    assert not Path(after.stdout.strip()).exists()


def test_other_folders_of_such_names_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(temporary.tempfile, "gettempdir", lambda: str(tmp_path))
    here, dead = temporary._here(), 2**22 + 5  # above the largest process id of Linux
    ours = tmp_path / f"kaleido-process-{here}-{dead}-abcdefgh"
    kept = [
        tmp_path / "kaleido-2024-backup",
        tmp_path / f"kaleido-process-{here}-{dead}-my-photos",
        tmp_path / f"kaleido-process-{here}-{os.getpid()}-abcdefgh",
        tmp_path / f"kaleido-process-ffffff-{dead}-abcdefgh",  # another host's
    ]
    unmarked = tmp_path / f"kaleido-process-{here}-{dead}-unmarked"
    for folder in (ours, *kept, unmarked):
        folder.mkdir()
    for folder in (ours, *kept):
        (folder / temporary._MARKER).touch()
    remove_orphans()
    assert not ours.exists()
    assert all(folder.exists() for folder in (*kept, unmarked))


def test_a_process_has_one_folder():
    assert process_folder() == process_folder()
    assert process_folder().is_dir()
