"""The engine of this machine: one process, or a pool of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass

from pipelines.core.processes import Workers, check_workers
from pipelines.core.progress import Advance
from pipelines.core.stage import StageGroup, kinds_of
from pipelines.engines.tasks import ShardTask
from pipelines.engines.work import ShardWorker
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class LocalEngine:
    """An `pipelines.engines.base.Engine` on this machine.

    Attributes:
        workers: Processes; 1 computes in this process.

    Raises:
        KaleidoError: If `workers` is below 1.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        """Check the number of workers."""
        check_workers(self.workers)

    def run(
        self,
        workspace: Workspace,
        stages: Sequence[StageGroup],
        tasks: Sequence[ShardTask],
        advance: Advance,
    ) -> None:
        """Compute and write shards, see `pipelines.engines.base.Engine.run`."""
        count = min(self.workers, len(tasks))
        if count == 1:
            worker = ShardWorker(workspace, stages)
            for task in tasks:
                worker.run(task, advance)
            return
        threads = stages[0].specs[0].resources.get("threads", 1)
        what = f"extract {', '.join(kinds_of(stages))}"
        with Workers(count, what, threads, _start_worker, (workspace, stages)) as pool:
            futures = {pool.submit(_work, task): task for task in tasks}
            for future in as_completed(futures):
                future.result()
                advance(futures[future].records)


_worker: ShardWorker
"""Of this process, if it is one of a pool. Stages are set up in `_work`, not in the pool's
initialiser: an error raised there would reach the user without its message."""


def _start_worker(workspace: Workspace, stages: Sequence[StageGroup]) -> None:
    global _worker
    _worker = ShardWorker(workspace, stages)


def _work(task: ShardTask) -> None:
    _worker.run(task, advance=lambda n, note: None)
