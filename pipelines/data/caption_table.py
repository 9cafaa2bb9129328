"""Read tables of images and captions strictly: a row that does not fit is never a wrong caption."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipelines.core.errors import KaleidoError
from pipelines.core.inputs import require_file
from pipelines.data.caption_files import MAX_BYTES, encoding_of
from pipelines.data.convert import SUFFIXES

TABLES = ("captions.jsonl", "captions.csv", "captions.tsv", "metadata.jsonl", "metadata.csv")
"""Names of caption tables in a folder; the last two are those of Hugging Face's imagefolder."""

FILE_COLUMNS = ("file", "image", "file_name", "path")
CAPTION_COLUMNS = ("caption", "text", "captions", "texts")


@dataclass(frozen=True)
class TableRow:
    """A row of a caption table.

    Attributes:
        line: Number of its last line, from 1.
        file: What the row names as its image.
        captions: Its captions, at least one unless there is a reason.
        reason: Why the row cannot be used; empty if it can.
        digest: Of the image's bytes, if a column of it was asked for.
    """

    line: int
    file: str = ""
    captions: tuple[str, ...] = ()
    reason: str = ""
    digest: str = ""


def read_table(
    path: Path,
    files: Sequence[str] = FILE_COLUMNS,
    captions: Sequence[str] = CAPTION_COLUMNS,
    digests: Sequence[str] = (),
) -> Iterator[TableRow]:
    """Read a table of images and captions, row by row.

    Args:
        path: JSON Lines, or CSV or TSV with a header; UTF-8, or what a byte order mark says.
        files: Names of the image's column; the first one present is used.
        captions: Names of the caption's column, likewise. In JSON it may hold a list of texts.
        digests: Names of the column of digests, likewise; none if it is not wanted.

    Raises:
        KaleidoError: If it is no regular file or cannot be read, or its header lacks a column or
            names it twice.
    """
    require_file(path)
    try:
        with path.open("rb") as raw:
            encoding = encoding_of(raw.read(4))
        # Undecodable bytes become lone surrogates, so that only their own row fails.
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                yield from _read_json(file, files, captions, digests)
            else:
                yield from _read_csv(file, path, files, captions, digests)
    except OSError as error:
        why = f"it cannot be read ({error.strerror})."
        raise KaleidoError(str(path), why, code="bad-data") from error
    except UnicodeError as error:
        why = f"it is not the {encoding} that its byte order mark promises ({error})."
        raise KaleidoError(str(path), why, "Save it as UTF-8.", "bad-data") from error


def _read_json(
    file: TextIO, files: Sequence[str], captions: Sequence[str], digests: Sequence[str]
) -> Iterator[TableRow]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_BYTES + 1), ""), 1):
        if len(line) > MAX_BYTES:
            _skip_line(file)
            yield TableRow(number, reason=f"the line is over {MAX_BYTES:,} characters.")
        elif line.strip():
            yield _json_row(number, line, files, captions, digests)


def _skip_line(file: TextIO) -> None:
    while (rest := file.readline(MAX_BYTES)) and not rest.endswith("\n"):
        pass


def _json_row(
    line: int, text: str, files: Sequence[str], captions: Sequence[str], digests: Sequence[str]
) -> TableRow:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return TableRow(line, reason=f"the line is not JSON ({error}).")
    if not isinstance(values, dict):
        return TableRow(line, reason="the line is not a JSON object.")
    return _row(line, *(_first(values, names) for names in (files, captions, digests)))


def _read_csv(
    file: TextIO,
    path: Path,
    files: Sequence[str],
    captions: Sequence[str],
    digests: Sequence[str],
) -> Iterator[TableRow]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    header = _next(reader)
    columns = [name.strip() for name in header] if isinstance(header, list) else []
    places = [_column(path, columns, wanted) for wanted in (files, captions, digests) if wanted]
    while True:
        first = reader.line_num + 1
        cells = _next(reader)
        if cells is None:
            return
        lines = f"lines {first} to {reader.line_num}" if first < reader.line_num else "the line"
        if isinstance(cells, csv.Error):
            reason = f"{lines} cannot be read ({cells}); is a quote not closed?"
            yield TableRow(reader.line_num, reason=reason)
        elif len(cells) != len(columns) and cells:
            reason = f"{lines} has {len(cells)} cells, and the header has {len(columns)}."
            yield TableRow(reader.line_num, reason=reason)
        elif any(_swallows(cell, delimiter) for cell in cells):
            reason = f"{lines} are one row, and hold others; a quote is not closed."
            yield TableRow(reader.line_num, reason=reason)
        elif cells:
            yield _row(reader.line_num, *(cells[place] for place in places))


def _next(reader: Iterator[list[str]]) -> list[str] | csv.Error | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        return error


def _column(path: Path, columns: Sequence[str], wanted: Sequence[str]) -> int:
    found = next((name for name in wanted if name in columns), None)
    if found is None:
        raise KaleidoError(
            str(path),
            f"its header has none of the columns {', '.join(wanted)}.",
            f"It has: {', '.join(columns) or 'nothing'}. `kaleido data table` takes other names "
            "by --image-column and --caption-column.",
            "bad-data",
        )
    if columns.count(found) > 1:
        why = f"its header has {columns.count(found)} columns named {found}."
        raise KaleidoError(str(path), why, "Rename one.", "bad-data")
    return columns.index(found)


def _swallows(cell: str, delimiter: str) -> bool:
    """Whether a cell of several lines holds what looks like a further row: a picture's name."""
    return any(
        delimiter in line
        and any(part.strip(' "').lower().endswith(SUFFIXES) for part in line.split(delimiter))
        for line in cell.split("\n")[1:]
    )


def _first(values: dict[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _row(line: int, file: Any, captions: Any, digest: Any = None) -> TableRow:
    if not isinstance(file, str) or not file.strip():
        return TableRow(line, reason="the row names no image.")
    texts = tuple(captions) if isinstance(captions, list) else (captions,)
    if not texts or not all(isinstance(text, str) for text in texts):
        return TableRow(line, file.strip(), reason="the row has no caption.")
    return TableRow(line, file.strip(), texts, digest=digest if isinstance(digest, str) else "")
