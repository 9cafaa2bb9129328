"""The work of one stage, shard by shard: what is left to do, doing it, and what came of it.

Every engine runs these same functions, so that all of them write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.core.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_manifest,
    read_rows,
    write_manifest,
)
from pipelines.core.record import Record
from pipelines.core.shards import write_shard
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, Stage, StageSpec
from pipelines.core.workspace import Workspace
from pipelines.engines.batches import describe, run_batches
from pipelines.latents.kinds import latent_class
from pipelines.latents.reader import latent_extension, latent_manifest, read_joined


@dataclass(frozen=True)
class ShardTask:
    """One shard to compute.

    Attributes:
        data_shard: The data shard.
        inputs: SHA-256 of each input shard: ``data`` and the stage's input kinds.
        fingerprint: Of everything that the result depends on.
        records: How many records the data shard holds.
    """

    data_shard: Path
    inputs: dict[str, str]
    fingerprint: str
    records: int


@dataclass(frozen=True)
class Plan:
    """The shards that are left to compute, and those that are up to date."""

    pending: list[ShardTask]
    current: list[ShardTask]


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


def plan_shards(workspace: Workspace, spec: StageSpec) -> Plan:
    """Check a stage's inputs and find the shards that are not up to date.

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
    plan = Plan([], [])
    for data_shard in data_shards:
        task = _task(workspace, spec, data_shard)
        done = _is_current(workspace.latents(spec.output) / data_shard.name, task.fingerprint)
        (plan.current if done else plan.pending).append(task)
    return plan


def _task(workspace: Workspace, spec: StageSpec, data_shard: Path) -> ShardTask:
    data = read_manifest(data_shard)
    if data is None:
        raise KaleidoError(str(data_shard), "the shard is unfinished.", "Make the data again.")
    inputs = {"data": _verified(data_shard, data, "Delete it and make the data again.")}
    for kind in spec.inputs:
        manifest = latent_manifest(workspace, data_shard, kind)
        path = workspace.latents(kind) / data_shard.name
        inputs[kind] = _verified(path, manifest, f"Run `kaleido extract {kind}`.")
    output = (spec.output, latent_class(spec.output).version)
    result = fingerprint(spec.name, spec.version, output, dict(spec.options), inputs)
    return ShardTask(data_shard, inputs, result, data.counts["ok"])


def _verified(path: Path, manifest: Manifest, mend: str) -> str:
    if sha256_file(path) != manifest.sha256:
        raise KaleidoError(str(path), "its bytes are not those that its manifest names.", mend)
    return manifest.sha256


def _is_current(path: Path, wanted: str) -> bool:
    manifest = read_manifest(path)
    return (
        manifest is not None
        and manifest.fingerprint == wanted
        and path.with_suffix(".parquet").is_file()
        and sha256_file(path) == manifest.sha256
    )


def process_shard(
    workspace: Workspace, stage: Stage, task: ShardTask, advance: Callable[[int], None]
) -> None:
    """Compute the latents of one shard and commit them; `advance` gets the size of each batch.

    Raises:
        KaleidoError: If the stage breaks its contract or an input shard is damaged.
    """
    spec = stage.spec
    path = workspace.latents(spec.output) / task.data_shard.name
    records = read_joined(workspace, task.data_shard, spec.inputs)
    rows: list[RowOutcome] = []

    def latents() -> Iterator[tuple[str, dict[str, bytes]]]:
        for batch in run_batches(stage, records):
            for record, outcome in batch:
                row, data = _row(spec, record, outcome)
                rows.append(row)
                if data is not None:
                    yield record.key, {latent_extension(spec.output): data}
            advance(len(batch))

    info = write_shard(path, latents())
    manifest = Manifest(
        stage=spec.name,
        version=spec.version,
        fingerprint=task.fingerprint,
        counts=count_outcomes(rows),
        sha256=info.sha256,
        inputs=task.inputs,
        options=dict(spec.options),
    )
    write_manifest(path, manifest, rows)


def _row(spec: StageSpec, record: Record, outcome: Outcome) -> tuple[RowOutcome, bytes | None]:
    match outcome:
        case Filtered(reason):
            return RowOutcome(record.key, "filtered", reason), None
        case Failed(error):
            return RowOutcome(record.key, "failed", error), None
        case Ok(value):
            if not isinstance(value, latent_class(spec.output)):
                why = f"it returned a {type(value).__name__} in place of {spec.output}."
                raise KaleidoError(f"stage {spec.name!r}", why, "This is a defect of the stage.")
            try:
                value.validate()
                return RowOutcome(record.key, "ok"), value.to_bytes()
            except Exception as error:
                return RowOutcome(record.key, "failed", describe(error)), None


def summarise(workspace: Workspace, spec: StageSpec, plan: Plan) -> RunSummary:
    """Add up the manifests after all shards of a plan are done."""
    totals = count_outcomes([])
    failures: list[tuple[str, str]] = []
    tasks = sorted(plan.current + plan.pending, key=lambda task: task.data_shard)
    for task in tasks:
        path = workspace.latents(spec.output) / task.data_shard.name
        rows = read_rows(path)
        for outcome, count in count_outcomes(rows).items():
            totals[outcome] += count
        failures += [(row.key, row.reason) for row in rows if row.outcome == "failed"]
    return RunSummary(
        kind=spec.output, shards=len(tasks), skipped=len(plan.current), failures=failures, **totals
    )
