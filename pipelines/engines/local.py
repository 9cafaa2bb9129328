"""The local engine: one process, or a pool of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic

from pipelines.core.errors import KaleidoError
from pipelines.core.files import remove_leftovers
from pipelines.core.progress import SILENT, Progress
from pipelines.core.stage import Stage, set_up
from pipelines.core.workspace import Workspace
from pipelines.engines.budget import DiskBudget, disk_left, foresee
from pipelines.engines.pace import Pace, peak_memory, write_pace
from pipelines.engines.plan import estimate_growth
from pipelines.engines.threads import child_threads, torch_threads
from pipelines.engines.work import (
    RunSummary,
    ShardTask,
    passes,
    plan_pass,
    process_shard,
    summarise,
)

KILLED = -9
"""Exit code of what SIGKILL ended, which Windows does not know by name."""

UNCAUGHT = 1
"""Exit code of a Python program that ends by an exception. Those of tasks are caught, so it comes
from what precedes them: imports, and reading the stages."""


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
    if workers < 1:
        raise KaleidoError("workers", f"{workers} is too few.", "Give 1 or more.")
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
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(workspace, stages, budget),
    )
    others = set(multiprocessing.active_children())
    started: set[BaseProcess] = set()
    futures = {}
    try:
        with child_threads(stages[0].spec.resources.get("threads", 1)):
            for task in tasks:
                futures[pool.submit(_work, task)] = task
                # At once: a process that has ended is no longer among them.
                started |= set(multiprocessing.active_children()) - others
        for future in as_completed(futures):
            future.result()
            advance(futures[future].records)
    except BrokenProcessPool as error:
        pool.shutdown()  # exit codes are known once all workers have ended
        why, mend = explain_death([worker.exitcode for worker in started])
        kinds = ", ".join(stage.spec.output for stage in stages)
        raise KaleidoError(f"extract {kinds}", why, f"{mend} Finished shards are kept.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def explain_death(codes: Iterable[int | None]) -> tuple[str, str]:
    """Say why a pool broke, and what to do.

    Args:
        codes: Exit codes of its workers, below 0 for a signal; None where it is not known.

    Returns:
        Why, and the mend.
    """
    # The pool itself terminates the others when one has died.
    code = next((code for code in codes if code not in (None, 0, -signal.SIGTERM)), KILLED)
    if code == UNCAUGHT:
        why = "a worker process could not start; its own error stands above."
        return why, "Mend what that says: a module that cannot be imported, say."
    if code == KILLED:
        why = "a worker process was killed, perhaps for want of memory."
        return why, "Run again with fewer workers."
    end = f"by exit code {code}" if code > 0 else f"by a signal: {signal.strsignal(-code)}"
    why = f"a worker process ended {end}; a library that it uses has failed."
    return why, "Run again with --workers 1, and look at what it says last."


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
    # Ctrl-C reaches the whole group: a worker then ends at once, without a traceback of its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is killed; it would otherwise wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(task: ShardTask) -> None:
    _worker.run(task, advance=lambda n: None)
