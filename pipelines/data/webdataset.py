"""Write shards of others in webdataset's layout, such as img2dataset's, as data shards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.picture_formats import is_image
from pipelines.core.processes import Workers
from pipelines.core.progress import SILENT, Progress
from pipelines.data.caption_files import MAX_BYTES as MAX_TEXT
from pipelines.data.caption_table import CAPTION_COLUMNS
from pipelines.data.convert import MAX_BYTES, SUFFIXES, options_of, plain
from pipelines.data.keys import Keys
from pipelines.data.remote_tars import Fetching, RemoteTar, is_address, list_remote
from pipelines.data.rows import RawRow, convert_rows
from pipelines.data.tars import Group, Index, read_index
from pipelines.data.writer import DataSummary, ShardPlan, Source, write_data
from pipelines.workspace.workspace import Workspace

VERSION = 2
CAPTIONS = ("txt", "caption", "text", "cap")
"""Extensions of a caption, the first one first; then a key of ``CAPTION_COLUMNS`` in the JSON."""

LICENCES = ("licence", "license")
NAMED = 80
"""Longest name of a member that is printed."""


def write_webdataset(
    workspace: Workspace,
    source: Path | str,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write shards of images and captions as data shards, one for one.

    The members of a row have one name up to the first dot; they need not be neighbours. A row has
    an image, a caption (``txt``, ``caption``, ``text`` or ``cap``, or ``caption`` or ``text`` in
    the ``json``, a list gives a record for each), and perhaps a licence in the ``json``. Of
    ``input.jpg`` and the like the last part counts, and ``input.txt`` is its caption. A shard whose
    name, size and time of change are as before is skipped.

    Args:
        workspace: Where to write.
        source: A tar, or a folder of tars; they are read in the order of their names. An address,
            as in `list_remote`, is fetched tar by tar, and what is skipped is not fetched.
        workers: Processes that decode pictures; the shards do not depend on it.
        overwrite: Replace data of another source.
        progress: Receives the progress, and lines about what is passed over.

    Raises:
        KaleidoError: If there is no tar, one is no tar or compressed, `data/` holds other data, or
            a store cannot be used.
    """
    settings = workspace.settings.data
    with Workers(workers, "data webdataset") as pool:
        if is_address(str(source)):
            origin, total = str(source).partition("?")[0], None
            reader = _Remote(pool, workspace)
            plans = reader.plans(list_remote(str(source)))
        else:
            root = Path(source).resolve()
            shards = list_shards(root, workspace, progress)
            indexes = [_index(shard) for shard in shards]
            _report(indexes, progress)
            origin = str(root)
            total = sum(len(index.groups) + bool(index.damage) for index in indexes)
            plans = _local_plans(pool, shards, indexes, workspace)
        marks = Source("data webdataset", VERSION, {"shards": origin, **options_of(settings)})
        summary = write_data(workspace, marks, plans, total, overwrite, progress)
    if total is None:
        _report(reader.indexes, progress)
    return summary


def _local_plans(
    pool: Workers, shards: Sequence[Path], indexes: Sequence[Index], workspace: Workspace
) -> Iterator[ShardPlan]:
    hashed = _ambiguous(shards)
    for shard, index in zip(shards, indexes, strict=True):
        rows = partial(_converted, pool, shard, index, shard in hashed, workspace)
        yield ShardPlan([*_mark(shard), shard in hashed], rows)


