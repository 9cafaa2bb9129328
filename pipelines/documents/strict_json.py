"""Parse untrusted JSON strictly, and write JSON in a canonical form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.documents.problems import Problem

MAX_BYTES = 64 * 2**20
"""Maximum size of a file in bytes; larger annotation files are JSON lines, read line by line."""

MAX_DEPTH = 64
"""Maximum nesting depth; no known annotation format needs more than ten levels."""

DECIMALS = 8
"""Decimals of a number in canonical form. In a picture 10,000 pixels wide, a pixel is 0.0001, and
hundredths of a pixel must survive a round trip."""


class _Duplicate(dict[str, Any]):
    """An object with a duplicate key."""

    twice: tuple[str, ...] = ()


def parse(data: bytes | str, max_bytes: int = MAX_BYTES) -> tuple[Any, list[Problem]]:
    """Read one JSON value.

    Args:
        data: The JSON text; bytes are UTF-8, with or without a byte order mark.
        max_bytes: Larger texts are rejected without parsing.

    Returns:
        The value, or None if it could not be read, and the problems: ``size``, ``encoding``,
        ``syntax``, ``depth``, ``duplicate-key``, ``number`` and ``surrogate``.
    """
    if len(data) > max_bytes:
        return None, [Problem("", "size", f"It is larger than {max_bytes // 2**20} MB.")]
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        return None, [Problem("", "encoding", f"It is not UTF-8 text ({error.reason}).")]
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except RecursionError:
        return None, [Problem("", "depth", f"It is nested more than {MAX_DEPTH} levels deep.")]
    except ValueError as error:
        return None, [Problem("", "syntax", f"It is not JSON ({error}).")]
    return value, list(_faults(value))


def dump(value: Any) -> str:
    """Write JSON in canonical form: compact, UTF-8, the given key order, shortest numbers."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        rounded = round(value, DECIMALS)
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _integer(text: str) -> int | float:
    # Python refuses integers of more than 4,300 digits; as floats they are reported as infinite.
    return int(text) if len(text) < 40 else float(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    counts = Counter(key for key, _ in pairs)
    marked = _Duplicate(found)
    marked.twice = tuple(key for key, count in counts.items() if count > 1)
    return marked


def _faults(value: Any, path: str = "", depth: int = 0) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(path, "depth", f"It is nested more than {MAX_DEPTH} levels deep.")
    elif isinstance(value, dict):
        for key in getattr(value, "twice", ()):
            yield Problem(join(path, key), "duplicate-key", "The key occurs more than once.")
        for key, item in value.items():
            if _has_surrogate(key):
                yield Problem(path, "surrogate", "A key holds half of a surrogate pair.")
            yield from _faults(item, join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and not abs(value) < float("inf"):
        yield Problem(path, "number", f"{value} is not a finite number.")
    elif isinstance(value, str) and _has_surrogate(value):
        yield Problem(path, "surrogate", "The text holds half of a surrogate pair.")


def join(path: str, key: str) -> str:
    """Extend a JSON path by a key."""
    shown = key.encode("utf-8", "backslashreplace").decode()[:80]
    return f"{path}.{shown}" if path else shown


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
