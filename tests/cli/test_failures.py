"""What a user's machine does to a run ends in a message and never in a traceback."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context, synchronize
from pathlib import Path

import pytest

from kaleido_cli import app
from kaleido_cli.failures import explain
from pipelines.core.errors import ERROR_CODES, KaleidoError

ROOT = Path(__file__).parents[2]


class SafetensorError(Exception):
    """As safetensors raises it: without an error number."""


class OutOfMemoryError(RuntimeError):
    """As torch raises it on a GPU."""


def wrapped(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def test_an_error_names_the_file_and_not_its_temporary_name(workspace, write_data, records, invoke):
    """The folder for latents is in the way as a plain file."""
    write_data(records, 10)
    (workspace.root / "latents").write_text("mine")
    _, error = invoke("extract", "palette", "--workspace", str(workspace.root), code=1)
    assert "kaleido-tmp" not in error and "latents" in error
    assert (workspace.root / "latents").read_text() == "mine"


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FULL, "no-space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "models/prior"), "no-space"),
        (OSError(errno.EROFS, "Read-only file system", "samples"), "no-space"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "no-space"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 5"), "no-space"),
        (wrapped(ValueError("cannot save"), FULL), "no-space"),
        (MemoryError(), "out-of-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out-of-memory"),
        (RuntimeError("MPS backend out of memory"), "out-of-memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out-of-memory"),
        (SafetensorError("Error while deserializing header: header too small"), "bad-model"),
        (PermissionError(errno.EACCES, "Permission denied", "some/file"), "error"),
    ],
)
def test_the_machines_errors_have_codes(error, code):
    known = explain(error)
    assert known is not None
    assert known.code == code
    assert known.what and known.why
    assert (getattr(error, "filename", None) or known.what) == known.what


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("shapes differ"), KeyError("k")])
def test_faults_of_the_program_keep_their_traceback(error):
    assert explain(error) is None


def test_the_allocator_of_torch_is_recognised():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    known = explain(caught.value)
    assert known is not None
    assert known.code == "out-of-memory"
    assert "--batch-size" in known.hint


def test_a_library_that_has_no_room_is_recognised():
    text = "torch/lib/libtorch_cpu.so: failed to map segment from shared object"
    known = explain(ImportError(text))
    assert known is not None and known.code == "out-of-memory"
    assert explain(ImportError("no module named torch")) is None


def test_threads_and_processes_that_cannot_start_are_explained(monkeypatch):
    failed = RuntimeError("cannot join thread before it is started")
    failed.__context__ = RuntimeError("can't start new thread")

    def refuse(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess.Popen, "_execute_child", lambda *_, **__: refuse())
    with pytest.raises(BlockingIOError) as caught:
        subprocess.run(["true"])
    for error in (failed, caught.value):
        known = explain(error)
        assert known is not None and "--workers" in known.hint
    full_pipe = explain(BlockingIOError(errno.EAGAIN, "write could not complete without blocking"))
    assert full_pipe is not None and "--workers" not in full_pipe.hint


def test_damaged_safetensors_are_recognised(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(Exception) as caught:
        safetensors.safe_open(tmp_path / "model.safetensors", "numpy").__enter__()
    known = explain(caught.value)
    assert known is not None
    assert known.code == "bad-model"


def test_semaphores_that_cannot_be_made_name_shared_memory(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(synchronize._multiprocessing, "SemLock", refuse)
    with pytest.raises(OSError) as caught:
        get_context("spawn").SimpleQueue()
    known = explain(caught.value)
    assert known is not None
    assert known.what == "/dev/shm"


@pytest.fixture
def failing(monkeypatch):
    """Return a function that has `kaleido status` raise an exception."""

    def arrange(error: BaseException) -> None:
        def fail(*_, **__):
            raise error

        monkeypatch.setattr("kaleido_cli.status.open_workspace", fail)

    return arrange


@pytest.mark.parametrize("code", ERROR_CODES)
def test_the_exit_status_is_three_only_where_nothing_came_out(failing, code, invoke):
    failing(KaleidoError("thing", "reason.", "Hint.", code=code))
    _, err = invoke("status", code=3 if code == "nothing-produced" else 1)
    assert err == "Error: thing: reason.\nHint.\n"


def test_ctrl_c_ends_with_a_line(failing, invoke):
    failing(KeyboardInterrupt())
    out, err = invoke("status", code=130)
    assert (out, err) == ("", "Stopped.\n")


def test_an_unknown_exception_is_raised(failing, invoke):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        invoke("status")


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kaleido_cli", *arguments],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=cwd,
        timeout=60,
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_output_works_in_any_encoding(workspace, encoding):
    folder = workspace.root / "reports" / "r-日本-é"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("")
    for arguments in (("status",), ("status", "--help"), ("sample", "日本", "--set", "é")):
        done = start(*arguments, cwd=workspace.root, PYTHONIOENCODING=encoding)
        assert b"Traceback" not in done.stderr
        assert done.returncode in (0, 2), done.stderr
        assert done.stdout or done.stderr


@pytest.mark.parametrize("columns", ["0", "1", "x"])
def test_output_works_at_any_width(workspace, columns):
    status = start("status", cwd=workspace.root, COLUMNS=columns)
    assert b"data" in status.stdout
    usage = start("--help", cwd=workspace.root, COLUMNS=columns)
    assert b"evaluate" in usage.stdout
    wrong = start("config", cwd=workspace.root.parent, COLUMNS=columns)
    assert b"kaleido init" in wrong.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("config",), ("config", "--json"), ("--help",)])
def test_a_full_disk_behind_stdout_is_reported(workspace, arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kaleido_cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=workspace.root,
            timeout=60,
        )
    assert done.returncode == 1
    assert b"the disk is full" in done.stderr
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.skipif(shutil.which("head") is None, reason="needs head")
def test_a_reader_that_leaves_early_is_no_error(workspace):
    done = subprocess.run(
        f"{sys.executable} -m kaleido_cli config | head -n 1",
        shell=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=workspace.root,
        timeout=60,
    )
    assert done.stderr == b""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_before_the_command_starts(workspace):
    """Interrupted while modules are imported, the program ends like everywhere else."""
    code = (
        "import os, signal, sys; sys.argv = ['kaleido', 'status'];"
        "import kaleido_cli.__main__ as m;"
        "m.fit_terminal = lambda: os.kill(os.getpid(), signal.SIGINT); m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=workspace.root,
        timeout=60,
    )
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == b"Stopped.\n"


def test_extraction_without_any_result_has_status_three(
    workspace, write_data, records, invoke, monkeypatch
):
    monkeypatch.chdir(workspace.root)
    write_data([replace(records[0], image=records[0].image[:60])], 1)
    out, err = invoke("extract", "palette", code=3)
    assert "0 ok" in out
    assert "kaleido status --failed" in err


@pytest.mark.parametrize("name", app.COMMANDS)
def test_paragraphs_of_help_are_not_broken_where_the_source_is(name):
    command = app.load(name)
    for leaf in (command, *getattr(command, "commands", {}).values()):
        assert all("\n" not in part for part in leaf.help.split("\n\n"))
