"""Shards: tar files of rows in webdataset's layout, written and read with the standard library.

A row is a group of members ``KEY.EXT``. webdataset itself is not used: importing it imports torch,
which takes seconds, and its reader silently returns partial rows from truncated tars. Files are
plain USTAR with fixed owners, modes and times, so equal rows give equal bytes.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.files import replacing, sha256_file
from pipelines.core.record import Record

MAX_MEMBER = 256 * 2**20
"""The largest member, in bytes."""

IMAGE_EXTENSIONS = ("png", "jpg", "webp")

_KEY = re.compile(r"[A-Za-z0-9_-]{1,72}")
# A key and an extension must fit USTAR's 100 bytes together.
_EXTENSION = re.compile(r"(?=.{1,27}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class ShardInfo:
    """The number of rows that `write_shard` wrote, and the SHA-256 of the file."""

    count: int
    sha256: str


def check_key(key: str) -> None:
    """Raise BadRecord unless `key` is 1 to 72 letters, digits, ``-`` or ``_``."""
    if not _KEY.fullmatch(key):
        raise BadRecord(
            f"key {key!r}",
            "a key is 1 to 72 of the characters A-Z, a-z, 0-9, - and _.",
            "Rename the record.",
        )


def write_shard(path: Path, rows: Iterable[tuple[str, Mapping[str, bytes]]]) -> ShardInfo:
    """Write rows to a tar atomically; equal rows give equal bytes.

    The manifest of an older shard of this name is removed first, so a manifest always describes the
    shard beside it.

    Args:
        path: The ``.tar`` file.
        rows: Pairs of a unique key and the row's fields, extension to bytes.

    Returns:
        The number of rows and the file's SHA-256.

    Raises:
        BadRecord: If a key or an extension is invalid.
        KaleidoError: If a key occurs twice.
    """
    seen: set[str] = set()
    with replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, fields in rows:
                check_key(key)
                if key in seen:
                    raise KaleidoError(
                        f"key {key!r}", f"it occurs twice in {path}.", code="bad-data"
                    )
                seen.add(key)
                for extension in sorted(fields):
                    _add(tar, key, extension, fields[extension])
        info = ShardInfo(len(seen), sha256_file(temporary))
        path.with_suffix(".json").unlink(missing_ok=True)
    return info


def _add(tar: tarfile.TarFile, key: str, extension: str, data: bytes) -> None:
    if not _EXTENSION.fullmatch(extension):
        raise BadRecord(f"{key}.{extension}", "the extension is invalid.")
    if len(data) > MAX_MEMBER:
        raise BadRecord(f"{key}.{extension}", f"it has {len(data):,} bytes, over {MAX_MEMBER:,}.")
    member = tarfile.TarInfo(f"{key}.{extension}")
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def read_shard(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read the rows of a tar, in order.

    Args:
        path: A tar that `write_shard` wrote.

    Yields:
        The key and the row's fields, extension (after the first dot) to bytes.

    Raises:
        KaleidoError: If the file is missing, truncated or damaged, or contains anything but plain
            files named ``KEY.EXT`` of at most `MAX_MEMBER` bytes in unique rows (``bad-data``).
    """
    try:
        yield from _rows(path)
    except FileNotFoundError as error:
        raise damaged(path, "the shard does not exist.") from error
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise damaged(path, f"the tar cannot be read ({error}).") from error


