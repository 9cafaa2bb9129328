"""Shards that others wrote in webdataset's layout, img2dataset's for one, as data shards.

They are read with the standard library: webdataset's own reader can run shell commands and
unpickle, and returns part of a row, without an error, where a tar is cut off.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.data.caption_files import CAPTION_COLUMNS, clean_caption
from pipelines.data.caption_files import MAX_BYTES as MAX_TEXT
from pipelines.data.convert import MAX_BYTES, SUFFIXES, Keys, attempt, plain, to_record
from pipelines.data.writer import DataSummary, Row, ShardPlan, Source, write_data
from pipelines.workspace.settings import DataSettings
from pipelines.workspace.workspace import Workspace

VERSION = 1
CAPTIONS = ("txt", "caption", "text")
"""Extensions of a caption, the first one first; then a key of ``CAPTION_COLUMNS`` in the JSON."""

TEXTS = (*CAPTIONS, "json")
LICENCES = ("licence", "license")
DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError)
"""What reading a damaged tar may raise."""


@dataclass
class Group:
    """Members of one key: what webdataset calls a sample.

    Attributes:
        name: Path in the tar, up to the first dot of the file's name.
        members: Extension in lower case -> bytes; only what we read.
        problem: Why it cannot be used; empty if it can.
    """

    name: str
    members: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""


def write_webdataset(
    workspace: Workspace, path: Path, overwrite: bool = False, progress: Progress = SILENT
) -> DataSummary:
    """Write shards of images and captions as data shards, one for one.

    A row is an image (``jpg``, ``png``, ``webp`` …), a caption (``txt``, ``caption``, ``text``, or
    ``caption`` or ``text`` in the ``json``), and perhaps a licence in the ``json``. Images become
    RGB, are cropped to the central square and resized to ``data.image_size``. A shard whose name,
    size and time of change are as before is skipped.

    Args:
        workspace: Where to write.
        path: A tar, or a folder of tars; they are read in the order of their names.
        overwrite: Replace data of another source.
        progress: Listener.

    Raises:
        KaleidoError: If there is no tar, one is no tar at all, or `data/` holds other data.
    """
    root = path.resolve()
    shards = list_shards(root, workspace)
    counts = [count_groups(shard) for shard in shards]
    settings = workspace.settings.data
    options = {
        "shards": str(root),
        "image_size": settings.image_size,
        "max_caption": settings.max_caption,
    }
    plans = (
        ShardPlan(_mark(shard), count, partial(_rows, shard, settings))
        for shard, count in zip(shards, counts, strict=True)
    )
    source = Source("data webdataset", VERSION, options)
    return write_data(workspace, source, plans, sum(counts), overwrite, progress)


def list_shards(root: Path, workspace: Workspace) -> list[Path]:
    """List the tars of a folder, or the one that is named.

    Raises:
        KaleidoError: If there is none, or they are the workspace's own.
    """
    shards = sorted(root.glob("*.tar")) if root.is_dir() else [root] * root.is_file()
    if not shards:
        raise KaleidoError(
            str(root), "there is no .tar here.", "Name a shard, or a folder that holds shards."
        )
    if any(shards[0].is_relative_to(own) for own in (workspace.data, workspace.root / "latents")):
        raise KaleidoError(
            str(root), "these are the workspace's own shards.", "Name those of another set."
        )
    return shards


def count_groups(path: Path) -> int:
    """Count a shard's rows by its headers; of one that is damaged, those before the damage.

    Raises:
        KaleidoError: If it is no tar.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            names: set[str] = set()
            with suppress(*DAMAGE):  # `read_groups` reports it
                names.update(name for _, name, _ in _members(tar))
            return len(names)
    except DAMAGE as error:
        raise KaleidoError(
            str(path), f"it is not a readable tar ({error}).", "Fetch it again, or remove it."
        ) from error


