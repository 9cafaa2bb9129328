"""Manifests: what a shard holds, how it was made, and what became of every input row.

Beside ``NNNNNN.tar`` lie ``NNNNNN.parquet`` (a row an input row) and ``NNNNNN.json`` (the
manifest). The manifest is written last: a shard without one is unfinished and is made again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write

OutcomeName = Literal["ok", "filtered", "failed"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What became of one input row; the reason is empty for ``ok``."""

    key: str
    outcome: OutcomeName
    reason: str = ""


@dataclass(frozen=True)
class Manifest:
    """The small JSON file beside a shard.

    Attributes:
        stage: What made the shard, for example ``scenes`` or ``boxes``.
        version: The stage's version.
        fingerprint: Hash of everything that the shard depends on (`core.fingerprint`).
        counts: Input rows by outcome: ``ok``, ``filtered``, ``failed``.
        sha256: Of the tar.
        inputs: SHA-256 of each input shard: ``data`` and kinds of latents.
        options: The stage's options, for people to read.
    """

    stage: str
    version: int
    fingerprint: str
    counts: Mapping[str, int]
    sha256: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def count_outcomes(rows: Iterable[RowOutcome]) -> dict[str, int]:
    """Count rows by outcome, zeros included."""
    counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    for row in rows:
        counts[row.outcome] += 1
    return counts


def write_manifest(shard_path: Path, manifest: Manifest, rows: Sequence[RowOutcome]) -> None:
    """Commit a shard that `write_shard` has written: the rows' parquet first, the manifest last.

    Raises:
        ValueError: If the manifest's counts are not those of the rows.
    """
    if dict(manifest.counts) != count_outcomes(rows):
        raise ValueError(f"{shard_path}: counts {manifest.counts} are not those of the rows")
    atomic_write(shard_path.with_suffix(".parquet"), encode_rows(rows))
    atomic_write(shard_path.with_suffix(".json"), encode_manifest(manifest))


def encode_rows(rows: Sequence[RowOutcome]) -> bytes:
    """Return the Parquet file of the outcomes of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [_utf8(getattr(row, name)) for row in rows] for name in _SCHEMA_NAMES}
    table = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in _SCHEMA_NAMES]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the JSON file of a manifest."""
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"


_SCHEMA_NAMES = tuple(item.name for item in fields(RowOutcome))


def _utf8(text: str) -> str:
    """Reasons may quote text that is not UTF-8 (a file's name, say)."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_manifest(shard_path: Path) -> Manifest | None:
    """Read the manifest of a shard, or return None if the shard is unfinished or missing.

    Raises:
        KaleidoError: If the file is not a manifest.
    """
    path = shard_path.with_suffix(".json")
    if not (path.is_file() and shard_path.is_file()):
        return None
    try:
        manifest = Manifest(**json.loads(path.read_bytes()))
        if set(manifest.counts) != set(OUTCOMES):
            raise ValueError(f"counts are {manifest.counts}")
        return manifest
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_rows(shard_path: Path) -> list[RowOutcome]:
    """Read what became of every input row of a finished shard, in input order.

    Raises:
        KaleidoError: If the parquet file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = shard_path.with_suffix(".parquet")
    try:
        # `read_table` starts pyarrow's thread pools, whose end aborts one short program in three.
        with pq.ParquetFile(io.BytesIO(path.read_bytes()), pre_buffer=False) as file:
            table = file.read(columns=list(_SCHEMA_NAMES), use_threads=False)
        return [RowOutcome(**row) for row in table.to_pylist()]
    except (OSError, TypeError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> KaleidoError:
    return KaleidoError(
        str(path),
        f"the file is damaged ({error}).",
        f"Delete {path.stem}.json, .parquet and .tar, and run the command that makes them again.",
    )
