"""The local engine: one process, or a pool of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from time import monotonic

from pipelines.core.files import remove_leftovers
from pipelines.core.processes import Workers, check_workers
from pipelines.core.progress import SILENT, Progress
from pipelines.core.stage import Stage, set_up
from pipelines.engines.budget import DiskBudget, disk_left, foresee
from pipelines.engines.pace import Pace, peak_memory, write_pace
from pipelines.engines.plan import estimate_growth
from pipelines.engines.threads import torch_threads
from pipelines.engines.work import (
    RunSummary,
    ShardTask,
    passes,
    plan_pass,
    process_shard,
    summarise,
)
from pipelines.workspace.workspace import Workspace


def run_stages(
    workspace: Workspace,
    stages: Sequence[Stage],
    workers: int = 1,
    retry_failed: bool = False,
    progress: Progress = SILENT,
) -> list[RunSummary]:
    """Run stages over every data shard that they have not already processed.

    Stages that can share a pass (`passes`) do: each image is decoded once for all of them. Each
    kind keeps its own shards and manifests, and what is up to date is not computed again. A killed
    run loses at most the shards in hand; running again gives the bytes that an undisturbed run
    gives, whatever the number of workers.

    Args:
        workspace: Where the data are and the latents go.
        stages: In order, each of another kind, not yet set up. With several workers they must be
            picklable.
        workers: Local processes; 1 runs in this process.
        retry_failed: Compute the failed rows of shards that are up to date again; their other rows
            keep their bytes.
        progress: Told of every batch (or of every shard, with several workers).

    Returns:
        For each stage, counts over all shards, the skipped ones too, and every failure.

    Raises:
        InputMissing: If the data or an input kind is missing; names the command that makes it.
        KaleidoError: If another process writes one of the kinds, an input shard is damaged, a stage
            breaks its contract or stops, a worker dies, the disk is full, or ``disk_budget`` does
            not suffice for the next shard.
    """
    check_workers(workers)
    return [
        summary
        for group in passes(stages)
        for summary in _run_pass(workspace, group, workers, retry_failed, progress)
    ]


def _run_pass(
    workspace: Workspace,
    stages: Sequence[Stage],
    workers: int,
    retry_failed: bool,
    progress: Progress,
) -> list[RunSummary]:
    kinds = [stage.spec.output for stage in stages]
    with ExitStack() as locks:
        for kind in kinds:
            locks.enter_context(workspace.lock(f"latents/{kind}"))
            remove_leftovers(workspace.latents(kind))
        tasks = plan_pass(workspace, [stage.spec for stage in stages], retry_failed)
        _warn_of_unfinished(workspace, tasks, progress)
        pending = [task for task in tasks if task.pending]
        budget = _open_budget(workspace, stages, pending, progress)
        total = sum(task.records for task in tasks)
        done = total - sum(task.records for task in pending)
        start = monotonic()
        with progress.task(f"extract {', '.join(kinds)}", total, "record", done) as advance:
            if workers == 1 or len(pending) == 1:
                worker = _Worker(workspace, stages, budget)
                for task in pending:
                    worker.run(task, advance)
            elif pending:
                _run_pool(workspace, stages, pending, workers, advance, budget)
        if pending and not retry_failed:
            used = min(workers, len(pending))
            pace = Pace(total - done, monotonic() - start, used, peak_memory(used > 1))
            write_pace(workspace, kinds, pace)
        return [summarise(workspace, kind, tasks) for kind in kinds]


def _warn_of_unfinished(
    workspace: Workspace, tasks: Sequence[ShardTask], progress: Progress
) -> None:
    finished = {task.data_shard for task in tasks}
    for path in sorted(set(workspace.data.glob("*.tar")) - finished):
        progress.message(f"{path.name} has no manifest and is left out: make the data again.")


def _open_budget(
    workspace: Workspace, stages: Sequence[Stage], pending: Sequence[ShardTask], progress: Progress
) -> DiskBudget | None:
    """Return the budget of a pass, if there is one, and say how far it will reach."""
    left = disk_left(workspace)
    if left is None or not pending:
        return None
    growths = [estimate_growth(workspace, stage.spec, pending) for stage in stages]
    progress.message(foresee(left, growths))
    return DiskBudget(left)


def _run_pool(
    workspace: Workspace,
    stages: Sequence[Stage],
    tasks: Sequence[ShardTask],
    workers: int,
    advance: Callable[[int], None],
    budget: DiskBudget | None,
) -> None:
    kinds = ", ".join(stage.spec.output for stage in stages)
    threads = stages[0].spec.resources.get("threads", 1)
    count, given = min(workers, len(tasks)), (workspace, stages, budget)
    with Workers(count, f"extract {kinds}", threads, _start_worker, given) as pool:
        futures = {pool.submit(_work, task): task for task in tasks}
        for future in as_completed(futures):
            future.result()
            advance(futures[future].records)


class _Worker:
    """The stages of a pass in one process; each is set up when the first shard that lacks it comes.

    Not in the pool's initialiser: an error raised there would reach the user without its message.
    """

    def __init__(
        self, workspace: Workspace, stages: Sequence[Stage], budget: DiskBudget | None
    ) -> None:
        self._workspace, self._stages, self._budget = workspace, stages, budget
        self._ready: set[str] = set()

    def run(self, task: ShardTask, advance: Callable[[int], None]) -> None:
        stages = [stage for stage in self._stages if stage.spec.output in task.pending]
        for stage in stages:
            if stage.spec.output not in self._ready:
                set_up(stage)
                self._ready.add(stage.spec.output)
        with torch_threads(stages[0].spec.resources.get("threads", 1)):
            process_shard(self._workspace, stages, task, advance, self._budget)


_worker: _Worker


def _start_worker(workspace: Workspace, stages: Sequence[Stage], budget: DiskBudget | None) -> None:
    global _worker
    _worker = _Worker(workspace, stages, budget)


def _work(task: ShardTask) -> None:
    _worker.run(task, advance=lambda n: None)
