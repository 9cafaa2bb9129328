"""A folder of images and captions as data shards. The folder itself is never changed."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipelines.core.errors import KaleidoError
from pipelines.core.inputs import is_there
from pipelines.core.progress import SILENT, Progress
from pipelines.data import caption_files
from pipelines.data.caption_table import TABLES, TableRow, read_table
from pipelines.data.convert import SUFFIXES, UNREADABLE, options_of
from pipelines.data.keys import Keys
from pipelines.data.rows import RawRow, write_rows
from pipelines.data.scan import FolderFiles, Names, normal_name, scan_folder
from pipelines.data.writer import DataSummary, Source
from pipelines.workspace.workspace import Workspace

VERSION = 3


def write_folder(
    workspace: Workspace,
    path: Path,
    shard_size: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write a folder of captioned images as data shards.

    Images take their captions from a text file of the same stem (``.txt`` or ``.caption``) or from
    a table (`TABLES`), which goes first. Subfolders are read, linked ones too. What cannot be used
    is recorded with its reason, and the run goes on. Shards whose input files have not changed are
    skipped.

    Args:
        workspace: Where to write.
        path: The folder.
        shard_size: Input rows in a shard; ``data.shard_size`` by default.
        workers: Processes that decode pictures; the shards do not depend on it.
        overwrite: Replace data of another source.
        progress: Receives the progress, and a line for each kind of file that is passed over.

    Raises:
        KaleidoError: If the folder is missing, holds no images or no captions, or holds the
            workspace; if a table cannot be read; or if `data/` holds other data.
    """
    root = path.resolve()
    _check_folder(root, workspace)
    files = scan_folder(root, workspace.root)
    rows = list_rows(root, files, path.absolute())
    for line in files.passed_lines():
        progress.message(line)
    options = {"folder": str(root), **options_of(workspace.settings.data)}
    return write_rows(
        workspace,
        Source("data folder", VERSION, options),
        "folder",
        rows,
        len(rows),
        shard_size,
        workers,
        overwrite,
        progress,
    )


def _check_folder(root: Path, workspace: Workspace) -> None:
    if not root.is_dir():
        why = "it is not a folder." if root.exists() else "the folder does not exist."
        raise KaleidoError(str(root), why, "Give a folder of images and captions.", "bad-data")
    if workspace.root.is_relative_to(root):
        raise KaleidoError(
            str(root),
            "it holds the workspace itself.",
            "Put the images in a folder of their own.",
            "bad-data",
        )


def list_rows(root: Path, files: FolderFiles, given: Path | None = None) -> list[RawRow]:
    """List the input rows of a folder: the tables' rows, then other images and texts, by path.

    Args:
        root: The folder, resolved.
        files: What it holds; text files that no image needs are passed over here.
        given: The folder as the user named it, for absolute paths in tables.

    Raises:
        KaleidoError: If there are no images or none with a caption, or a table cannot be read.
    """
    if not files.images:
        raise KaleidoError(
            str(root),
            "it holds no images.",
            f"Images are found by content or by name ({', '.join(SUFFIXES[:8])} and more).",
            "bad-data",
        )
    keys = Keys()
    texts = _texts_by_stem(files)
    rows, named = _table_rows(root, files, keys, given or root)
    stems = set()
    for image in files.images:
        stem = normal_name(str(image.with_suffix("")))
        stems.add(stem)
        if image not in named:
            rows.append(_file_row(root, image, texts.get(stem), keys))
    if all(row.problem for row in rows):
        raise KaleidoError(
            str(root),
            f"none of its {len(files.images):,} images has a caption.",
            "Write NAME.txt beside each image, or a captions.csv with the columns file,caption "
            f"(also read: {', '.join(TABLES)}, NAME.caption).",
            "bad-data",
        )
    rows += [
        _failed(keys, str(text), "the text has no image of its name.")
        for stem, text in texts.items()
        if stem not in stems
    ]
    return rows


def _texts_by_stem(files: FolderFiles) -> dict[str, PurePosixPath]:
    """Map stems in normal form to text files; of several, the first suffix counts."""
    found: dict[str, list[PurePosixPath]] = defaultdict(list)
    for text in files.texts:
        found[normal_name(str(text.with_suffix("")))].append(text)
    for texts in found.values():
        texts.sort(key=lambda text: caption_files.SUFFIXES.index(text.suffix.lower()))
        for other in texts[1:]:
            files.pass_over(f"texts beside another {texts[0].suffix} of the same name", other)
    return {stem: texts[0] for stem, texts in found.items()}


def _table_rows(
    root: Path, files: FolderFiles, keys: Keys, given: Path
) -> tuple[list[RawRow], set[PurePosixPath]]:
    """Return the rows of all tables, and the images that they name."""
    rows: list[RawRow] = []
    named: set[PurePosixPath] = set()
    names = Names(files.images)
    for table in _one_a_folder(root, files.tables):
        for row in read_table(root / table):
            name = _below(root, given, table.parent, row.file) if row.file else ""
            image = (names.find(name) or PurePosixPath(name)) if name else PurePosixPath()
            if name:
                named.add(image)
            rows += _table_row(root, table, row, image if name else None, keys)
    return rows, named


def _one_a_folder(root: Path, tables: list[PurePosixPath]) -> Iterator[PurePosixPath]:
    by_folder: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for table in tables:
        by_folder[table.parent].append(table)
    for folder, found in by_folder.items():
        if len(found) > 1:
            names = " and ".join(table.name for table in found)
            why = f"it holds {names}."
            raise KaleidoError(str(root / folder), why, "Keep one of them.", "bad-data")
        yield found[0]


def _below(root: Path, given: Path, folder: PurePosixPath, name: str) -> str | None:
    """Return what a table names as a path relative to `root`, or None if it lies outside.

    Args:
        root: The folder.
        given: The same, as the user wrote it.
        folder: Where the table lies, relative to `root`.
        name: Relative to the table, or absolute; ``/`` or a backslash separates folders.
    """
    if not is_there(root / folder / name):
        name = name.replace("\\", "/")
    if PureWindowsPath(name).drive:
        return None
    whole = posixpath.normpath(posixpath.join(root, folder, name))
    ways = (whole, os.path.realpath(whole)) if is_there(Path(whole)) else (whole,)
    for way in map(PurePosixPath, ways):  # as it is written, or where the links on it lead
        for base in (root, given):
            if way.is_relative_to(base):
                return str(way.relative_to(base))
    return None


def _table_row(
    root: Path, table: PurePosixPath, row: TableRow, image: PurePosixPath | None, keys: Keys
) -> list[RawRow]:
    if row.reason:
        name = row.file or f"{table.with_suffix('')}-line-{row.line}"
        return [_failed(keys, name, row.reason)]
    if image is None:
        return [_failed(keys, row.file, "the image lies outside of the folder.")]
    return [
        RawRow(keys.make(str(image)), str(image), root / image, caption) for caption in row.captions
    ]


def _file_row(root: Path, image: PurePosixPath, text: PurePosixPath | None, keys: Keys) -> RawRow:
    if image.suffix.lower() in UNREADABLE:
        return _failed(keys, str(image), f"{image.suffix} is not read; convert it to PNG or JPEG.")
    if text is None:
        return _failed(keys, str(image), "the image has no caption.")
    return RawRow(keys.make(str(image)), str(image), root / image, root / text)


def _failed(keys: Keys, name: str, reason: str) -> RawRow:
    return RawRow(keys.make(name), name, problem=reason)