class _Remote:
    """Tars of a store, of which two at a time are on this disk: one that is read, and the next.

    Attributes:
        indexes: Of the tars that were fetched.
    """

    def __init__(self, pool: Workers, workspace: Workspace) -> None:
        self.indexes: list[Index] = []
        self._pool, self._workspace = pool, workspace

    def plans(self, tars: Sequence[RemoteTar]) -> Iterator[ShardPlan]:
        """Plan a shard for each tar."""
        hashed = _ambiguous([Path(tar.name) for tar in tars])
        for tar in tars:
            is_hashed = Path(tar.name) in hashed
            mark = [tar.name, *tar.state, is_hashed]
            fetching = tar.fetching()
            yield ShardPlan(mark, partial(self._rows, fetching, is_hashed), fetching.begin)

    def _rows(self, fetching: Fetching, hashed: bool) -> Iterator[Any]:
        with fetching.copy() as shard:
            index = _index(shard)
            yield from _converted(self._pool, shard, index, hashed, self._workspace)
        self.indexes.append(index)


def _index(shard: Path) -> Index:
    """Read the headers of a tar; of its groups only rows are kept."""
    index = read_index(shard)
    index.groups = [group for group in index.groups if _is_row(group)]
    return index


def _converted(
    pool: Workers, shard: Path, index: Index, hashed: bool, workspace: Workspace
) -> Iterator[Any]:
    rows = read_rows(shard, index, hashed)
    return convert_rows(pool, rows, "webdataset", workspace.settings.data)


def list_shards(root: Path, workspace: Workspace, progress: Progress = SILENT) -> list[Path]:
    """List the tars of a folder, or the one that is named.

    Raises:
        KaleidoError: If there is none, or they are the workspace's own.
    """
    if root.is_dir():
        files = [file for file in sorted(root.iterdir()) if not file.name.startswith(".")]
        shards = [file for file in files if file.suffix.lower() == ".tar" and file.is_file()]
        others = [file.name for file in files if file not in shards]
        if others and shards:
            named = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            progress.message(f"passed over: {len(others):,} files that are no .tar ({named})")
    else:
        shards, others = [root] * root.is_file(), []
    if not shards:
        raise KaleidoError(
            str(root),
            "there is no .tar here." + (f" It holds {', '.join(others[:5])}." if others else ""),
            "Name a shard, or a folder that holds shards; unpack compressed ones first.",
            "bad-data",
        )
    if any(shards[0].is_relative_to(own) for own in (workspace.data, workspace.root / "latents")):
        raise KaleidoError(
            str(root),
            "these are the workspace's own shards.",
            "Name those of another set.",
            "bad-data",
        )
    return shards


def _report(indexes: Sequence[Index], progress: Progress) -> None:
    """Say which members are used for nothing."""
    passed = sum(index.passed for index in indexes)
    if passed:
        progress.message(f"passed over: {passed:,} members that are no files named KEY.EXTENSION")
    others: Counter[str] = Counter()
    for index in indexes:
        for group in index.groups:
            used = _caption_names(group)
            others.update(name for name in group.members if not _has_use(name) and name not in used)
    if others:
        named = ", ".join(f"{count:,} .{name[:NAMED]}" for name, count in others.most_common(5))
        progress.message(f"passed over, unless they are pictures by their content: {named}")


def _is_row(group: Group) -> bool:
    """Return whether members form a row, not a file beside them such as README.md."""
    return len(group.members) > 1 or any(map(_has_use, group.members))


def _has_use(extension: str) -> bool:
    return extension == "json" or extension in CAPTIONS or _is_picture_name(extension)


def _is_picture_name(extension: str) -> bool:
    return f".{extension.rpartition('.')[2]}" in SUFFIXES


def _ambiguous(shards: Sequence[Path]) -> set[Path]:
    """Return the shards whose names and rows could make the keys of another: ``a`` and ``a-1``.

    The rows' names may hold dashes as well, so ``a-1-2`` would be row 1-2 of a.tar and row 2 of
    a-1.tar.
    """
    stems = {shard: _stem(shard) for shard in shards}
    counts = Counter(stems.values())
    starts = {stem[:at] for stem in counts for at, char in enumerate(stem) if char == "-"}
    return {
        shard
        for shard, stem in stems.items()
        if counts[stem] > 1
        or stem in starts
        or any(stem[:at] in counts for at, char in enumerate(stem) if char == "-")
    }


