"""What a run would do, without doing it: `kaleido extract --dry-run`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.stage import Stage, StageSpec
from pipelines.engines.budget import disk_left
from pipelines.engines.pace import read_pace
from pipelines.engines.work import ShardTask, passes, plan_pass
from pipelines.workspace.manifest import Manifest, bytes_on_disk, read_manifest
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Plan:
    """What is left to do for one kind of latent.

    Attributes:
        kind: The kind.
        shards: All shards.
        pending: Shards that would be computed.
        records: Records in those shards; of them only the failed ones, where those are retried.
        reasons: Why, with the number of shards.
        disk: Bytes that they will take, by those that are there; None if there are none yet.
        seconds: Time for all kinds that are computed in one pass with this one, by the last such
            run; None if there was none.
        memory: Bytes that the processes will hold, likewise.
        growth: Bytes that they will take beyond those of the shards that they replace.
        disk_left: Bytes that the disk budget leaves for all kinds; None without one.
    """

    kind: str
    shards: int
    pending: int
    records: int
    reasons: Mapping[str, int]
    disk: int | None
    seconds: float | None
    memory: int | None
    growth: int | None
    disk_left: int | None


def plan_stages(
    workspace: Workspace, stages: Sequence[Stage], workers: int = 1, retry_failed: bool = False
) -> list[Plan]:
    """Find what `pipelines.engines.local.run_stages` would compute, and why; nothing is written.

    Args:
        workspace: Where the data and the latents lie.
        stages: In order, each of another kind; they are not set up.
        workers: As for the run.
        retry_failed: As for the run.

    Raises:
        InputMissing: If the data are missing, or an input kind that no earlier stage makes; names
            the command that makes it.
        KaleidoError: If an input shard is damaged.
    """
    plans = []
    due: dict[str, set[Path]] = {}
    left = disk_left(workspace)
    for group in passes(stages):
        specs = [stage.spec for stage in group]
        tasks = plan_pass(workspace, specs, retry_failed, due)
        for spec in specs:
            due[spec.output] = {task.data_shard for task in tasks if spec.output in task.pending}
        pace = read_pace(workspace, [spec.output for spec in specs])
        pending = [task for task in tasks if task.pending]
        used = min(workers, max(len(pending), 1))
        seconds = memory = None
        if pace is not None:
            seconds = pace.seconds_for(sum(task.records for task in pending), used)
            memory = pace.memory * used or None
        plans += [_plan(workspace, spec, tasks, seconds, memory, left) for spec in specs]
    return plans


def _plan(
    workspace: Workspace,
    spec: StageSpec,
    tasks: Sequence[ShardTask],
    seconds: float | None,
    memory: int | None,
    left: int | None,
) -> Plan:
    records, reasons = 0, Counter[str]()
    for task in tasks:
        if spec.output not in task.pending:
            continue
        made = read_manifest(workspace.latents(spec.output) / task.data_shard.name)
        if made is not None and spec.output in task.retried:
            records += made.counts["failed"]
            reasons["failed records are computed again"] += 1
        else:
            records += task.records
            reasons[_reason(made, spec, task)] += 1
    each = _bytes_a_record(workspace, spec.output)
    return Plan(
        spec.output,
        len(tasks),
        reasons.total(),
        records,
        dict(reasons),
        None if each is None else round(each * records),
        seconds,
        memory,
        None if each is None else _growth(workspace, spec, tasks, each),
        left,
    )


def estimate_growth(
    workspace: Workspace, spec: StageSpec, tasks: Sequence[ShardTask]
) -> int | None:
    """Estimate by how many bytes a kind's latents grow, by those that are there; else None."""
    each = _bytes_a_record(workspace, spec.output)
    return None if each is None else _growth(workspace, spec, tasks, each)


def _growth(workspace: Workspace, spec: StageSpec, tasks: Sequence[ShardTask], each: float) -> int:
    pending = [task for task in tasks if spec.output in task.pending]
    folder = workspace.latents(spec.output)
    older = sum(bytes_on_disk(folder / task.data_shard.name) for task in pending)
    return round(each * sum(task.records for task in pending)) - older


def _bytes_a_record(workspace: Workspace, kind: str) -> float | None:
    """Mean size of a latent on disk, with its share of tar, manifest and Parquet file."""
    size = records = 0
    for path in workspace.latents(kind).glob("*.tar"):
        made = read_manifest(path)
        if made is not None:
            size += bytes_on_disk(path)
            records += sum(made.counts.values())
    return size / records if records else None


def _reason(made: Manifest | None, spec: StageSpec, task: ShardTask) -> str:
    if made is None:
        return "not extracted yet"
    known = {name: digest for name, digest in task.inputs.items() if digest}
    if changed := [name for name, digest in known.items() if made.inputs.get(name) != digest]:
        return f"{', '.join(changed)} changed"
    if due := [name for name in task.inputs if name not in known]:
        return f"{', '.join(due)} computed first"
    if made.stage != spec.name:
        return f"made by {made.stage}, now {spec.name}"
    if differences := _differences(made.options, spec.options):
        return f"options changed: {', '.join(differences)}"
    if made.fingerprint != task.pending[spec.output]:
        return "another version of Kaleido made it"
    return "its files are damaged or missing"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    new = json.loads(json.dumps(dict(new)))  # as the manifest has them: lists for tuples
    names = sorted({*old, *new})
    return [
        f"{name} {_short(old.get(name))} -> {_short(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:15]}…"
