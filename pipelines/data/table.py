"""Write a table of images and captions (Parquet, CSV or JSON Lines) as data shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.data.caption_table import CAPTION_COLUMNS, FILE_COLUMNS, read_table
from pipelines.data.convert import options_of
from pipelines.data.rows import RawRow, find_column, write_rows
from pipelines.data.web import Web
from pipelines.data.writer import DataSummary, Source
from pipelines.workspace.workspace import Workspace

VERSION = 2
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
BYTE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "image_bytes")
"""Columns of Parquet that may hold the image itself; `FILE_COLUMNS` hold its path."""

BATCH = 64
"""Most rows of Parquet held at once."""

BATCH_BYTES = 512 * 2**20
"""Most bytes of Parquet cells held at once, unless a single cell is larger."""


def write_table(
    workspace: Workspace,
    path: Path,
    image_column: str | None = None,
    caption_column: str | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
    web: Web | None = None,
    digest_column: str | None = None,
    retry_failed: bool = False,
) -> DataSummary:
    """Write a table's rows as data shards.

    An image is a path, absolute or relative to the table's folder, or in Parquet its bytes, alone
    or as ``{"bytes": …, "path": …}``, as Hugging Face's datasets writes them. A caption is a text
    or, in Parquet and JSON Lines, a list of texts, which gives a record for each. What cannot be
    used is recorded with its reason, and the run goes on.

    An image may be an address too if `web` fetches it. A shard whose addresses have not changed is
    not fetched again.

    Args:
        workspace: Where to write.
        path: A file of one of `SUFFIXES`, or a folder of Parquet files.
        image_column: Column of the images; by default one of `BYTE_COLUMNS` or `FILE_COLUMNS`.
        caption_column: Column of the captions; by default one of `CAPTION_COLUMNS`.
        workers: Processes that decode pictures.
        overwrite: Replace data of another source.
        progress: Receives the progress.
        web: Fetches images at addresses; None fails their rows.
        digest_column: Column of the digests of what is at the addresses, see `WebFile`.
        retry_failed: Fetch the failed rows of finished shards again, and only those.

    Raises:
        KaleidoError: If the table cannot be read or lacks a column, `data/` holds other data, or
            the network fails.
    """
    files = _files(path.resolve(), progress)
    images = (image_column,) if image_column else (*BYTE_COLUMNS, *FILE_COLUMNS)
    captions = (caption_column,) if caption_column else CAPTION_COLUMNS
    settings = workspace.settings.data
    options = {
        "table": str(path.resolve()),
        **options_of(settings),
        "image_column": image_column or "",
        "caption_column": caption_column or "",
    }
    if web is not None:
        options["fetch"] = True
    if digest_column:
        options["digest_column"] = digest_column
    source = Source("data table", VERSION, options)
    digests = (digest_column,) if digest_column else ()
    is_web = web is not None
    total: int | None = None
    rows: Iterable[RawRow]
    if files[0].suffix.lower() == ".parquet":
        # All files, before any data are replaced.
        tables = [_read_footer(file, images, captions, digests) for file in files]
        total = sum(table.rows for table in tables)
        rows = chain.from_iterable(
            _parquet_rows(table, number, is_web) for number, table in enumerate(tables)
        )
    else:
        next(read_table(files[0], images, captions, digests), None)
        rows = _text_rows(files[0], images, captions, digests, is_web)
    return write_rows(
        workspace,
        source,
        "table",
        rows,
        total,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
        web=web,
        retry_failed=retry_failed,
    )


def _files(path: Path, progress: Progress) -> list[Path]:
    if path.is_dir():
        found = sorted(path.iterdir())
        files = [file for file in found if file.suffix.lower() == ".parquet" and file.is_file()]
        others = [file.name for file in found if file not in files]
        if files and others:
            named = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            progress.message(f"passed over: {len(others):,} that are no .parquet ({named})")
    else:
        files = [path] * (path.is_file() and path.suffix.lower() in SUFFIXES)
    if not files:
        raise KaleidoError(
            str(path),
            "there is no table here.",
            f"Name a file ending in {', '.join(SUFFIXES)}, or a folder of Parquet files.",
            "bad-data",
        )
    return files


def _text_rows(
    path: Path,
    images: Sequence[str],
    captions: Sequence[str],
    digests: Sequence[str],
    web: bool,
) -> Iterator[RawRow]:
    for number, row in enumerate(read_table(path, images, captions, digests)):
        key, name = f"row-{number:08d}", row.file or f"line {row.line} of {path.name}"
        if row.reason:
            yield RawRow(key, name, problem=row.reason)
        else:
            yield from RawRow.of_cells(
                key, name, row.file, row.captions, path.parent, web, row.digest
            )


@dataclass(frozen=True)
class _ParquetTable:
    """A Parquet file, its columns of images, captions and perhaps digests, and number of rows."""

    path: Path
    columns: tuple[str, ...]
    rows: int


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> KaleidoError:
    return KaleidoError(
        str(path),
        f"it is not readable Parquet ({error}).",
        "Fetch it again, or remove it.",
        "bad-data",
    )


def _read_footer(
    path: Path, images: Sequence[str], captions: Sequence[str], digests: Sequence[str]
) -> _ParquetTable:
    """Read a file's footer and close it, since a folder may hold thousands of files.

    Raises:
        KaleidoError: If it cannot be read, or lacks a column or has two of its name.
    """
    with _open(path) as file:
        known, rows = file.schema_arrow.names, file.metadata.num_rows
    wanted = [names for names in (images, captions, digests) if names]
    columns = tuple(find_column(str(path), known, names) for names in wanted)
    return _ParquetTable(path, columns, rows)


def _parquet_rows(table: _ParquetTable, file: int, web: bool) -> Iterator[RawRow]:
    import pyarrow as pa

    path, columns = table.path, table.columns
    number = 0
    try:
        with _open(path) as opened:
            for batch in _batches(opened, columns):
                for cells in zip(*(batch.column(name) for name in columns), strict=True):
                    key = f"row-{file:04d}-{number:08d}"
                    yield from _parquet_row(key, path, number, cells, web)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _batches(file: Any, columns: Sequence[str]) -> Iterator[Any]:
    """Read a file in batches whose cells take about `BATCH_BYTES` at most.

    One value may stand for many cells, in a file that is small. No cell is larger than all the
    values of its row group together, which the footer states.
    """
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        parts = (group.column(index) for index in range(group.num_columns))
        largest = max(
            part.total_uncompressed_size
            for part in parts
            if part.path_in_schema.split(".")[0] in columns
        )
        rows = max(1, min(BATCH, BATCH_BYTES // max(largest, 1)))
        # Without threads: the end of pyarrow's pools aborts one short program in three.
        yield from file.iter_batches(
            rows, row_groups=[number], columns=[*columns], use_threads=False
        )


def _parquet_row(
    key: str, path: Path, number: int, cells: Sequence[Any], web: bool
) -> list[RawRow]:
    name = f"row {number} of {path.name}"
    try:
        image, caption, *digest = [cell.as_py() for cell in cells]
    except UnicodeDecodeError:
        return [RawRow(key, name, problem="its text is not UTF-8.")]
    known = str(digest[0] or "") if digest else ""
    return RawRow.of_cells(key, name, image, caption, path.parent, web, known)
