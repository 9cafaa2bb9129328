"""Writing data shards: finished ones are skipped, every input row is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.files import remove_leftovers
from pipelines.core.fingerprint import fingerprint
from pipelines.core.progress import SILENT, Advance, Progress
from pipelines.core.record import Record
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_manifest,
    read_rows,
    write_manifest,
)
from pipelines.workspace.shards import record_row, write_shard
from pipelines.workspace.workspace import Workspace

Row = Record | RowOutcome
"""A record to write, or the outcome of an input row that gives none."""


@dataclass(frozen=True)
class Source:
    """Where data come from: name and version of the code, and options that shape its rows."""

    name: str
    version: int
    options: Mapping[str, Any]


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be.

    Attributes:
        inputs: JSON value of everything that the rows depend on, besides the source's options.
        size: The number of input rows.
        rows: Makes the rows, in order; called only if the shard must be written.
    """

    inputs: Any
    size: int
    rows: Callable[[], Iterable[Row]]


@dataclass
class DataSummary:
    """What a run left in ``data/``: shards (`skipped` were there already) and input rows."""

    shards: int = 0
    skipped: int = 0
    ok: int = 0
    filtered: int = 0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, rows: Iterable[RowOutcome]) -> None:
        """Count one shard's rows."""
        self.shards += 1
        for row in rows:
            setattr(self, row.outcome, getattr(self, row.outcome) + 1)
            if row.outcome == "failed":
                self.failures.append((row.key, row.reason))


def write_data(
    workspace: Workspace,
    source: Source,
    plans: Iterable[ShardPlan],
    total: int | None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Make ``data/`` hold exactly the planned shards.

    Args:
        workspace: Where to write.
        source: What makes the rows.
        plans: The shards, in order.
        total: Input rows of all shards together, for the progress bar; None if it is not known.
        overwrite: Replace data that another source, or other options, made.
        progress: Listener.

    Raises:
        KaleidoError: If ``data/`` holds other data and `overwrite` is false, or is being written.
    """
    summary, kept = DataSummary(), set()
    with workspace.lock("data"), progress.task(source.name, total, unit="record") as advance:
        remove_leftovers(workspace.data)
        _make_room(workspace.data, source, overwrite)
        for number, plan in enumerate(plans):
            path = workspace.data / f"{number:06d}.tar"
            kept.add(path)
            summary.add(_write(path, source, plan, summary, advance))
        for path in set(workspace.data.glob("*.tar")) - kept:
            _remove(path)
    return summary


def _write(
    path: Path, source: Source, plan: ShardPlan, summary: DataSummary, advance: Advance
) -> list[RowOutcome]:
    mark = fingerprint(source.name, source.version, dict(source.options), plan.inputs)
    manifest = read_manifest(path)
    if manifest is not None and manifest.fingerprint == mark:
        summary.skipped += 1
        advance(plan.size, "already there")
        return read_rows(path)
    outcomes: list[RowOutcome] = []
    info = write_shard(path, _fields(plan.rows(), outcomes, advance))
    counts = count_outcomes(outcomes)
    manifest = Manifest(
        source.name, source.version, mark, counts, info.sha256, options=source.options
    )
    write_manifest(path, manifest, outcomes)
    return outcomes


def _fields(
    rows: Iterable[Row], outcomes: list[RowOutcome], advance: Advance
) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Yield the records as shard rows; note every outcome on the way."""
    for row in rows:
        if isinstance(row, Record):
            try:
                fields = record_row(row)
            except BadRecord as error:
                outcomes.append(RowOutcome(row.key, "failed", str(error)))
            else:
                outcomes.append(RowOutcome(row.key, "ok"))
                yield fields
        else:
            outcomes.append(row)
        advance()


def _make_room(folder: Path, source: Source, overwrite: bool) -> None:
    """Check that the finished shards are this source's, or mark the others as unfinished."""
    for path in sorted(folder.glob("*.tar")):
        manifest = read_manifest(path)
        if manifest is None or (manifest.stage, manifest.options) == (source.name, source.options):
            continue
        if not overwrite:
            raise KaleidoError(
                str(folder),
                f"it holds data that `{manifest.stage}` made with {_options(manifest.options)}.",
                "Use another workspace, or replace the data with --overwrite.",
            )
        path.with_suffix(".json").unlink()


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "no options"


def _remove(path: Path) -> None:
    """Remove a shard, its manifest first, so that at no time a manifest stands alone."""
    for suffix in (".json", ".parquet", ".tar"):
        path.with_suffix(suffix).unlink(missing_ok=True)
