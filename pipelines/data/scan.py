"""List the files of a folder, linked folders included, and count what is passed over."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipelines.core.picture_formats import is_image
from pipelines.data import caption_files
from pipelines.data.caption_table import TABLES
from pipelines.data.convert import SUFFIXES, UNREADABLE

NAMED = 3
"""Names that a line about files that were passed over gives as examples."""


@dataclass
class FolderFiles:
    """Files below a folder, as paths relative to it, in the order of their names.

    Attributes:
        images: Pictures, by their suffix or by their first bytes.
        texts: Text files that may hold a caption.
        tables: Caption tables.
        passed: Why files were passed over -> their names.
    """

    images: list[PurePosixPath] = field(default_factory=list)
    texts: list[PurePosixPath] = field(default_factory=list)
    tables: list[PurePosixPath] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, reason: str, name: PurePosixPath) -> None:
        """Note a file or folder that is not read."""
        self.passed.setdefault(reason, []).append(str(name))

    def passed_lines(self) -> list[str]:
        """Return a line for each reason."""
        return [
            f"passed over: {len(names):,} {reason} ({', '.join(names[:NAMED])}"
            + (", …)" if len(names) > NAMED else ")")
            for reason, names in sorted(self.passed.items())
        ]


def scan_folder(root: Path, without: Path) -> FolderFiles:
    """List the files below a folder. A linked folder is entered once, so links may form loops.

    Args:
        root: The folder.
        without: A folder that is not entered: the workspace.
    """
    found = FolderFiles()
    links: list[PurePosixPath] = []
    seen: set[tuple[int, int]] = set()
    names = _walk(root, PurePosixPath(), found, links, seen)
    # Links last: a folder that is both inside and linked keeps its own name.
    for link in links:
        target = root / link
        if target.resolve() == without.resolve() or _identity(target) in seen:
            found.pass_over("links to folders that are read already, or to the workspace", link)
        else:
            names += _walk(root, link, found, links, seen)
    for name in sorted(names):
        _sort_in(root, name, found)
    return found


def _walk(
    root: Path,
    below: PurePosixPath,
    found: FolderFiles,
    links: list[PurePosixPath],
    seen: set[tuple[int, int]],
) -> list[PurePosixPath]:
    names: list[PurePosixPath] = []
    folders = [below]
    while folders:
        folder = folders.pop()
        seen.add(_identity(root / folder))
        try:
            entries = sorted(os.listdir(root / folder))
        except OSError as error:
            found.pass_over(f"folders that cannot be read: {error.strerror}", folder)
            continue
        for entry in entries:
            name = folder / entry
            if entry.startswith("."):
                found.pass_over("hidden files or folders", name)
            elif (is_folder := _is_folder(root / name)) is None:
                found.pass_over("files or folders that may not be looked at", name)
            elif not is_folder:
                names.append(name)
            elif (root / name).is_symlink():
                links.append(name)
            else:
                folders.append(name)
    return names


def _is_folder(path: Path) -> bool | None:
    """Whether a path is a folder; None if it may not be looked at, as behind some links."""
    try:
        return path.is_dir()
    except OSError:
        return None


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _sort_in(root: Path, name: PurePosixPath, found: FolderFiles) -> None:
    suffix = name.suffix.lower()
    if name.name.lower() in TABLES:
        if (root / name).is_file():  # opening a pipe would wait for its writer
            found.tables.append(name)
        else:
            found.pass_over("tables that are no plain files", name)
    elif suffix in caption_files.SUFFIXES:
        found.texts.append(name)
    elif suffix in SUFFIXES or suffix in UNREADABLE or _begins_like_image(root / name):
        found.images.append(name)
    else:
        found.pass_over(f"files that are no pictures, {suffix or 'without a suffix'}", name)


def _begins_like_image(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_image(file.read(16))
    except OSError:
        return False


def normal_name(name: str) -> str:
    """Return a path for comparison: Unicode normal form C, with ``/`` between folders."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


class Names:
    """Finds files of a folder by names that other systems and programs wrote."""

    def __init__(self, names: list[PurePosixPath]) -> None:
        self._exact = {str(name) for name in names}
        self._counts = Counter(normal_name(str(name)) for name in names)
        self._normal = {normal_name(str(name)): name for name in names}

    def find(self, name: str) -> PurePosixPath | None:
        """Return the file of this name, or the only one that is equal in normal form."""
        if name in self._exact:
            return PurePosixPath(name)
        normal = normal_name(name)
        return self._normal[normal] if self._counts[normal] == 1 else None
