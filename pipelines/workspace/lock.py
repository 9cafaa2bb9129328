"""One writer at a time: a lock that the kernel releases when its holder dies.

`filelock` decides between processes on one machine, whatever their pid namespaces. A note beside
the lock file names the holder for error messages. It also has a heartbeat, because the kernel's
lock is not reliable between machines: some network file systems keep locks to one client, others
keep the lock of a client that is gone for good.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from filelock import FileLock, Timeout

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write

BEAT = 15.0
"""Seconds between two heartbeats."""

STALE = 120.0
"""Seconds without a heartbeat after which a holder on another machine counts as dead."""

_PART = re.compile(r"(?P<base>.+)\.part-\d+-of-(?P<count>\d+)\.lock")

GATE_TIMEOUT = 10.0
"""Seconds to wait for other contenders, each of which needs milliseconds."""


@contextmanager
def lock(path: Path, purpose: str, beat: float = BEAT, stale: float = STALE) -> Iterator[None]:
    """Hold the lock file `path`, or fail at once.

    A lock ``NAME.part-K-of-N.lock`` is for a part of the place of ``NAME.lock``: it is not held
    together with that one, nor with a part of another number of parts.

    Args:
        path: The lock file. It stays when the lock is released.
        purpose: What is being written, for the error that another writer gets.
        beat: Seconds between two heartbeats.
        stale: Seconds without a heartbeat after which a holder on another machine is dead.

    Raises:
        KaleidoError: If another writer holds the lock (``locked``).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".json")
    content = json.dumps({**_this_process(), "purpose": purpose}).encode()
    held = _acquire(path, note, content, stale)
    try:
        stop = Event()
        heart = Thread(target=_beat, args=(note, beat, stop), daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()
            if _read(note) == content:
                note.unlink(missing_ok=True)
    finally:
        held.release()


def _acquire(path: Path, note: Path, content: bytes, stale: float) -> FileLock:
    """Take the lock and leave the note, or raise KaleidoError."""
    # The gate lets one contender at a time judge who holds the lock.
    gate = _try(path.with_name("gate.lock"), GATE_TIMEOUT)
    if gate is None:
        raise _busy(path, content, None)
    try:
        held = _take(path, stale)
        if held is None:
            raise _busy(path, content, _parse(_read(note)))
        try:
            for rival in _rivals(path):
                other = _take(rival, stale)
                if other is None:
                    raise _busy(rival, content, _parse(_read(rival.with_suffix(".json"))))
                other.release()
            atomic_write(note, content)
        except BaseException:
            held.release()
            raise
        return held
    finally:
        gate.release()


def _take(path: Path, stale: float) -> FileLock | None:
    """Take a lock whose holder is dead, or that nobody holds; call it inside the gate."""
    held, note = _try(path), path.with_suffix(".json")
    holder = _parse(_read(note))
    if holder and holder["boot"] != _boot():
        alive = _age(note) < stale
        if held and alive:
            held.release()
            return None
        if held is None and not alive:
            # The kernel's lock belongs to the old file; a new file has none.
            path.unlink(missing_ok=True)
            return _try(path)
    return held


def _rivals(path: Path) -> list[Path]:
    """Return the other lock files of the same place that must be free."""
    part = _PART.fullmatch(path.name)
    base = part["base"] if part else path.stem
    found = [
        (other, match)
        for other in sorted(path.parent.glob(f"{base}.part-*.lock"))
        if other != path and (match := _PART.fullmatch(other.name)) and match["base"] == base
    ]
    if part is None:
        return [other for other, _ in found]
    whole = path.with_name(f"{base}.lock")
    return [whole, *(other for other, match in found if match["count"] != part["count"])]


def _try(path: Path, timeout: float = 0) -> FileLock | None:
    held = FileLock(path, timeout=timeout)
    try:
        held.acquire()
    except Timeout:
        return None
    return held


def _busy(path: Path, content: bytes, holder: dict[str, Any] | None) -> KaleidoError:
    who = "another process"
    if holder:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder["time"]))
        who = f"process {holder['pid']} on {holder['host']} since {since}"
    return KaleidoError(
        str(path),
        f"{json.loads(content)['purpose']} is being written by {who}.",
        "Wait for it to end, or stop it. The lock of a process or machine that died is released by "
        "itself within minutes.",
        "locked",
    )


def _beat(note: Path, beat: float, stop: Event) -> None:
    while not stop.wait(beat):
        try:
            os.utime(note)
        except OSError:
            continue  # the file system may come back


def _this_process() -> dict[str, Any]:
    host = socket.gethostname()
    return {"pid": os.getpid(), "host": host, "boot": _boot(), "time": int(time.time())}


def _boot() -> str:
    """Return an id of the running kernel, or the host's name where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _read(note: Path) -> bytes | None:
    try:
        return note.read_bytes()
    except FileNotFoundError:
        return None


def _parse(content: bytes | None) -> dict[str, Any] | None:
    """Return a note's values; a damaged note names nobody."""
    try:
        values = json.loads(content or b"null")
        names = {"pid": int, "host": str, "boot": str, "time": int}
        return {name: kind(values[name]) for name, kind in names.items()}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _age(note: Path) -> float:
    """Return the seconds since the last heartbeat, by the clock of the file system."""
    with tempfile.TemporaryFile(dir=note.parent) as probe:
        now = os.fstat(probe.fileno()).st_mtime
    try:
        return now - note.stat().st_mtime
    except FileNotFoundError:
        return 0.0
