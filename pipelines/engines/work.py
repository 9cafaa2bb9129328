"""Computing one shard. Every engine calls this, so that all of them write the same bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.core.batches import in_batches
from pipelines.core.progress import Advance
from pipelines.core.record import Record
from pipelines.core.stage import (
    Failed,
    Filtered,
    Ok,
    Outcome,
    StageGroup,
    StageSpec,
    kinds_of,
    set_up,
)
from pipelines.engines.batches import ROW_ERRORS, broken_contract, call_stage, describe, unfit
from pipelines.engines.tasks import ShardTask
from pipelines.engines.threads import torch_threads
from pipelines.latents.registry import stored_class
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_rows,
    write_manifest,
)
from pipelines.workspace.reader import latent_extension, read_joined
from pipelines.workspace.shards import read_shard, write_shard
from pipelines.workspace.statistics import latent_statistics
from pipelines.workspace.workspace import Workspace


class ShardWorker:
    """The stages of a pass in one process; each is set up before the first shard that needs it.

    Args:
        workspace: Where the data are and the latents go.
        stages: Those of a pass, not set up.
    """

    def __init__(self, workspace: Workspace, stages: Sequence[StageGroup]) -> None:
        self._workspace, self._stages = workspace, stages
        self._ready: set[int] = set()

    def run(self, task: ShardTask, advance: Advance) -> None:
        """Set up what is missing, and compute a shard, see `process_shard`."""
        needed = [
            (number, stage)
            for number, stage in enumerate(self._stages)
            if not task.pending.keys().isdisjoint(kinds_of([stage]))
        ]
        for number, stage in needed:
            if number not in self._ready:
                set_up(stage)
                self._ready.add(number)
        stages = [stage for _, stage in needed]
        with torch_threads(stages[0].specs[0].resources.get("threads", 1)):
            process_shard(self._workspace, stages, task, advance)


def process_shard(
    workspace: Workspace,
    stages: Sequence[StageGroup],
    task: ShardTask,
    advance: Advance,
) -> None:
    """Compute the pending latents of one shard.

    Each image is decoded once for all stages. Nothing is written before all rows are computed; then
    one kind after the other is committed.

    Args:
        workspace: Where the data are and the latents go.
        stages: Those of a pass that have pending kinds, set up.
        task: The shard.
        advance: Called with the size of each batch, and what the stages note.

    Raises:
        KaleidoError: If a stage breaks its contract or stops, an input shard is damaged, or the
            disk is full.
    """
    first = stages[0].specs[0]
    outputs = {
        stage: [
            _Output(workspace, stage, spec, task)
            for spec in stage.specs
            if spec.output in task.pending
        ]
        for stage in stages
    }
    every = [output for group in outputs.values() for output in group]
    records = read_joined(workspace, task.data_shard, first.inputs)
    for batch in in_batches(records, first.batch_size):
        wanted = [record for record in batch if any(record.key not in o.kept for o in every)]
        known = {record.key: unfit(record, first.inputs) for record in wanted}
        usable = [record for record in wanted if known[record.key] is None]
        for stage, group in outputs.items():
            found = _compute(stage, group, usable)
            for output in group:
                output.add(batch, known, found)
        advance(len(batch), ", ".join(filter(None, (stage.note() for stage in outputs))))
    for output in every:
        output.commit()


def _compute(
    stage: StageGroup, outputs: Sequence[_Output], records: Sequence[Record]
) -> dict[tuple[str, str], Outcome]:
    """Call a stage on the records that at least one of its outputs lacks: (kind, key) -> outcome.

    Records that lack the same kinds go together; without kept rows these are all of them.
    """
    alike: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        alike[tuple(o.spec.output for o in outputs if record.key not in o.kept)].append(record)
    return {
        (kind, record.key): outcome
        for kinds, group in alike.items()
        if kinds
        for kind, outcomes in call_stage(stage, group, kinds).items()
        for record, outcome in zip(group, outcomes, strict=True)
    }


class _Output:
    """The rows of one kind in one shard, gathered in memory: latents are small.

    Attributes:
        spec: How the kind is computed.
        kept: Key -> outcome and shard fields of the rows that are not computed again.
    """

    def __init__(
        self, workspace: Workspace, stage: StageGroup, spec: StageSpec, task: ShardTask
    ) -> None:
        self.spec = spec
        self._stage, self._task = stage, task
        self._path = workspace.latents(spec.output) / task.data_shard.name
        self._rows: list[RowOutcome] = []
        self._heldout: set[str] = set()
        self._fields: list[tuple[str, dict[str, bytes]]] = []
        self.kept: dict[str, tuple[RowOutcome, dict[str, bytes]]] = {}
        if spec.output in task.retried:
            fields = dict(read_shard(self._path))
            rows = [row for row in read_rows(self._path) if row.outcome != "failed"]
            self.kept = {row.key: (row, fields.get(row.key, {})) for row in rows}

    def add(
        self,
        batch: Sequence[Record],
        known: Mapping[str, Outcome | None],
        found: Mapping[tuple[str, str], Outcome],
    ) -> None:
        """Add a batch's rows.

        Args:
            batch: All records, kept ones too.
            known: Key -> the outcome of a record that no stage can use.
            found: (kind, key) -> what the stage computed.
        """
        for record in batch:
            if record.key in self.kept:
                row, fields = self.kept[record.key]
            else:
                outcome = known[record.key] or found[self.spec.output, record.key]
                row, fields = self._row(record, outcome)
            self._rows.append(row)
            if record.heldout:
                self._heldout.add(record.key)
            if fields:
                self._fields.append((record.key, fields))

    def _row(self, record: Record, outcome: Outcome) -> tuple[RowOutcome, dict[str, bytes]]:
        kind = self.spec.output
        match outcome:
            case Filtered(reason):
                return RowOutcome(record.key, "filtered", reason), {}
            case Failed(error):
                return RowOutcome(record.key, "failed", error), {}
            case Ok(value):
                if not isinstance(value, stored_class(kind)):
                    why = f"it returned a {type(value).__name__}, not {kind}."
                    raise broken_contract(self._stage, why)
                try:
                    value.validate()
                    data = value.to_bytes()
                except ROW_ERRORS as error:
                    return RowOutcome(record.key, "failed", describe(error)), {}
                return RowOutcome(record.key, "ok"), {latent_extension(kind): data}

    def commit(self) -> None:
        """Write the shard, and its manifest last."""
        info = write_shard(self._path, self._fields)
        manifest = Manifest(
            stage=self.spec.name,
            version=self.spec.version,
            fingerprint=self._task.pending[self.spec.output],
            counts=count_outcomes(self._rows),
            sha256=info.sha256,
            inputs=self._task.inputs,
            options=dict(self.spec.options),
            statistics=self._statistics(),
        )
        write_manifest(self._path, manifest, self._rows)

    def _statistics(self) -> dict[str, Any]:
        kind = self.spec.output
        rows = (row for row, outcome in enumerate(self._rows) if outcome.outcome == "ok")
        training = (
            stored_class(kind).from_bytes(fields[latent_extension(kind)])
            for key, fields in self._fields
            if key not in self._heldout
        )
        return latent_statistics(kind, rows, training)
