"""Limits on GGUF files, which transformers unpacks without any.

The header names counts of tensors and layers; a file of a few kilobytes can ask for millions.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import stat
import struct
from pathlib import Path
from typing import BinaryIO

from pipelines.models.safe_folder import MAX_LAYERS, bad_file

MAX_ENTRIES = 100_000
"""Most metadata entries and most tensors."""

MAX_ITEMS = 2_000_000
"""Most items of one metadata array; the largest vocabularies have a quarter million words."""

_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SCALARS_PER_WEIGHT_BYTE = 8  # no quantisation stores a weight in less than a bit


def require_safe_gguf(path: Path) -> None:
    """Refuse a GGUF file whose header asks for more than the file can hold.

    Raises:
        KaleidoError: ``bad-model`` if the file is cut, not a GGUF file, or over the limits.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise bad_file(path, "it is not a regular file")
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise bad_file(path, "it is not a GGUF file")
            _, tensors, entries = struct.unpack("<IQQ", file.read(20))
            if max(tensors, entries) > MAX_ENTRIES:
                raise bad_file(path, f"it names {max(tensors, entries):,} entries")
            for _ in range(entries):
                _check_entry(path, file, size)
            for _ in range(tensors):
                _check_tensor(path, file, size)
    except (struct.error, ValueError, RecursionError) as error:
        raise bad_file(path, f"its header is damaged or cut ({error})") from error


def _check_entry(path: Path, file: BinaryIO, size: int) -> None:
    key = _text(file, size)
    value = _value(file, size, *struct.unpack("<I", file.read(4)))
    if key.endswith(b".block_count") and not (isinstance(value, int) and value <= MAX_LAYERS):
        raise bad_file(path, f"it asks for {value} layers, more than {MAX_LAYERS}")


def _check_tensor(path: Path, file: BinaryIO, size: int) -> None:
    name = _text(file, size)
    (dimensions,) = struct.unpack("<I", file.read(4))
    if dimensions > 4:
        raise ValueError(f"a tensor of {dimensions} dimensions")
    shape = struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions))
    count = 1
    for side in shape:
        count *= side
    struct.unpack("<IQ", file.read(12))
    if count > size * _SCALARS_PER_WEIGHT_BYTE:
        raise bad_file(path, f"{name[:40]!r} has more values than the file can hold")


def _text(file: BinaryIO, size: int) -> bytes:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size:
        raise ValueError(f"a text of {length:,} bytes")
    return file.read(length)


def _value(file: BinaryIO, size: int, kind: int, depth: int = 0) -> object:
    """Read a metadata value; of an array only its end is looked for."""
    if kind == _STRING:
        return _text(file, size)
    if kind != _ARRAY:
        if kind not in _FORMS:
            raise ValueError(f"a value of type {kind}")
        form = f"<{_FORMS[kind]}"
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]
    inner, count = struct.unpack("<IQ", file.read(12))
    if count > MAX_ITEMS or depth > 2:
        raise ValueError(f"an array of {count:,} items")
    if inner in _FORMS:
        file.seek(count * struct.calcsize(f"<{_FORMS[inner]}"), 1)
    else:
        for _ in range(count):
            _value(file, size, inner, depth + 1)
    return None