def read_groups(path: Path) -> Iterator[Group]:
    """Read a shard's rows; if it is damaged, the last one says so and has no members.

    A tar that lacks its end mark is cut off, though tarfile reads it without a word, and so it does
    where a header in the middle is damaged: then the row before may be half a row and is dropped.
    """
    group: Group | None = None
    problem = ""
    with tarfile.open(path, "r:") as tar:
        try:
            for member, name, extension in _members(tar):
                if group is None or group.name != name:
                    if group is not None:
                        yield group
                    group = Group(name)
                _take(group, extension, member, tar)
        except DAMAGE as error:
            problem = f"the shard cannot be read further ({error})."
        end = tar.offset
    whole = not problem and _ends(path, end)
    if group is not None and whole:
        yield group
    if not problem and not whole:
        problem = "the shard is cut off or damaged: its end mark is missing."
    elif not problem and _goes_on(path, end):
        problem = "there is more behind the shard's end mark; is it several tars in one?"
    if problem:
        yield Group(f"{path.name} after the last row", problem=problem)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """Yield the members that we have a use for, with the row's name and the extension."""
    for member in tar:
        if member.size < 0:  # tarfile would go round for ever
            raise tarfile.ReadError("a member has a negative size")
        folder, _, file = member.name.rpartition("/")
        stem, _, extension = file.partition(".")  # as webdataset: at the first dot
        extension = extension.lower()
        if member.isfile() and stem and (extension in TEXTS or f".{extension}" in SUFFIXES):
            yield member, f"{folder}/{stem}".lstrip("/"), extension


def _take(group: Group, extension: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    limit = MAX_TEXT if extension in TEXTS else MAX_BYTES
    if member.size > limit:
        group.problem = f"its {extension} is over {limit:,} bytes."
    elif extension in group.members:
        group.problem = f"it has two members {extension}."
    else:
        file = tar.extractfile(member)
        data = file.read() if file is not None else b""
        if len(data) < member.size:
            raise tarfile.ReadError("unexpected end of data")
        group.members[extension] = data


def _ends(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _goes_on(path: Path, offset: int) -> bool:
    """Whether anything but padding follows the end mark."""
    with path.open("rb") as file:
        file.seek(offset)
        return any(any(part) for part in iter(partial(file.read, 2**20), b""))


def _mark(path: Path) -> list[Any]:
    facts = path.stat()
    return [path.name, facts.st_size, facts.st_mtime_ns]


def _rows(path: Path, settings: DataSettings) -> Iterator[Row]:
    keys = Keys()
    for group in read_groups(path):
        # The shard's name is part of what a long key is hashed of, so keys of shards differ.
        key = keys.make(f"{path.stem.replace('.', '-')}-{PurePosixPath(group.name).name}")
        name = f"{path.name}/{group.name}"
        yield attempt(key, name, partial(_record, key, group, settings))


def _record(key: str, group: Group, settings: DataSettings) -> Record:
    if group.problem:
        raise BadRecord(group.name, group.problem)
    image = next((group.members[s[1:]] for s in SUFFIXES if s[1:] in group.members), None)
    if image is None:
        raise BadRecord(group.name, "it has no image.")
    facts = _facts(group)
    texts = [group.members[name] for name in CAPTIONS if name in group.members]
    texts += [facts[name] for name in CAPTION_COLUMNS if isinstance(facts.get(name), str)]
    if not texts:
        raise BadRecord(group.name, "it has no caption.")
    caption = clean_caption(texts[0], group.name, settings.max_caption)
    licence = next((str(facts[name]) for name in LICENCES if facts.get(name)), "unknown")
    return to_record(key, group.name, image, caption, "webdataset", settings, plain(licence))


def _facts(group: Group) -> dict[str, Any]:
    try:
        facts = json.loads(group.members.get("json", b"{}"))
    except (ValueError, RecursionError) as error:
        raise BadRecord(group.name, f"its json cannot be read ({error}).") from error
    return facts if isinstance(facts, dict) else {}
