"""Manifests: the contents and origin of a shard, and the outcome of every input row.

Beside ``NNNNNN.tar`` are ``NNNNNN.parquet``, with one row per input row, and ``NNNNNN.json``, the
manifest. The manifest is written last: a shard without one is unfinished and is written again.
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
    """The outcome of one input row; the reason is empty for ``ok``."""

    key: str
    outcome: OutcomeName
    reason: str = ""


@dataclass(frozen=True)
class Manifest:
    """The small JSON file beside a shard.

    Attributes:
        stage: The stage that made the shard, for example ``scenes`` or ``boxes``.
        version: The stage's version.
        fingerprint: Hash of everything that the shard depends on (`core.fingerprint`).
        counts: Number of input rows by outcome: ``ok``, ``filtered``, ``failed``.
        sha256: SHA-256 of the tar.
        inputs: SHA-256 of each input shard: ``data`` and kinds of latents.
        options: The stage's options, for information.
        statistics: What training must know of the shard (`workspace.statistics`); empty in shards
            of older versions.
    """

    stage: str
    version: int
    fingerprint: str
    counts: Mapping[str, int]
    sha256: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)


def count_outcomes(rows: Iterable[RowOutcome]) -> dict[str, int]:
    """Count rows by outcome, including zeros."""
    counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    for row in rows:
        counts[row.outcome] += 1
    return counts


def write_manifest(shard_path: Path, manifest: Manifest, rows: Sequence[RowOutcome]) -> None:
    """Finish a shard that `write_shard` has written: the parquet first, the manifest last.

    Raises:
        ValueError: If the manifest's counts differ from the rows.
    """
    if dict(manifest.counts) != count_outcomes(rows):
        raise ValueError(f"{shard_path}: counts {manifest.counts} are not those of the rows")
    atomic_write(shard_path.with_suffix(".parquet"), encode_rows(rows))
    atomic_write(shard_path.with_suffix(".json"), encode_manifest(manifest))


def encode_rows(rows: Sequence[RowOutcome]) -> bytes:
    """Serialise the outcomes of rows to Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [_utf8(getattr(row, name)) for row in rows] for name in _SCHEMA_NAMES}
    table = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in _SCHEMA_NAMES]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def encode_manifest(manifest: Manifest) -> bytes:
    """Serialise a manifest to JSON."""
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"


_SCHEMA_NAMES = tuple(item.name for item in fields(RowOutcome))


def _utf8(text: str) -> str:
    """Escape text that is not UTF-8; reasons may quote a file name, for example."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_manifest(shard_path: Path) -> Manifest | None:
    """Read the manifest of a shard, or return None if the shard is unfinished or missing.

    Raises:
        KaleidoError: If the file is not a valid manifest (``bad-data``).
    """
    path = shard_path.with_suffix(".json")
    try:
        if not (path.is_file() and shard_path.is_file()):
            return None
        manifest = Manifest(**json.loads(path.read_bytes()))
        _check(manifest)
        return manifest
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _check(manifest: Manifest) -> None:
    """Raise ValueError if a value has the wrong type."""
    texts = (manifest.stage, manifest.fingerprint, manifest.sha256)
    mappings = (manifest.counts, manifest.inputs, manifest.options, manifest.statistics)
    counts = manifest.counts
    if not (
        all(isinstance(text, str) for text in texts)
        and type(manifest.version) is int
        and all(isinstance(mapping, dict) for mapping in mappings)
        and set(counts) == set(OUTCOMES)
        and all(type(count) is int and count >= 0 for count in counts.values())
    ):
        raise ValueError("a value has the wrong type")


def read_rows(shard_path: Path) -> list[RowOutcome]:
    """Read the outcome of every input row of a finished shard, in input order.

    Raises:
        KaleidoError: If the parquet file is missing or damaged (``bad-data``).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = shard_path.with_suffix(".parquet")
    try:
        # `read_table` starts pyarrow's thread pools, whose shutdown aborts some short programs.
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
        "bad-data",
    )
