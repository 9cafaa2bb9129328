"""Answers on disk, so that none is asked for, and paid, twice, also after a kill.

Every process appends to a file of its own, so machines that share a workspace need no lock. A line
is the question's key, a space, and the answer as JSON, or null, which forgets an earlier one; a
line that a kill has cut has no end and does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.core.files import no_space_errors, process_name
from pipelines.documents.strict_json import parse
from pipelines.servers.reply import Reply

SUFFIX = ".answers.jsonl"
_KEY_BYTES = 64
_FORGOTTEN = "null"
_MAX_LINE = 2**20


class AnswerCache:
    """The answers of earlier runs and of this one.

    Args:
        folder: Where the files lie; it is made with the first answer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._file: BinaryIO | None = None
        self._path = folder / f"{process_name()}{SUFFIX}"
        files = [p for p in folder.glob(f"*{SUFFIX}") if p.is_file() and not p.is_symlink()]
        for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name)):
            self._index(path)  # that of the last run last, as it may forget earlier answers

    def get(self, key: str) -> Reply | None:
        """Return the answer to a question, or None if it has none yet.

        Args:
            key: 64 hexadecimal digits.
        """
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        path, start = place
        with path.open("rb") as file:
            file.seek(start)
            return _read(file.readline(_MAX_LINE)[_KEY_BYTES + 1 :])

    def put(self, key: str, reply: Reply) -> None:
        """Write an answer; it outlives the process from here on.

        Raises:
            KaleidoError: If the disk is full (``no-space``).
        """
        line = f"{key} {json.dumps(vars(reply), separators=(',', ':'))}\n".encode()
        self._places[bytes.fromhex(key)] = (self._path, self._append(line))

    def forget(self, key: str) -> None:
        """Let a question have no answer, in later runs neither.

        Raises:
            KaleidoError: If the disk is full (``no-space``).
        """
        if self._places.pop(bytes.fromhex(key), None) is not None:
            self._append(f"{key} {_FORGOTTEN}\n".encode())

    def _append(self, line: bytes) -> int:
        """Write a line and return where it starts."""
        with no_space_errors(self._path):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
            start = self._file.tell()
            self._file.write(line)
        return start

    def close(self) -> None:
        """Let the answers outlive the machine as well; a later `put` opens the file again."""
        if self._file is not None:
            with no_space_errors(self._path):
                os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self._places)

    def _index(self, path: Path) -> None:
        start = 0
        with path.open("rb") as file:
            while line := file.readline(_MAX_LINE):
                if line.endswith(b"\n") and line[_KEY_BYTES : _KEY_BYTES + 1] == b" ":
                    with contextlib.suppress(ValueError):  # a line that is not ours
                        key = bytes.fromhex(line[:_KEY_BYTES].decode("ascii"))
                        self._places[key] = path, start
                        if line[_KEY_BYTES + 1 : -1].decode() == _FORGOTTEN:
                            del self._places[key]
                start += len(line)


def _read(data: bytes) -> Reply | None:
    """Read an answer; None if somebody has damaged it."""
    value, problems = parse(data)
    if problems or not isinstance(value, dict):
        return None
    types: dict[str, Any] = {
        "text": str, "cut": bool, "refused": bool, "tokens_in": int, "tokens_out": int
    }  # fmt: skip
    if value.keys() != types.keys() or any(type(value[k]) is not t for k, t in types.items()):
        return None
    return Reply(**value)
