"""Pictures that earlier runs have drawn, found by everything that decides them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.core.fingerprint import fingerprint
from pipelines.core.unfinished import LIST, is_unfinished
from pipelines.documents.strict_json import parse
from pipelines.sample.writer import Row


class Drawn:
    """The pictures of some folders.

    Args:
        folders: Folders of samples; those that do not exist hold none. A line that a kill has cut
            does not count.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._files: dict[str, Path] = {}
        for folder in folders:
            for file, row in _rows(folder):
                if (folder / file).is_file():
                    self._files[fingerprint(row)] = folder / file

    def __contains__(self, row: Row) -> bool:
        """Whether a picture with this line has been drawn."""
        return fingerprint(row) in self._files

    def png(self, row: Row) -> bytes | None:
        """Return the file of a picture with this line; None if none has been drawn."""
        path = self._files.get(fingerprint(row))
        return None if path is None else path.read_bytes()


def is_drawn(folder: Path, rows: Sequence[Row]) -> bool:
    """Whether a finished run has drawn exactly these pictures into a folder."""
    if is_unfinished(folder):
        return False
    found = [row for file, row in _rows(folder) if (folder / file).is_file()]
    return list(map(fingerprint, found)) == list(map(fingerprint, rows))


def earlier_folders(folder: Path) -> list[Path]:
    """Return where stopped and killed runs of a name have drawn, see `new_folder`."""
    return [*sorted(folder.parent.glob(f"{folder.name}-stopped*"))]


def _rows(folder: Path) -> Iterator[tuple[str, Row]]:
    """Read the lines of a list with the names of their files."""
    path = folder / LIST
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        row, problems = parse(line)
        if not problems and isinstance(row, dict) and Path(str(row.get("file", "/"))).name:
            yield Path(str(row.pop("file"))).name, row
