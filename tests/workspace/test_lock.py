from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace import lock as lock_module
from pipelines.workspace.lock import STALE, lock

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
from pipelines.core.errors import KaleidoError
from pipelines.workspace.lock import lock
folder = Path(sys.argv[1])
done = 0
while done < 10:
    try:
        with lock(folder / "it.lock", "count"):
            value = int((folder / "count").read_text())
            time.sleep(0.001)
            (folder / "count").write_text(str(value + 1))
            done += 1
    except KaleidoError as error:
        assert error.code == "locked"
        time.sleep(0.001)
"""


@contextmanager
def another_process(path):
    """Let another process hold the lock; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)


def write_note(path, silent_for=0.0, **values):
    """Write the note of a holder on another machine, whose last heartbeat is some seconds ago."""
    note = {"pid": 7, "host": "elsewhere", "boot": "another", "time": 0, "purpose": "x"} | values
    path.with_suffix(".json").write_text(json.dumps(note))
    at = time.time() - silent_for
    os.utime(path.with_suffix(".json"), (at, at))


def assert_locked(path, *names):
    with pytest.raises(KaleidoError) as caught, lock(path, "boxes"):
        pass
    assert caught.value.code == "locked"
    assert all(name in caught.value.why for name in names)
    assert "delete" not in str(caught.value).lower()


def assert_free(path):
    with lock(path, "boxes"):
        holder = json.loads(path.with_suffix(".json").read_bytes())
        assert (holder["pid"], holder["purpose"]) == (os.getpid(), "boxes")
    assert not path.with_suffix(".json").exists()


def test_a_second_writer_is_told_who_holds_it(tmp_path):
    path = tmp_path / "locks" / "boxes.lock"
    with another_process(path) as process:
        assert_locked(path, "boxes", f"process {process.pid} ")


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path):
    path = tmp_path / "boxes.lock"
    with another_process(path):
        pass
    assert path.with_suffix(".json").exists()
    assert_free(path)


def test_a_pid_of_another_namespace_does_not_matter(tmp_path):
    """Two containers of one host: same host name, same boot, pids that mean nothing outside."""
    path = tmp_path / "boxes.lock"
    with another_process(path):
        note = json.loads(path.with_suffix(".json").read_bytes())
        for pid in (1, os.getpid(), 2**22 + 1):
            path.with_suffix(".json").write_text(json.dumps(note | {"pid": pid}))
            assert_locked(path, f"process {pid} ")


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with lock(tmp_path / "l.lock", "data"):
        assert_locked(tmp_path / "l.lock")
        assert_locked(tmp_path / "l.lock")
    assert_free(tmp_path / "l.lock")


def test_it_is_released_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), lock(tmp_path / "l.lock", "data"):
        raise RuntimeError
    assert_free(tmp_path / "l.lock")


def test_a_living_holder_on_another_machine_is_respected(tmp_path):
    """The file system does not share locks, so only the heartbeat tells."""
    path = tmp_path / "l.lock"
    write_note(path, silent_for=STALE / 2)
    assert_locked(path, "process 7 on elsewhere")
    assert path.with_suffix(".json").exists()


def test_a_dead_holder_on_another_machine_is_taken_over(tmp_path):
    path = tmp_path / "l.lock"
    write_note(path, silent_for=STALE + 10)
    assert_free(path)


def test_a_lock_that_the_file_system_keeps_for_a_dead_machine_is_taken_over(tmp_path):
    path = tmp_path / "l.lock"
    with another_process(path):  # stands for the file server
        write_note(path, silent_for=STALE / 2)
        assert_locked(path, "process 7 on elsewhere")
        write_note(path, silent_for=STALE + 10)
        assert_free(path)
    assert_free(path)


def test_a_silent_holder_on_this_machine_is_respected(tmp_path):
    """A stopped process still holds the kernel's lock."""
    path = tmp_path / "l.lock"
    with another_process(path):
        os.utime(path.with_suffix(".json"), (0, 0))
        assert_locked(path)


@pytest.mark.parametrize("note", ["", "[]", "{", '{"pid": "x"}', "[" * 100_000])
def test_a_damaged_note_names_nobody(tmp_path, note):
    path = tmp_path / "l.lock"
    path.with_suffix(".json").write_text(note)
    assert_free(path)
    with another_process(path):
        path.with_suffix(".json").write_text(note)
        assert_locked(path, "another process")


def test_the_lock_file_of_an_older_version_does_not_lock(tmp_path):
    path = tmp_path / "l.lock"
    path.write_text('{"pid": 1, "host": "elsewhere", "start": "0", "purpose": "data"}')
    assert_free(path)


def test_the_holder_shows_that_it_lives(tmp_path):
    path = tmp_path / "l.lock"
    with lock(path, "data", beat=0.01):
        note = path.with_suffix(".json")
        os.utime(note, (0, 0))
        end = time.monotonic() + 10
        while note.stat().st_mtime < 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert time.time() - note.stat().st_mtime < 60


@pytest.mark.parametrize("kept", [False, True])
def test_writers_that_race_never_write_together(tmp_path, kept):
    """They also race to take over the lock of a dead machine, which the server may have kept."""
    (tmp_path / "count").write_text("0")
    with another_process(tmp_path / "it.lock") if kept else nullcontext():
        write_note(tmp_path / "it.lock", silent_for=STALE + 10)
        command = [sys.executable, "-c", COUNT, str(tmp_path)]
        processes = [subprocess.Popen(command) for _ in range(4)]
        assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "count").read_text() == "40"


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "atomic_write", full)
        with pytest.raises(OSError, match="No space"), lock(tmp_path / "it.lock", "boxes"):
            pass
    assert_free(tmp_path / "it.lock")
