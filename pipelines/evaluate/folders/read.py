"""Read folders of pictures with their captions, and with z where the folder tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.data.caption_files import clean_caption, read_caption
from pipelines.data.folder import list_rows
from pipelines.data.scan import scan_folder
from pipelines.documents.document import Document
from pipelines.documents.projection import DOCUMENT_KINDS, z_of
from pipelines.documents.strict_json import parse
from pipelines.latents.sequence import z_to_text

LIST = "samples.jsonl"
"""What `kaleido sample` writes beside its pictures."""

COMPARED = (
    *("source", "base.identity", "base.scheduler", "base.dtype"),
    *("settings.cfg", "settings.cfg_begin", "settings.cfg_end", "settings.steps"),
    *("settings.width", "settings.height", "settings.negative", "settings.noise_seed"),
)
"""What should be equal in folders that are compared, by its path in a line of the list."""


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Attributes:
        file: Its file.
        caption: Its caption; empty if none is known.
        prompt: What the model was told, if that is known.
        z: Its z as text; empty if there is none.
    """

    file: Path
    caption: str
    prompt: str = ""
    z: str = ""


@dataclass(frozen=True)
class PictureFolder:
    """A folder of pictures.

    Attributes:
        name: Name for people.
        path: The folder.
        groups: Caption -> its pictures, in the order of the list or of the files' names.
        made: How they were made, by the names of `COMPARED`; empty where that is not known, or
            varies.
    """

    name: str
    path: Path
    groups: Mapping[str, list[Drawn]]
    made: Mapping[str, Any]


def read_picture_folder(
    path: Path, name: str, max_caption: int, progress: Progress = SILENT
) -> PictureFolder:
    """Read a folder of pictures.

    A ``samples.jsonl`` tells captions, prompts and z. Without one, captions are found as `kaleido
    data folder` finds them; if there are no texts and no tables at all, all pictures count as one
    group.

    Args:
        path: The folder.
        name: Name for people.
        max_caption: Longest caption, in characters.
        progress: Told how many pictures cannot be used.

    Raises:
        KaleidoError: If there is no such folder, or no picture in it can be used.
    """
    if not path.is_dir():
        why = "it is not a folder." if path.exists() else "the folder does not exist."
        hint = "Name a folder of pictures, or one below samples/."
        raise KaleidoError(str(path), why, hint, code="bad-data")
    listed = path / LIST
    rows = _listed(path) if listed.is_file() else []
    drawn = [_of_row(path, row) for row in rows] if rows else _found(path, max_caption, progress)
    groups: dict[str, list[Drawn]] = {}
    for each in drawn:
        groups.setdefault(each.caption, []).append(each)
    if not groups:
        raise KaleidoError(str(path), "it holds no pictures.", code="bad-data")
    return PictureFolder(name, path, groups, _made(rows))


def _listed(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate((path / LIST).read_bytes().splitlines(), 1):
        row, problems = parse(line)
        if problems or not isinstance(row, dict) or not _is_sound(row):
            raise KaleidoError(
                f"{path / LIST}, line {number}",
                "it names no file and caption.",
                "Keep the list as `kaleido sample` wrote it, or remove it.",
                code="bad-data",
            )
        rows.append(row)
    return rows


def _is_sound(row: Mapping[str, Any]) -> bool:
    file = row.get("file")
    inside = isinstance(file, str) and not Path(file).is_absolute() and ".." not in Path(file).parts
    return inside and isinstance(row.get("caption"), str)


def _of_row(path: Path, row: Mapping[str, Any]) -> Drawn:
    z, document = row.get("z"), row.get("document")
    if not z and isinstance(document, dict):
        try:
            read = Document.model_validate_json(json.dumps(document))
        except ValidationError as error:
            why, hint = "its document is not valid.", "`kaleido z verify` lists the problems."
            where = f"{path / LIST}, {row['file']}"
            raise KaleidoError(where, why, hint, code="bad-data") from error
        z = z_to_text(z_of(read, DOCUMENT_KINDS)[0])
    prompt = row.get("prompt") or row["caption"]
    return Drawn(path / row["file"], row["caption"], str(prompt), str(z or ""))


def _found(path: Path, max_caption: int, progress: Progress) -> Iterator[Drawn]:
    """Find pictures and captions that no list names."""
    root = path.resolve()
    files = scan_folder(root, root / LIST)
    if files.images and not files.texts and not files.tables:
        yield from (Drawn(root / image, "") for image in files.images)
        return
    unread = 0
    for row in list_rows(root, files, path.absolute()):
        try:
            if row.problem or not isinstance(row.image, Path):
                raise BadRecord(row.name, row.problem)
            if isinstance(row.caption, Path):
                caption = read_caption(row.caption, max_caption)
            else:
                caption = clean_caption(row.caption, row.name, max_caption)
        except BadRecord:
            unread += 1
        else:
            yield Drawn(row.image, caption)
    if unread:
        progress.message(f"{path}: {unread:,} files have no picture or no caption.")


def _made(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all lines of a list have in common of `COMPARED`."""
    made = {}
    for name in COMPARED:
        values = [_at(row, name) for row in rows]
        if values and all(value == values[0] for value in values) and values[0] is not None:
            made[name] = values[0]
    return made


def _at(row: Mapping[str, Any], name: str) -> Any:
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