def _stem(shard: Path) -> str:
    return shard.stem.replace(".", "-")


def _mark(path: Path) -> list[Any]:
    facts = path.stat()
    return [path.name, facts.st_size, facts.st_mtime_ns]


def read_rows(shard: Path, index: Index, hashed: bool = False) -> Iterator[RawRow]:
    """Read the rows of a tar; if it is damaged, a last one says so.

    Args:
        shard: The tar.
        index: Of its headers.
        hashed: Make keys with a hash, because those of another tar could be equal.
    """
    keys = Keys()
    with shard.open("rb") as file:
        for group in index.groups:
            name = f"{shard.name}/{group.name}"
            key = f"{_stem(shard)}-{PurePosixPath(group.name).name}"
            row = RawRow(keys.make(key, name if hashed else ""), name)
            try:
                yield from _read_row(row, group, file)
            except BadRecord as error:
                yield replace(row, problem=error.why)
    if index.damage:
        name = f"{shard.name} after the last row"
        key = keys.make(f"{_stem(shard)}-{name}", name if hashed else "")
        yield RawRow(key, f"{shard.name}/{name}", problem=index.damage)


def _read_row(row: RawRow, group: Group, file: BinaryIO) -> list[RawRow]:
    extension = _choose_picture(group, file)
    image = _read(group, extension, MAX_BYTES, file)
    facts = _facts(group, file)
    names = [name for name in _caption_names(group) if name in group.members]
    captions: list[Any] = [_read(group, name, MAX_TEXT, file) for name in names]
    captions += [facts[name] for name in CAPTION_COLUMNS if facts.get(name)]
    if not captions:
        raise BadRecord(group.name, f"it has no caption. {_contents(group)}")
    licence = next((str(facts[name]) for name in LICENCES if facts.get(name)), "unknown")
    row = replace(row, image=image, licence=plain(licence))
    return row.with_captions(captions[0])


def _choose_picture(group: Group, file: BinaryIO) -> str:
    """Return the extension of a row's picture: by its name, or else by its first bytes."""
    named = [name for name in group.members if _is_picture_name(name)]
    found = [name for name in named if "." not in name] or named
    if not named:
        for name, ((offset, size), *_) in group.members.items():
            file.seek(offset)
            if not _has_use(name) and is_image(file.read(min(size, 16))):
                found.append(name)
    if len(found) != 1:
        why = f"it has {len(found)} images." if found else "it has no image."
        raise BadRecord(group.name, f"{why} {_contents(group)}")
    return found[0]


def _caption_names(group: Group) -> list[str]:
    """Return extensions of captions, also of those whose name has a dot as the picture's has."""
    stems = {name.rpartition(".")[0] for name in group.members if _is_picture_name(name)}
    dotted = [f"{stem}.{name}" for stem in sorted(stems - {""}) for name in CAPTIONS]
    return [*CAPTIONS, *dotted]


def _contents(group: Group) -> str:
    names = ", ".join(f".{name[:NAMED]}" for name in list(group.members)[:8])
    return f"Its members are {names}."


def _read(group: Group, extension: str, limit: int, file: BinaryIO) -> bytes:
    (offset, size), *others = group.members[extension]
    if others:
        raise BadRecord(group.name, f"it has {1 + len(others)} members {extension}.")
    if size > limit:
        raise BadRecord(group.name, f"its {extension} is over {limit:,} bytes.")
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise BadRecord(group.name, f"its {extension} is cut off.")
    return data


def _facts(group: Group, file: BinaryIO) -> dict[str, Any]:
    if "json" not in group.members:
        return {}
    try:
        facts = json.loads(_read(group, "json", MAX_TEXT, file))
    except (ValueError, RecursionError) as error:
        raise BadRecord(group.name, f"its json cannot be read ({error}).") from error
    return facts if isinstance(facts, dict) else {}
