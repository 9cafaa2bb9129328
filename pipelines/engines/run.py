"""Running stages over the data with an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic

from pipelines.core.progress import SILENT, Progress
from pipelines.core.stage import StageGroup, kinds_of
from pipelines.engines.base import Engine
from pipelines.engines.pace import Pace, write_pace
from pipelines.engines.tasks import ShardTask, passes, plan_pass, specs_of
from pipelines.workspace.digests import Digests
from pipelines.workspace.journal import Journal
from pipelines.workspace.manifest import count_outcomes, read_rows
from pipelines.workspace.parts import WHOLE, Part, latents_journal
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class RunSummary:
    """What a run of a stage left behind.

    Attributes:
        kind: The kind of latent.
        shards: All shards of the run's part of the data, the skipped ones too.
        skipped: Shards that were up to date.
        ok: Records with a latent, over all these shards.
        filtered: Records in which the stage found nothing.
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


def run_stages(
    workspace: Workspace,
    stages: Sequence[StageGroup],
    engine: Engine,
    retry_failed: bool = False,
    progress: Progress = SILENT,
    part: Part = WHOLE,
    verify: bool = False,
) -> list[RunSummary]:
    """Run stages over every data shard that they have not already processed.

    Stages that can share a pass (`passes`) do: each image is decoded once for all of them. Each
    kind keeps its own shards and manifests, and shards that are up to date are not computed again.
    A killed run loses at most the shards in hand; running again gives the bytes that an undisturbed
    run gives, whatever the engine.

    Args:
        workspace: Where the data are and the latents go.
        stages: In order, each of other kinds, not yet set up.
        engine: Computes the shards.
        retry_failed: Compute the failed rows of shards that are up to date again; their other rows
            keep their bytes.
        progress: Told of every batch (or of every shard, with several workers).
        part: The part of the data to compute. Other processes and machines may compute other parts
            of as many in the same workspace meanwhile; their shards need no merging.
        verify: Read every shard to see whether it is damaged, also those that have kept their size
            and time of change.

    Returns:
        For each kind, counts over all shards of the part, and every failure.

    Raises:
        InputMissing: If the data or an input kind is missing; names the command that makes it.
        KaleidoError: If another process writes this part of one of the kinds, a file in the way is
            not ours (``would-overwrite``), an input shard is damaged, a stage breaks its contract
            or stops, a worker dies, or the disk is full.
    """
    digests = Digests(workspace, verify)
    try:
        return [
            summary
            for group in passes(stages)
            for summary in _run_pass(
                workspace, group, engine, retry_failed, progress, part, digests
            )
        ]
    finally:
        digests.save()


def _run_pass(
    workspace: Workspace,
    stages: Sequence[StageGroup],
    engine: Engine,
    retry_failed: bool,
    progress: Progress,
    part: Part,
    digests: Digests,
) -> list[RunSummary]:
    kinds = kinds_of(stages)
    with ExitStack() as locks:
        for kind in kinds:
            locks.enter_context(workspace.lock(f"latents/{kind}", part.name))
        journals = {kind: _journal(workspace, kind, part) for kind in kinds}
        tasks = plan_pass(workspace, specs_of(stages), retry_failed, part=part, digests=digests)
        _warn_of_unfinished(workspace, progress)
        pending = [task for task in tasks if task.pending]
        total = sum(task.records for task in tasks)
        done = total - sum(task.records for task in pending)
        start = monotonic()
        with progress.task(f"extract {', '.join(kinds)}", total, "record", done) as advance:
            if pending:
                _begin(workspace, journals, pending)
                engine.run(workspace, stages, pending, advance)
        _end(workspace, journals, tasks, part)
        if pending and not retry_failed and part.is_whole:
            used = min(engine.workers, len(pending))
            write_pace(workspace, kinds, Pace(total - done, monotonic() - start, used))
        return [_summarise(workspace, kind, tasks) for kind in kinds]


def _journal(workspace: Workspace, kind: str, part: Part) -> Journal:
    """Open a kind's journal, and check that no file of the user's is in the way."""
    folder = workspace.latents(kind)
    journal = latents_journal(workspace, kind, part)
    journal.check(folder / path.name for path in workspace.data_shards() if part.has(path))
    return journal


def _begin(
    workspace: Workspace, journals: Mapping[str, Journal], pending: Sequence[ShardTask]
) -> None:
    for kind, journal in journals.items():
        names = [task.data_shard.name for task in pending if kind in task.pending]
        journal.begin(workspace.latents(kind) / name for name in names)


def _end(
    workspace: Workspace, journals: Mapping[str, Journal], tasks: Sequence[ShardTask], part: Part
) -> None:
    for kind, journal in journals.items():
        journal.end(*(workspace.latents(kind) / task.data_shard.name for task in tasks))
        if part.is_whole:  # all shards of all parts are finished now
            for left in workspace.latents_journals(kind):
                left.unlink(missing_ok=True)


def _warn_of_unfinished(workspace: Workspace, progress: Progress) -> None:
    for path in sorted(set(workspace.data.glob("*.tar")) - set(workspace.data_shards())):
        progress.message(f"{path.name} has no manifest and is left out: make the data again.")


def _summarise(workspace: Workspace, kind: str, tasks: Sequence[ShardTask]) -> RunSummary:
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
