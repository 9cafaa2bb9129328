"""Start the processes of a training on this machine, and end them together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from pipelines.core.errors import KaleidoError
from pipelines.core.processes import KILLED

LAUNCHER = "KALEIDO_LAUNCHER"
"""Environment variable with the process id of the launcher, in the processes that it starts."""

GRACE = 20.0
"""Seconds that the others have to end after one process has failed; then they are killed."""

POLL = 0.1
"""Seconds between two looks at the processes."""

_FORWARDED = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

_STOPPED = {128 + number for number in _FORWARDED}
"""Exit status of processes that were asked to stop and have saved their work."""


def is_first_rank() -> bool:
    """Whether this process reports: it is the only one, or the first of those that train."""
    return os.environ.get("RANK", "0") == "0"


def is_launched() -> bool:
    """Whether a launcher, ours or another one, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def asked_by_launcher() -> bool:
    """Whether `launch` has started this process, and so has asked what is to be asked."""
    return LAUNCHER in os.environ


def launcher_is_gone() -> bool:
    """Whether the process that started this one by `launch` was killed."""
    return asked_by_launcher() and os.environ[LAUNCHER] != str(os.getppid())


def launch(arguments: Sequence[str], count: int) -> int:
    """Run a command of `kaleido` in several processes that train together.

    See `run_ranks`.
    """
    return run_ranks([sys.executable, "-m", "kaleido_cli", *arguments], count)


def run_ranks(command: Sequence[str], count: int) -> int:
    """Run a program in several processes that find each other, and wait for them.

    The first one has this process's output. Signals are passed on to all. When one fails, the
    others end too, and its messages are shown.

    Args:
        command: The program and its arguments.
        count: Number of processes.

    Returns:
        The exit status of the first process that failed, or 0.

    Raises:
        KaleidoError: If a process was killed (``worker-died``).
    """
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        LAUNCHER: str(os.getpid()),
    }
    threads = max((os.cpu_count() or 1) // count, 1)
    shared |= {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(_kill, processes)
        stack.enter_context(_forwarding(processes))
        for rank in range(count):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            said = None if rank == 0 else stack.enter_context((folder / str(rank)).open("wb"))
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=None if rank == 0 else subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,  # a terminal's Ctrl-C comes once, from here
                )
            )
        failed = _wait(processes)
        if failed is None:
            return 0
        status = processes[failed].returncode
        if status < 0:
            raise _killed(failed, -status)
        if failed and status not in _STOPPED:
            text = (folder / str(failed)).read_text("utf-8", "replace").strip()
            print(f"Process {failed} of {count} failed:\n{text}", file=sys.stderr, flush=True)
        return status


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all processes; return the number of the first one that failed, or None.

    Processes that were asked to stop end with a status of their own, and the first one may still
    be saving, so they are waited for.
    """
    failed: int | None = None
    deadline = float("inf")
    while None in (codes := [process.poll() for process in processes]):
        broken = [number for number, code in enumerate(codes) if code and code not in _STOPPED]
        if failed is None and broken:
            failed, deadline = broken[0], time.monotonic() + GRACE
            _signal(processes, signal.SIGTERM)
        if time.monotonic() > deadline:
            _kill(processes)
        time.sleep(POLL)
    return failed if failed is not None else next((n for n, code in enumerate(codes) if code), None)


@contextmanager
def _forwarding(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def forward(number: int, frame: FrameType | None) -> None:
        _signal(processes, number)

    before = {number: signal.getsignal(number) for number in _FORWARDED}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _killed(number: int, by: int) -> KaleidoError:
    why = f"it was ended by a signal ({signal.strsignal(by)})."
    if -by == KILLED:
        why = "it was killed, perhaps because memory ran out."
    hint = "The same command resumes from the last checkpoint; --micro-batch lowers the memory."
    return KaleidoError(f"training process {number}", why, hint, code="worker-died")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
