"""What a run would compute, and why: `kaleido extract --dry-run`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.stage import StageGroup, StageSpec
from pipelines.engines.pace import read_pace
from pipelines.engines.tasks import ShardTask, passes, plan_pass, specs_of
from pipelines.workspace.digests import Digests
from pipelines.workspace.journal import check_foreign
from pipelines.workspace.manifest import Manifest, read_manifest
from pipelines.workspace.parts import WHOLE, Part
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class PendingWork:
    """What is left to do for one kind of latent.

    Attributes:
        kind: The kind.
        shards: All shards of the part.
        pending: Shards that would be computed.
        records: Records in those shards; only the failed ones where these are retried.
        reasons: Why, with the number of shards.
        seconds: Estimated time for all kinds that are computed in one pass with this one, by the
            last such run; None if there was none.
    """

    kind: str
    shards: int
    pending: int
    records: int
    reasons: Mapping[str, int]
    seconds: float | None


def plan_stages(
    workspace: Workspace,
    stages: Sequence[StageGroup],
    workers: int = 1,
    retry_failed: bool = False,
    part: Part = WHOLE,
    verify: bool = False,
) -> list[PendingWork]:
    """Find what `pipelines.engines.run.run_stages` would compute, and why; nothing is written.

    Args:
        workspace: Where the data and the latents lie.
        stages: In order, each of other kinds; they are not set up.
        workers: Shards that are computed at once.
        retry_failed: As for the run.
        part: As for the run.
        verify: As for the run.

    Raises:
        InputMissing: If the data are missing, or an input kind that no earlier stage makes; names
            the command that makes it.
        KaleidoError: If an input shard is damaged, or a file of the user's is in the way of one to
            write (``would-overwrite``).
    """
    plans = []
    due: dict[str, set[Path]] = {}
    digests = Digests(workspace, verify)
    for group in passes(stages):
        specs = specs_of(group)
        tasks = plan_pass(workspace, specs, retry_failed, due, part, digests)
        for spec in specs:
            due[spec.output] = {task.data_shard for task in tasks if spec.output in task.pending}
        pace = read_pace(workspace, [spec.output for spec in specs])
        pending = [task for task in tasks if task.pending]
        seconds = None
        if pace is not None:
            used = min(workers, max(len(pending), 1))
            seconds = pace.seconds_for(sum(task.records for task in pending), used)
        plans += [_pending(workspace, spec, tasks, seconds) for spec in specs]
        for spec in specs:
            _check_foreign(workspace, spec.output, tasks)
    return plans


def _check_foreign(workspace: Workspace, kind: str, tasks: Sequence[ShardTask]) -> None:
    folder = workspace.latents(kind)
    journals = workspace.latents_journals(kind)
    check_foreign(folder, journals, [folder / task.data_shard.name for task in tasks])


def _pending(
    workspace: Workspace, spec: StageSpec, tasks: Sequence[ShardTask], seconds: float | None
) -> PendingWork:
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
    return PendingWork(spec.output, len(tasks), reasons.total(), records, dict(reasons), seconds)


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
