"""Read captions that strangers wrote, from text files and from lists."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path
from typing import BinaryIO

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.inputs import LFS_POINTER

SUFFIXES = (".txt", ".caption")
"""Text files with one caption; an image that has both takes the first."""

MAX_BYTES = 1_000_000
"""Largest text file or table row that is read as one caption."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-32 begins with that of UTF-16."""


def encoding_of(head: bytes) -> str:
    """Return the encoding that a byte order mark names, or UTF-8 without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8-sig")


def clean_caption(data: bytes | str, name: str, max_caption: int) -> str:
    """Return a caption as one line of text.

    White space and control characters become single spaces. Markup is kept: it is data.

    Args:
        data: Encoded text (UTF-8, or what its byte order mark says), or text in which undecodable
            bytes are lone surrogates.
        name: What to call it in an error.
        max_caption: Longest caption, in characters.

    Raises:
        BadRecord: If it cannot be decoded, has no letter and no digit, or is too long.
    """
    if isinstance(data, bytes) and data.startswith(LFS_POINTER):
        why = "the caption is a git-lfs pointer, not the text itself."
        raise BadRecord(name, why, "Run `git lfs pull` there.")
    try:
        text = data.decode(encoding_of(data)) if isinstance(data, bytes) else data
        text.encode("utf-8")
    except UnicodeError as error:
        kind = (
            encoding_of(data).upper().removesuffix("-SIG") if isinstance(data, bytes) else "UTF-8"
        )
        raise BadRecord(name, f"the caption is not {kind}.", "Save it as UTF-8.") from error
    text = " ".join("".join(map(_blank_control, text)).split())
    if not text:
        raise BadRecord(name, "the caption is empty.", "Write one.")
    if not any(char.isalnum() for char in text):
        raise BadRecord(name, "the caption has no letter and no digit.", "Write one in words.")
    if len(text) > max_caption:
        raise BadRecord(
            name,
            f"the caption has {len(text):,} characters; the limit is {max_caption:,}.",
            "Shorten it, or raise data.max_caption.",
        )
    return text


def _blank_control(char: str) -> str:
    return " " if unicodedata.category(char) == "Cc" else char


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
