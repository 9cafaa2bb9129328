"""One pass of stages over the data: what is left to do, doing a shard, and what came of it.

Every engine runs these same functions, so that all of them write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipelines.core.batches import in_batches
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, Stage, StageSpec
from pipelines.engines.batches import ROW_ERRORS, call_stage, describe, unfit
from pipelines.engines.budget import DiskBudget
from pipelines.latents.registry import extract_command, latent_class
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    bytes_on_disk,
    count_outcomes,
    encode_manifest,
    encode_rows,
    read_manifest,
    read_rows,
    write_manifest,
)
from pipelines.workspace.reader import latent_extension, latent_manifest, read_joined
from pipelines.workspace.shards import read_shard, shard_size, write_shard
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class ShardTask:
    """What a pass has left to do on one shard.

    Attributes:
        data_shard: The data shard.
        records: How many records it holds.
        inputs: SHA-256 of each input shard: ``data`` and the stages' input kinds; empty for one
            that is to be written first.
        pending: Kind -> fingerprint of everything that its result depends on, for the kinds that
            are to be computed; empty if all are up to date.
        retried: The pending kinds of which only the failed rows are computed.
    """

    data_shard: Path
    records: int
    inputs: dict[str, str]
    pending: dict[str, str]
    retried: frozenset[str]


@dataclass(frozen=True)
class RunSummary:
    """What a run of a stage left behind.

    Attributes:
        kind: The kind of latent.
        shards: All shards, the skipped ones too.
        skipped: Shards that were up to date.
        ok: Records with a latent, over all shards.
        filtered: Records that the stage had nothing to say about.
        failed: Records that could not be processed.
        failures: Key and reason of each failed record.
    """

    kind: str
    shards: int
    skipped: int
    ok: int
    filtered: int
    failed: int
    failures: list[tuple[str, str]]


def passes(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Group neighbouring stages that can share one pass over the data.

    They read the same inputs, so none waits for another's output, in the same batches and with the
    same resources; so they can be called in turn on the very same records.
    """

    def shape(stage: Stage) -> tuple[object, ...]:
        return stage.spec.inputs, stage.spec.batch_size, dict(stage.spec.resources)

    return [list(group) for _, group in groupby(stages, key=shape)]


def plan_pass(
    workspace: Workspace,
    specs: Sequence[StageSpec],
    retry_failed: bool = False,
    due: Mapping[str, Collection[Path]] | None = None,
) -> list[ShardTask]:
    """Check the inputs of a pass and find what is not up to date, shard by shard.

    Args:
        workspace: Where the data and the latents lie.
        specs: Of the stages of one of `passes`.
        retry_failed: Count the failed rows of what is up to date as left to do.
        due: Kind -> data shards whose latents an earlier pass is still to write; what is made of
            them is left to do.

    Raises:
        InputMissing: If there is no data, or an input kind is not extracted; names the command.
        KaleidoError: If the bytes of an input shard are not those of its manifest.
    """
    data_shards = workspace.data_shards()
    if not data_shards:
        raise InputMissing(
            str(workspace.data),
            "there are no images yet.",
            "Run `kaleido data scenes` or `kaleido data folder PATH`.",
        )
    return [_task(workspace, specs, shard, retry_failed, due or {}) for shard in data_shards]


def _task(
    workspace: Workspace,
    specs: Sequence[StageSpec],
    data_shard: Path,
    retry_failed: bool,
    due: Mapping[str, Collection[Path]],
) -> ShardTask:
    data = read_manifest(data_shard)
    if data is None:
        raise KaleidoError(str(data_shard), "the shard is unfinished.", "Make the data again.")
    inputs = {"data": _verified(data_shard, data, "Delete it and make the data again.")}
    for kind in specs[0].inputs:
        if data_shard in due.get(kind, ()):
            inputs[kind] = ""
            continue
        manifest = latent_manifest(workspace, data_shard, kind)
        path = workspace.latents(kind) / data_shard.name
        inputs[kind] = _verified(path, manifest, f"Run `{extract_command(kind)}`.")
    pending, retried = {}, set()
    for spec in specs:
        output = (spec.output, latent_class(spec.output).version)
        wanted = fingerprint(spec.name, spec.version, output, dict(spec.options), inputs)
        made = _current(workspace.latents(spec.output) / data_shard.name, wanted)
        if made is not None and retry_failed and made.counts["failed"]:
            retried.add(spec.output)
        if made is None or spec.output in retried:
            pending[spec.output] = wanted
    return ShardTask(data_shard, data.counts["ok"], inputs, pending, frozenset(retried))


def _verified(path: Path, manifest: Manifest, hint: str) -> str:
    if sha256_file(path) != manifest.sha256:
        raise KaleidoError(str(path), "its bytes are not those that its manifest names.", hint)
    return manifest.sha256


def _current(path: Path, wanted: str) -> Manifest | None:
    """Return the manifest of a shard that is whole and has the wanted fingerprint, else None."""
    manifest = read_manifest(path)
    if manifest is None or manifest.fingerprint != wanted:
        return None
    whole = path.with_suffix(".parquet").is_file() and sha256_file(path) == manifest.sha256
    return manifest if whole else None


