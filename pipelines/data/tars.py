"""Read tars in webdataset's layout that others wrote, by their headers first.

They are read with the standard library: webdataset's own reader can run shell commands and
unpickle, and returns part of a row, without an error, where a tar is cut off.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from pipelines.core.errors import KaleidoError
from pipelines.core.inputs import LFS_POINTER

MAX_EXTENDED = 16 * 2**10
"""Largest extended header (PAX, GNU long name), in bytes: paths have at most 4,096."""

DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError)
"""What reading a damaged tar may raise."""

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class Header(tarfile.TarInfo):
    """A member's header; one that would take much memory or time is refused."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header, and check the kind and the size of what follows."""
        header = super().frombuf(buf, encoding, errors)
        extended = (
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        )
        if header.size < 0:  # tarfile would go round for ever
            raise tarfile.ReadError("a member has a negative size")
        if header.type in extended and header.size > MAX_EXTENDED:
            raise tarfile.ReadError(f"an extended header has {header.size:,} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a member is a sparse file")
        return header


@dataclass
class Group:
    """The members of one key, which webdataset calls a sample; they need not be neighbours.

    Attributes:
        name: Path in the tar up to the first dot of the file's name.
        members: Extension in lower case -> where its bytes begin and how many there are; of
            several members with one extension, all.
    """

    name: str
    members: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


@dataclass
class Index:
    """What the headers of a tar say.

    Attributes:
        groups: In the order of their first members, without any that may be cut off.
        damage: What is wrong with the tar; empty if nothing is.
        passed: Members without a row: links, folders, names without an extension.
    """

    groups: list[Group]
    damage: str = ""
    passed: int = 0


def read_index(path: Path) -> Index:
    """Read the headers of a tar.

    A tar that lacks its end mark is cut off, though tarfile reads it without a word, and so it does
    where a header in the middle is damaged. Then the last row may be half a row and is dropped.

    Raises:
        KaleidoError: If it is no tar, or a compressed one.
    """
    groups: dict[str, Group] = {}
    last, damage, passed = "", "", 0
    with _open(path) as tar:
        try:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")  # as webdataset: at the first dot
                if not (member.isreg() and stem and extension):
                    passed += 1
                    continue
                last = f"{folder}/{stem}".lstrip("/")
                group = groups.setdefault(last, Group(last))
                place = member.offset_data, member.size
                group.members.setdefault(extension.lower(), []).append(place)
        except (*DAMAGE, RecursionError) as error:
            damage = f"the shard cannot be read further ({error})."
        end = tar.offset
    if not damage and not _has_end_mark(path, end):
        damage = "the shard is cut off or damaged: its end mark is missing."
    if damage:
        groups.pop(last, None)
    elif _goes_on(path, end):
        damage = "there is more behind the shard's end mark; is it several tars in one?"
    return Index(list(groups.values()), damage, passed)


def _open(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:", tarinfo=Header)
    except DAMAGE as error:
        with path.open("rb") as file:
            head = file.read(8)
            head += file.read(len(LFS_POINTER))
        if head.startswith(LFS_POINTER):
            why = "it is a git-lfs pointer, not the shard itself."
            raise KaleidoError(str(path), why, "Run `git lfs pull` there.", "bad-data") from error
        kind = next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), "")
        why = f"it is compressed ({kind})." if kind else f"it is not a readable tar ({error})."
        hint = "Unpack it to a plain .tar first." if kind else "Fetch it again, or remove it."
        raise KaleidoError(str(path), why, hint, "bad-data") from error


def _has_end_mark(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _goes_on(path: Path, offset: int) -> bool:
    """Return whether anything but padding follows the end mark."""
    with path.open("rb") as file:
        file.seek(offset)
        return any(any(part) for part in iter(partial(file.read, 2**20), b""))