def _rows(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    seen: set[str] = set()
    current, end = "", 0
    row: dict[str, bytes] = {}
    with open_shard(path) as tar:
        for member in tar:
            key, extension = split_name(path, member)
            if key != current:
                if row:
                    yield current, row
                if key in seen:
                    raise damaged(path, f"the members of row {key!r} are not adjacent.")
                seen.add(key)
                current, row = key, {}
            if extension in row:
                raise damaged(path, f"{member.name!r} occurs twice.")
            content = tar.extractfile(member)
            row[extension] = content.read() if content else b""
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    _check_end(path, end)
    if row:
        yield current, row


class _Header(tarfile.TarInfo):
    """The header of a plain file; tarfile processes no other kind.

    We write plain files only. PAX, GNU and sparse headers can take minutes and gigabytes.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header and check kind and size."""
        header = super().frombuf(buf, encoding, errors)
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise tarfile.ReadError(f"{header.name!r} is not a plain file")
        if not 0 <= header.size <= MAX_MEMBER:
            raise tarfile.ReadError(f"{header.name!r} has {header.size:,} bytes")
        return header


def open_shard(path: Path) -> tarfile.TarFile:
    """Open a shard for reading.

    Raises:
        tarfile.TarError, OSError, ValueError, EOFError: If it is not a tar of plain files; so does
            iterating over its members.
    """
    return tarfile.open(path, "r:", tarinfo=_Header)


def split_name(path: Path, member: tarfile.TarInfo) -> tuple[str, str]:
    """Split a member's name into key and extension.

    Raises:
        KaleidoError: If the name does not have the form ``KEY.EXT`` (``bad-data``).
    """
    key, _, extension = member.name.partition(".")
    if not (_KEY.fullmatch(key) and _EXTENSION.fullmatch(extension)):
        raise damaged(path, f"{member.name!r} is not a name of the form KEY.EXT.")
    return key, extension


def _check_end(path: Path, end: int) -> None:
    """Check that two blocks of zeros end the tar.

    tarfile stops silently where a tar is truncated between members or a later header is damaged.
    """
    with path.open("rb") as file:
        file.seek(end)
        tail = file.read(2 * tarfile.BLOCKSIZE)
    if tail != bytes(2 * tarfile.BLOCKSIZE):
        raise damaged(path, "the tar is truncated or damaged.")


def damaged(path: Path, why: str) -> KaleidoError:
    """Return the error of a shard that cannot be used."""
    hint = "Delete it and run the command that makes it again."
    return KaleidoError(str(path), why, hint, "bad-data")


def image_extension(image: bytes) -> str | None:
    """Return ``png``, ``jpg`` or ``webp`` by the first bytes, or None for anything else."""
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if image.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "webp"
    return None


def record_row(record: Record) -> tuple[str, dict[str, bytes]]:
    """Return a record as a row: the image, and ``json`` with caption and metadata.

    Raises:
        BadRecord: If the image is not PNG, JPEG or WebP, or a value cannot be written as JSON.
    """
    extension = image_extension(record.image)
    if extension is None:
        raise BadRecord(record.key, "the image is not PNG, JPEG or WebP.", "Convert it.")
    if "caption" in record.meta:
        raise BadRecord(record.key, "its meta must not contain `caption`.")
    values = {"caption": record.caption, **record.meta}
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, sort_keys=True)
        return record.key, {extension: record.image, "json": text.encode()}
    except (TypeError, ValueError) as error:
        raise BadRecord(record.key, f"its values cannot be written as JSON ({error}).") from error


def records_of(shards: Iterable[Path]) -> Iterator[Record]:
    """Read the records of several data shards in order; see `read_records`."""
    return chain.from_iterable(map(read_records, shards))


def read_records(path: Path) -> Iterator[Record]:
    """Read the records of a data shard, in order.

    Raises:
        KaleidoError: If the shard is damaged, or a row was not written by `record_row`.
    """
    for key, row in read_shard(path):
        images = [row[extension] for extension in IMAGE_EXTENSIONS if extension in row]
        if len(images) != 1:
            raise damaged(path, f"row {key!r} has {len(images)} images instead of one.")
        yield make_record(path, key, row.get("json", b""), images[0])


def make_record(path: Path, key: str, text: bytes, image: bytes) -> Record:
    """Make a record of a row's members.

    Args:
        path: The shard, for errors.
        key: The row's key.
        text: Its ``json``.
        image: Its encoded image; empty if the image is not needed.

    Raises:
        KaleidoError: If the JSON is not one that `record_row` makes.
    """
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"row {key!r} has no readable json ({error}).") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("caption"), str):
        raise damaged(path, f"row {key!r} has no caption in its json.")
    return Record(key, image, meta.pop("caption"), meta)