def process_shard(
    workspace: Workspace,
    stages: Sequence[Stage],
    task: ShardTask,
    advance: Callable[[int], None],
    budget: DiskBudget | None = None,
) -> None:
    """Compute the pending latents of one shard; `advance` gets the size of each batch.

    Each image is decoded once for all stages. Nothing is written before all rows are computed, then
    one kind after the other is committed.

    Args:
        workspace: Where the data are and the latents go.
        stages: Those of a pass whose kinds are pending, set up.
        task: The shard.
        advance: Listener.
        budget: What may be written; a shard that does not fit is not written for any kind.

    Raises:
        KaleidoError: If a stage breaks its contract or stops, an input shard is damaged, the
            budget is used up, or the disk is full.
    """
    spec = stages[0].spec
    outputs = [_Output(workspace, stage, task) for stage in stages]
    records = read_joined(workspace, task.data_shard, spec.inputs)
    for batch in in_batches(records, spec.batch_size):
        wanted = [record for record in batch if any(record.key not in o.kept for o in outputs)]
        found = {record.key: unfit(record, spec.inputs) for record in wanted}
        for output in outputs:
            output.add(batch, found)
        advance(len(batch))
    if budget is not None:
        what = f"{', '.join(stage.spec.output for stage in stages)} of {task.data_shard.name}"
        budget.take(sum(output.size() for output in outputs), what)
    for output in outputs:
        # An older shard stands beside the new one until it is replaced, so it counts till then.
        older = output.commit()
        if budget is not None:
            budget.give_back(older)


class _Output:
    """The rows of one kind in one shard, gathered in memory: latents are small.

    Attributes:
        kept: Key -> outcome and shard fields of the rows that are not computed again.
    """

    def __init__(self, workspace: Workspace, stage: Stage, task: ShardTask) -> None:
        self._stage, self._task, self._kind = stage, task, stage.spec.output
        self._path = workspace.latents(self._kind) / task.data_shard.name
        self._rows: list[RowOutcome] = []
        self._fields: list[tuple[str, dict[str, bytes]]] = []
        self.kept: dict[str, tuple[RowOutcome, dict[str, bytes]]] = {}
        if self._kind in task.retried:
            fields = dict(read_shard(self._path))
            rows = [row for row in read_rows(self._path) if row.outcome != "failed"]
            self.kept = {row.key: (row, fields.get(row.key, {})) for row in rows}

    def add(self, batch: Sequence[Record], found: Mapping[str, Outcome | None]) -> None:
        """Compute a batch's rows; `found` has the outcomes that are known before the stage."""
        todo = [record for record in batch if record.key not in self.kept]
        fit = [record for record in todo if found[record.key] is None]
        outcomes = iter(call_stage(self._stage, fit))
        for record in batch:
            if record.key in self.kept:
                row, fields = self.kept[record.key]
            else:
                row, fields = self._row(record, found[record.key] or next(outcomes))
            self._rows.append(row)
            if fields:
                self._fields.append((record.key, fields))

    def _row(self, record: Record, outcome: Outcome) -> tuple[RowOutcome, dict[str, bytes]]:
        match outcome:
            case Filtered(reason):
                return RowOutcome(record.key, "filtered", reason), {}
            case Failed(error):
                return RowOutcome(record.key, "failed", error), {}
            case Ok(value):
                if not isinstance(value, latent_class(self._kind)):
                    why = f"it returned a {type(value).__name__} in place of {self._kind}."
                    name = f"stage {self._stage.spec.name!r}"
                    raise KaleidoError(name, why, "This is a defect of the stage.")
                try:
                    value.validate()
                    data = value.to_bytes()
                except ROW_ERRORS as error:
                    return RowOutcome(record.key, "failed", describe(error)), {}
                return RowOutcome(record.key, "ok"), {latent_extension(self._kind): data}

    def size(self) -> int:
        """Return how many bytes `commit` will write."""
        tables = len(encode_rows(self._rows)) + len(encode_manifest(self._manifest("0" * 64)))
        return shard_size(self._fields) + tables

    def commit(self) -> int:
        """Write the shard, and its manifest last; return the size of the shard that it replaces."""
        older = bytes_on_disk(self._path)
        info = write_shard(self._path, self._fields)
        write_manifest(self._path, self._manifest(info.sha256), self._rows)
        return older

    def _manifest(self, sha256: str) -> Manifest:
        spec = self._stage.spec
        return Manifest(
            stage=spec.name,
            version=spec.version,
            fingerprint=self._task.pending[self._kind],
            counts=count_outcomes(self._rows),
            sha256=sha256,
            inputs=self._task.inputs,
            options=dict(spec.options),
        )


def summarise(workspace: Workspace, kind: str, tasks: Sequence[ShardTask]) -> RunSummary:
    """Add up a kind's manifests after all shards of a pass are done."""
    totals = count_outcomes([])
    failures: list[tuple[str, str]] = []
    for task in tasks:
        rows = read_rows(workspace.latents(kind) / task.data_shard.name)
        for outcome, count in count_outcomes(rows).items():
            totals[outcome] += count
        failures += [(row.key, row.reason) for row in rows if row.outcome == "failed"]
    skipped = sum(kind not in task.pending for task in tasks)
    return RunSummary(kind, len(tasks), skipped, **totals, failures=failures)
