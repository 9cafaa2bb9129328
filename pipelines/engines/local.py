"""The local engine: one process, or a pool of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from pipelines.core.errors import KaleidoError
from pipelines.core.files import remove_leftovers
from pipelines.core.progress import SILENT, Progress
from pipelines.core.stage import Stage
from pipelines.core.workspace import Workspace
from pipelines.engines.threads import child_threads, torch_threads
from pipelines.engines.work import (
    Plan,
    RunSummary,
    ShardTask,
    plan_shards,
    process_shard,
    summarise,
)


def run_stage(
    workspace: Workspace, stage: Stage, workers: int = 1, progress: Progress = SILENT
) -> RunSummary:
    """Run a stage over every data shard that it has not already processed.

    A killed run loses at most the shards in hand; running again gives the bytes that an undisturbed
    run gives, whatever the number of workers.

    Args:
        workspace: Where the data are and the latents go.
        stage: The stage, not yet set up. With several workers it must be picklable.
        workers: Local processes; 1 runs in this process.
        progress: Told of every batch (or of every shard, with several workers).

    Returns:
        Counts over all shards, the skipped ones too, and every failure.

    Raises:
        InputMissing: If the data or an input kind is missing; names the command that makes it.
        KaleidoError: If another process writes this kind, an input shard is damaged, the stage
            breaks its contract, or a worker dies.
    """
    if workers < 1:
        raise KaleidoError("workers", f"{workers} is too few.", "Give 1 or more.")
    spec = stage.spec
    with workspace.lock(f"latents/{spec.output}"):
        remove_leftovers(workspace.latents(spec.output))
        plan = plan_shards(workspace, spec)
        _warn_of_unfinished(workspace, plan, progress)
        done = sum(task.records for task in plan.current)
        total = done + sum(task.records for task in plan.pending)
        with progress.task(f"extract {spec.output}", total, "record", done) as advance:
            if workers == 1 or len(plan.pending) == 1:
                _run_here(workspace, stage, plan.pending, advance)
            elif plan.pending:
                _run_pool(workspace, stage, plan.pending, workers, advance)
        return summarise(workspace, spec, plan)


def _warn_of_unfinished(workspace: Workspace, plan: Plan, progress: Progress) -> None:
    finished = {task.data_shard for task in plan.current + plan.pending}
    for path in sorted(set(workspace.data.glob("*.tar")) - finished):
        progress.message(f"{path.name} has no manifest and is left out: make the data again.")


def _run_here(
    workspace: Workspace, stage: Stage, tasks: Sequence[ShardTask], advance: Callable[[int], None]
) -> None:
    if not tasks:
        return
    stage.setup()
    with torch_threads(stage.spec.resources.get("threads", 1)):
        for task in tasks:
            process_shard(workspace, stage, task, advance)


def _run_pool(
    workspace: Workspace,
    stage: Stage,
    tasks: Sequence[ShardTask],
    workers: int,
    advance: Callable[[int], None],
) -> None:
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(workspace, stage),
    )
    try:
        with child_threads(stage.spec.resources.get("threads", 1)):
            futures = {pool.submit(_work, task): task for task in tasks}
        for future in as_completed(futures):
            future.result()
            advance(futures[future].records)
    except BrokenProcessPool as error:
        raise KaleidoError(
            f"stage {stage.spec.name!r}",
            "a worker process died, perhaps for want of memory.",
            "Run again with fewer workers; finished shards are kept.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """A worker process's stage, set up when the first shard arrives.

    Not in the pool's initialiser: an error raised there would reach the user without its message.
    """

    def __init__(self, workspace: Workspace, stage: Stage) -> None:
        self._workspace, self._stage, self._ready = workspace, stage, False

    def run(self, task: ShardTask) -> None:
        if not self._ready:
            self._stage.setup()
            self._ready = True
        with torch_threads(self._stage.spec.resources.get("threads", 1)):
            process_shard(self._workspace, self._stage, task, advance=lambda n: None)


_worker: _Worker


def _start_worker(workspace: Workspace, stage: Stage) -> None:
    global _worker
    _worker = _Worker(workspace, stage)
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
    _worker.run(task)
