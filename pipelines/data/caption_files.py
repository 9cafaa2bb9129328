"""Reading captions that strangers wrote: text files, tables, and lists for `kaleido sample`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.core.errors import BadRecord, KaleidoError

TABLES = ("captions.jsonl", "captions.csv", "captions.tsv")
FILE_COLUMNS = ("file", "image", "file_name", "path")
CAPTION_COLUMNS = ("caption", "text")
MAX_BYTES = 1_000_000
"""Largest text file or table row that is read as one caption."""


@dataclass(frozen=True)
class TableRow:
    """A row of a caption table; `reason` says why it cannot be used, else it is empty."""

    line: int
    file: str
    caption: str
    reason: str = ""


def clean_caption(data: bytes | str, name: str, max_caption: int) -> str:
    """Return a caption as one line of text. Markup stays as it is: it is data.

    Args:
        data: UTF-8 bytes, or text in which undecodable bytes are lone surrogates.
        name: What to call it in an error.
        max_caption: Longest caption, in characters.

    Raises:
        BadRecord: If it is not UTF-8, empty, or too long.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        text.encode("utf-8")
    except UnicodeError as error:
        raise BadRecord(name, "the caption is not UTF-8.", "Save it as UTF-8.") from error
    text = " ".join(text.split())
    if not text:
        raise BadRecord(name, "the caption is empty.", "Write one.")
    if len(text) > max_caption:
        raise BadRecord(
            name,
            f"the caption has {len(text):,} characters; the limit is {max_caption:,}.",
            "Shorten it, or raise data.max_caption.",
        )
    return text


def read_caption(path: Path, max_caption: int) -> str:
    """Read the caption in a text file.

    Raises:
        BadRecord: If the file cannot be read, or `clean_caption` refuses the text.
    """
    if not path.is_file():
        raise BadRecord(path.name, "the caption is not a plain file.", "Replace it.")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadRecord(path.name, f"the caption cannot be read ({error.strerror}).") from error
    if len(data) > MAX_BYTES:
        raise BadRecord(path.name, f"the caption file is over {MAX_BYTES:,} bytes.", "Shorten it.")
    return clean_caption(data, path.name, max_caption)


def find_table(folder: Path) -> Path | None:
    """Return the caption table of a folder, if it has one.

    Raises:
        KaleidoError: If it has several.
    """
    found = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise KaleidoError(str(folder), f"it holds {names}.", "Keep one of them.")
    return found[0] if found else None


def read_table(
    path: Path,
    files: Sequence[str] = FILE_COLUMNS,
    captions: Sequence[str] = CAPTION_COLUMNS,
) -> Iterator[TableRow]:
    """Read a table of images and captions, row by row.

    Args:
        path: JSON Lines, or CSV or TSV with a header.
        files: Names of the image's column; the first that there is counts.
        captions: Likewise of the caption's.

    Raises:
        KaleidoError: If the file cannot be read or its header lacks a column.
    """
    try:
        read = _read_json if path.suffix == ".jsonl" else _read_csv
        yield from read(path, files, captions)
    except OSError as error:
        raise KaleidoError(str(path), f"it cannot be read ({error.strerror}).") from error


def _read_json(path: Path, files: Sequence[str], captions: Sequence[str]) -> Iterator[TableRow]:
    with path.open("rb") as file:
        for line, data in enumerate(iter(lambda: file.readline(MAX_BYTES + 1), b""), 1):
            if len(data) > MAX_BYTES:
                _skip_line(file)
                yield TableRow(line, "", "", f"the line is over {MAX_BYTES:,} bytes.")
            elif data.strip():
                yield _json_row(line, data, files, captions)


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_BYTES)) and not rest.endswith(b"\n"):
        pass


def _json_row(line: int, data: bytes, files: Sequence[str], captions: Sequence[str]) -> TableRow:
    try:
        # Undecodable bytes become lone surrogates, so that only their own row fails.
        values = json.loads(data.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        return TableRow(line, "", "", f"the line is not JSON ({error}).")
    if not isinstance(values, dict):
        return TableRow(line, "", "", "the line is not a JSON object.")
    return _row(line, _first(values, files), _first(values, captions))


def _read_csv(path: Path, files: Sequence[str], captions: Sequence[str]) -> Iterator[TableRow]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        header = _next(reader)
        columns = [name.strip() for name in header] if isinstance(header, list) else []
        for wanted in (files, captions):
            if not set(wanted) & set(columns):
                raise KaleidoError(
                    str(path),
                    f"its header has none of the columns {', '.join(wanted)}.",
                    f"It has: {', '.join(columns) or 'nothing'}. `kaleido data table` takes other "
                    "names by --image-column and --caption-column.",
                )
        while (cells := _next(reader)) is not None:
            if isinstance(cells, csv.Error):
                yield TableRow(reader.line_num, "", "", f"the row cannot be read ({cells}).")
            elif cells:
                values = dict(zip(columns, cells, strict=False))
                yield _row(reader.line_num, _first(values, files), _first(values, captions))


def _next(reader: Iterator[list[str]]) -> list[str] | csv.Error | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        return error


def _first(values: dict[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _row(line: int, file: Any, caption: Any) -> TableRow:
    if not isinstance(file, str) or not file:
        return TableRow(line, "", "", "the row names no image.")
    if not isinstance(caption, str):
        return TableRow(line, file, "", "the row has no caption.")
    return TableRow(line, file, caption)


def read_captions(file: BinaryIO, name: str, max_caption: int) -> list[str]:
    """Read captions, one a line; empty lines are skipped.

    Args:
        file: Open for reading bytes.
        name: What to call it in an error.
        max_caption: Longest caption, in characters.

    Raises:
        KaleidoError: If a line is not UTF-8 or too long, or there is no caption at all.
    """
    captions = [
        clean_caption(line, f"line {number} of {name}", max_caption)
        for number, line in enumerate(file, 1)
        if line.strip()
    ]
    if not captions:
        raise KaleidoError(name, "it holds no captions.", "Write one caption a line.")
    return captions
