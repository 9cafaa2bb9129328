"""Removing what killed and replaced runs left in a workspace, and nothing else.

A file goes only if Kaleido must have written it: its name has the exact form of our temporary
names, the journal of unfinished shards names it, or a manifest of ours does. Links are never
followed, so nothing outside the workspace can go.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import TEMPORARY, is_real, recover_folder
from pipelines.core.sizes import bytes_in
from pipelines.core.unfinished import is_abandoned, is_blank
from pipelines.workspace.journal import Journal, is_claimed, shard_files, unfinished_shards
from pipelines.workspace.workspace import LAYOUTS, LOCKS, Workspace

PLACES = ("data", LAYOUTS, "latents", "downloads", "models", "reports", "logs", LOCKS)
"""Folders in which killed runs leave temporary files, and whose locks tell if a run goes on."""

MARKED = ("samples", "plans")
"""Folders in which each run fills a folder that it marks; see `pipelines.core.unfinished`."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be removed.

    Attributes:
        path: The file or folder.
        bytes: Its size, including the contents of a folder.
        reason: Why nothing needs it.
    """

    path: Path
    bytes: int
    reason: str


@dataclass(frozen=True)
class CleanSummary:
    """The leftovers of a workspace.

    Attributes:
        leftovers: What can be removed.
        recovered: Folders of which a kill left only the replaced copy; it is renamed back.
        removed: Whether the leftovers were removed, and the folders recovered.
    """

    leftovers: tuple[Leftover, ...]
    recovered: tuple[Path, ...]
    removed: bool

    @property
    def bytes(self) -> int:
        """Size of all leftovers."""
        return sum(item.bytes for item in self.leftovers)


def clean(workspace: Workspace, remove: bool) -> CleanSummary:
    """Find the leftovers of killed and replaced runs, and remove them on request.

    Latents of older data stay, since `kaleido extract` replaces them.

    Args:
        workspace: The workspace.
        remove: Remove what is found; otherwise only report it.

    Raises:
        KaleidoError: If another process is writing to the workspace (``locked``), or something
            cannot be removed; everything else is removed first.
    """
    with ExitStack() as locks:
        # Hold all locks at once, so that no file of a running process looks like a leftover.
        for purpose in _purposes(workspace):
            locks.enter_context(workspace.lock(purpose))
        temporary = [path for place in PLACES for path in _temporary(workspace.root / place)]
        lost = [path for path in temporary if _is_only_copy(path)]
        leftovers = (
            *(_leftover(p, "temporary file of a killed run") for p in temporary if p not in lost),
            *_unfinished(workspace),
            *_abandoned(workspace),
            *_without_data(workspace),
        )
        recovered = tuple(path.with_name(_target(path.name)) for path in lost)
        if remove:
            _remove(leftovers)
            for path in recovered:
                recover_folder(path)
            _forget_unfinished(workspace)
    return CleanSummary(leftovers, recovered, remove)


def _purposes(workspace: Workspace) -> list[str]:
    """Return the purposes of all locks that a running process may hold."""
    names = [
        f"{place}/{_target(path.name)}"
        for place in ("latents", "models", "reports")
        for path in _inside(workspace.root / place)
        if path.is_dir() or TEMPORARY.fullmatch(path.name)
    ]
    # A first run has a log, but no model or report yet.
    training = [f"models/{path.name}" for path in _inside(workspace.logs) if path.is_dir()]
    evaluating = [f"reports/{path.name}" for path in _inside(workspace.logs / "evaluate")]
    return sorted({"data", LAYOUTS, *names, *training, *evaluating})


def _target(name: str) -> str:
    match = TEMPORARY.fullmatch(name)
    return match["target"] if match else name


def _inside(folder: Path) -> list[Path]:
    """List a folder, unless it is a link."""
    return sorted(folder.iterdir()) if is_real(folder) and folder.is_dir() else []


def _temporary(folder: Path) -> Iterator[Path]:
    for path in _inside(folder):
        if TEMPORARY.fullmatch(path.name):
            if is_real(path):
                yield path
        elif path.is_dir():
            yield from _temporary(path)


def _is_only_copy(path: Path) -> bool:
    match = TEMPORARY.fullmatch(path.name)
    return bool(match and match["kind"] == "old" and not path.with_name(match["target"]).exists())


def _unfinished(workspace: Workspace) -> Iterator[Leftover]:
    if is_real(workspace.data):
        for shard in unfinished_shards(workspace.data, workspace.data_journal):
            if not (is_claimed(shard) and shard.is_file()):
                for file in shard_files(shard):
                    yield _leftover(file, "of a data shard that was not finished")


def _abandoned(workspace: Workspace) -> Iterator[Leftover]:
    """Find what killed runs left in folders of samples and plans; finished pictures stay."""
    for folder in (path for place in MARKED for path in _inside(workspace.root / place)):
        if not (is_real(folder) and folder.is_dir() and is_abandoned(folder)):
            continue
        if is_blank(folder):
            yield _leftover(folder, "of a run that was killed before it made anything")
        else:
            for path in _temporary(folder):
                yield _leftover(path, "temporary file of a killed run")


def _forget_unfinished(workspace: Workspace) -> None:
    if workspace.data_journal.is_file() and is_real(workspace.data):
        journal = Journal(workspace.data, workspace.data_journal)
        for shard in journal.unfinished():
            journal.end(shard)


def _without_data(workspace: Workspace) -> Iterator[Leftover]:
    """Find latents whose data shard is gone, unless there are no data at all.

    Without any data the folder was moved, or its disk is not mounted.
    """
    data = {path.stem for path in workspace.data.glob("*.tar")}
    for folder in _inside(workspace.root / "latents") if data else ():
        for manifest in _inside(folder):
            if manifest.suffix == ".json" and manifest.stem not in data and is_claimed(manifest):
                for file in shard_files(manifest):
                    yield _leftover(file, "of latents whose data shard is gone")


def _leftover(path: Path, reason: str) -> Leftover:
    return Leftover(path, bytes_in(path), reason)


def _remove(leftovers: tuple[Leftover, ...]) -> None:
    failed = []
    for item in leftovers:
        try:
            if item.path.is_dir() and is_real(item.path):
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
        except OSError as error:
            failed.append((item.path, error.strerror))
    if failed:
        path, why = failed[0]
        more = f" {len(failed) - 1:,} more could not be removed either." if failed[1:] else ""
        raise KaleidoError(str(path), f"it cannot be removed ({why}).{more}")
