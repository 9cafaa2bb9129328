"""A folder of images and captions as data shards. The folder itself is never changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.data.caption_files import (
    TableRow,
    clean_caption,
    find_table,
    read_caption,
    read_table,
)
from pipelines.data.convert import (
    SUFFIXES,
    UNREADABLE,
    Keys,
    attempt,
    hash_file,
    plain,
    read_image,
    to_record,
)
from pipelines.data.writer import DataSummary, Row, ShardPlan, Source, write_data
from pipelines.workspace.manifest import OutcomeName, RowOutcome
from pipelines.workspace.settings import DataSettings
from pipelines.workspace.workspace import Workspace

VERSION = 2


@dataclass(frozen=True)
class Item:
    """An input row that may give a record.

    Attributes:
        key: The record's key.
        name: The image's path within the folder, with ``/``.
        image: The image file.
        caption: The caption from the table, or the text file that holds it.
    """

    key: str
    name: str
    image: Path
    caption: str | Path


Input = Item | RowOutcome
"""An input row; one that cannot give a record is its outcome already."""


def write_folder(
    workspace: Workspace,
    path: Path,
    shard_size: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write a folder of captioned images as data shards.

    Images (`SUFFIXES`, in subfolders too; hidden ones are left out) take their captions from a
    ``.txt`` file of the same stem or from a table beside them (``captions.jsonl``, ``.csv`` or
    ``.tsv``), which goes first. Images become RGB, are cropped to the central square and resized to
    ``data.image_size``. What cannot be used is recorded with its reason; the run goes on. Finished
    shards whose input files still have the same bytes are skipped.

    Args:
        workspace: Where to write.
        path: The folder.
        shard_size: Input rows in a shard; ``data.shard_size`` by default.
        overwrite: Replace data of another source.
        progress: Listener.

    Raises:
        KaleidoError: If the folder is missing, holds no images or no captions, lies in the
            workspace's data, or `data/` holds other data.
    """
    root = path.resolve()
    _check_folder(root, workspace)
    settings = workspace.settings.data
    inputs = list_inputs(root)
    size = shard_size or settings.shard_size
    options = {
        "folder": str(root),
        "image_size": settings.image_size,
        "max_caption": settings.max_caption,
    }
    plans = (
        ShardPlan([_mark(item) for item in part], len(part), partial(_rows, part, settings))
        for part in in_batches(inputs, size)
    )
    source = Source("data folder", VERSION, options)
    return write_data(workspace, source, plans, len(inputs), overwrite, progress)


def list_inputs(root: Path) -> list[Input]:
    """List the input rows of a folder: the table's rows, then the other images and texts, by path.

    Raises:
        KaleidoError: If there are no images, or none with a caption.
    """
    files = sorted(_walk(root))
    images = [file for file in files if file.suffix.lower() in SUFFIXES + UNREADABLE]
    if not images:
        raise KaleidoError(
            str(root), "it holds no images.", f"We read {', '.join(SUFFIXES)}, in subfolders too."
        )
    keys = Keys()
    rows = list(read_table(table)) if (table := find_table(root)) else []
    inputs = [_table_input(root, row, keys) for row in rows]
    named = {str(PurePosixPath(row.file)) for row in rows}
    texts = {file.with_suffix(""): file for file in files if file.suffix.lower() == ".txt"}
    inputs += [
        _file_input(root, image, texts.get(image.with_suffix("")), keys)
        for image in images
        if str(image) not in named
    ]
    if not any(isinstance(item, Item) for item in inputs):
        raise KaleidoError(
            str(root),
            f"none of its {len(images):,} images has a caption.",
            "Write NAME.txt beside each image, or a captions.csv with the columns file,caption.",
        )
    stems = {image.with_suffix("") for image in images}
    inputs += [
        _outcome(keys, str(text), "failed", "the text has no image of its name.")
        for stem, text in texts.items()
        if stem not in stems
    ]
    return inputs


def _check_folder(root: Path, workspace: Workspace) -> None:
    if not root.is_dir():
        why = "it is not a folder." if root.exists() else "the folder does not exist."
        raise KaleidoError(str(root), why, "Give a folder of images and captions.")
    if workspace.root.is_relative_to(root):
        raise KaleidoError(
            str(root), "it holds the workspace itself.", "Put the images in a folder of their own."
        )


def _walk(root: Path) -> Iterator[PurePosixPath]:
    """Yield the files below `root`, relative to it, without hidden ones."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        yield from (PurePosixPath(below / name) for name in names if not name.startswith("."))


def _table_input(root: Path, row: TableRow, keys: Keys) -> Input:
    if row.reason:
        return _outcome(keys, row.file or f"captions-line-{row.line}", "failed", row.reason)
    file = PurePosixPath(row.file)
    if file.is_absolute() or ".." in file.parts:
        return _outcome(keys, row.file, "failed", "the image lies outside of the folder.")
    return Item(keys.make(str(file)), str(file), root / file, row.caption)


def _file_input(root: Path, image: PurePosixPath, text: PurePosixPath | None, keys: Keys) -> Input:
    if image.suffix.lower() in UNREADABLE:
        return _outcome(
            keys, str(image), "failed", f"{image.suffix} is not read; convert it to PNG."
        )
    if text is None:
        return _outcome(keys, str(image), "failed", "the image has no caption.")
    return Item(keys.make(str(image)), str(image), root / image, root / text)


def _outcome(keys: Keys, name: str, outcome: OutcomeName, reason: str) -> RowOutcome:
    return RowOutcome(keys.make(name), outcome, plain(f"{name}: {reason}"))


def _mark(item: Input) -> list[str]:
    """Return everything that a row depends on: its key, and the hashes of its files."""
    if isinstance(item, RowOutcome):
        return [item.key, item.outcome, item.reason]
    caption = hash_file(item.caption) if isinstance(item.caption, Path) else repr(item.caption)
    return [item.key, item.name, hash_file(item.image), caption]


def _rows(inputs: Iterable[Input], settings: DataSettings) -> Iterator[Row]:
    for item in inputs:
        if isinstance(item, RowOutcome):
            yield item
        else:
            yield attempt(item.key, item.name, partial(_record, item, settings))


def _record(item: Item, settings: DataSettings) -> Record:
    if isinstance(item.caption, Path):
        caption = read_caption(item.caption, settings.max_caption)
    else:
        caption = clean_caption(item.caption, item.name, settings.max_caption)
    data = read_image(item.image)
    return to_record(item.key, item.name, data, caption, "folder", settings)
