"""Turn what a user's machine does to a run into errors that name a remedy."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from traceback import walk_tb

from pipelines.core.errors import KaleidoError
from pipelines.core.files import FULL, final_name
from pipelines.core.memory import is_out_of_memory, out_of_memory

_FULL_TEXTS = ("no space left", "disk quota exceeded", "inline_container", "pytorchstreamwriter")
"""In messages of libraries that lose the error number: safetensors, and the writer of torch."""

NOTHING_PRODUCED = 3


def explain(error: BaseException) -> KaleidoError | None:
    """Return the error to show for an exception, or None if it is a fault of the program.

    Libraries wrap the errors of the machine, so causes are searched as well.
    """
    if isinstance(error, KaleidoError):
        return error
    chain = list(_chain(error))
    for link in chain:
        if _is_full(link):
            return KaleidoError(
                _file_of(link) or "the disk",
                "it cannot be written, the disk is full.",
                "Free some space and run again; finished work is kept.",
                code="no-space",
            )
    if any(map(_lacks_threads, chain)):
        return KaleidoError(
            "the system",
            "it starts no further thread or process.",
            "Raise the limit on processes (`ulimit -u`, a container's --pids-limit), free memory, "
            "or use fewer --workers.",
            code="out-of-memory",
        )
    if any(map(is_out_of_memory, chain)):
        hint = "Use a smaller --batch-size, smaller images, or fewer --workers."
        return out_of_memory("memory", hint)
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if type(error).__name__ == "SafetensorError":
        return KaleidoError(
            "model weights",
            f"a safetensors file is damaged or incomplete ({_first_line(error)}).",
            "Copy or download the model again.",
            code="bad-model",
        )
    return None


def exit_status(error: KaleidoError) -> int:
    """Return the exit status of the program for an error."""
    return NOTHING_PRODUCED if error.code == "nothing-produced" else 1


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    if type(error).__name__ not in ("SafetensorError", "RuntimeError"):
        return False
    return any(text in str(error).lower() for text in _FULL_TEXTS)


def _lacks_threads(error: BaseException) -> bool:
    if isinstance(error, BlockingIOError):  # of fork; a pipe that is full gives the same error
        return any(name.startswith(("multiprocessing", "subprocess")) for name in _modules(error))
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def _explain_os_error(error: OSError) -> KaleidoError:
    if _in_semaphore(error):
        return KaleidoError(
            "/dev/shm",
            f"worker processes cannot use shared memory ({error.strerror}).",
            "Make /dev/shm writable, or use --workers 1.",
            code="no-space",
        )
    what, why = _file_of(error) or "the system", f"{error.strerror or error}."
    if error.errno == errno.EROFS:
        return KaleidoError(what, why, "Choose a place that can be written to.", code="no-space")
    return KaleidoError(what, why)


def _in_semaphore(error: OSError) -> bool:
    """Whether a semaphore could not be made; its error names no file."""
    return "multiprocessing.synchronize" in _modules(error)


def _modules(error: BaseException) -> list[str]:
    """Return the modules through which an error went."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return [str(frame.f_globals.get("__name__")) for frame in frames]


def _file_of(error: BaseException) -> str | None:
    """Return the file of an error; of a temporary one, what it was to become."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | os.PathLike):
        return None
    return final_name(name)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
