from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace import lock as lock_module
from pipelines.workspace.lock import lock

HOLD = """
import sys, time
from pathlib import Path
from pipelines.workspace.lock import lock
with lock(Path(sys.argv[1]), "boxes"):
    print("held", flush=True)
    time.sleep(60)
"""

COUNT = """
import sys, time
from pathlib import Path
from pipelines.workspace import lock as lock_module
from pipelines.core.errors import KaleidoError
from pipelines.workspace.lock import lock
folder = Path(sys.argv[1])
done = 0
while done < 20:
    try:
        with lock(folder / "it.lock", "count"):
            value = int((folder / "count").read_text())
            time.sleep(0.001)
            (folder / "count").write_text(str(value + 1))
            done += 1
    except KaleidoError:
        time.sleep(0.001)
"""


def _holder(path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


def test_a_second_writer_is_told_who_holds_it(tmp_path):
    path = tmp_path / "locks" / "boxes.lock"
    process = _holder(path)
    try:
        message = f"boxes is being written by process {process.pid}"
        with pytest.raises(KaleidoError, match=message), lock(path, "boxes"):
            pass
    finally:
        _end(process)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    path = tmp_path / "boxes.lock"
    _end(_holder(path))
    assert path.exists()
    with lock(path, "boxes"):
        assert json.loads(path.read_bytes())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with lock(tmp_path / "l", "data"), pytest.raises(KaleidoError), lock(tmp_path / "l", "data"):
        pass
    assert not (tmp_path / "l").exists()


def test_it_is_released_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), lock(tmp_path / "l", "data"):
        raise RuntimeError
    with lock(tmp_path / "l", "data"):
        pass


def test_a_lock_of_another_host_or_without_a_holder_is_respected(tmp_path):
    path = tmp_path / "l"
    for content in (json.dumps({"pid": 1, "host": "elsewhere", "start": "0"}), "", "[]"):
        path.write_text(content)
        with pytest.raises(KaleidoError, match="delete this file"), lock(path, "data"):
            pass
        assert path.read_text() == content


def test_on_windows_no_process_is_asked_whether_it_lives(tmp_path, monkeypatch):
    """os.kill(pid, 0) sends Ctrl-C there."""
    path = tmp_path / "l"
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "start": "1"}))
    monkeypatch.setattr(lock_module, "os", WindowsOS())
    with pytest.raises(KaleidoError, match="delete this file"), lock(path, "data"):
        pass
    path.unlink()
    with lock(path, "data"):
        assert path.exists()
    assert not path.exists()


class WindowsOS:
    """The module `os`, as far as a lock may use it on Windows."""

    name = "nt"

    def kill(self, pid, signal):
        raise AssertionError("it would send Ctrl-C")

    def __getattr__(self, name):
        return getattr(os, name)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_a_process_that_carries_a_dead_ones_id_is_not_the_holder(tmp_path):
    path = tmp_path / "l"
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "start": "1"}))
    with lock(path, "data"):
        pass
    assert not path.exists()


def test_writers_that_race_never_write_together(tmp_path):
    (tmp_path / "count").write_text("0")
    # A stale lock first, so that they race to take it over as well.
    _end(_holder(tmp_path / "it.lock"))
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "count").read_text() == "80"


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(descriptor, mode):
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock_module, "open", full, raising=False)
    with pytest.raises(OSError, match="No space"), lock(tmp_path / "it.lock", "boxes"):
        pass
    assert not (tmp_path / "it.lock").exists()
