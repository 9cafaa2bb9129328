"""Rows of pictures and captions from any source, converted by worker processes into shards."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.inputs import is_there
from pipelines.core.processes import Workers
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.data.caption_files import clean_caption, read_caption
from pipelines.data.convert import MAX_BYTES, attempt, hash_file, plain, read_image, to_record
from pipelines.data.web import Web, WebFile
from pipelines.data.writer import DataSummary, Row, ShardPlan, Source, write_data
from pipelines.workspace.settings import DataSettings
from pipelines.workspace.workspace import Workspace

SHARD_BYTES = 2**30
"""A shard's pictures that wait in memory take no more; a shard of larger rows has fewer of them."""

AT_ONCE = 16
"""Addresses that are asked at once, and pictures from them that wait."""

TASK_ROWS = 16
TASK_BYTES = 16 * 2**20
"""A worker is given so many rows at a time, or so many bytes of pictures."""


@dataclass(frozen=True)
class RawRow:
    """A row as its source has it; it can be sent to another process.

    Attributes:
        key: The record's key.
        name: What to call the row in errors and in the record.
        image: The encoded picture, the file that holds it, or where on the web it is.
        caption: Text or encoded text, not cleaned, or the file that holds it.
        licence: The picture's.
        problem: Why the row cannot be used; empty if it can.
    """

    key: str
    name: str
    image: bytes | Path | WebFile = b""
    caption: bytes | str | Path = ""
    licence: str = "unknown"
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes of the picture that are in memory."""
        return len(self.image) if isinstance(self.image, bytes) else 0

    def with_captions(self, captions: Any) -> list[RawRow]:
        """Return a row for each caption.

        Args:
            captions: A text, encoded text, or a list of them; anything else is no caption. Several
                captions number the keys.
        """
        texts = list(captions) if isinstance(captions, list | tuple) else [captions]
        many = len(texts) > 1
        return [
            replace(
                self,
                key=f"{self.key}-{index}" if many else self.key,
                caption=text if isinstance(text, str | bytes) else "",
                problem="" if isinstance(text, str | bytes) else "it has no caption.",
            )
            for index, text in enumerate(texts or [None])
        ]

    @classmethod
    def of_cells(
        cls,
        key: str,
        name: str,
        image: Any,
        caption: Any,
        folder: Path,
        web: bool = False,
        digest: str = "",
    ) -> list[RawRow]:
        """Make the rows of a table's two cells, whatever they hold.

        Args:
            key: The record's key.
            name: What to call the row.
            image: Its bytes, its path, or both as ``{"bytes": …, "path": …}``.
            caption: A text, or a list of texts: a record for each.
            folder: Where relative paths count from.
            web: Whether the image may be an address.
            digest: Of the bytes at an address, see `WebFile`.
        """
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path")
        row = cls(key, name)
        if isinstance(image, bytes) and len(image) > MAX_BYTES:
            return [replace(row, problem=f"its image is over {MAX_BYTES:,} bytes.")]
        if isinstance(image, bytes):
            row = replace(row, image=image)
        elif isinstance(image, str) and "://" in image and not web:
            why = "its image is an address, which is fetched with --fetch only."
            return [replace(row, problem=why)]
        elif isinstance(image, str) and "://" in image:
            row = replace(row, name=image, image=WebFile(image, digest))
        elif isinstance(image, str) and image:
            row = replace(row, name=image, image=locate(folder, image))
        else:
            return [replace(row, problem="it has no image.")]
        return row.with_captions(caption)


def write_rows(
    workspace: Workspace,
    source: Source,
    kind: str,
    rows: Iterable[RawRow],
    total: int | None,
    shard_size: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
    web: Web | None = None,
    retry_failed: bool = False,
) -> DataSummary:
    """Write a stream of rows as data shards.

    The stream is read whole every time, and the rows of each shard are hashed: a shard whose rows
    have not changed is skipped.

    Args:
        workspace: Where to write.
        source: What makes the rows.
        kind: The ``source`` that records name.
        rows: Read once, in order; their keys differ.
        total: How many there are; None if unknown.
        shard_size: Rows in a shard; ``data.shard_size`` by default.
        workers: Processes that decode pictures; 1 uses this one. The shards do not depend on it.
        overwrite: Replace data of another source.
        progress: Receives the progress.
        web: Fetches pictures at addresses; needed if there are any.
        retry_failed: Make the failed rows of shards that are up to date anew; all others stay.

    Raises:
        KaleidoError: If ``data/`` holds other data and `overwrite` is false, a worker dies, or the
            network fails.
    """
    settings = workspace.settings.data
    with Workers(workers, source.name) as pool:
        plans = (
            ShardPlan(
                [_hash(row) for row in part],
                partial(convert_rows, pool, part, kind, settings, web),
                again=partial(_convert_some, pool, part, kind, settings, web)
                if retry_failed
                else None,
            )
            for part in _in_parts(rows, shard_size or settings.shard_size, SHARD_BYTES)
        )
        return write_data(workspace, source, plans, total, overwrite, progress)


def convert_rows(
    pool: Workers,
    rows: Iterable[RawRow],
    kind: str,
    settings: DataSettings,
    web: Web | None = None,
) -> Iterator[Row]:
    """Convert rows in a pool; their order stays."""
    if web is not None:
        rows = _fetched(rows, web)
    tasks = ((part, kind, settings) for part in _in_parts(rows, TASK_ROWS, TASK_BYTES))
    for part in pool.in_order(_convert, tasks):
        yield from part


def _convert_some(
    pool: Workers,
    rows: Iterable[RawRow],
    kind: str,
    settings: DataSettings,
    web: Web | None,
    keys: Collection[str],
) -> Iterator[Row]:
    """Convert the rows that have one of some keys."""
    wanted = set(keys)
    chosen = [row for row in rows if row.key in wanted]
    return convert_rows(pool, chosen, kind, settings, web)


def _fetched(rows: Iterable[RawRow], web: Web) -> Iterator[RawRow]:
    """Fetch the pictures of rows that name addresses, some ahead; their order stays."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ahead: deque[Future[RawRow]] = deque()
        try:
            for row in rows:
                ahead.append(pool.submit(_fetch, row, web))
                if len(ahead) > AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(row: RawRow, web: Web) -> RawRow:
    if not isinstance(row.image, WebFile) or row.problem:
        return row
    try:
        return replace(row, image=web.fetch(row.image))
    except BadRecord as error:
        return replace(row, image=b"", problem=error.why)


