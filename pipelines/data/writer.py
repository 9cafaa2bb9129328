"""Write data shards: finished ones are skipped, and every input row has an outcome."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.images import names_place, picture_size
from pipelines.core.progress import SILENT, Advance, Progress
from pipelines.core.record import Record
from pipelines.data.convert import original_size
from pipelines.data.fit import FitCounts
from pipelines.workspace.journal import Journal
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_manifest,
    read_rows,
    write_manifest,
)
from pipelines.workspace.shards import read_records, record_row, write_shard
from pipelines.workspace.statistics import data_statistics
from pipelines.workspace.workspace import SHARD_NAME, Workspace

Row = Record | RowOutcome
"""A record to write, or the outcome of an input row that gives none."""


@dataclass(frozen=True)
class Source:
    """What makes the rows: a command's name, the version of its code, and its options."""

    name: str
    version: int
    options: Mapping[str, Any]


@dataclass(frozen=True)
class ShardPlan:
    """A shard that has not been written yet.

    Attributes:
        inputs: JSON value of everything the rows depend on besides the source's options.
        rows: Returns the rows in order; called only if the shard has to be written.
        begin: Begins to fetch them; called, if at all, while the shard before is written.
        again: Returns the rows of some keys, in order, to make the failed ones of a shard that is
            up to date anew; None leaves them failed.
    """

    inputs: Any
    rows: Callable[[], Iterable[Row]]
    begin: Callable[[], None] | None = None
    again: Callable[[Collection[str]], Iterable[Row]] | None = None


@dataclass
class DataSummary:
    """What is in ``data/`` after a run.

    Attributes:
        shards: Number of shards.
        skipped: Shards among them that were up to date.
        ok: Input rows that gave a record.
        filtered: Input rows left out on purpose.
        failed: Input rows that could not be used.
        failures: Key and reason of every failed row.
        fit: What ``data.fit`` did to the pictures that this run wrote.
        places: Pictures that this run wrote and that say where they were taken.
    """

    shards: int = 0
    skipped: int = 0
    ok: int = 0
    filtered: int = 0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    fit: FitCounts = field(default_factory=FitCounts)
    places: int = 0

    def add(self, rows: Iterable[RowOutcome]) -> None:
        """Count the rows of one shard."""
        self.shards += 1
        for row in rows:
            setattr(self, row.outcome, getattr(self, row.outcome) + 1)
            if row.outcome == "failed":
                self.failures.append((row.key, row.reason))

    def require_records(self, noun: str = "records") -> None:
        """Raise KaleidoError (``nothing-produced``) if no row gave a record."""
        if not self.ok:
            first = f" {self.failures[0][0]}: {self.failures[0][1]}" if self.failures else ""
            raise KaleidoError(
                noun,
                f"the source gave none: {self.failed:,} rows failed, {self.filtered:,} were "
                f"filtered.{first}",
                "`kaleido status --failed` lists the reasons.",
                "nothing-produced",
            )


