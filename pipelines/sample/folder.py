"""The folder of one run of `kaleido sample`. A name that is given up is free again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import require_new
from pipelines.core.progress import Progress
from pipelines.core.unfinished import MARK, is_abandoned, is_blank, unfinished


@contextmanager
def new_folder(
    samples: Callable[[str], Path], name: str | Path | None, caption: str, progress: Progress
) -> Iterator[Path]:
    """Make the folder of a run.

    If the run is stopped, an empty folder is removed unless it was there before, and one with
    pictures or other files gets ``-stopped`` appended to its name, so that the same command can be
    run again and no picture is lost. The folder of a run that was killed is treated so by the next
    run that asks for its name; until then it is marked (`pipelines.core.unfinished`).

    Args:
        samples: Name to path.
        name: A name, or the folder's path; None makes a name from the caption.
        caption: The first one.
        progress: Told where the pictures of a stopped or killed run are.

    Raises:
        KaleidoError: If the folder exists and is not empty.
    """
    was_there = False
    if name is None:
        slug = re.sub(r"[^a-z0-9]+", "-", caption.lower()).strip("-")[:40] or "samples"
        folder = _make(samples, slug)
    else:
        folder = name if isinstance(name, Path) else samples(name)
        if is_abandoned(folder):
            (folder / MARK).unlink()
            _give_up(folder, False, progress)
        was_there = folder.exists()
        require_new(folder)
        if not was_there:
            _take(folder)
    try:
        with unfinished(folder):
            yield folder
    except BaseException:
        _give_up(folder, was_there, progress)
        raise


def _give_up(folder: Path, was_there: bool, progress: Progress) -> None:
    """Free the name of a run's folder; what is in it is kept under another name."""
    if not is_blank(folder):
        kept = _make(lambda stem: folder.with_name(stem), f"{folder.name}-stopped")
        folder.replace(kept)
        progress.message(f"What the stopped run made is in {kept}.")
        return
    for leftover in folder.iterdir():
        leftover.unlink()
    if not was_there:
        folder.rmdir()


def _take(folder: Path) -> None:
    """Make a folder that no other run makes at the same moment."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise KaleidoError(
            str(folder),
            "another run has just made it.",
            "Choose another --name or --out.",
            code="would-overwrite",
        ) from None


def _make(place: Callable[[str], Path], name: str) -> Path:
    """Make the first folder of ``NAME``, ``NAME-2``, … that does not exist."""
    for number in count(1):
        folder = place(name if number == 1 else f"{name}-{number}")
        # Making it also takes it: another run at the same moment gets the next number.
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("count() never ends")