def locate(folder: Path, name: str) -> Path:
    """Return the file that a table names, also in another Unicode normal form or with backslashes.

    Returns:
        ``folder / name`` if there is no such file in any form.
    """
    slashed = name.replace("\\", "/")
    forms = (name, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD")))
    found = (folder / form for form in forms if is_there(folder / form))
    return next(found, folder / name)


def find_column(where: str, known: Sequence[str], names: Sequence[str]) -> str:
    """Return the first of `names` that is one, and only one, of the known columns.

    Raises:
        KaleidoError: If there is none; names `where` the columns are.
    """
    for name in names:
        if known.count(name) == 1:
            return name
    raise KaleidoError(
        where,
        f"it has none of the columns {', '.join(names)}, or two of a name.",
        f"It has: {', '.join(known)}. Name yours with --image-column and --caption-column.",
        "bad-data",
    )


def _in_parts(rows: Iterable[RawRow], count: int, size: int) -> Iterator[list[RawRow]]:
    """Cut a stream into lists of at most `count` rows and, from the second row on, `size` bytes."""
    part: list[RawRow] = []
    held = 0
    for row in rows:
        if part and (len(part) == count or held + row.size > size):
            yield part
            part, held = [], 0
        part.append(row)
        held += row.size
    if part:
        yield part


def _hash(row: RawRow) -> list[str]:
    """Return everything a record depends on, short: equal rows give equal records."""
    if isinstance(row.image, WebFile):
        image = fingerprint(row.image.address, row.image.digest)  # what is there is not asked again
    elif isinstance(row.image, Path):
        image = hash_file(row.image)
    else:
        image = hashlib.sha256(row.image).hexdigest()
    if isinstance(row.caption, Path):
        words = hash_file(row.caption)
    else:
        text = row.caption if isinstance(row.caption, bytes) else repr(row.caption).encode()
        words = hashlib.sha256(text).hexdigest()
    return [row.key, plain(row.name), plain(row.problem), image, words, row.licence]


def _convert(rows: Sequence[RawRow], kind: str, settings: DataSettings) -> list[Row]:
    return [attempt(row.key, row.name, partial(_record, row, kind, settings)) for row in rows]


def _record(row: RawRow, kind: str, settings: DataSettings) -> Record:
    if row.problem:
        raise BadRecord(row.name, row.problem)
    if isinstance(row.caption, Path):
        caption = read_caption(row.caption, settings.max_caption)
    else:
        caption = clean_caption(row.caption, row.name, settings.max_caption)
    image = read_image(row.image) if isinstance(row.image, Path) else row.image
    assert isinstance(image, bytes)  # addresses have been fetched
    return to_record(row.key, row.name, image, caption, kind, settings, row.licence)
