"""Mark a folder as unfinished while a run fills it, so that a killed run's folder is told apart.

The mark is a lock file, which the kernel releases when the run dies: a mark that is locked belongs
to a run that goes on, one that is not to a run that was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.files import TEMPORARY, is_real

MARK = ".kaleido-unfinished"

LIST = "samples.jsonl"
"""The list of a run's samples, which is empty before the first one."""


@contextmanager
def unfinished(folder: Path, keep: bool = False) -> Iterator[None]:
    """Mark an existing folder until the context ends, with an error or without.

    Args:
        folder: The folder.
        keep: Leave the mark after an error, as a killed run does.
    """
    from filelock import FileLock  # 20 ms, which `kaleido status` need not wait for

    mark = folder / MARK
    held = FileLock(mark)
    held.acquire(timeout=0)
    stays = keep
    try:
        yield
        stays = False
    finally:
        held.release()
        if stays:
            mark.touch()  # as in `is_abandoned`
        else:
            mark.unlink(missing_ok=True)


def is_unfinished(folder: Path) -> bool:
    """Return whether a run fills a folder, or was killed while it did."""
    return (folder / MARK).is_file()


def is_abandoned(folder: Path) -> bool:
    """Return whether a run was killed while it filled a folder."""
    if not is_unfinished(folder):
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / MARK, timeout=0):
            pass
        (folder / MARK).touch()  # some versions of filelock remove it on release
        return True
    except Timeout:
        return False
    except OSError:  # such as a folder that cannot be written to
        return False


def is_blank(folder: Path) -> bool:
    """Return whether a run has made nothing in its folder yet, and nobody else has put a file."""
    return all(
        is_real(path)
        and path.is_file()
        and (path.name in (MARK, LIST) or bool(TEMPORARY.fullmatch(path.name)))
        for path in folder.iterdir()
    )
