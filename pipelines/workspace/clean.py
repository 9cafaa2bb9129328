"""Leftovers: files in a workspace that no manifest claims and no running process writes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.files import TEMPORARY
from pipelines.core.sizes import bytes_in
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.workspace import Workspace

PLACES = ("downloads", "models", "reports", "logs")
"""Folders in which killed runs leave temporary files; shards are looked at by their manifests.

Not ``samples``: no lock says whether a run is drawing there.
"""

_CHECKPOINT = re.compile(r"(?P<target>checkpoint)\.(?P<kind>tmp|old)")
"""Names that training gives beside its checkpoint."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go.

    Attributes:
        path: Where it lies.
        bytes: Its size, contents included.
        reason: Why nothing needs it.
    """

    path: Path
    bytes: int
    reason: str


@dataclass(frozen=True)
class CleanSummary:
    """What was found, and whether it was removed."""

    leftovers: tuple[Leftover, ...]
    removed: bool

    @property
    def bytes(self) -> int:
        """Size of all leftovers."""
        return sum(item.bytes for item in self.leftovers)


def clean(workspace: Workspace, remove: bool) -> CleanSummary:
    """Find what killed and replaced runs have left, and perhaps remove it.

    Only names that Kaleido itself gives are considered: a user's own files stay, wherever they lie.
    Latents of older data stay too, since their manifest claims them; `kaleido extract` replaces
    them.

    Args:
        workspace: Where to look.
        remove: Remove what was found, rather than only tell of it.

    Raises:
        KaleidoError: If a process is writing into the workspace, or a manifest is damaged.
    """
    with ExitStack() as locks:
        # All places at once, so that nothing of a running process is taken for a leftover.
        for purpose in _purposes(workspace):
            locks.enter_context(workspace.lock(purpose))
        found = tuple(_leftovers(workspace))
        for item in found if remove else ():
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
    return CleanSummary(found, remove)


def _purposes(workspace: Workspace) -> list[str]:
    names = [
        f"{place}/{name}"
        for place in ("latents", "models", "reports")
        for name in {_target(path.name) for path in _inside(workspace.root / place)}
    ]
    # A first run has a log, but no model or report yet.
    training = [f"models/{path.name}" for path in _inside(workspace.logs) if path.is_dir()]
    evaluating = [f"reports/{path.name}" for path in _inside(workspace.logs / "evaluate")]
    return sorted({"data", *names, *training, *evaluating})


def _temporary_name(name: str) -> re.Match[str] | None:
    return TEMPORARY.fullmatch(name) or _CHECKPOINT.fullmatch(name)


def _target(name: str) -> str:
    match = _temporary_name(name)
    return match["target"] if match else name


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _leftovers(workspace: Workspace) -> Iterator[Leftover]:
    yield from _of_shards(workspace.data, None)
    data = {path.stem for path in workspace.data_shards()}
    for folder in _inside(workspace.root / "latents"):
        yield from _of_shards(folder, data)
    for place in PLACES:
        yield from _temporary(workspace.root / place)


def _of_shards(folder: Path, data: set[str] | None) -> Iterator[Leftover]:
    """What lies in a folder of shards without need; `data` are the shards that latents may have."""
    for path in _inside(folder):
        if path.is_dir():
            continue
        if _temporary_name(path.name):
            yield _leftover(path, "a temporary file of a run that was killed")
        elif not re.fullmatch(r"\d{6}\.(tar|parquet|json)", path.name):
            continue
        elif read_manifest(path.with_suffix(".tar")) is None:
            yield _leftover(path, "of a shard that was not finished")
        elif data is not None and path.stem not in data:
            yield _leftover(path, "of latents whose data shard is gone")


def _temporary(folder: Path) -> Iterator[Leftover]:
    for path in _inside(folder):
        match = _temporary_name(path.name)
        if match is None:
            if path.is_dir():
                yield from _temporary(path)
        # Killed between two renames, a run leaves the only copy under the old name.
        elif match["kind"] == "tmp" or path.with_name(match["target"]).exists():
            yield _leftover(path, "a temporary file of a run that was killed")


def _leftover(path: Path, reason: str) -> Leftover:
    # Removing a link frees nothing of what it names.
    return Leftover(path, bytes_in(path, follow_links=False), reason)
