"""The parts of a workspace that travel, and the file that seals each in a store.

A shard is sealed by its manifest, which holds the SHA-256 of the tar. Any other folder is sealed by
a receipt, which exists in the store alone. Seals are written last, so whatever is sealed is whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.core.errors import KaleidoError
from pipelines.core.files import FILE_LIST, is_real, own_files, sha256_file
from pipelines.workspace.workspace import LAYOUTS, Workspace

SHARDED = ("data", LAYOUTS, "latents")
"""Folders of shards; `latents` has one of them per kind."""

NAMED = ("models", "samples", "plans", "reports", "logs")
"""Folders that have one folder per name."""

USUAL = tuple(folder for folder in (*SHARDED, *NAMED) if folder != "logs")
"""What travels unless places are named: logs hold the checkpoints of unfinished runs."""

RECEIPT = ".kaleido-receipt.json"

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Place:
    """A folder of a workspace and of a store.

    Attributes:
        name: ``data``, ``layouts``, ``latents/KIND`` or, for example, ``models/prior``.
    """

    name: str

    @property
    def is_sharded(self) -> bool:
        """Whether it holds shards."""
        return self.name.partition("/")[0] in SHARDED

    @property
    def kind(self) -> str:
        """The kind of latents of a folder of shards; empty for ``data``."""
        return "" if self.name == "data" else self.name.rpartition("/")[2]

    def folder(self, workspace: Workspace) -> Path:
        """Return its folder in a workspace."""
        return workspace.root / self.name


def check_places(only: Sequence[str]) -> None:
    """Check the names of places.

    Raises:
        KaleidoError: If one is not the name of a folder of workspaces (``bad-option``).
    """
    for name in only:
        head, _, rest = name.partition("/")
        if head not in (*SHARDED, *NAMED) or (rest and not _NAME.fullmatch(rest)):
            known = ", ".join((*SHARDED, *NAMED))
            why = "it is no folder of a workspace."
            hint = f"Name {known}, or one of their folders, such as latents/boxes."
            raise KaleidoError(f"--only {name}", why, hint, code="bad-option")


def local_places(workspace: Workspace, only: Sequence[str] = USUAL) -> list[Place]:
    """List what a workspace has of some places."""
    found = []
    for head in (*SHARDED, *NAMED):
        folder = workspace.root / head
        if not folder.is_dir():
            continue
        if head in ("data", LAYOUTS):
            found.append(Place(head))
        else:
            found += [Place(f"{head}/{path.name}") for path in sorted(folder.iterdir())]
    return [
        place
        for place in found
        if _asked(place.name, only) and _NAME.fullmatch(place.name.rpartition("/")[2])
    ]


def remote_places(files: Iterable[str], only: Sequence[str] = USUAL) -> list[Place]:
    """List what a store has of some places, by the paths of its files."""
    found: dict[str, None] = {}
    for file in sorted(files):
        head, *rest = file.split("/")
        depth = 0 if head in ("data", LAYOUTS) else 1
        if head not in (*SHARDED, *NAMED) or len(rest) < depth + 1:
            continue
        names = rest[:depth]
        if all(_NAME.fullmatch(name) for name in names):
            found["/".join([head, *names])] = None
    return [Place(name) for name in found if _asked(name, only)]


def _asked(name: str, only: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}/") for each in only)


@dataclass(frozen=True)
class Content:
    """Size in bytes and SHA-256 of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Receipt:
    """What a folder of a store holds.

    Attributes:
        files: Path within the folder -> content.
        complete: Whether all of the folder has been sent.
    """

    files: dict[str, Content]
    complete: bool

    def to_bytes(self) -> bytes:
        """Serialise it to JSON."""
        files = {name: [each.bytes, each.sha256] for name, each in sorted(self.files.items())}
        return json.dumps({"complete": self.complete, "files": files}, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> Receipt:
        """Parse it.

        Raises:
            KaleidoError: If it is not a receipt, or names a file outside of the folder
                (``bad-data``).
        """
        try:
            values = json.loads(data)
            files = {
                _inside(name): Content(int(size), str(digest))
                for name, (size, digest) in values["files"].items()
            }
            return cls(files, values["complete"] is True)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"it is not a receipt of Kaleido ({error})."
            raise KaleidoError(what, why, "Push the folder again.", code="bad-data") from error


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
        raise ValueError(f"{name!r} is no path within a folder")
    return name


def contents(place: Place, workspace: Workspace) -> dict[str, Content]:
    """Hash the files of a folder that travel: of models and logs those that Kaleido wrote."""
    folder = place.folder(workspace)
    if place.name.startswith(("models/", "logs/")):
        names = own_files(folder)
    else:
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))]
    paths = {name: folder / name for name in names if name != FILE_LIST}
    return {
        name: Content(path.stat().st_size, sha256_file(path))
        for name, path in paths.items()
        if path.is_file() and is_real(path)
    }
