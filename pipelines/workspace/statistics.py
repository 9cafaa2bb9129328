"""Statistics of shards: what training must know of all records, without reading any.

They are part of a shard's manifest. For shards of older versions they are counted once and kept in
``.cache/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from pipelines.core.files import atomic_write
from pipelines.core.fingerprint import fingerprint
from pipelines.core.images import picture_size
from pipelines.latents.base import Stored
from pipelines.latents.registry import stored_class
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.reader import latent_manifest, read_joined
from pipelines.workspace.shards import read_records
from pipelines.workspace.workspace import Workspace

CACHE = ".cache"
"""Folder of a workspace for what can be computed again at any time."""

HELDOUT = "heldout"
"""Statistic of a data shard: rows of the held-out split, as `write_ranges` writes them."""

SIZES = "sizes"
"""Statistic of a data shard: widths and heights of the pictures, as `write_sizes` writes them."""

ROWS = "rows"
"""Statistic of a latent shard: rows of the data shard that have a latent, as ranges."""


def data_statistics(heldout: Iterable[int], sizes: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """Return the statistics of a data shard.

    Args:
        heldout: Its held-out rows, counted from 0.
        sizes: Width and height of the picture of each row, in pixels.
    """
    return {HELDOUT: write_ranges(heldout), SIZES: write_sizes(sizes)}


def latent_statistics(kind: str, rows: Iterable[int], training: Iterable[Stored]) -> dict[str, Any]:
    """Return the statistics of a latent shard.

    Args:
        kind: The kind.
        rows: Rows of the data shard that have a latent, counted from 0.
        training: The latents of those that are not held out.
    """
    return {ROWS: write_ranges(rows), **stored_class(kind).statistics(list(training))}


def read_data_statistics(workspace: Workspace, data_shard: Path) -> Mapping[str, Any]:
    """Return the statistics of a data shard; those of an older version are counted once.

    Raises:
        KaleidoError: If the shard is damaged.
    """
    manifest = read_manifest(data_shard)
    if manifest is not None and {HELDOUT, SIZES} <= manifest.statistics.keys():
        return manifest.statistics
    path = _cached(workspace, SIZES, manifest.sha256 if manifest else "")
    if (found := _read(path)) is not None:
        return found
    heldout: list[int] = []
    sizes: list[tuple[int, int]] = []
    for row, record in enumerate(read_records(data_shard)):
        if record.heldout:
            heldout.append(row)
        sizes.append(picture_size(record.image, record.key))
    return _write(path, data_statistics(heldout, sizes))


def read_latent_statistics(workspace: Workspace, data_shard: Path, kind: str) -> Mapping[str, Any]:
    """Return the statistics of the latents of a data shard; see `read_data_statistics`.

    Raises:
        InputMissing: If the kind was not extracted from this shard, or from older data.
        KaleidoError: If a shard is damaged.
    """
    manifest = latent_manifest(workspace, data_shard, kind)
    if manifest.statistics:
        return manifest.statistics
    version = stored_class(kind).version
    path = _cached(workspace, kind, version, manifest.sha256, dict(manifest.inputs))
    if (found := _read(path)) is not None:
        return found
    records = list(enumerate(read_joined(workspace, data_shard, (kind,))))
    made = [(row, record) for row, record in records if kind in record.latents]
    training = (record.latents[kind] for _, record in made if not record.heldout)
    return _write(path, latent_statistics(kind, (row for row, _ in made), training))


def merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Merge what the latents of a kind report, over shards: the union of each list.

    Rows of shards are left out.
    """
    merged: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, values in part.items():
            if name != ROWS:
                merged.setdefault(name, {}).update({json.dumps(value): value for value in values})
    return {name: [values[key] for key in sorted(values)] for name, values in merged.items()}


def write_ranges(numbers: Iterable[int]) -> str:
    """Write rising numbers as ranges: ``0-4 7 9-12``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def read_ranges(text: str) -> list[int]:
    """Read the output of `write_ranges`.

    Raises:
        ValueError: If the text is something else.
    """
    numbers: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def write_sizes(sizes: Iterable[tuple[int, int]]) -> str:
    """Write widths and heights, equal neighbours as one: ``64x64*500 96x64``."""
    runs = ((size, len(list(group))) for size, group in groupby(sizes))
    return " ".join(f"{w}x{h}" + (f"*{count}" if count > 1 else "") for (w, h), count in runs)


def read_sizes(text: str) -> list[tuple[int, int]]:
    """Read the output of `write_sizes`.

    Raises:
        ValueError: If the text is something else.
    """
    sizes: list[tuple[int, int]] = []
    for part in text.split():
        size, _, count = part.partition("*")
        width, height = size.split("x")
        sizes.extend([(int(width), int(height))] * int(count or 1))
    return sizes


def _cached(workspace: Workspace, *depends: Any) -> Path:
    return workspace.root / CACHE / "statistics" / f"{fingerprint('statistics', 1, *depends)}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, statistics: dict[str, Any]) -> dict[str, Any]:
    atomic_write(path, json.dumps(statistics).encode())
    return statistics