def write_data(
    workspace: Workspace,
    source: Source,
    plans: Iterable[ShardPlan],
    total: int | None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Make ``data/`` hold the planned shards and no other shard of ours.

    A file that no manifest of ours names is never replaced or removed.

    Args:
        workspace: Where to write.
        source: What makes the rows.
        plans: The shards, in order.
        total: Input rows of all shards, for the progress bar; None if unknown.
        overwrite: Replace data that another source or other options made, and records that have
            failed since.
        progress: Receives the progress.

    Raises:
        KaleidoError: If ``data/`` holds other data, or a record that was sound has failed, and
            `overwrite` is false; if a file of the user's is in the way (all ``would-overwrite``);
            or if another process is writing.
    """
    with workspace.lock("data"), progress.task(source.name, total, unit="record") as advance:
        journal = Journal(workspace.data, workspace.data_journal)
        _make_room(workspace.data, journal, source, overwrite)
        writer = _Writer(source, journal, overwrite, advance)
        kept = set()
        for number, (plan, following) in enumerate(_with_next(plans)):
            paths = [workspace.data / f"{at:06d}.tar" for at in (number, number + 1)]
            for path, each in zip(paths, (plan, following), strict=True):
                if each is not None and each.begin and not writer.has(path, each):
                    each.begin()
            kept.add(paths[0])
            writer.write(paths[0], plan)
        for path in _own_shards(workspace.data, journal):
            if path not in kept:
                journal.remove(path)
    fit, size, most = _fitting(source.options)
    for line in writer.summary.fit.describe(fit, size, most):
        progress.message(line)
    if places := writer.summary.places:
        progress.message(
            f"{places:,} pictures hold the place where they were taken (GPS in their EXIF); "
            "--metadata strip leaves it out"
        )
    return writer.summary


def _with_next(plans: Iterable[ShardPlan]) -> Iterator[tuple[ShardPlan, ShardPlan | None]]:
    """Yield plans, each with the next one where plans can begin early: others hold their rows."""
    iterator = iter(plans)
    plan = next(iterator, None)
    while plan is not None:
        following = next(iterator, None) if plan.begin else None
        yield plan, following
        plan = following if plan.begin else next(iterator, None)


class _Writer:
    """Writes one shard after another and counts their rows."""

    def __init__(self, source: Source, journal: Journal, overwrite: bool, advance: Advance) -> None:
        self.summary = DataSummary()
        self._source, self._journal, self._advance = source, journal, advance
        self._sound: set[str] | None = None if overwrite else set()
        """Keys of records that replaced shards held; None allows them to fail."""

    def write(self, path: Path, plan: ShardPlan) -> None:
        """Write a shard, unless it is there with the same inputs."""
        source, mark, manifest = self._source, self._mark(plan), self._manifest(path)
        made = read_rows(path) if manifest is not None else []
        failed = [row.key for row in made if row.outcome == "failed"]
        is_current = manifest is not None and manifest.fingerprint == mark
        if is_current and not (failed and plan.again):
            self.summary.skipped += 1
            self._advance(len(made), "already there")
            self.summary.add(made)
            return
        if manifest is not None and self._sound is not None:
            self._sound.update(row.key for row in made if row.outcome == "ok")
        if is_current and plan.again is not None:
            rows: Iterable[Row] = _retried(path, made, plan.again(failed))
        else:
            rows = plan.rows()
        self._journal.begin([path])
        outcomes: list[RowOutcome] = []
        heldout: list[int] = []
        sizes: list[tuple[int, int]] = []
        info = write_shard(path, self._fields(path, rows, outcomes, heldout, sizes))
        manifest = Manifest(
            source.name,
            source.version,
            mark,
            count_outcomes(outcomes),
            info.sha256,
            options=source.options,
            statistics=data_statistics(heldout, sizes),
        )
        write_manifest(path, manifest, outcomes)
        self._journal.end(path)
        self.summary.add(outcomes)

    def has(self, path: Path, plan: ShardPlan) -> bool:
        """Return whether a shard is there with the same inputs."""
        manifest = self._manifest(path)
        return manifest is not None and manifest.fingerprint == self._mark(plan)

    def _manifest(self, path: Path) -> Manifest | None:
        return read_manifest(path) if self._journal.owns(path) else None

    def _mark(self, plan: ShardPlan) -> str:
        source = self._source
        return fingerprint(source.name, source.version, dict(source.options), plan.inputs)

    def _fields(
        self,
        path: Path,
        rows: Iterable[Row],
        outcomes: list[RowOutcome],
        heldout: list[int],
        sizes: list[tuple[int, int]],
    ) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """Yield the records as shard rows; note the outcome of rows, split and size of records."""
        for row in rows:
            if isinstance(row, Record):
                try:
                    fields = record_row(row)
                    stored = picture_size(row.image, row.key)
                except BadRecord as error:
                    outcomes.append(RowOutcome(row.key, "failed", str(error)))
                else:
                    outcomes.append(RowOutcome(row.key, "ok"))
                    if row.heldout:
                        heldout.append(len(sizes))
                    sizes.append(stored)
                    if size := original_size(row.meta):
                        fit, _, most = _fitting(self._source.options)
                        self.summary.fit.add(*size, fit, most)
                    self.summary.places += names_place(row.image)
                    yield fields
            else:
                outcomes.append(row)
            self._advance()
        self._check_loss(path, outcomes)

    def _check_loss(self, path: Path, outcomes: Iterable[RowOutcome]) -> None:
        """Refuse to replace a sound record by a failed one; called before the shard is moved."""
        lost = [r for r in outcomes if r.outcome == "failed" and r.key in (self._sound or ())]
        if lost:
            raise KaleidoError(
                str(path),
                f"{len(lost):,} of its records were sound and fail now. {lost[0].key}: "
                f"{lost[0].reason.rstrip('.')}.",
                "Check the source, or replace the records with --overwrite.",
                "would-overwrite",
            )


def _retried(path: Path, made: Iterable[RowOutcome], again: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of a shard: failed ones as they are made anew, the others as they are."""
    kept, anew = read_records(path), iter(again)
    for row in made:
        if row.outcome == "failed":
            yield next(anew)
        else:
            yield next(kept) if row.outcome == "ok" else row
    next(kept, None)  # closes the file, which is about to be replaced


def _make_room(folder: Path, journal: Journal, source: Source, overwrite: bool) -> None:
    """Check that the finished shards are this source's, or mark the others as unfinished."""
    others = []
    for path in _own_shards(folder, journal):
        manifest = read_manifest(path)
        if manifest is None or (manifest.stage, manifest.options) == (source.name, source.options):
            continue
        if not overwrite:
            raise KaleidoError(
                str(folder),
                f"it holds data that `{manifest.stage}` made with {_options(manifest.options)}.",
                "Use another workspace, or replace the data with --overwrite.",
                "would-overwrite",
            )
        others.append(path)
    journal.begin(others)
    for path in others:
        path.with_suffix(".json").unlink()


def _own_shards(folder: Path, journal: Journal) -> list[Path]:
    """List the shards that we wrote, finished or not."""
    found = {path for path in folder.glob("*.tar") if SHARD_NAME.fullmatch(path.name)}
    return sorted(path for path in found | set(journal.unfinished()) if journal.owns(path))


def _fitting(options: Mapping[str, Any]) -> tuple[str, int, int]:
    """Return a source's ``fit``, ``image_size`` and ``max_pixels``; "" or 0 where it has none."""
    return options.get("fit", ""), options.get("image_size", 0), options.get("max_pixels", 0)


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "no options"
